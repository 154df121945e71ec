"""Workers on this machine: a process a cell, with its record, its log, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from graftwork.bench.cell import Cell
from graftwork.bench.cells import expand
from graftwork.bench.folder import CellRecord, ResultSet
from graftwork.bench.jobs import Job
from graftwork.bench.local import LocalWorkers
from graftwork.bench.runner import Outcome, choose_workers, modules_of, run_cells
from graftwork.bench.suite import load_suite
from graftwork.catalogue import load_catalogue

SUITE = """version: 1
settings: {limit_train: 60, epochs: 2, batch_size: 20}
data:
  digits: {task: image-classification, data: "sample:digits"}
  one-class: {task: text-classification, data: one-class.csv, settings: {columns: {text: text, label: label}}}
backbones:
  graftnet-s: {tasks: [image-classification]}
  graftext-s: {tasks: [text-classification]}
strategies:
  linear-probe:
  long: {strategy: full, data: [digits], settings: {epochs: 400}}
"""


class Told:
    """What a watch was told, and a chance to act."""

    def __init__(self, result: ResultSet) -> None:
        self.result = result
        self.lines: list[str] = []
        self.kill: int | None = None
        self.interrupt = False
        self.running: set[str] = set()

    def begin(self, waiting: Sequence[Job], done: int, total: int) -> None:
        self.lines.append(f"begin {len(waiting)} {done} {total}")

    def started(self, job: Job, slot: int) -> None:
        self.running.add(job.name)

    def ended(self, job: Job, record: CellRecord) -> None:
        self.running.discard(job.name)
        self.lines.append(f"{job.name} {record.state}")

    def tick(self) -> None:
        """Once the long cell has a checkpoint, kill its process; once it has gone on from there, interrupt this one."""
        for name in [name for name in self.running if ".long." in name]:
            folder = self.result.folder(name)
            if self.kill and (folder / "metrics.jsonl").is_file():
                os.kill(_process_of(name), self.kill)
                self.kill = None
            elif self.interrupt and "resuming after step" in (folder / "log.txt").read_text():
                raise KeyboardInterrupt

    def end(self) -> None:
        self.lines.append("end")


def _process_of(name: str) -> int:
    """The process that writes a cell's log."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                if (folder / "fd" / "1").resolve().parent.name == name:
                    return int(folder.name)
            except OSError:
                continue
    raise AssertionError(f"no process writes the log of {name}")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Cell]:
    folder = tmp_path_factory.mktemp("suite")
    (folder / "small.yaml").write_text(SUITE)
    (folder / "one-class.csv").write_text("text,label\n" + "a word,same\n" * 20)
    return expand(load_suite(folder / "small.yaml"), load_catalogue(), folder)


@pytest.fixture
def result(tmp_path: Path, cells: list[Cell]) -> Iterator[ResultSet]:
    result = ResultSet(tmp_path / "out")
    with result.locked():
        yield result


def run(result: ResultSet, cells: list[Cell], told: Told, *, workers: int = 1, keep: bool = False) -> Outcome:
    pool = LocalWorkers(workers, 1, modules_of(cells, load_catalogue()))
    return run_cells(cells, result, pool, 1, keep, told)


def named(cells: list[Cell], part: str) -> list[Cell]:
    return [cell for cell in cells if part in cell.folder]


def test_a_failing_cell_is_recorded_and_the_others_go_on(result: ResultSet, cells: list[Cell]) -> None:
    chosen = [*named(cells, "one-class"), *named(cells, "digits.graftnet-s.linear-probe")]
    told = Told(result)
    assert run(result, chosen, told) == Outcome(1, 0, 1)
    failed = CellRecord.read(result.folder(chosen[0].folder))
    assert failed is not None and failed.state == "failed"
    assert "one class" in (failed.error or "") or "two classes" in (failed.error or "")
    finished = CellRecord.read(result.folder(chosen[1].folder))
    assert finished is not None and finished.state == "finished" and finished.error is None
    assert finished.worker == "local-0" and finished.threads == 1
    assert 0 < finished.cpu_seconds < 60 and 0 < finished.seconds < 60
    folder = result.folder(chosen[1].folder)
    assert json.loads((folder / "summary.json").read_text())["test"]["accuracy"] > 0
    assert "plan: linear-probe" in (folder / "log.txt").read_text()
    # The suite does not keep models, and what is left is no broken one.
    assert not (folder / "model.safetensors").exists() and not (folder / "model.json").exists()
    # Loader processes and compiled code would depend on how busy the machine is.
    config = (folder / "config.yaml").read_text()
    assert "compile: 'off'" in config or "compile: off" in config
    assert told.lines == ["begin 2 0 2", f"{chosen[0].folder} failed", f"{chosen[1].folder} finished", "end"]

    again = Told(result)
    assert run(result, chosen, again) == Outcome(0, 1, 1)
    retried = CellRecord.read(result.folder(chosen[0].folder))
    assert retried is not None and retried.attempts == 2


def test_a_cell_whose_process_is_killed_is_recorded_and_goes_on_where_it_was(
    result: ResultSet, cells: list[Cell]
) -> None:
    chosen = [*named(cells, ".long."), *named(cells, "digits.graftnet-s.linear-probe")]
    told = Told(result)
    told.kill = signal.SIGKILL
    assert run(result, chosen, told, keep=True) == Outcome(1, 0, 1)
    record = CellRecord.read(result.folder(chosen[0].folder))
    assert record is not None and record.state == "failed"
    assert "SIGKILL: most often the system was out of memory" in (record.error or "")
    assert (result.folder(chosen[1].folder) / "model.safetensors").is_file()

    again = Told(result)
    again.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        run(result, chosen, again)
    record = CellRecord.read(result.folder(chosen[0].folder))
    assert record is not None and record.state == "running" and record.attempts == 2
    time.sleep(0.2)
    with pytest.raises(AssertionError):
        _process_of(chosen[0].folder)  # nothing goes on behind an interrupt


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graftwork.bench.runner.usable_cores", lambda: 12)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert choose_workers(4, 100) == (4, 5)  # the user's word
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert choose_workers(4, 100) == (4, 3)
    assert choose_workers(5, 100) == (5, 2)
    assert choose_workers(40, 100) == (40, 1)
    assert choose_workers(8, 2) == (2, 6)  # no more workers than cells
    workers, threads = choose_workers(None, 100)
    assert 1 <= workers <= 8 and threads == 12 // workers


def test_a_worker_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graftwork.bench.runner.usable_cores", lambda: 16)
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2,3,5")
    assert choose_workers(None, 100) == (4, 4)


@pytest.mark.parametrize(("slot", "sees"), [(0, "4"), (1, "GPU-abc"), (2, "4"), (3, "GPU-abc")])
def test_a_slot_sees_one_gpu(monkeypatch: pytest.MonkeyPatch, slot: int, sees: str) -> None:
    from graftwork.bench.child import choose_gpu

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-abc")
    choose_gpu(slot)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == sees
