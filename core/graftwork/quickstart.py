"""The embedded tour: the whole procedure offline, a domain a stop. Source weights, few labels, and the same net from scratch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

from graftwork.catalogue import Catalogue, SuiteEntry
from graftwork.check import resolve_and_check
from graftwork.config import override_layer
from graftwork.report import write_report
from graftwork.run import execute

PREFIX = "quickstart-"
"""Suites of the tour are named so; each has the arms `transfer` and `scratch`."""


def run_quickstart(out: Path, seeds: int, catalogue: Catalogue, say: Callable[[str], None]) -> dict[str, Any]:
    """For every suite of the tour: fine-tune source weights on few labels, train the same net from scratch, compare on test.

    Args:
        out: folder for the runs and the report.
        seeds: repeats, seeds 0, 1, ….
        catalogue: of this installation.
        say: takes lines for the user.

    Returns:
        `tours`, by task: `metric`, `rows` (one a run: name, seed, the metric on test, seconds), mean `transfer` and
        `scratch`, `difference`, `report`.
    """
    suites = {name: suite for name, suite in catalogue.entries["suites"].items() if name.startswith(PREFIX)}
    tours = {}
    for name, suite in suites.items():
        place = out / name.removeprefix(PREFIX)
        tours[str(suite.shared["task"])] = _tour(place, suite, seeds, catalogue, say)
    return {"tours": tours}


def _tour(out: Path, suite: SuiteEntry, seeds: int, catalogue: Catalogue, say: Callable[[str], None]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    runs: list[Path] = []
    for seed in range(seeds):
        for name, settings in suite.arms.items():
            path = out / f"{name}-seed{seed}"
            say(f"{name}, seed {seed}: {suite.shared['limit_train']} labelled rows of {suite.shared['data']}")
            resolved = resolve_and_check([override_layer({**suite.shared, **settings, "seed": seed})], catalogue)
            summary = execute(resolved, catalogue, path, resume=True, say=say)
            metric = summary["primary_metric"]
            rows.append({"name": name, "seed": seed, metric: summary["test"][metric], "seconds": summary["seconds"]})
            runs.append(path)
    means = {name: mean(row[metric] for row in rows if row["name"] == name) for name in suite.arms}
    report = write_report(runs, out / "report.html", catalogue)
    return {
        "metric": metric,
        "rows": rows,
        **means,
        "difference": means["transfer"] - means["scratch"],
        "report": str(report),
    }
