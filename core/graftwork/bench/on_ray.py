"""Workers on the machines of a Ray cluster (extra `ray`); the only file that imports it.

Cells write into the result set's folder, which all machines must see under the same path. A cell whose worker or machine is
lost begins again elsewhere, from its last checkpoint.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from graftwork.bench.jobs import Ended, Job
from graftwork.errors import UsageError

RETRIES = 3
"""How often a cell is begun again after its worker was lost."""

_GRACE = 60.0  # seconds for a checkpoint


class RayWorkers:
    """Cells as tasks of a Ray cluster, each in a worker process of its own.

    The cluster is the one that `RAY_ADDRESS` or a `ray start` on this machine names; without one, this machine.

    Args:
        slots: cells at a time; None for as many as the cluster has processors for.
        threads: that a cell computes with, the processors that it asks for.
        out: the folder of the result set.

    Raises:
        UsageError: Ray is not installed, or the cluster has no room for a single cell.
    """

    def __init__(self, slots: int | None, threads: int, out: Path) -> None:
        try:
            import ray as library
        except ImportError:
            raise UsageError("--on ray needs Ray", hint="pip install 'graftwork[ray]'") from None
        ray: Any = library
        self._ray = ray
        self._ours = not ray.is_initialized()
        if self._ours:
            _start(ray)
        have = ray.cluster_resources()
        self._gpus = min(1, int(have.get("GPU", 0)))
        room = int(have.get("GPU", 0)) if self._gpus else int(have.get("CPU", 0)) // threads
        if room < 1:
            hint = "Add machines with ray start, or begin anew with --workers for fewer threads a cell"
            raise UsageError(f"the Ray cluster has no machine with {threads} processors", hint=hint)
        self.slots = min(slots or room, room)
        self._out = out.absolute()
        self._running: dict[int, Any] = {}
        # max_calls: a process a cell. What a library keeps from one run must not reach the next.
        self._task = ray.remote(max_calls=1, max_retries=RETRIES, num_cpus=threads, num_gpus=self._gpus)(_run)

    def start(self, job: Job, slot: int) -> None:
        self._running[slot] = self._task.remote(job, str(self._out))

    def wait(self, seconds: float) -> list[Ended]:
        if not self._running:
            return []
        ready, _ = self._ray.wait(list(self._running.values()), num_returns=1, timeout=seconds)
        ended = [slot for slot, task in self._running.items() if task in ready]
        return [Ended(slot, self._cause(self._running.pop(slot))) for slot in ended]

    def _cause(self, task: Any) -> str | None:
        try:
            self._ray.get(task)
        except Exception as error:  # a lost worker, or a machine that cannot see the folder
            cause = error.cause if hasattr(error, "cause") and isinstance(error.cause, Exception) else error
            return str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        return None

    def stop(self) -> None:
        for task in self._running.values():
            self._ray.cancel(task, force=False)
        deadline = time.monotonic() + _GRACE
        while self._running and time.monotonic() < deadline:
            self.wait(deadline - time.monotonic())
        for task in self._running.values():
            self._ray.cancel(task, force=True)
        self._running.clear()
        if self._ours:
            self._ray.shutdown()


def _start(ray: Any) -> None:
    """Join the cluster that there is, or make one of this machine."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # leave CUDA_VISIBLE_DEVICES as it is
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # tell nobody what is computed here
    settings = {"log_to_driver": False, "logging_level": "error", "include_dashboard": False}
    try:
        ray.init(address="auto", **{name: settings[name] for name in ("log_to_driver", "logging_level")})
    except ConnectionError:
        ray.init(**settings)


def _run(job: Job, out: str) -> None:
    """The task: on whatever machine Ray chose."""
    import socket

    from graftwork.bench.child import run_job
    from graftwork.bench.folder import BENCH
    from graftwork.errors import DataError

    if not (Path(out) / BENCH).is_file():
        hint = "Give an --out that all machines see under the same path"
        raise DataError(f"{socket.gethostname()} does not see the result set", where=out, hint=hint)
    run_job(job, f"ray-{socket.gethostname()}-{os.getpid()}")
