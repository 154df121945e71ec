"""Scores as arrays: what is accepted, and when two scores count as equal. The statistics themselves are elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graftwork.errors import DataError, UsageError

Array = NDArray[np.float64]
Runs = Sequence[Sequence[float]] | Sequence[NDArray[np.floating]] | NDArray[np.floating]
"""Scores as `[tasks, seeds]`; the tasks may have different numbers of seeds."""

DIGITS = 12
"""Scores that agree to this many digits are equal: 0.1 + 0.2 and 0.3 are a tie, no win by 5e-17."""


def as_list(values: ArrayLike, what: str) -> Array:
    """`values` as `[n]`.

    Raises:
        DataError: there are none, they are not in one row, or one is not a finite number.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise DataError(f"{what} must be a list of at least one number, not of shape {list(array.shape)}")
    return _finite(array, what)


def as_matrix(scores: ArrayLike) -> Array:
    """`scores` as `[tasks, methods]`.

    Raises:
        DataError: it has no task, fewer than two methods, rows of different lengths, or a value that is not finite.
    """
    try:
        matrix = np.asarray(scores, dtype=np.float64)
    except ValueError:
        raise DataError(
            "every task needs a score of every method", hint="Leave out tasks that a method lacks"
        ) from None
    if matrix.ndim != 2 or not matrix.shape[0] or matrix.shape[1] < 2:
        raise DataError(
            f"scores must be [tasks, methods] with a task and two methods at least, not of shape {list(matrix.shape)}"
        )
    return _finite(matrix, "scores")


def as_runs(scores: Runs) -> list[Array]:
    """`scores` as one array `[seeds]` a task.

    Raises:
        DataError: there is no task, a task without a run, or a value that is not finite.
    """
    if not len(scores):
        raise DataError("there is no task with scores")
    return [as_list(task, f"scores of task {number}") for number, task in enumerate(scores)]


def check_share(value: float, name: str) -> None:
    """Raises UsageError unless `value`, a level or an alpha, lies between 0 and 1, both excluded."""
    if not 0 < value < 1:
        raise UsageError(f"{name} must lie between 0 and 1, not {value}")


def for_ranking(values: Array) -> Array:
    """`values` `[..., n]` over the largest magnitude of their row, with equal scores made equal; the order stays."""
    scale = np.abs(values).max(axis=-1, keepdims=True)
    return np.round(values / np.where(scale > 0, scale, 1.0), DIGITS)


def differences(target: Array, base: Array) -> Array:
    """`target - base` `[n]`, exactly zero where the two are equal scores, and equal where they differ equally."""
    scale = float(max(np.abs(target).max(), np.abs(base).max())) or 1.0
    return np.round(target / scale - base / scale, DIGITS) * scale


def _finite(array: Array, what: str) -> Array:
    if not np.isfinite(array).all():
        raise DataError(f"{what}: a value is not a finite number", hint="Leave out the runs that failed")
    return array
