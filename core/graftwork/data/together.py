"""Rows dealt out to splits so that what is alike stays together, as far as every class can then be in every split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graftwork.data.alike import joined, numbered
from graftwork.data.assigning import assign, told_apart
from graftwork.errors import DataError
from graftwork.interfaces.data import Finding

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Alike:
    """How a task knows rows that belong together, `Task.alike` and `Task.contents`.

    Args:
        groups: rows to a group each: what is the same, or nearly, shares one.
        contents: rows to a text each, equal where rows are the same.
    """

    groups: Callable[[Dataset], Sequence[str]]
    contents: Callable[[Dataset], Sequence[str]]


def dealt_out(
    train: Dataset,
    keys: Sequence[str],
    classes: Sequence[int],
    fractions: Mapping[str, float],
    seed: int,
    values: Sequence[str | None] | None,
    alike: Alike | None,
    firm: bool = True,
) -> tuple[dict[str, list[int]], list[Finding]]:
    """Row numbers by split, and what is to be said of rows that are alike. Rows that cannot be read are in `train` and decide
    nothing: an audit takes them out there.

    Args:
        train: the rows.
        keys: what they are called.
        classes: class index of every row.
        fractions: share of rows by split, `train` first.
        seed: chooses the rows.
        values: rows with equal ones stay together, whatever they hold; None for a row in no group, or where none is wanted.
        alike: how rows that belong together are known; None where they are not asked for, and names decide.
        firm: whether every class has to be in `train`.

    Raises:
        DataError: a split would be empty.
    """
    if alike is None:
        groups = None if values is None else joined([f"row {key}" for key in told_apart(keys)], values)
        return assign(classes, fractions, seed, keys, groups, firm), []
    near = [str(group) for group in alike.groups(train)]
    rows = [row for row, group in enumerate(near) if group]
    if len(rows) in (0, len(near)):
        named = _named_by_content(near, keys)
        return _dealt_out(train, keys, classes, fractions, seed, values, Alike(lambda _: named, alike.contents), firm)
    known = Alike(lambda _: [near[row] for row in rows], alike.contents)
    grouped = None if values is None else [values[row] for row in rows]
    labels, called = [classes[row] for row in rows], [keys[row] for row in rows]
    lost = sorted(set(range(len(near))) - set(rows))
    try:
        parts, found = _dealt_out(train.select(rows), called, labels, fractions, seed, grouped, known, firm)
    except DataError as error:
        what = f"{error.what} that can be read; {len(lost):,} cannot (the first: {keys[lost[0]]})"
        raise DataError(what, where=error.where, hint=error.hint) from None
    chosen = {name: [rows[place] for place in places] for name, places in parts.items()}
    return {**chosen, "train": sorted([*chosen["train"], *lost])}, found


def _dealt_out(
    train: Dataset,
    keys: Sequence[str],
    classes: Sequence[int],
    fractions: Mapping[str, float],
    seed: int,
    values: Sequence[str | None] | None,
    alike: Alike,
    firm: bool,
) -> tuple[dict[str, list[int]], list[Finding]]:
    """As `dealt_out`, of rows that can be read."""
    near = alike.groups(train)
    groups, loose = _loosened(near, lambda: _named_by_content(alike.contents(train), keys), classes, len(fractions))
    findings = _kept_together(groups) + _told_loose(loose, classes)
    try:
        together = groups if values is None else joined(groups, values)
        return assign(classes, fractions, seed, together, together, firm), findings
    except DataError:
        if len(set(near)) == len(near):
            raise
    # So alike is all of it that a split would be empty.
    contents = _named_by_content(alike.contents(train), keys)
    told = _told_loose(np.ones(len(train), dtype=bool), classes)
    for finer in (contents, told_apart(contents)):
        try:
            together = finer if values is None else joined(finer, values)
            return assign(classes, fractions, seed, together, together, firm), told
        except DataError as error:
            last = error
    raise last


def _named_by_content(groups: Sequence[str], keys: Sequence[str]) -> list[str]:
    """The groups; a row that cannot be read, which has none, under its own name."""
    return [group or f"unread {keys[row]}" for row, group in enumerate(map(str, groups))]


def _loosened(
    near: Sequence[str], contents: Callable[[], Sequence[str]], classes: Sequence[int], splits: int
) -> tuple[list[str], NDArray[np.bool_]]:
    """Groups in which rows that are only nearly alike are let go where a class would else miss in a split: a class that was
    filmed in one go would be in train alone.

    Returns:
        Groups of rows, and which rows were let go.
    """
    labels = np.asarray(classes)
    _, groups = numbered(near)
    few = _classes_with_fewer_groups(labels, groups, splits)
    if not few:
        return list(near), np.zeros(len(near), dtype=bool)
    exact = contents()
    more = _classes_with_fewer_groups(labels, numbered(exact)[1], splits)
    gain = [label for label, count in few.items() if more.get(label, splits) > count]
    loose = np.isin(groups, np.unique(groups[np.isin(labels, gain)]))
    return [exact[row] if loose[row] else near[row] for row in range(len(near))], loose


def _classes_with_fewer_groups(labels: NDArray[np.int64], groups: NDArray[np.int64], splits: int) -> dict[int, int]:
    """Classes that are in fewer groups than there are splits, with the number of those."""
    pairs = np.unique(np.stack([labels, groups]), axis=1)
    found, counts = np.unique(pairs[0], return_counts=True)
    return {int(label): int(count) for label, count in zip(found, counts, strict=True) if count < splits}


def _kept_together(groups: Sequence[str]) -> list[Finding]:
    several = [count for count in Counter(groups).values() if count > 1]
    if not several:
        return []
    message = f"rows that are the same as another, or nearly, kept in one split with it ({len(several):,} groups)"
    return [Finding("alike-rows-kept-together", "note", f"{message}: {sum(several):,}", (), sum(several))]


def _told_loose(loose: NDArray[np.bool_], classes: Sequence[int]) -> list[Finding]:
    if not loose.any():
        return []
    counts = Counter(np.asarray(classes)[loose].tolist())
    where = tuple(f"class index {label}: {counts[label]} rows" for label in sorted(counts)[:5])
    message = "rows nearly alike that had to be parted, since all of a class are; figures for it are too good"
    return [Finding("alike-rows-parted", "warning", f"{message}: {int(loose.sum()):,}", where, int(loose.sum()))]
