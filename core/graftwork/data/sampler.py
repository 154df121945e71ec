"""Which rows make up which batch: a pure function of (seed, epoch), so a run can start again at any step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from graftwork.data.seeds import ORDER, derive


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

    An epoch is cut into batches of near-equal size, none larger than `batch_size`: a last batch of one row would break
    BatchNorm and weigh that row as much as a whole batch.

    Args:
        rows: number of rows.
        batch_size: rows an optimizer step, over all processes.
        seed: of the run.
        strata: a class index for each row; with it, classes are drawn equally often (with replacement).
        rank, world: this process's number and how many there are; process r takes rows r, r + world, … of a batch.
    """

    rows: int
    batch_size: int
    seed: int
    strata: tuple[int, ...] | None = None
    rank: int = 0
    world: int = 1

    @property
    def batches(self) -> int:
        """Optimizer steps in an epoch."""
        return -(-self.rows // self.batch_size)

    def order(self, epoch: int) -> list[int]:
        """All rows in the order of that epoch (drawn with replacement where classes are balanced)."""
        generator = torch.Generator().manual_seed(derive(ORDER, self.seed, epoch))
        if self.strata is None:
            return torch.randperm(self.rows, generator=generator).tolist()
        classes = torch.tensor(self.strata)
        weights = 1.0 / torch.bincount(classes).clamp(min=1).double()[classes]
        return torch.multinomial(weights, self.rows, replacement=True, generator=generator).tolist()

    def epoch(self, epoch: int, first: int = 0) -> Iterator[BatchSpec]:
        """The batches of an epoch, from number `first` on."""
        order = self.order(epoch)
        for index in range(first, self.batches):
            start = index * self.rows // self.batches
            stop = (index + 1) * self.rows // self.batches
            rows = tuple(order[start:stop])
            yield BatchSpec(epoch, index, rows[self.rank :: self.world], rows)


def in_order(rows: int, batch_size: int, rank: int = 0, world: int = 1) -> Sequence[BatchSpec]:
    """Batches for an evaluation: every row once; whole batches are dealt out to the processes."""
    specs = []
    for index, start in enumerate(range(0, rows, batch_size)):
        if index % world == rank:
            numbers = tuple(range(start, min(start + batch_size, rows)))
            specs.append(BatchSpec(0, index, numbers, numbers))
    return specs
