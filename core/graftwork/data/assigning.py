"""Which row goes to which split: by shares of each class, seeded, with groups of rows kept whole."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from graftwork.data.alike import numbered
from graftwork.errors import DataError

Rows = NDArray[np.int64]


def assign(
    strata: Sequence[int],
    fractions: Mapping[str, float],
    seed: int,
    keys: Sequence[str],
    groups: Sequence[str] | None = None,
    firm: bool = True,
) -> dict[str, list[int]]:
    """Row numbers by split, ascending; every row in exactly one.

    Args:
        strata: class index of every row.
        fractions: share of rows by split, `train` first; they sum to 1.
        seed: chooses the rows.
        keys: a name for every row; equal names are told apart by their position.
        groups: rows with equal values stay together.
        firm: whether every class has to be in `train`; else it is there as far as no split stays empty for it.

    Raises:
        DataError: a split would be empty.
    """
    chosen = _by_group(strata, fractions, seed, keys, groups) if groups else _by_row(strata, fractions, seed, keys)
    empty = [name for name, rows in chosen.items() if not rows]
    if empty or (groups and _all_small(strata, groups, len(fractions))):
        chosen = _by_need(strata, fractions, seed, groups or told_apart(keys), firm)
        empty = [name for name, rows in chosen.items() if not rows]
    if empty:
        several = groups is not None and len(set(groups)) < len(groups)
        kind = f"groups ({len(set(groups or ()))})" if several else "rows"
        raise DataError(
            f"too few {kind} to make a {' and a '.join(empty)} split from {len(strata)} rows",
            hint=f"Add rows{f', {len(fractions)} of each class' if firm else ''}, or bring the splits yourself: a folder with "
            "train.csv and validation.csv, or train/CLASS/ and validation/CLASS/ (the same rows in both where there are no "
            "more; the validation figure then says nothing)",
        )
    return {name: sorted(rows) for name, rows in chosen.items()}


def told_apart(names: Sequence[str]) -> list[str]:
    """The names, equal ones told apart by how many came before."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        found.append(f"{name} {seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def shuffled_classes(strata: Sequence[int], seed: int, keys: Sequence[str]) -> dict[int, Rows]:
    """Row numbers by class, in an order that depends on seed and keys alone; 12 bytes a row, and their order."""
    draws = np.fromiter((_draw(seed, key, 0) for key in keys), dtype="S12", count=len(keys))
    order = np.argsort(draws, kind="stable")
    same = np.flatnonzero(draws[order][1:] == draws[order][:-1]) + 1
    if len(same):  # equal keys are told apart by how many came before
        before, last = 0, -1
        for place in same.tolist():
            before = before + 1 if place == last + 1 else 1
            last = place
            row = int(order[place])
            draws[row] = _draw(seed, keys[row], before)
        order = np.argsort(draws, kind="stable")
    classes = np.asarray(strata, dtype=np.int64)[order]
    by_class = np.argsort(classes, kind="stable")
    names, starts = np.unique(classes[by_class], return_index=True)
    return dict(zip(names.tolist(), np.split(order[by_class], starts[1:]), strict=True))


def _draw(seed: int, *names: object) -> bytes:
    return hashlib.blake2b("\0".join([str(seed), *map(str, names)]).encode(), digest_size=12).digest()


def _by_row(
    strata: Sequence[int], fractions: Mapping[str, float], seed: int, keys: Sequence[str]
) -> dict[str, list[int]]:
    parts: dict[str, list[int]] = {name: [] for name in fractions}
    for _, rows in sorted(shuffled_classes(strata, seed, keys).items()):
        start = 0
        for name, count in _shares(len(rows), fractions).items():
            parts[name] += rows[start : start + count].tolist()
            start += count
    return parts


def _shares(count: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """How many of a class's rows go where: rounded shares, at least one each as far as the rows reach, train first."""
    if count <= len(fractions):
        return {name: int(position < count) for position, name in enumerate(fractions)}
    shares = {name: max(1, math.floor(count * fraction + 0.5)) for name, fraction in fractions.items()}
    shares["train"] = count - sum(share for name, share in shares.items() if name != "train")
    return shares


class _Grouped:
    """Rows with their class and group, and the split that each is in.

    Args:
        strata: class index of every row.
        groups: of every row.
    """

    def __init__(self, strata: Sequence[int], groups: Sequence[str]) -> None:
        distinct, self.group = numbered(groups)
        self.names = distinct
        values, self.classes = np.unique(np.asarray(strata, dtype=np.int64), return_inverse=True)
        self.count = len(values)
        self.sizes = np.bincount(self.group, minlength=len(distinct))
        order = np.argsort(self.group, kind="stable")
        self._members = np.split(order, np.cumsum(self.sizes)[:-1])
        self.home = np.full(len(self.group), -1)

    def counts(self, group: int) -> NDArray[np.int64]:
        """Rows of each class in a group, [classes]."""
        return np.bincount(self.classes[self._members[group]], minlength=self.count)

    def split_of(self, group: int) -> int:
        """Where a group is."""
        return int(self.home[self._members[group][0]])

    def held(self, split: int) -> NDArray[np.int64]:
        """Rows of each class in a split, [classes]."""
        return np.bincount(self.classes[self.home == split], minlength=self.count)

    def move(self, group: int, split: int) -> None:
        """All rows of the group to the split."""
        self.home[self._members[group]] = split

    def classes_of(self, group: int) -> Rows:
        """The classes that a group has rows of."""
        return np.unique(self.classes[self._members[group]])

    def by_size(self, rows: Rows) -> list[int]:
        """The groups of these rows, smallest first."""
        groups: list[int] = np.unique(self.group[rows]).tolist()
        return sorted(groups, key=lambda group: (int(self.sizes[group]), self.names[group]))


def _by_group(
    strata: Sequence[int], fractions: Mapping[str, float], seed: int, keys: Sequence[str], groups: Sequence[str]
) -> dict[str, list[int]]:
    """First the groups, largest first, each to the split whose class counts it brings closest to their shares; then rows that
    are alone fill up what these shares lack."""
    rows = _Grouped(strata, groups)
    names = list(fractions)
    _place_groups(rows, np.array([fractions[name] for name in names]), seed)
    alone = rows.sizes[rows.group] == 1
    for members in shuffled_classes(strata, seed, keys).values():
        left = members[alone[members]]
        wanted = np.array(list(_shares(len(members), fractions).values()))
        lacking = np.maximum(wanted - np.bincount(rows.home[members[~alone[members]]], minlength=len(names)), 0)
        for split in range(len(names)):  # groups may hold more than a share: what they took too much, train lacks first
            lacking[split] -= min(int(lacking.sum()) - len(left), int(lacking[split]))
        rows.home[left] = np.repeat(np.arange(len(names)), lacking)
    _repair(rows, len(names))
    return {name: np.flatnonzero(rows.home == split).tolist() for split, name in enumerate(names)}


def _place_groups(rows: _Grouped, wanted: NDArray[np.float64], seed: int) -> None:
    total = np.bincount(rows.classes, minlength=rows.count)
    held = np.zeros((len(wanted), rows.count))
    several = np.flatnonzero(rows.sizes > 1).tolist()
    for group in sorted(several, key=lambda group: (-int(rows.sizes[group]), _draw(seed, rows.names[group]))):
        share = rows.counts(group) / total
        gains = ((wanted[:, None] - held) * share).sum(axis=1) / wanted
        home = int(np.argmax(gains))
        held[home] += share
        rows.move(group, home)


def _repair(rows: _Grouped, splits: int) -> None:
    """Move the fewest rows so that every class is in train (split 0) and, where groups allow it, no split is empty."""
    for label in np.flatnonzero(rows.held(0) == 0).tolist():
        if not rows.held(0)[label]:
            rows.move(rows.by_size(np.flatnonzero(rows.classes == label))[0], 0)
    for split in range(1, splits):
        if (rows.home == split).any():
            continue
        held = [rows.held(other) for other in range(splits)]
        for group in rows.by_size(np.arange(len(rows.home))):
            counts, home = rows.counts(group), rows.split_of(group)
            left = held[home] - counts
            if left[counts > 0].all() if home == 0 else left.any():
                rows.move(group, split)
                break


def _all_small(strata: Sequence[int], groups: Sequence[str], splits: int) -> bool:
    """Whether every class is in fewer groups than there are splits."""
    rows = _Grouped(strata, groups)
    if len(rows.names) > (splits - 1) * rows.count:
        return False
    pairs = np.unique(np.stack([rows.classes, rows.group]), axis=1)
    return bool(np.bincount(pairs[0]).max() < splits)


def _by_need(
    strata: Sequence[int], fractions: Mapping[str, float], seed: int, groups: Sequence[str], firm: bool
) -> dict[str, list[int]]:
    """Classes that are too small for shares of their own: one group of each to train, the frequent ones first, then every
    group, largest first, to the split that lacks most of its share of all rows."""
    rows = _Grouped(strata, groups)
    names = list(fractions)
    wanted = np.maximum(list(_shares(len(strata), fractions).values()), 1)
    held = np.zeros(len(names))
    order = sorted(range(len(rows.names)), key=lambda group: (int(rows.sizes[group]), _draw(seed, rows.names[group])))
    smallest: dict[int, int] = {}
    for group in order:
        for label in rows.classes_of(group).tolist():
            smallest.setdefault(label, group)
    left = dict.fromkeys(reversed(order))
    there: set[int] = set()
    totals = np.bincount(rows.classes, minlength=rows.count)
    for label in sorted(smallest, key=lambda label: (-int(totals[label]), label)):
        group = smallest[label]
        full = len(left) < len(names) or held[0] + rows.sizes[group] > wanted[0]
        if label in there or (full and not firm and there):
            continue
        there |= set(rows.classes_of(group).tolist())
        held[0] += rows.sizes[group]
        rows.move(group, 0)
        del left[group]
    for group in left:
        home = int(np.argmax((wanted - held) / wanted))
        held[home] += rows.sizes[group]
        rows.move(group, home)
    return {name: np.flatnonzero(rows.home == split).tolist() for split, name in enumerate(names)}
