"""Where the model runs: device, processes, data-parallel wrapping. The only file that imports accelerate."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from graftwork.errors import UsageError
from graftwork.log import say
from graftwork.machine.cgroup import usable_cores
from graftwork.machine.generator import seed_cpu
from graftwork.machine.memory import bound_memory
from graftwork.machine.precision import autocast, choose_precision, set_up_math

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables by which a user says how many threads compute."""


class Device:
    """One process's place: its torch device with the number format computed in there, and its rank among `world` processes.

    Args:
        requested: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`.
        precision: `auto`, `fp32`, `bf16` or `fp16`.

    Raises:
        UsageError: the requested device is not there.
    """

    def __init__(self, requested: str = "auto", precision: str = "auto") -> None:
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self._accelerator: Any = None
        self._unbound: Callable[[], None] = lambda: None
        if self.world > 1:
            from accelerate import Accelerator

            # Under torchrun: joins the process group, gloo for CPUs and nccl for CUDA.
            self._accelerator = Accelerator(cpu=requested == "cpu" or not torch.cuda.is_available())
            self.torch_device: torch.device = self._accelerator.device
            self.rank: int = self._accelerator.process_index
            self.world = self._accelerator.num_processes
            self.reason = f"{self.world} processes started by torchrun"
        else:
            self.rank = 0
            self.torch_device, self.reason = choose_device(requested)
        self.precision, self.precision_reason = choose_precision(precision, self.torch_device)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    @property
    def pins(self) -> bool:
        """Whether batches are loaded into page-locked memory, from which copies overlap with computing."""
        return self.torch_device.type == "cuda"

    def autocast(self) -> AbstractContextManager[None]:
        """The context in which forward passes run."""
        return autocast(self.precision, self.torch_device)

    def describe(self) -> str:
        """The kind of hardware: two of the same kind compute the same numbers."""
        if self.torch_device.type == "cuda":
            return f"cuda {torch.cuda.get_device_name(self.torch_device)}"
        return f"{self.torch_device.type} {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"

    def wrap(self, model: nn.Module) -> Callable[..., Any]:
        """The model to call in training: data-parallel where there are several processes.

        Called again for every phase: the gradient buckets are laid out for the parameters that train at that moment.
        """
        if self.world == 1 or not any(parameter.requires_grad for parameter in model.parameters()):
            return model
        wrapped: nn.Module = self._accelerator.prepare_model(model)
        return wrapped

    def no_sync(self, wrapped: Callable[..., Any], last: bool) -> AbstractContextManager[Any]:
        """Gradients are averaged over the processes in the last micro-batch of a step only."""
        if last or self.world == 1 or not hasattr(wrapped, "no_sync"):
            return nullcontext()
        context: AbstractContextManager[Any] = wrapped.no_sync()
        return context

    def seed(self, number: int) -> None:
        """Seed the generators that the model draws from. (`torch.manual_seed` queues work for every kind of accelerator, there
        or not, and notes who asked: a quarter of a millisecond a step.)"""
        if self.torch_device.type == "cpu":
            seed_cpu(number)
        else:
            torch.manual_seed(number)

    def total(self, counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sums of scalars over all processes, on this device."""
        # Without waiting: a plain copy to an accelerator first lets it finish all that is queued.
        moved = {name: count.to(self.torch_device, torch.float32, non_blocking=True) for name, count in counts.items()}
        if self.world == 1:
            return moved
        names = sorted(moved)
        stacked = torch.stack([moved[name] for name in names])
        torch.distributed.all_reduce(stacked)
        return dict(zip(names, stacked.unbind(), strict=True))

    def broadcast(self, value: Any) -> Any:
        """The main process's value on every process: where clocks or disks could disagree."""
        if self.world == 1:
            return value
        box = [value]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, items: list[Any]) -> list[Any]:
        """The items of all processes, in the order of ranks, on every process."""
        if self.world == 1:
            return items
        boxes: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(boxes, items)
        return [item for box in boxes for item in box]

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.world > 1:
            self._accelerator.wait_for_everyone()

    def set_up(self) -> None:
        """Make this process ready to train."""
        keep_freed_memory()
        set_up_math(self.torch_device)
        self.fit_threads()

    def fit_threads(self) -> None:
        """As many threads as the control group's quota pays for, where the user set no number.

        More would be stopped together, every time that the quota of a period is spent.
        """
        cores = usable_cores()
        if torch.get_num_threads() > cores and not any(os.environ.get(name) for name in THREADS):
            say(f"threads: {cores} instead of {torch.get_num_threads()}, as the control group allows")
            torch.set_num_threads(cores)

    def bound_memory(self) -> None:
        """On the CPU: let allocations fail before a control group's limit kills the process, until `close`."""
        if self.torch_device.type == "cpu":
            self._unbound = bound_memory()

    def close(self) -> None:
        """Leave the process group in order; workers may otherwise exit non-zero after a finished run."""
        self._unbound()
        if self.world > 1:
            self._accelerator.free_memory()
            gc.collect()
            self.barrier()
            torch.distributed.destroy_process_group()
            sys.stdout.flush()
            sys.stderr.flush()

    def empty_cache(self) -> None:
        """Give cached memory back, after running out of it: the device's, or the heap's where that is the device."""
        gc.collect()
        if self.torch_device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.torch_device.type == "mps":
            torch.mps.empty_cache()
        else:
            return_freed_memory()

    def peak_memory(self) -> int:
        """Bytes: the most that was allocated on the accelerator, or this process's largest resident size."""
        if self.torch_device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.torch_device))
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def choose_device(requested: str) -> tuple[torch.device, str]:
    """A torch device and why it was taken.

    Raises:
        UsageError: the requested device is not there.
    """
    if requested == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device()), "a CUDA device is present"
        if torch.backends.mps.is_available():
            return torch.device("mps"), "an Apple GPU is present"
        return torch.device("cpu"), "no accelerator is present"
    device = torch.device(requested)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "no CUDA device is present", where="--device", hint="Use --device auto or cpu; see graft doctor"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("no Apple GPU is present", where="--device", hint="Use --device auto or cpu; see graft doctor")
    return device, "as set"


def keep_freed_memory() -> None:
    """Ask glibc to keep freed blocks instead of returning them to the kernel after every layer.

    Activations of the same sizes are allocated again every step; returning them costs a page fault a page. Measured on two
    cores with resnet18 in bf16: 55 to 67 images a second.
    """
    _mallopt(mmap_threshold=1 << 30, trim_threshold=(1 << 31) - 1)


def return_freed_memory() -> None:
    """Undo `keep_freed_memory`, and give back what is free: blocks in use between free ones hold a heap together.

    Measured with resnet18 under a limit, after a step that had failed: twice the rows fitted that fit into the kept heap,
    and oneDNN, which crashes where it finds no room for its code, found some.
    """
    _mallopt(mmap_threshold=1 << 20, trim_threshold=1 << 20)
    trim_memory()


def trim_memory() -> None:
    """Give back what is free in glibc's heap, once: where blocks of other sizes come next.

    Blocks of other sizes do not fit into what was kept; glibc before 2.38 did not even fit aligned ones of the same size.
    """
    libc = _libc()
    if libc is not None and hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def _mallopt(mmap_threshold: int, trim_threshold: int) -> None:
    libc = _libc()
    if libc is None or not hasattr(libc, "mallopt"):  # musl has no mallopt
        return
    m_trim_threshold, m_mmap_threshold = -1, -3
    libc.mallopt(m_mmap_threshold, mmap_threshold)
    libc.mallopt(m_trim_threshold, trim_threshold)


def _libc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL("libc.so.6")
    except OSError:
        return None
