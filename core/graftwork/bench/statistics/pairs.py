"""Every pair of methods tested over tasks: Wilcoxon's signed ranks with Holm's correction. Ranks of all are in `ranks`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from graftwork.bench.statistics.arrays import Array, as_matrix, check_share, differences
from graftwork.errors import UsageError


@dataclass(frozen=True)
class PairTest:
    """Two methods compared over all tasks.

    Args:
        first: a method's name.
        second: the other's.
        p: two-sided p-value of Wilcoxon's signed-rank test.
        adjusted_p: the same after Holm's step-down over all pairs, comparable with alpha.
        differs: whether a difference is shown at alpha. False never means that the two are equal.
    """

    first: str
    second: str
    p: float
    adjusted_p: float
    differs: bool


def wilcoxon_holm(scores: ArrayLike, names: Sequence[str], alpha: float = 0.05) -> list[PairTest]:
    """Every pair of methods by Wilcoxon's signed-rank test (1945), corrected for their number (Holm 1979).

    As Demšar 2006 does, ranks of tasks without a difference go half to either side, so that two methods with equal
    scores throughout have p = 1. P-values are exact up to 50 tasks, with ties or zeros up to 13, else by the normal
    approximation. Few tasks cannot show a difference whatever the scores: see `tasks_needed`. Two methods are one pair,
    which needs no correction.

    Args:
        scores: `[tasks, methods]`, higher is better, on a scale common to the tasks since differences are ranked over
            tasks. Differences that agree to 12 digits are equal.
        names: one for each method.
        alpha: chance of any false difference among all pairs.

    Returns:
        The pairs in the order of `names`, the first of a pair being the earlier.

    Raises:
        DataError: no task, fewer than two methods, a missing score or one that is not finite.
        UsageError: `names` does not name each method once, or `alpha` is not between 0 and 1.
    """
    check_share(alpha, "alpha")
    matrix = as_matrix(scores)
    if len(names) != matrix.shape[1] or len(set(names)) != len(names):
        raise UsageError(f"{matrix.shape[1]} methods need as many different names, not {', '.join(names)}")
    pairs = list(combinations(range(len(names)), 2))
    raw = [_signed_rank(differences(matrix[:, first], matrix[:, second])) for first, second in pairs]
    return [
        PairTest(names[first], names[second], p, adjusted, adjusted <= alpha)
        for (first, second), p, adjusted in zip(pairs, raw, _holm(raw), strict=True)
    ]


def tasks_needed(methods: int, alpha: float = 0.05) -> int:
    """On how many tasks `wilcoxon_holm` can show a difference at the earliest: one method winning on every single one.

    The smallest p-value of N tasks is `2 / 2^N`, and the first of m pairs has to be below `alpha / m`.

    Raises:
        UsageError: fewer than two methods, or an `alpha` that is not between 0 and 1.
    """
    check_share(alpha, "alpha")
    if methods < 2:
        raise UsageError(f"a comparison needs at least two methods, not {methods}")
    pairs, tasks = methods * (methods - 1) // 2, 1
    while 2 / 2**tasks * pairs > alpha:
        tasks += 1
    return tasks


def _signed_rank(difference: Array) -> float:
    if len(difference) == 1:  # nothing can be shown; scipy refuses where the one difference is zero
        return 1.0
    return float(min(1.0, stats.wilcoxon(difference, zero_method="zsplit").pvalue))


def _holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: the i-th smallest of m times m - i + 1, at most 1, and never below one that was smaller."""
    p = np.asarray(p_values)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    return [float(value) for value in adjusted]
