"""Cells on a Ray cluster of two workers: the same scores as here, also when a worker is lost in the middle of a cell."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from graftwork.bench.cell import Cell
from graftwork.bench.cells import expand
from graftwork.bench.folder import CellRecord, ResultSet
from graftwork.bench.jobs import Job
from graftwork.bench.local import LocalWorkers
from graftwork.bench.runner import Outcome, modules_of, run_cells
from graftwork.bench.suite import load_suite
from graftwork.catalogue import load_catalogue

ray = pytest.importorskip("ray", reason="Ray is not installed (pip install 'graftwork[ray]')")

SUITE = """version: 1
settings: {limit_train: 60, batch_size: 20, epochs: 2}
data:
  digits: {task: image-classification, data: "sample:digits"}
backbones: {graftnet-s: }
strategies:
  linear-probe:
  long: {strategy: full, settings: {epochs: 25, checkpoint_steps: 2}}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    yield ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    ray.shutdown()


class Killing:
    """Kills the worker of the long cell once it has trained for a while."""

    def __init__(self, result: ResultSet, kill: bool) -> None:
        self.result, self.kill, self.killed = result, kill, False
        self.lines: list[str] = []

    def begin(self, waiting: Sequence[Job], done: int, total: int) -> None: ...
    def started(self, job: Job, slot: int) -> None: ...
    def end(self) -> None: ...

    def ended(self, job: Job, record: CellRecord) -> None:
        self.lines.append(f"{record.state}: {record.error}")

    def tick(self) -> None:
        for folder in (self.result.path / "cells").glob("*.long.*"):
            record = CellRecord.read(folder)
            if self.kill and record is not None and (folder / "metrics.jsonl").is_file():
                os.kill(int(record.worker.rpartition("-")[2]), signal.SIGKILL)
                self.kill, self.killed = False, True


def scores(result: ResultSet, cells: Sequence[Cell]) -> list[Any]:
    summaries = [json.loads((result.folder(cell.folder) / "summary.json").read_text()) for cell in cells]
    return [[summary["val"], summary["test"], summary["best_epoch"]] for summary in summaries]


@pytest.mark.acceptance
@pytest.mark.timeout(300)
def test_a_lost_worker_changes_no_score(cluster: Any, tmp_path: Path) -> None:
    from graftwork.bench.on_ray import RayWorkers

    (tmp_path / "small.yaml").write_text(SUITE)
    suite, catalogue = load_suite(tmp_path / "small.yaml"), load_catalogue()
    cells = expand(suite, catalogue)
    found = []
    for name in ("ray", "here"):
        result = ResultSet(tmp_path / name)
        with result.locked():
            threads = result.begin(suite, cells, 1, resume=False)
            watch = Killing(result, kill=name == "ray")
            if name == "ray":
                pool: Any = RayWorkers(2, threads, tmp_path / name)
                assert pool.slots == 2
            else:
                pool = LocalWorkers(2, threads, modules_of(cells, catalogue))
            assert run_cells(cells, result, pool, threads, False, watch) == Outcome(2, 0, 0), watch.lines
            assert watch.killed == (name == "ray")
        found.append(scores(result, cells))
    assert found[0] == found[1]
    long = CellRecord.read(ResultSet(tmp_path / "ray").folder(cells[1].folder))
    assert long is not None and long.attempts == 2
    assert "resuming after step" in (tmp_path / "ray" / "cells" / cells[1].folder / "log.txt").read_text()


def test_a_cluster_without_room_is_one_clear_line(cluster: Any, tmp_path: Path) -> None:
    from graftwork.bench.on_ray import RayWorkers
    from graftwork.errors import UsageError

    with pytest.raises(UsageError, match=r"has no machine with 64 processors.*ray start"):
        RayWorkers(None, 64, tmp_path)


@pytest.mark.acceptance
def test_a_machine_that_does_not_see_the_folder_is_one_clear_line(cluster: Any, tmp_path: Path) -> None:
    from graftwork.bench.on_ray import RayWorkers

    pool = RayWorkers(1, 1, tmp_path / "elsewhere")
    pool.start(Job("x", str(tmp_path / "elsewhere" / "cells" / "x"), {}, {}, 1, False, "x"), 0)
    ended = []
    while not ended:
        ended = pool.wait(5.0)
    assert "does not see the result set" in (ended[0].died or "")
