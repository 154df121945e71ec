"""Groups of methods not shown to differ: the bars of a critical-difference diagram. Drawing it is the page's work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from graftwork.bench.statistics.pairs import PairTest
from graftwork.errors import UsageError


def cliques_of_ranks(names: Sequence[str], ranks: Sequence[float], critical_difference: float) -> list[tuple[str, ...]]:
    """The largest groups whose average ranks all lie closer together than Nemenyi's critical difference.

    Args:
        names: one for each method.
        ranks: average ranks `[methods]`, in the same order.
        critical_difference: methods whose ranks differ by this much or more differ.

    Returns:
        Groups of two and more, none within another, each and all from the best rank on.

    Raises:
        UsageError: not as many names as ranks.
    """
    if len(names) != len(ranks):
        raise UsageError(f"{len(ranks)} ranks need as many names, not {len(names)}")
    order = sorted(range(len(names)), key=lambda method: (float(ranks[method]), method))
    groups: list[tuple[str, ...]] = []
    reached = 0
    for first in range(len(order)):
        best, last = float(ranks[order[first]]), first
        while last + 1 < len(order) and float(ranks[order[last + 1]]) - best < critical_difference:
            last += 1
        if last > first and last + 1 > reached:
            groups.append(tuple(names[method] for method in order[first : last + 1]))
        reached = max(reached, last + 1)
    return groups


def cliques_of_pairs(names: Sequence[str], pairs: Iterable[PairTest]) -> list[tuple[str, ...]]:
    """The largest groups of which no pair is shown to differ.

    A group need not be contiguous in rank: of three methods the outer two may be alike and the middle one different.

    Args:
        names: the methods in the order wanted, usually from the best rank on.
        pairs: a verdict for every pair of them, as `wilcoxon_holm` gives.

    Returns:
        Groups of two and more, none within another, each and all in the order of `names`.

    Raises:
        UsageError: a pair of `names` has no verdict.
    """
    differs = {frozenset((pair.first, pair.second)): pair.differs for pair in pairs}
    position = {name: number for number, name in enumerate(names)}
    alike: dict[int, set[int]] = {number: set() for number in position.values()}
    for one, first in position.items():
        for other, second in position.items():
            if first == second:
                continue
            if (verdict := differs.get(frozenset((one, other)))) is None:
                raise UsageError(f"there is no verdict on {one} and {other}")
            if not verdict:
                alike[first].add(second)
    found = sorted(tuple(sorted(group)) for group in _maximal(set(), set(alike), set(), alike) if len(group) > 1)
    return [tuple(names[number] for number in group) for group in found]


def _maximal(group: set[int], open_: set[int], done: set[int], alike: Mapping[int, set[int]]) -> Iterator[set[int]]:
    """The maximal cliques of a graph (Bron and Kerbosch 1973, with a pivot): `group` and more of `open_`, none of `done`."""
    if not open_ and not done:
        yield group
        return
    pivot = max(sorted(open_ | done), key=lambda member: len(alike[member] & open_))
    for member in sorted(open_ - alike[pivot]):
        yield from _maximal(group | {member}, open_ & alike[member], done & alike[member], alike)
        open_ = open_ - {member}
        done = done | {member}
