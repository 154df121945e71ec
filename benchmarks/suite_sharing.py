"""A suite by `graft bench` against the same cells one by one, each with a cache of its own.

A runs every cell as `graft train`, one after another, each with an empty cache: what a shell script does. B is `graft bench`
with one cell at a time, C with as many as it takes of itself; both begin with an empty cache, which the cells share. Scores
must be the same in all three.

    python benchmarks/suite_sharing.py --suite smoke --threads 1 \\
        --out benchmarks/results/suite-sharing --runs runs/sharing
    python benchmarks/suite_sharing.py --suite benchmarks/probes.yaml --data ../shared/data --threads 1 \\
        --out benchmarks/results/suite-sharing-probes --runs runs/sharing-probes
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arms import HERE, Arm, Page, measure, parse, parser_for, publish, ratios, values_of
from measure import Row, environment, middle, verdict

AT_LEAST = 2.0
TINY_SUITE = """version: 1
settings: {limit_train: 40, epochs: 1, batch_size: 20}
data: {digits: {task: image-classification, data: "sample:digits"}}
backbones: {graftnet-s: }
strategies: {linear-probe: }
seeds: 2
"""


def one_by_one(suite: str, data: Path, out: Path) -> None:
    """Every cell by `graft train` in a process and with a cache of its own, and a list of them."""
    from graftwork.bench.benchmark import choose
    from graftwork.bench.folder import plain
    from graftwork.catalogue import load_catalogue

    for cell in choose(suite, [], data, load_catalogue()).cells:
        place = out / "cells" / cell.folder
        place.mkdir(parents=True)
        # As graft bench has it, so that the scores can be compared: nothing that is decided by timing.
        config = {"workers": 0, "compile": "off", **plain(cell.settings)}
        (place / "cell.yaml").write_text(json.dumps(config), encoding="utf-8")
        command = [sys.executable, "-m", "graftwork", "train", "--config", place / "cell.yaml", "--out", place / "run"]
        given = {**os.environ, "GRAFTWORK_CACHE": str(place / "cache")}
        subprocess.run([str(word) for word in command], check=True, env=given, stdout=subprocess.DEVNULL)


def arm_of(name: str, given: Any, seed: int) -> Arm:
    """One arm of a round."""
    place: Path = given.runs / f"{name}-{Path(given.suite).stem}-round{seed}"
    cache, out = place.with_name(f"cache-{place.name}"), place / "out"
    if name == "A":
        command: list[object] = [sys.executable, HERE / "suite_sharing.py", "--one-by-one", "--suite", given.suite]
        command += ["--data", given.data, "--out", out]
    else:
        command = [sys.executable, "-m", "graftwork", "bench", given.suite, "--data-root", given.data, "--out", out]
        command += ["--workers", 1] if name == "B" else []
    return Arm(name, place, command, lambda: figures(out), {"GRAFTWORK_CACHE": str(cache)}, [cache])


def figures(out: Path) -> Row:
    """How many cells there are, the scores of all of them, and of a benchmark's cells the processor time."""
    found, used = {}, 0.0
    for folder in sorted((out / "cells").iterdir()):
        summary = next(path for path in (folder / "run" / "summary.json", folder / "summary.json") if path.is_file())
        facts = json.loads(summary.read_text(encoding="utf-8"))
        found[folder.name] = [facts["val"], facts["test"]]
        record = folder / "cell.json"
        used += json.loads(record.read_text(encoding="utf-8"))["cpu_seconds"] if record.is_file() else 0.0
    figures = {"cells": len(found), "scores": json.dumps(found, sort_keys=True)}
    # A benchmark's cells are no children of its process, so that whoever timed it took them for others.
    return {**figures, "processor_seconds": used, "taken_by_others": None} if used else figures


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--suite", default="smoke", help="a suite's name or its file")
    parser.add_argument("--data", type=Path, default=Path(), help="what its relative paths are relative to")
    parser.add_argument("--one-by-one", action="store_true", help="arm A itself")
    given = parse(parser, arguments, {"suite": ""})
    if given.one_by_one:
        one_by_one(given.suite, given.data, given.out)
        return
    if given.tiny:
        given.suite = str(given.runs / "tiny.yaml")
        Path(given.suite).write_text(TINY_SUITE, encoding="utf-8")

    where = environment()
    rows = [measure(arm_of(arm, given, seed), seed) for seed in range(given.repeats) for arm in "ABC"]
    sides = {"B": "one cell at a time", "C": "as many cells at a time as it takes"}
    verdicts = [
        verdict(
            f"{Path(given.suite).stem}: one by one over graft bench, {words}", ratios(rows, "A", arm, "seconds"),
            at_least=AT_LEAST if arm == "C" else None,
        )
        for arm, words in sides.items()
    ]  # fmt: skip
    same = all(len({row["scores"] for row in rows if row["seed"] == seed}) == 1 for seed in range(given.repeats))
    names = {"A": "graft train, cell by cell, no shared cache", **{arm: f"graft bench, {sides[arm]}" for arm in sides}}
    result = [
        {
            "arm": names[arm],
            "seconds": middle(values_of(rows, arm, "seconds"), 1),
            "processor seconds": middle(values_of(rows, arm, "processor_seconds"), 1),
        }
        for arm in "ABC"
    ]
    notes = [
        f"{rows[0]['cells']} cells of the suite {Path(given.suite).stem}; wall seconds of the whole.",
        "All scores are the same in the three arms." if same else "**Scores differ between the arms.**",
    ]
    shown = [{key: value for key, value in row.items() if key != "scores"} for row in rows]
    title, more = "A suite against its cells one by one", {"same_scores": same}
    publish(
        given, "suite_sharing", title, where, Page(notes=notes, verdicts=verdicts, result=result, rows=shown, data=more)
    )


if __name__ == "__main__":
    main()
