"""How a benchmark shows where it is: a line a cell in a log, a live table on a terminal, and an honest time left."""

from __future__ import annotations

import io

from graftwork.bench.folder import CellRecord
from graftwork.bench.jobs import Job
from graftwork.cli.bench_progress import BenchProgress


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def job(data: str, strategy: str, seed: int) -> Job:
    name = f"{data}.net.{strategy}.all.seed{seed}"
    return Job(name, f"/{name}", {"strategy": strategy, "seed": seed}, {}, 1, False, f"{data}.net")


def test_a_log_gets_a_line_a_cell_with_the_time_left() -> None:
    now = [0.0]
    stream = io.StringIO()
    progress = BenchProgress(stream, clock=lambda: now[0])
    jobs = [job("a", "full", 0), job("a", "probe", 0), job("a", "full", 1), job("a", "probe", 1), job("b", "full", 0)]
    progress.begin(jobs, 1, 6)
    assert progress.seconds_left() is None  # nobody knows yet
    for one, seconds in ((jobs[0], 100.0), (jobs[1], 10.0)):
        progress.started(one, 0)
        now[0] += seconds
        progress.ended(one, CellRecord("finished", seconds=seconds))
    # Like cells: 100 s and 10 s; another data set's: their mean.
    assert progress.seconds_left() == 100 + 10 + 55
    progress.started(jobs[2], 0)
    now[0] += 30
    assert progress.seconds_left() == 70 + 10 + 55
    progress.ended(jobs[2], CellRecord("failed", error="no class"))
    progress.tick()
    progress.end()
    assert stream.getvalue().splitlines() == [
        "1 of 6 cells have their result",
        "2/6 a.net.full.all.seed0: 1 min 40 s, 6 min 40 s left",
        "3/6 a.net.probe.all.seed0: 10.0 s, 2 min 45 s left",
        "a.net.full.all.seed1 failed: no class",
    ]


def test_two_workers_halve_the_time_left() -> None:
    now = [0.0]
    progress = BenchProgress(io.StringIO(), clock=lambda: now[0])
    jobs = [job("a", "full", seed) for seed in range(5)]
    progress.begin(jobs, 0, 5)
    progress.started(jobs[0], 0)
    now[0] = 40.0
    progress.ended(jobs[0], CellRecord("finished", seconds=40.0))
    progress.started(jobs[1], 0)
    progress.started(jobs[2], 1)
    assert progress.seconds_left() == 4 * 40 / 2


def test_a_terminal_sees_what_runs_and_hostile_names_as_text() -> None:
    now = [0.0]
    stream = Screen()
    progress = BenchProgress(stream, clock=lambda: now[0])
    hostile = Job("[red]x\x1b[2J", "/x", {"strategy": "full"}, {}, 1, False, "g")
    progress.begin([hostile], 0, 1)
    progress.started(hostile, 1)
    now[0] = 65.0
    progress.tick()
    progress.ended(hostile, CellRecord("failed", error="bad \x1b[31m cause"))
    progress.end()
    progress.end()  # twice does no harm
    shown = stream.getvalue()
    assert "[red]x" in shown and "1 min 5 s" in shown and "0 of 1 cells" in shown
    assert "\x1b[2J" not in shown and "bad \\x1b[31m cause" in shown
