"""Loads batches, here or in worker processes; how many workers there are changes the speed and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset, Sampler

from graftwork.data.sampler import BatchSpec
from graftwork.data.seeds import BATCH, ROW, derive, kept_cpu_state, seed_cpu
from graftwork.interfaces import Batch, Examples


class _Batches(Dataset[Batch]):
    """Turns a BatchSpec into a Batch. All that is random is seeded from the spec, row by row."""

    def __init__(self, examples: Examples, seed: int) -> None:
        self.examples = examples
        self.seed = seed

    def __getitem__(self, spec: BatchSpec) -> Batch:
        with kept_cpu_state():
            loaded = []
            for row in spec.rows:
                seed_cpu(derive(ROW, self.seed, spec.epoch, row))
                loaded.append(self.examples.load(row))
            seed_cpu(derive(BATCH, self.seed, spec.epoch, spec.index))
            batch: Batch = self.examples.collate(spec.rows, loaded)
            return batch


class _Given(Sampler[BatchSpec]):
    """Hands an iterable of specs to the loader as it is; it may be a stream over many epochs."""

    def __init__(self, specs: Iterable[BatchSpec]) -> None:
        self.specs = specs

    def __iter__(self) -> Iterator[BatchSpec]:
        return iter(self.specs)


def load_batches(
    examples: Examples, specs: Iterable[BatchSpec], seed: int, workers: int, pin: bool = False
) -> Iterator[Batch]:
    """Batches in the order of their specs.

    Args:
        examples: the rows; must pickle when there are workers.
        specs: which batches; consumed lazily, a few batches ahead of what is taken.
        seed: of the run.
        workers: loader processes; 0 loads here.
        pin: page-locked memory, for CUDA.
    """
    loader: DataLoader[Any] = DataLoader(
        _Batches(examples, seed),
        batch_size=None,
        sampler=_Given(specs),
        num_workers=workers,
        pin_memory=pin,
        prefetch_factor=4 if workers else None,
    )
    yield from loader


def choose_workers(requested: int | str, rows: int, on_accelerator: bool, cheap: bool = False) -> tuple[int, str]:
    """How many loader processes, with the reason.

    On the CPU the model itself uses every core, so one process that decodes ahead is all that helps; on an accelerator the
    cores are free.
    """
    if isinstance(requested, int):
        return requested, "as set"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    if cheap:
        return 0, "loading these rows costs next to nothing"
    if rows < 256 or cores < 2:
        return 0, "few rows or one core: starting a process would cost more than it brings"
    if not on_accelerator:
        return 1, "one process decodes ahead while the model trains on the CPU"
    return min(8, max(1, cores - 1)), f"{cores} cores feed the accelerator"
