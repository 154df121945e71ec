"""Arms of a comparison: whole fresh processes, one after another, each timed and kept so that a cut-off comparison goes on.

What the arms are is each script's business; so is what their figures mean.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import warm
from measure import (
    Row,
    busy_note,
    busy_seconds,
    every,
    say,
    table,
    this_command,
    verdict_lines,
    write_results,
)

HERE = Path(__file__).resolve().parent
RESULT = "result.json"
TINY = "These are the tiny sizes that only show that the script works: the figures mean nothing."


def parser_for(text: str | None) -> argparse.ArgumentParser:
    """A parser with the flags that every comparison has."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the results; needed unless --tiny")
    parser.add_argument("--runs", type=Path, help="folder of data and run directories, by default OUT/runs")
    parser.add_argument(
        "--repeats", type=int, default=1, help="rounds A B A B …, with seeds 0, 1, … (3 for a full run)"
    )
    parser.add_argument("--threads", type=int, help="processor threads of every run; by default what torch takes")
    parser.add_argument("--tiny", action="store_true", help="data made here, sizes of seconds: does the script work?")
    return parser


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None, tiny: Mapping[str, Any]) -> Any:
    """The given flags; with --tiny `tiny` takes the place of what was left at its default.

    Sets OMP_NUM_THREADS, which torch reads when it is imported, here and in the arms; import torch afterwards.
    """
    given = parser.parse_args(arguments)
    if given.tiny:
        for name, value in {"threads": 1, **tiny}.items():
            if getattr(given, name) == parser.get_default(name):
                setattr(given, name, value)
        given.out = given.out or Path(tempfile.mkdtemp(prefix="graftwork-benchmark-"))
    if given.out is None:
        parser.error("give --out, the folder of the results (or --tiny)")
    if given.threads:
        os.environ["OMP_NUM_THREADS"] = str(given.threads)
    given.runs = given.runs or given.out / "runs"
    given.runs.mkdir(parents=True, exist_ok=True)
    return given


@dataclass(frozen=True)
class Arm:
    """One side of a comparison, to be run once.

    Args:
        name: letter; the arms of a round run in the order in which they are given.
        place: a folder of its own; settings belong into its name, so that another question gets other runs.
        command: the process.
        figures: reads what it left behind, after it has ended.
        environment: variables beside those of this process.
        cleared: folders that have to be empty when it starts (a cold cache).
    """

    name: str
    place: Path
    command: Sequence[object]
    figures: Callable[[], Row]
    environment: Mapping[str, str] = field(default_factory=dict)
    cleared: Sequence[Path] = ()


def measure(arm: Arm, seed: int, forked: bool = False) -> Row:
    """One run of an arm, or the figures of the finished one.

    Args:
        arm: what to run.
        seed: noted in the row.
        forked: start it as a fork of this process (see `warm`): quick, and no time of it means anything.

    Raises:
        SystemExit: the run failed, or its folder holds the figures of another command.
    """
    result = arm.place / RESULT
    command = [str(word) for word in arm.command]
    code = code_digest()
    if result.is_file():
        stored: Row = json.loads(result.read_text(encoding="utf-8"))
        if stored["command"] != command[1:]:
            raise SystemExit(f"{arm.place} holds a run with other settings: choose another --runs, or remove it")
        if stored["code"] != code:
            raise SystemExit(
                f"{arm.place} holds a run of another version of the code: choose another --runs, or remove it"
            )
        return stored
    for folder in (arm.place, *arm.cleared):
        shutil.rmtree(folder, ignore_errors=True)
    arm.place.mkdir(parents=True)
    row: Row = {"arm": arm.name, "seed": seed, "command": command[1:], "code": code}
    row |= timed(command, arm.place, arm.environment, forked)
    row |= arm.figures()
    temporary = arm.place / "result.tmp"
    temporary.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    temporary.rename(result)
    say(f"{arm.name}, seed {seed}: {row['seconds']:.1f} s")
    return row


@cache
def code_digest() -> str:
    """A digest of the sources and recipes that are measured: figures of two versions must not stand in one table."""
    from graftwork.catalogue import first_party_registry

    digest = hashlib.sha256(first_party_registry().read_bytes())
    for package in (
        "graftwork",
        *(f"graftwork_{domain}" for domain in ("images", "text", "detection", "segmentation")),
    ):
        found = importlib.util.find_spec(package)
        for folder in found.submodule_search_locations or () if found else ():
            for file in sorted(Path(folder).rglob("*.py")):
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def timed(command: Sequence[str], out: Path, environment: Mapping[str, str] | None = None, forked: bool = False) -> Row:
    """Run a command to its end, its output into out/log.txt; wall and processor seconds of the whole process tree.

    Raises:
        SystemExit: it failed.
    """
    say(shlex.join(command))
    everything, ours, began = busy_seconds(), processor_seconds(), time.perf_counter()
    if forked and warm.available():
        code = warm.run(command, out / "log.txt", out / "log.txt", environment or {})
    else:
        with (out / "log.txt").open("w", encoding="utf-8") as log:
            given = {**os.environ, **(environment or {})}
            code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False, env=given).returncode
    seconds, ours = time.perf_counter() - began, processor_seconds() - ours
    if code:
        tail = "".join((out / "log.txt").read_text(encoding="utf-8").splitlines(keepends=True)[-5:])
        raise SystemExit(f"exit code {code}, see {out / 'log.txt'}:\n{tail}")
    return {"seconds": seconds, "processor_seconds": ours, "taken_by_others": others_share(everything, ours, seconds)}


