"""Runs the cells of a suite that have no result yet: which next, on which worker, and what becomes of those that fail."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from graftwork.bench.cell import Cell
from graftwork.bench.folder import CellRecord, ResultSet, plain
from graftwork.bench.jobs import Job, Workers, take
from graftwork.catalogue import Catalogue, split_strategy
from graftwork.catalogue.references import backbone_entry
from graftwork.machine.cgroup import memory_limit, usable_cores

TICK = 0.5  # seconds between two looks at what is running, for the display

_ROOM = 3 << 30  # bytes of memory that a cell on a CPU is expected to need
_MOST = 8  # workers that nobody asked for


class Watch(Protocol):
    """Is told how a benchmark goes on."""

    def begin(self, waiting: Sequence[Job], done: int, total: int) -> None:
        """Before the first cell: those to run, how many of how many have their result."""

    def started(self, job: Job, slot: int) -> None:
        """A cell was begun."""

    def ended(self, job: Job, record: CellRecord) -> None:
        """A cell finished or failed."""

    def tick(self) -> None:
        """Some time has passed."""

    def end(self) -> None:
        """Nothing runs any more, however it ended."""


@dataclass(frozen=True)
class Outcome:
    """How many cells of those asked for finished now, were there already, and failed."""

    finished: int
    kept: int
    failed: int


def run_cells(
    cells: Sequence[Cell],
    result: ResultSet,
    workers: Workers,
    threads: int,
    keep_models: bool,
    watch: Watch,
    took: Callable[[Job, CellRecord], None] = lambda job, record: None,
) -> Outcome:
    """Run every cell that has no result yet. A cell that fails is recorded with its cause, and the others go on.

    Args:
        cells: those that are asked for.
        result: where they go; begun, and locked by the caller.
        workers: what runs them; stopped when this returns or raises.
        threads: that a cell computes with.
        keep_models: leave the trained models in the run directories.
        watch: is told.
        took: takes each finished job with its record, to remember what it cost.

    Raises:
        KeyboardInterrupt: the user's; what ran has left its checkpoints.
    """
    waiting = [_job(cell, result, threads, keep_models) for cell in cells if not result.finished(cell.folder)]
    kept = len(cells) - len(waiting)
    watch.begin(waiting, kept, len(cells))
    running: dict[int, Job] = {}
    last = dict.fromkeys(range(workers.slots), "")
    finished = failed = 0
    try:
        while waiting or running:
            for slot in range(workers.slots):
                if slot not in running and waiting:
                    job = take(waiting, last[slot], (other.group for other in running.values()))
                    waiting.remove(job)
                    workers.start(job, slot)
                    running[slot], last[slot] = job, job.group
                    watch.started(job, slot)
            for ended in workers.wait(TICK):
                job = running.pop(ended.slot)
                record = _record(result, job, ended.died)
                finished, failed = finished + (record.state == "finished"), failed + (record.state == "failed")
                if record.state == "finished":
                    took(job, record)
                watch.ended(job, record)
            watch.tick()
    finally:
        workers.stop()
        watch.end()
    return Outcome(finished, kept, failed)


def _job(cell: Cell, result: ResultSet, threads: int, keep_model: bool) -> Job:
    return Job(
        cell.folder,
        str(result.folder(cell.folder).absolute()),
        plain(cell.settings),
        dict(cell.origin),
        threads,
        keep_model,
        f"{cell.data}.{cell.backbone}",
    )


def _record(result: ResultSet, job: Job, died: str | None) -> CellRecord:
    """What became of a job, written down for it where its process could not.

    Raises:
        KeyboardInterrupt: the cell was interrupted and left its checkpoint. A signal may reach a cell and not this process.
    """
    folder = result.folder(job.name)
    record = CellRecord.read(folder)
    if record is not None and record.state != "running":
        return record
    if died is None:
        raise KeyboardInterrupt
    if record is None:
        record = CellRecord("failed", died, threads=job.threads, settings=plain(job.settings))
    else:
        # The clock of a process that died is lost: from when it wrote its record on is what is known.
        begun = (folder / "cell.json").stat().st_mtime
        record = replace(record, state="failed", error=died, seconds=round(time.time() - begun, 3))
    folder.mkdir(parents=True, exist_ok=True)
    record.write(folder)
    return record


def choose_workers(wanted: int | None, cells: int) -> tuple[int, int]:
    """How many cells run at a time and with how many threads each: a fair share, or OMP_NUM_THREADS where the user has set it.

    Args:
        wanted: by the user; None for as many as the machine has room for, one a GPU where there are any.
        cells: that are to run.
    """
    cores = usable_cores()
    if wanted is None:
        gpus = _gpus()
        wanted = gpus or min(cores, _MOST, max(1, _memory() // _ROOM))
    workers = max(1, min(wanted, cells))
    said = os.environ.get("OMP_NUM_THREADS", "")
    return workers, int(said) if said.isdecimal() and int(said) else max(1, cores // workers)


def _gpus() -> int:
    """Count NVIDIA's GPUs by their device files: asking torch would cost seconds, and most machines have none."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return len([name for name in named.split(",") if name.strip() not in ("", "-1")])
    try:
        return sum(re.fullmatch(r"nvidia\d+", device.name) is not None for device in Path("/dev").iterdir())
    except OSError:
        return 0


def _memory() -> int:
    """Bytes of memory, those of the control group where it allows less."""
    limit = memory_limit()
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        whole = _ROOM
    return min(whole, limit.limit) if limit else whole


def modules_of(cells: Sequence[Cell], catalogue: Catalogue) -> list[str]:
    """Modules with the code of what the cells use, each once."""
    factories: dict[str, None] = {}
    for cell in cells:
        task = catalogue.task(cell.task)
        head = cell.settings.get("head", "auto")
        name = catalogue.name_for(task.plugin, "heads", task.default_head) if head == "auto" else str(head)
        strategy = split_strategy(str(cell.settings["strategy"]), catalogue)[0]
        backbone = backbone_entry(str(cell.settings["backbone"]), catalogue, task.modality)
        entries = (task, backbone, catalogue.head(name), catalogue.strategy(strategy))
        factories |= dict.fromkeys(entry.factory for entry in entries)
    return list(dict.fromkeys(["graftwork.run", *(factory.partition(":")[0] for factory in factories)]))
