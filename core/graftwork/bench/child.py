"""What runs inside the process of a cell: one ordinary run, with its record, its log and its share of the machine."""

from __future__ import annotations

import importlib
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from graftwork.bench.folder import OUTPUT, CellRecord, plain
from graftwork.bench.jobs import Job
from graftwork.catalogue import load_catalogue
from graftwork.catalogue.references import CARD, MODEL
from graftwork.config import Layer
from graftwork.config.check import resolve_and_check
from graftwork.console import one_line, say
from graftwork.errors import GraftworkError
from graftwork.log import heard
from graftwork.run import execute
from graftwork.runs.directory import RunDirectory
from graftwork.runs.resuming import resolve_resumed

LIBRARIES = ("datasets", "torchmetrics", "accelerate")
"""The core's own dependencies, which it imports where they are used: by almost every run."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def run_job(job: Job, worker: str) -> None:
    """Run a cell to its end, or go on with it, and write its record.

    A failure is part of the record. Only an interrupt comes out, and leaves the record at `running`.

    Args:
        job: the cell.
        worker: name of who runs it.
    """
    folder = Path(job.path)
    folder.mkdir(parents=True, exist_ok=True)
    before = CellRecord.read(folder)
    attempts = before.attempts + 1 if before else 1
    started = time.monotonic()

    def record(state: Any, error: str | None) -> None:
        seconds = round(time.monotonic() - started, 3)
        facts = (attempts, seconds, _cpu_seconds(), job.threads, worker, plain(job.settings))
        CellRecord(state, error, *facts).write(folder)

    record("running", None)
    with _logged(folder / OUTPUT), heard(say):
        error = _attempt(job, folder)
    if error is None and not job.keep_model:
        for name in (CARD, MODEL):  # the card first: without it nothing takes the folder for a model
            (folder / name).unlink(missing_ok=True)
    record("finished" if error is None else "failed", error)


def _attempt(job: Job, folder: Path) -> str | None:
    """Run it; the cause of a failure, or None."""
    try:
        share_machine(job.threads)
        catalogue = load_catalogue()
        layers = [Layer(job.settings, job.origin), _for_cells(job.threads)]
        begun = RunDirectory(folder).begun()
        resolved = resolve_resumed(layers, catalogue, folder) if begun else resolve_and_check(layers, catalogue)
        execute(resolved, catalogue, folder, resume=begun)
    except GraftworkError as error:
        say(f"graft: error: {one_line(str(error))}")
        return one_line(str(error))
    except Exception as error:
        traceback.print_exception(error)
        return one_line(f"unexpected {type(error).__name__}: {error}; see {OUTPUT}")
    return None


def _for_cells(threads: int) -> Layer:
    """What a cell does where nobody said otherwise: nothing that depends on how busy the machine is just now.

    Whether compiling pays is found out by timing, and it moves the last digits. Loader processes beside one computing
    thread would take another cell's share.
    """
    values: dict[str, Any] = {"compile": "off"}
    if not torch.cuda.is_available():
        values["workers"] = 0
    return Layer(values, dict.fromkeys(values, "graft bench"))


def share_machine(threads: int) -> None:
    """Compute with so many threads, in this process and in those that it starts."""
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    torch.set_num_threads(threads)


def choose_gpu(slot: int) -> None:
    """Let this process see one GPU only, slots in turn; nothing where there is none. Before the first call of CUDA."""
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    count = len(named) or torch.cuda.device_count()
    if count:
        os.environ["CUDA_VISIBLE_DEVICES"] = named[slot % count] if named else str(slot % count)


def main(job: Job, slot: int, alive: Any) -> None:
    """The process of a cell on this machine.

    Args:
        job: the cell.
        slot: of the worker.
        alive: a connection that closes when the process that started this one is gone.
    """
    _end_with(alive)
    signal.signal(signal.SIGTERM, _interrupt)
    if not str(job.settings.get("device", "auto")).startswith("cuda:"):  # then the suite has chosen
        choose_gpu(slot)
    with suppress(KeyboardInterrupt):
        run_job(job, f"local-{slot}")


def preload(modules: str) -> None:
    """Import what most cells will need, so that processes forked from this one need not. What is missing is left to them."""
    from matplotlib.backends import backend_svg  # noqa: F401 (of every report)

    for name in (*LIBRARIES, *modules.split(",")):
        with suppress(Exception):
            importlib.import_module(name)


def _end_with(alive: Any) -> None:
    """End when the other end of a pipe is gone: nobody would know of this cell any more, and a resume would run it twice."""

    def watch() -> None:
        with suppress(EOFError, OSError):
            alive.recv_bytes()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _interrupt(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Let everything that is printed, by libraries in C too, go to the end of a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(stream) for stream in (1, 2)]
    with path.open("ab") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, stream)
            os.close(copy)


def _cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return round(sum(usage.ru_utime + usage.ru_stime for usage in usages), 3)
