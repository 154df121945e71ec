"""How long every command takes to start: fresh processes, the median of several, beside Python and torch alone.

    python benchmarks/startup.py --repeats 7 --out benchmarks/results/startup --runs runs/startup

Commands take turns, so that a machine that slows down slows all of them. `train` is timed to its first optimizer step: until
the checkpoint after it is there (`--set checkpoint_steps=1`), and then ended. What the first of the commands has brought
into the page cache serves all of them: an unmeasured round goes first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from arms import Page, graft_train, others_share, parse, parser_for, processor_seconds, publish
from measure import Row, busy_seconds, environment, middle, say
from tiny import noise_folders

FEW = {"task": "image-classification", "data": "sample:digits", "limit-train": 64, "batch-size": 32, "epochs": 1}
SLOW = ("graft doctor", "graft report RUN", "graft evaluate RUN", "graft inspect sample:digits")
"""Left out with --tiny."""

WAITED = 0.002
"""Seconds between two looks for the first checkpoint."""


@dataclass(frozen=True)
class Start:
    """A command to be started.

    Args:
        name: in the table.
        command: the process.
        ready: whether what it was started for is there; it is ended then. None waits for its end.
        clears: a folder that must not be there before.
    """

    name: str
    command: Sequence[object]
    ready: Callable[[], bool] | None = None
    clears: Path | None = None


def graft(*words: object) -> list[object]:
    """A command of graft."""
    return [sys.executable, "-m", "graftwork", *words]


def starts(run: Path, runs: Path) -> list[Start]:
    """All of them; those that this version of graft does not have are left out.

    Args:
        run: a finished run to explain, report and predict with.
        runs: where training runs and pictures go.
    """
    digits = ("--task", "image-classification", "--data", "sample:digits")
    picture = next((noise_folders(runs, {"test": 2}, 8) / "test").rglob("*.jpg"))
    first = runs / "first-step"
    found = [
        Start("python -c pass", [sys.executable, "-c", "pass"]),
        Start('python -c "import torch"', [sys.executable, "-c", "import torch"]),
        Start("graft --version", graft("--version")),
        Start("graft --help", graft("--help")),
        Start("graft train --help", graft("train", "--help")),
        Start("graft list", graft("list")),
        Start("graft list backbones", graft("list", "backbones")),
        Start("graft explain RUN", graft("explain", run)),
        Start("graft cache list", graft("cache", "list")),
        Start("graft doctor", graft("doctor")),
        Start("graft report RUN", graft("report", run)),
        Start("graft inspect sample:digits", graft("inspect", *digits)),
        Start("graft predict RUN PICTURE", graft("predict", run, picture)),
        Start("graft evaluate RUN", graft("evaluate", run, "--data", "sample:digits")),
        Start(
            "graft train, to the first step",
            graft_train(first, FEW, ["checkpoint_steps=1"]),
            lambda: any((first / "checkpoints").glob("step-*")),
            first,
        ),
    ]
    return [start for start in found if start.name.split()[0] != "graft" or _known(start.command)]


def _known(command: Sequence[object]) -> bool:
    """Whether graft has this command."""
    name = str(command[3])
    if name.startswith("-"):
        return True
    done = subprocess.run([*map(str, command[:4]), "--help"], capture_output=True, check=False)
    return done.returncode == 0


def measure(start: Start, log: Path) -> Row:
    """Start a command once; wall seconds until it has ended, or is ready.

    Raises:
        SystemExit: it failed.
    """
    if start.clears is not None:
        shutil.rmtree(start.clears, ignore_errors=True)
    everything, ours, began = busy_seconds(), processor_seconds() + time.process_time(), time.perf_counter()
    ready = False
    with log.open("wb") as out, subprocess.Popen(list(map(str, start.command)), stdout=out, stderr=out) as process:
        while start.ready is not None and process.poll() is None:
            ready = start.ready()
            if ready:
                break
            time.sleep(WAITED)
        else:
            process.wait()
        seconds = time.perf_counter() - began
        if ready:
            process.terminate()
    if process.returncode and not ready:
        tail = log.read_text(encoding="utf-8", errors="replace")[-500:]
        raise SystemExit(f"{start.name}: exit code {process.returncode}:\n{tail}")
    others = others_share(everything, processor_seconds() + time.process_time() - ours, time.perf_counter() - began)
    return {"start": start.name, "seconds": seconds, "taken_by_others": others}


def comparison(rows: Sequence[Row]) -> list[Row]:
    """One line a command, beside Python and torch alone."""
    names = dict.fromkeys(row["start"] for row in rows)
    seconds = {name: [row["seconds"] for row in rows if row["start"] == name] for name in names}
    python, torch = (median(values) for values in list(seconds.values())[:2])
    return [
        {
            "command": f"`{name}`",
            "seconds": middle(values),
            "over python": f"{median(values) - python:+.3f}",
            "of import torch": f"{median(values) / torch:.2f}",
        }
        for name, values in seconds.items()
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_for(__doc__)
    given = parse(parser, arguments, {})

    where = environment()
    os.environ["GRAFTWORK_CACHE"] = str(given.runs / "cache")
    run = given.runs / "run"
    if not (run / "summary.json").is_file():
        shutil.rmtree(run, ignore_errors=True)
        subprocess.run(list(map(str, graft_train(run, FEW))), check=True, stdout=subprocess.DEVNULL)
    every_start = [start for start in starts(run, given.runs) if not (given.tiny and start.name in SLOW)]
    log = given.runs / "log.txt"
    rows = []
    for repeat in range(0 if given.tiny else -1, given.repeats):
        say(f"round {repeat + 1} of {given.repeats}")
        round_ = [{**measure(start, log), "repeat": repeat} for start in every_start]
        rows += round_ if repeat >= 0 else []
    notes = [
        f"Wall seconds of fresh processes, median of {given.repeats}, on sample:digits where there is data. `train` counts to "
        "its first optimizer step. No limit is set for these.",
    ]
    title, result = "How long commands take to start", comparison(rows)
    publish(given, "startup", title, where, Page(notes=notes, verdicts=[], result=result, rows=rows))


if __name__ == "__main__":
    main()
