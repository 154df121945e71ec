"""Tries a few steps before a run begins, to decide by measuring what would otherwise be guessed. Leaves no trace.

What is decided here changes speed and memory, and is written into the run's configuration before the first step, so that a
resumed run does not measure again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from graftwork.data.loader import load_batches
from graftwork.data.sampler import BatchSpec
from graftwork.data.seeds import STEP, derive
from graftwork.engine.optimizer import enter_phase
from graftwork.interfaces import Batch, Examples, Model, Phase
from graftwork.machine.device import Device, keep_freed_memory, return_freed_memory
from graftwork.machine.memory import is_out_of_memory, memory_left

LOADED = 3
"""Batches that are loaded: one to get going, the others timed."""

SLOW = 5.0
"""Seconds after which a first step counts as the measurement, with all that it had to set up."""

HEAP = 1.5
"""How much more a heap that keeps what was freed comes to hold than what is in use."""

_RESERVE = 64 * 2**20
"""Bytes of what is left that are kept for code that oneDNN generates: it does not survive finding no room for it."""


@dataclass(frozen=True)
class Measured:
    """What the trial saw.

    Args:
        load_seconds: to load a batch in this process.
        step_seconds: forward and backward of a batch.
    """

    load_seconds: float
    step_seconds: float


class Trial:
    """Forward and backward passes of a model on real batches that leave the model as it was.

    To be used inside `without_trace`.

    Args:
        model: on the device, with the phase entered.
        device: where to compute.
        seed: of the run.
    """

    def __init__(self, model: Model, device: Device, seed: int) -> None:
        self.model = model
        self.device = device
        self.seed = seed

    def step(self, batch: Batch) -> float:
        """Forward and backward of a batch on the device; gradients are dropped. Seconds, the device's work included."""
        self._wait()
        started = time.perf_counter()
        torch.manual_seed(derive(STEP, self.seed, 0, self.device.rank))
        device = self.device.torch_device
        counts = {name: count.to(device) for name, count in self.model.counts(batch).items()}
        with self.device.autocast():
            sums = self.model(batch, "loss")
        torch.stack([value.float() / counts[name] for name, value in sums.items()]).sum().backward()  # type: ignore[no-untyped-call]
        self._wait()
        seconds = time.perf_counter() - started
        for parameter in self.model.parameters():
            parameter.grad = None
        return seconds

    def load(self, examples: Examples, spec: BatchSpec) -> Batch:
        """One batch, loaded here."""
        (batch,) = load_batches(examples, [spec], self.seed, 0)
        return batch

    def measure(self, examples: Examples, specs: Sequence[BatchSpec], micro_batch: int | None) -> Measured:
        """Load the first few batches here, and take a step on two of them."""
        loads, batches = [], []
        for spec in specs[:LOADED]:
            started = time.perf_counter()
            batches.append(self.load(examples, spec))
            loads.append(time.perf_counter() - started)
        timed = loads[1:] or loads  # the first one opens files and imports decoders
        seconds = self.whole_step(batches[0], micro_batch)
        if seconds < SLOW:  # the first step compiles kernels and fills caches
            seconds = self.whole_step(batches[-1], micro_batch)
        return Measured(sum(timed) / len(timed), seconds)

    def typical_step(self, batch: Batch, micro_batch: int | None) -> float:
        """The median of three steps, seconds; the first of a kind was taken before."""
        return sorted(self.whole_step(batch, micro_batch) for _ in range(3))[1]

    def whole_step(self, batch: Batch, micro_batch: int | None) -> float:
        """A step in its micro-batches, seconds."""
        return sum(self.step(part.to(self.device.torch_device)) for part in batch.split(micro_batch or len(batch)))

    def rows_that_fit(self, batch: Batch, spoken_for: int) -> int | None:
        """How many rows a step can hold under a memory limit of the host, found from one row upwards; None for all.

        Hitting the limit and trying less, as a step does, mostly works, but not always: oneDNN does not recover from finding
        no room for the code that it generates.

        Args:
            batch: the largest one that there is.
            spoken_for: bytes that training will hold and a trial does not: the optimizer's state, averaged weights.
        """
        if memory_left() is None or not _peak_can_be_read():
            return None
        return_freed_memory()  # what a heap keeps could not be told from what is in use
        self.step(batch.slice(0, 1).to(self.device.torch_device))  # sets up what every later step shares
        left = (memory_left() or 0) - spoken_for - _RESERVE
        size, before, fits = 1, 0, 1
        while True:
            try:
                grown = _peak_growth(self.step, batch.slice(0, size).to(self.device.torch_device))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                return fits
            fits = size
            a_row = grown if size == 1 else max(0, grown - before) * 2 // size
            if (grown + a_row * (len(batch) - size)) * HEAP <= left:
                keep_freed_memory()
                return None
            bigger = min(size * 2, len(batch))
            if size == len(batch) or grown + a_row * (bigger - size) > left:
                return size if size < len(batch) else None
            size, before = bigger, grown

    def _wait(self) -> None:
        if self.device.torch_device.type == "cuda":
            torch.cuda.synchronize(self.device.torch_device)
        elif self.device.torch_device.type == "mps":
            torch.mps.synchronize()


@contextmanager
def without_trace(model: Model, phase: Phase) -> Iterator[None]:
    """The model as in training in a phase; on leaving, everything that passes can move is as it was.

    Buffers (BatchNorm's statistics), what is frozen, the mode of every module, and the random state.
    """
    buffers = list(model.buffers())
    saved = [buffer.clone() for buffer in buffers]
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    frozen, entered = (model.frozen_stages, model.frozen_statistics, model.head_loss), model.entered
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices=devices):
            enter_phase(model, phase)
            model.train()
            yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, saved, strict=True):
                buffer.copy_(value)
        model.frozen_stages, model.frozen_statistics, model.head_loss = frozen
        model.enter(entered)
        for parameter, wanted in gradients:
            parameter.requires_grad_(wanted)
            parameter.grad = None
        for module, mode in modes:
            module.training = mode


def _peak_can_be_read() -> bool:
    try:
        Path("/proc/self/clear_refs").write_bytes(b"5")
    except OSError:
        return False
    return True


def _peak_growth(work: Callable[[Batch], object], batch: Batch) -> int:
    """Bytes by which the resident memory of this process grew at most during `work`."""
    Path("/proc/self/clear_refs").write_bytes(b"5")  # resets VmHWM to what is resident now
    before = _resident("VmRSS")
    work(batch)
    return max(0, _resident("VmHWM") - before)


def _resident(name: str) -> int:
    status = Path("/proc/self/status").read_bytes().decode(errors="replace")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{name}:"))
