"""Running out of memory costs time, not correctness: makes the host say so in time, and tells that error from others."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from graftwork.log import say
from graftwork.machine.cgroup import memory_limit

_SIGNS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "std::bad_alloc",
    # oneDNN, whatever the reason; seen where its workspace or its generated code found no room.
    "could not create a primitive",
    "could not execute a primitive",
    "could not create a memory",
)

_MARGIN = 0.03
"""Share of the limit that is left alone: the kernel's own pages for this process, and what others take meanwhile."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the device or the host has no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


def bound_memory() -> Callable[[], None]:
    """Make this process's allocations fail before the control group's limit is reached, on Linux; returns the way back.

    Beyond that limit the kernel does not refuse memory: it kills the process, and nothing can be retried. So the soft limit
    of the process's private memory (RLIMIT_DATA) is set to what it holds plus what is left in the group, divided by the
    training processes of this machine. Where there is no limit nothing is done; a limit that stands already is never raised.

    To be called late: libraries set memory aside as they are imported (Arrow's allocator a whole GiB) that counts before
    it is used.
    """
    limit = memory_limit() if sys.platform.startswith("linux") else None
    if limit is None:
        return lambda: None
    import resource

    left = max(0, int(limit.left - _MARGIN * limit.limit)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    # Threads that start where no memory is left die on their stack, and the process with them: start OpenMP's now.
    torch.zeros(1 << 20).add_(1).sum()
    before = resource.getrlimit(resource.RLIMIT_DATA)
    _set_soft_limit(_private_memory() + left)
    say(f"memory: the control group leaves {left / 2**30:.2f} GiB; a step that needs more is split")
    return lambda: resource.setrlimit(resource.RLIMIT_DATA, before)


def memory_left() -> int | None:
    """Bytes that this process may still allocate on the host, or None without a bound."""
    if not sys.platform.startswith("linux"):
        return None
    import resource

    soft = resource.getrlimit(resource.RLIMIT_DATA)[0]
    return None if soft == resource.RLIM_INFINITY else max(0, soft - _private_memory())


def reserve_memory(size: int) -> None:
    """Leave `size` bytes of bounded memory to others: loader processes, and the batches that they send."""
    left = memory_left()
    if left is not None:
        _set_soft_limit(_private_memory() + max(0, left - size))


def _set_soft_limit(bound: int) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = [limit for limit in (bound, soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(allowed), hard))


def _private_memory() -> int:
    """Bytes of this process that RLIMIT_DATA counts."""
    status = Path("/proc/self/status").read_bytes().decode(errors="replace")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData:"))
