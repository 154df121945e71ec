"""Workers on this machine: a process a cell, forked from one that has imported everything already. Light: no torch here."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from graftwork.bench.jobs import Ended, Job

PRELOAD = "GRAFTWORK_BENCH_PRELOAD"
"""Modules that the process that others are forked from imports, with commas between."""

_GRACE = 60.0  # seconds: a step on a big model, and its checkpoint


@dataclass
class _Running:
    process: Any
    alive: Connection


class LocalWorkers:
    """Cells in processes of this machine.

    Each process is new, and ends when this one does, however that happens.

    Args:
        slots: how many cells at a time.
        threads: that a cell computes with.
        modules: that most cells need.
    """

    def __init__(self, slots: int, threads: int, modules: Iterable[str]) -> None:
        self.slots = slots
        self._running: dict[int, _Running] = {}
        # Forking copies a process that has computed nothing yet; where that is not to be had, each cell imports anew.
        forks = "forkserver" in multiprocessing.get_all_start_methods()
        self._context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")
        counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        if forks:
            from multiprocessing import forkserver

            self._context.set_forkserver_preload(["graftwork.bench.preload"])
            # Thread pools are as large as the environment said when their library was loaded.
            with _environment({**counts, PRELOAD: ",".join(modules)}):
                forkserver.ensure_running()

    def start(self, job: Job, slot: int) -> None:
        theirs, ours = self._context.Pipe(duplex=False)
        # Named and not passed: importing it here would load torch into a process that only waits.
        process = self._context.Process(target=_child, args=(job, slot, theirs), name=job.name, daemon=False)
        process.start()
        theirs.close()
        self._running[slot] = _Running(process, ours)

    def wait(self, seconds: float) -> list[Ended]:
        wait([running.process.sentinel for running in self._running.values()], seconds)
        ended = [slot for slot, running in self._running.items() if not running.process.is_alive()]
        return [self._collect(slot) for slot in ended]

    def stop(self) -> None:
        for running in self._running.values():
            running.process.terminate()
        deadline = time.monotonic() + _GRACE
        for slot in list(self._running):
            self._running[slot].process.join(max(0.0, deadline - time.monotonic()))
            self._running[slot].process.kill()
            self._collect(slot)

    def _collect(self, slot: int) -> Ended:
        running = self._running.pop(slot)
        running.process.join()
        code = running.process.exitcode
        running.alive.close()
        running.process.close()
        return Ended(slot, None if code == 0 else _cause(code))


def _child(job: Job, slot: int, alive: Connection) -> None:
    from graftwork.bench import child

    child.main(job, slot, alive)


def _cause(code: int) -> str:
    """Why a process ended without a word."""
    if code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name if -code in {number.value for number in signal.Signals} else str(-code)
    memory = ": most often the system was out of memory" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{memory}"


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
