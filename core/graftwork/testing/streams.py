"""Checks of the items that a strategy's streams are made of; plans without items skip them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch

from graftwork.interfaces import Items, Stream
from graftwork.testing.base import doing
from graftwork.testing.fits import prepared
from graftwork.testing.surroundings import shuffled_random
from graftwork.testing.terms import TermChecks

_MOST = 64
"""Items of an epoch that are looked at."""


class StreamChecks(TermChecks):
    """The part of `StrategyConformance` that is about streams."""

    def drawn(self) -> Iterator[tuple[Stream, Items, Sequence[int]]]:
        """The streams of a fresh plan that have items, and the strata of their rows."""
        subject = self.subject()
        strategy = self.built(subject)
        plan = self.planned(strategy, prepared(subject, strategy))
        found = [(s, s.items) for phase in plan.phases for s in phase.streams if s.items is not None]
        if not found:
            pytest.skip("no stream of the plan has items")
        strata = list(subject.task.strata(subject.few["train"]))
        for stream, items in found:
            yield stream, items, strata

    def test_items_are_whole_and_of_the_split(self) -> None:
        for stream, items, strata in self.drawn():
            count = _count(items, len(strata))
            assert count >= 1, f"an epoch of the stream {stream.name} has {count} items"
            for number in range(min(count, _MOST)):
                rows = _item(items, number, strata)
                assert len(rows) == items.unit, (
                    f"item {number} of the stream {stream.name} has {len(rows)} rows, and its unit is {items.unit}"
                )
                strangers = [row for row in rows if not 0 <= row < len(strata)]
                assert not strangers, (
                    f"item {number} of the stream {stream.name} has the row {strangers[0]}; there are {len(strata)}"
                )

    def test_items_follow_from_their_number_and_the_generator_alone(self) -> None:
        """Whichever were drawn before: a resumed run begins in the middle, and each process draws its share."""
        forward, backward = (
            [_drawn(items, strata, seed, step) for _, items, strata in self.drawn()] for seed, step in ((1, 1), (2, -1))
        )
        for (stream, _, _), first, second in zip(self.drawn(), forward, backward, strict=True):
            assert first == second, (
                f"items of the stream {stream.name} depend on more than their number and the generator that they are given: on "
                "global random numbers, or on what was drawn before"
            )


def _drawn(items: Items, strata: Sequence[int], seed: int, step: int) -> dict[int, tuple[int, ...]]:
    """The items by their number, asked for in order (`step` 1) or backwards (-1)."""
    with shuffled_random(seed):
        numbers = range(min(_count(items, len(strata)), _MOST))[::step]
        found = {number: tuple(_item(items, number, strata)) for number in numbers}
    return dict(sorted(found.items()))


def _count(items: Items, rows: int) -> int:
    with doing("counting items"):
        return items.count(rows)


def _item(items: Items, number: int, strata: Sequence[int]) -> tuple[int, ...]:
    with doing(f"drawing item {number}"):
        return items.item(number, strata, torch.Generator().manual_seed(number))
