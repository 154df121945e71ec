"""Rows that belong together: what is the same, or nearly, is in one group, and so is whatever a group shares with another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows that are alike: the first and the second of each pair."""


class Linked:
    """Rows that are linked pair by pair; those that a chain of links joins are one component."""

    def __init__(self, rows: int) -> None:
        self.components = np.arange(rows)
        """A number for every row, [rows]; rows of one component have the same."""

    def link(self, pairs: Pairs) -> None:
        """Take in more pairs."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        if not len(pairs[0]):
            return
        left, right = self.components[pairs[0]], self.components[pairs[1]]
        count = len(self.components)
        edges = coo_array((np.ones(len(left), np.bool_), (left, right)), shape=(count, count))
        self.components = connected_components(edges, directed=False)[1].astype(np.int64)[self.components]

    def apart(self, pairs: Pairs) -> NDArray[np.bool_]:
        """Which pairs are not in one component yet, [pairs]."""
        return np.asarray(self.components[pairs[0]] != self.components[pairs[1]])


def numbered(names: Iterable[str]) -> tuple[list[str], NDArray[np.int64]]:
    """The distinct names, sorted, and which of them every row has."""
    column = list(names)
    distinct = sorted(set(column))
    places = {name: place for place, name in enumerate(distinct)}
    return distinct, np.fromiter(map(places.__getitem__, column), np.int64, len(column))


def smallest_names(names: Sequence[str], components: NDArray[np.int64]) -> list[str]:
    """For every row the smallest name in its component.

    Args:
        names: of every row.
        components: a number for every row, [rows].
    """
    smallest: dict[int, str] = {}
    numbers = components.tolist()
    for number, name in zip(numbers, names, strict=True):
        if number not in smallest or name < smallest[number]:
            smallest[number] = name
    return [smallest[number] for number in numbers]


def joined(names: Sequence[str], others: Sequence[str | None]) -> list[str]:
    """Groups that hold together what either of two groupings does, called by the smallest of `names` in them.

    Args:
        names: one grouping.
        others: another one; a row with None there is in none of its groups.
    """
    rows = np.flatnonzero(np.array([other is not None for other in others], dtype=bool))
    linked = Linked(len(names))
    for column in (names, others):
        chosen = np.arange(len(names)) if column is names else rows
        _, groups = numbered(str(column[row]) for row in chosen.tolist())
        _, first = np.unique(groups, return_index=True)
        linked.link((chosen, chosen[first][groups]))
    return smallest_names(names, linked.components)
