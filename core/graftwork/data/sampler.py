"""Which rows make up which batch: a pure function of (seed, epoch), so a run can start again at any step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from graftwork.data.seeds import MIX, ORDER, derive
from graftwork.errors import UsageError

POOL = 128
"""Batches whose rows are sorted by size together: enough that rows of a batch are alike, few enough that every epoch has
other batches."""

GRAIN = 8
"""Sizes are rounded up to multiples of this before batches are cut by units, so that rows of nearly one size mix."""


Sizes = Sequence[int] | Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class BatchSpec:
    """One batch to load: its position and the rows (this process's share of them)."""

    epoch: int
    index: int
    rows: tuple[int, ...]
    all_rows: tuple[int, ...]


@dataclass(frozen=True)
class Sampler:
    """Batches of an epoch.

    An epoch is cut into batches of near-equal numbers of rows, none above `batch_size`: a last batch of one row would
    break BatchNorm and weigh that row as much as a whole batch. With `sizes`, the shuffled rows are sorted by size within
    pools of some batches, and the batches come in random order. With `units` they are cut by what they hold instead.

    Args:
        rows: number of rows.
        batch_size: rows an optimizer step, over all processes.
        seed: of the run.
        strata: a class index for each row; with it, classes are drawn equally often (with replacement).
        rank, world: this process's number and how many there are; process r takes rows r, r + world, … of a batch.
        sizes: size of each row, where rows differ: a number, or one for each dimension in which a batch is padded.
        units: the most that a batch holds: its rows times its largest row (of several dimensions, their product);
            takes the place of `batch_size`.

    Raises:
        UsageError: `units` with `strata`, or without sizes, or smaller than the largest row.
    """

    rows: int
    batch_size: int
    seed: int
    strata: tuple[int, ...] | None = None
    rank: int = 0
    world: int = 1
    sizes: Sizes | None = None
    units: int | None = None

    def __post_init__(self) -> None:
        if self.units is None:
            return
        if self.sizes is None:
            raise UsageError("these rows are all of one size: set the batch size instead of batch units")
        if self.strata is not None:
            raise UsageError(
                "batches cut by units cannot balance classes", hint="Use --batch-size with this --imbalance"
            )
        largest = int(self._sizes.prod(axis=1).max())
        if self.units < largest * self.world:
            raise UsageError(
                f"batches of {self.units} units cannot hold the largest row, {largest}"
                + (" each" if self.world > 1 else "")
            )

    @property
    def batches(self) -> int:
        """Optimizer steps in an epoch; the same in every epoch."""
        return -(-self.rows // self.batch_size) if self.units is None else len(self._cuts) - 1

    def order(self, epoch: int) -> list[int]:
        """All rows in the random order of that epoch (drawn with replacement where classes are balanced)."""
        generator = torch.Generator().manual_seed(derive(ORDER, self.seed, epoch))
        if self.strata is None:
            return torch.randperm(self.rows, generator=generator).tolist()
        classes = torch.tensor(self.strata)
        weights = 1.0 / torch.bincount(classes).clamp(min=1).double()[classes]
        return torch.multinomial(weights, self.rows, replacement=True, generator=generator).tolist()

    def epoch(self, epoch: int, first: int = 0) -> Iterator[BatchSpec]:
        """The batches of an epoch, from number `first` on."""
        for index, rows in enumerate(self._batches(epoch)[first:], start=first):
            yield BatchSpec(epoch, index, rows[self.rank :: self.world], rows)

    def padding(self) -> float:
        """The share of the first epoch's batches that is padding, 0 to 1; 0 where rows are all of one size."""
        return padding(self._batches(0), self._sizes) if self.sizes is not None else 0.0

    def _batches(self, epoch: int) -> list[tuple[int, ...]]:
        order = self.order(epoch)
        if self.sizes is None:
            return _cut(order, [index * self.rows // self.batches for index in range(self.batches + 1)])
        shuffled = np.asarray(order)
        mixer = torch.Generator().manual_seed(derive(MIX, self.seed, epoch))
        turns = torch.randperm(self.batches, generator=mixer).tolist()
        if self.units is not None:
            ordered = shuffled[_by_size(self._rough[shuffled])]
            batches = _cut(ordered.tolist(), self._cuts)
        else:
            cuts = [index * self.rows // self.batches for index in range(self.batches + 1)]
            for start in range(0, self.batches, POOL):
                pool = slice(cuts[start], cuts[min(start + POOL, self.batches)])
                shuffled[pool] = shuffled[pool][_by_size(self._sizes[shuffled[pool]])]
            batches = _cut(shuffled.tolist(), cuts)
        return [batches[turn] for turn in turns]

    @cached_property
    def _sizes(self) -> NDArray[np.int64]:
        assert self.sizes is not None
        return as_columns(self.sizes)

    @cached_property
    def _rough(self) -> NDArray[np.int64]:
        """Sizes in grains, the largest left as it is: what is in a grain is in random order."""
        rough: NDArray[np.int64] = np.minimum(-(-self._sizes // GRAIN) * GRAIN, self._sizes.max(axis=0))
        return rough

    @cached_property
    def _cuts(self) -> list[int]:
        """Where the rows, sorted by size, are cut: depends on the sizes alone, so every epoch has as many steps."""
        ordered = self._rough[_by_size(self._rough)].tolist()
        assert self.units is not None
        cuts = [0]
        largest = ordered[0]
        for row, size in enumerate(ordered):
            largest = list(map(max, largest, size))
            if (row + 1 - cuts[-1]) * math.prod(largest) > self.units:
                cuts.append(row)
                largest = size
        last = self.rows - cuts[-1]
        if (
            len(cuts) > 1 and 2 * last < cuts[-1] - cuts[-2]
        ):  # a last batch of one row would weigh as much as a whole one
            middle = (cuts[-2] + self.rows) // 2
            if (self.rows - middle) * math.prod(map(max, *ordered[middle:])) <= self.units:
                cuts[-1] = middle
        if any(stop - start < self.world for start, stop in zip(cuts, [*cuts[1:], self.rows], strict=True)):
            raise UsageError(f"batches of {self.units} units are too small for {self.world} processes")
        return [*cuts, self.rows]


def _cut(order: Sequence[int], cuts: Sequence[int]) -> list[tuple[int, ...]]:
    return [tuple(order[start:stop]) for start, stop in pairwise(cuts)]


def padding(batches: Sequence[Sequence[int]], sizes: Sizes | NDArray[np.int64]) -> float:
    """The share of batches, each padded to its largest row, that is padding, 0 to 1.

    Args:
        batches: row numbers.
        sizes: of every row.
    """
    sizes = as_columns(sizes)
    filled = sum(int(sizes[list(rows)].prod(axis=1).sum()) for rows in batches)
    held = sum(int(sizes[list(rows)].max(axis=0).prod()) * len(rows) for rows in batches)
    return 1 - filled / max(1, held)


def as_columns(sizes: Sizes | NDArray[np.int64]) -> NDArray[np.int64]:
    """Sizes as [rows, dimensions]."""
    return np.asarray(sizes, dtype=np.int64).reshape(len(sizes), -1 if len(sizes) else 1)


def _by_size(sizes: NDArray[np.int64]) -> NDArray[np.intp]:
    """The order by size, the first dimension first; what is equal stays in order."""
    return np.lexsort(sizes.T[::-1])


def in_order(
    rows: int, batch_size: int, rank: int = 0, world: int = 1, sizes: Sizes | None = None
) -> Sequence[BatchSpec]:
    """Batches of every row once; whole batches are dealt out to the processes.

    With `sizes`, rows are sorted by size within pools of some batches, the largest first: what one batch has freed is large
    enough for the next.
    """
    order = _pooled(rows, batch_size, sizes)
    return _dealt(order, range(0, rows, batch_size), batch_size, rank, world)


def one_size_each(
    rows: int, batch_size: int, rank: int = 0, world: int = 1, sizes: Sizes | None = None
) -> Sequence[BatchSpec]:
    """Batches for an evaluation, as `in_order` makes them, but that rows of two sizes never share one: what a row is told to be
    then cannot depend on its company, whatever a head does with padding.
    """
    order = _pooled(rows, batch_size, sizes)
    if sizes is None or not rows:
        return _dealt(order, range(0, rows, batch_size), batch_size, rank, world)
    changes = np.flatnonzero((np.diff(as_columns(sizes)[order], axis=0) != 0).any(axis=1)) + 1
    ends = [0, *changes.tolist(), rows]
    starts = [start for first, last in pairwise(ends) for start in range(first, last, batch_size)]
    return _dealt(order, starts, batch_size, rank, world)


def _pooled(rows: int, batch_size: int, sizes: Sizes | None) -> NDArray[np.intp]:
    """Row numbers in order; with sizes, sorted by size within pools of some batches."""
    order = np.arange(rows)
    if sizes is not None:
        all_sizes = as_columns(sizes)
        for start in range(0, rows, POOL * batch_size):
            pool = slice(start, start + POOL * batch_size)
            order[pool] = order[pool][_by_size(all_sizes[pool])][::-1]
    return order


def _dealt(
    order: NDArray[np.intp], starts: Sequence[int], batch_size: int, rank: int, world: int
) -> Sequence[BatchSpec]:
    """This process's share of the batches that begin at `starts`, each as long as it may be."""
    specs = []
    for index, (start, following) in enumerate(pairwise([*starts, len(order)])):
        if index % world == rank:
            numbers = tuple(order[start : min(start + batch_size, following)].tolist())
            specs.append(BatchSpec(0, index, numbers, numbers))
    return specs
