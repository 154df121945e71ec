"""Samplers of streams: rows as in `sampler`, or items of several rows that stay together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from graftwork.data.sampler import BatchSpec
from graftwork.data.seeds import ITEM, derive
from graftwork.interfaces.stream import Items


class BatchSource(Protocol):
    """What tells which rows make up which batch; a pure function of the epoch."""

    @property
    def batches(self) -> int:
        """Batches in an epoch; the same in every epoch."""

    def epoch(self, epoch: int, first: int = 0) -> Iterator[BatchSpec]:
        """The batches of an epoch, from number `first` on."""


@dataclass(frozen=True)
class ItemSampler:
    """Batches of items, cut into near-equal numbers.

    Args:
        items: what is drawn.
        strata: a class index for every row of the split.
        batch_size: items a step, over all processes.
        seed: of the stream.
        rank, world: this process's number and how many there are; process r takes items r, r + world, … of a batch.
    """

    items: Items
    strata: Sequence[int]
    batch_size: int
    seed: int
    rank: int = 0
    world: int = 1

    @property
    def batches(self) -> int:
        """Optimizer steps in an epoch."""
        return -(-self._count // self.batch_size)

    @property
    def _count(self) -> int:
        return self.items.count(len(self.strata))

    def epoch(self, epoch: int, first: int = 0) -> Iterator[BatchSpec]:
        """The batches of an epoch, from number `first` on; rows of an item stand side by side."""
        count, batches = self._count, self.batches
        for index in range(first, batches):
            numbers = range(index * count // batches, (index + 1) * count // batches)
            drawn = [self._draw(epoch, number) for number in numbers]
            own = tuple(row for item in drawn[self.rank :: self.world] for row in item)
            yield BatchSpec(epoch, index, own, tuple(row for item in drawn for row in item))

    def _draw(self, epoch: int, number: int) -> tuple[int, ...]:
        generator = torch.Generator().manual_seed(derive(ITEM, self.seed, epoch, number))
        rows = self.items.item(number, self.strata, generator)
        if len(rows) != self.items.unit:
            raise ValueError(f"an item of {type(self.items).__name__} has {len(rows)} rows, not {self.items.unit}")
        return rows