def others_share(everything: float | None, ours: float, seconds: float) -> float | None:
    """The share of the machine's processor time that other processes took.

    Args:
        everything: `busy_seconds()` when it began; None where nobody counts.
        ours: processor seconds of what was measured.
        seconds: since it began.
    """
    if everything is None:
        return None
    return max(0.0, (busy_seconds() or 0.0) - everything - ours) / (seconds * (os.cpu_count() or 1))


def processor_seconds() -> float:
    """Of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def graft_train(out: Path, settings: Mapping[str, object], options: Sequence[str] = ()) -> list[object]:
    """The command of `graft train` as a process of its own.

    Args:
        out: the run directory.
        settings: flags by name without dashes in front; None leaves a flag out.
        options: values for `--set`.
    """
    words: list[object] = [sys.executable, "-m", "graftwork", "train"]
    for name, value in settings.items():
        if value is not None:
            words += [f"--{name}", value]
    for option in options:
        words += ["--set", option]
    return [*words, "--out", out]


def graft_figures(run: Path) -> Row:
    """What a finished run says of itself: seconds, rates, validation metrics, and the settings that differ from a baseline's."""
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    epochs = [json.loads(line) for line in lines]
    rates = [epoch["samples_per_second"] for epoch in epochs]
    metric = summary["primary_metric"]
    return {
        "fit_seconds": summary["fit_seconds"],
        "epoch_seconds": median(epoch["seconds"] for epoch in epochs),
        # All rows over all seconds of training; validation is not in it.
        "samples_per_second": len(rates) / sum(1 / rate for rate in rates),
        "train_seconds": sum(summary["train_rows"] / rate for rate in rates),
        f"val_{metric}": summary["val"][metric],
        f"test_{metric}": summary["test"].get(metric),
        "best_epoch": summary["best_epoch"],
        "train_rows": summary["train_rows"],
        "precision": summary["precision"],
        "curve": [epoch["val"][metric] for epoch in epochs],
        "losses": [epoch["train_loss"] for epoch in epochs],
        "settings": _settings(run, summary),
    }


def _settings(run: Path, summary: Row) -> str:
    plan: dict[str, Any] = json.loads((run / "plan.json").read_text(encoding="utf-8"))
    values = {setting["name"]: setting["value"] for setting in plan["settings"]}
    size = (values["task_options"] or {}).get("train_size", 0)
    return (
        f"batches of {values['batch_size']}, {values['optimizer']} {values['lr']} / {values['schedule']}, "
        f"{summary['precision']}, {values['workers']} loader processes"
        + (f", views {values['views']}" if values.get("views") else "")
        # Fixed views have the evaluation's size, whatever random crops would have.
        + (f", trained at {size} pixels" if size and not values["views"] else "")
    )


def values_of(rows: Sequence[Row], arm: str, column: str) -> list[Any]:
    """A column of one arm, seed by seed."""
    return [row[column] for row in rows if row["arm"] == arm]


def ratios(rows: Sequence[Row], over: str, under: str, column: str) -> list[float]:
    """One arm's column over another's, round by round: runs that stood beside each other are compared with each other."""
    pairs = zip(values_of(rows, over, column), values_of(rows, under, column), strict=True)
    return [first / second for first, second in pairs]


HIDDEN = ("command", "code", "curve", "losses", "settings")
"""Columns of a run that its results page leaves out."""


@dataclass(frozen=True)
class Page:
    """What a comparison came to.

    Args:
        notes: what a reader must know before the numbers.
        verdicts: from `measure.verdict`; of tiny runs nothing is said to hold.
        result: the table that answers the question.
        rows: every run; commands stay with the runs, because they are full of this machine's paths.
        sections, data: more of the page, and more of what it was made from.
    """

    notes: Sequence[str]
    verdicts: Sequence[Row]
    result: Sequence[Row]
    rows: Sequence[Row]
    sections: Mapping[str, str] | None = None
    data: Row | None = None


def publish(given: argparse.Namespace, name: str, title: str, where: Row, found: Page) -> None:
    """Write NAME.md and NAME.json of a comparison, and print the first.

    Args:
        where: `environment()` before the first run.
    """
    notes, verdicts, rows = found.notes, found.verdicts, found.rows
    if given.tiny:
        notes = [TINY, *notes]
        verdicts = [{**line, "holds": None} for line in verdicts]
    shown = [table(verdict_lines(verdicts))] if verdicts else []
    page = {
        "Result": "\n\n".join([*notes, *busy_note(rows), *shown, table(found.result)]),
        **(found.sections or {}),
        "Every run": every(rows, HIDDEN),
        "Command": f"    {this_command()}",
    }
    kept = [{key: value for key, value in row.items() if key != "command"} for row in rows]
    numbers = {"rows": kept, "acceptance": verdicts, "tiny": given.tiny, **(found.data or {})}
    numbers |= {"environment": where, "command": this_command()}
    print(write_results(given.out, name, title, page, numbers))
