"""Loads batches, here or in worker processes; how many workers there are changes the speed and nothing else."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterable, Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset, Sampler

from graftwork.data.sampler import BatchSpec
from graftwork.data.seeds import BATCH, ROW, derive
from graftwork.errors import RunFailed
from graftwork.interfaces import Batch, Examples
from graftwork.machine.generator import restoring_cpu_generator, seed_cpu

LITTLE = 0.05
"""Share of the step that loading may take on the CPU without a process of its own, which would cost about as much."""

LITTLE_ACCELERATED = 0.01
"""The same where the step is not computed by the cores: it stands still while they load."""

SPARE = 1.25
"""How much faster than the accelerator loaders should be: batches differ, and their order must be kept."""


class _Batches(Dataset[Batch]):
    """Turns a BatchSpec into a Batch. All that is random is seeded from the spec, row by row."""

    def __init__(self, examples: Examples, seed: int) -> None:
        self.examples = examples
        self.seed = seed

    def __getitem__(self, spec: BatchSpec) -> Batch:
        with restoring_cpu_generator():
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
    try:
        yield from _started(loader)
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise RunFailed(
            f"a loader process died: {str(error).splitlines()[0]}",
            hint="Memory or /dev/shm is short: set fewer --workers (0 loads in the main process); see graft doctor",
        ) from None


def _started(loader: DataLoader[Any]) -> Iterator[Batch]:
    """Forked workers share this process's memory for as long as neither writes to it, and a collector that walks through
    all objects writes to each: what is there at the fork is kept from it in the workers."""
    if not loader.num_workers:
        return iter(loader)
    gc.freeze()
    try:
        return iter(loader)
    finally:
        gc.unfreeze()


def choose_workers(
    load_seconds: float, step_seconds: float, cores: int, on_accelerator: bool, processes: int = 1
) -> tuple[int, str]:
    """How many loader processes, with the reason, from what one batch takes to load and to compute.

    On an accelerator the cores are free: as many as it takes to load faster than it computes. On the CPU a loader takes its
    time from the cores that compute, so what one saves is the share of loading that kept the other cores waiting; more than
    one pay only where loading takes longer than computing.

    Args:
        load_seconds, step_seconds: of a batch, each alone.
        cores: that this machine's training processes may use.
        on_accelerator: whether the model is not computed by these cores.
        processes: training processes on this machine.
    """
    measured = f"a batch takes {_milliseconds(load_seconds)} to load and {_milliseconds(step_seconds)} to compute"
    most = cores // processes - 1
    if most < 1:
        return 0, f"{measured}; no core is left for a loader"
    share = load_seconds / max(step_seconds, 1e-9)
    if share < (LITTLE_ACCELERATED if on_accelerator else LITTLE):
        return 0, measured
    needed = math.ceil(share * (SPARE if on_accelerator else 1.0))
    return max(1, min(most, needed)), measured


def guess_workers(rows: int, cores: int, on_accelerator: bool) -> tuple[int, str]:
    """How many loader processes for a run that is too short for measuring, with the reason."""
    if rows < 256 or cores < 2:
        return 0, "few rows or one core: starting a process would cost more than it brings"
    if not on_accelerator:
        return 1, "one process decodes ahead while the model trains on the CPU"
    return min(8, cores - 1), f"{cores} cores feed the accelerator"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"
