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
from graftwork.weights import at_hand

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
        `tours`, by task, those whose weights are at hand: `metric`, `rows` (one a run: name, seed, the metric on test,
        seconds), mean `transfer` and `scratch`, `difference`, `report`.
    """
    # The tour is graftwork's own: a suite of somebody else's must not be able to break it.
    suites = {
        name: suite
        for name, suite in catalogue.entries["suites"].items()
        if name.startswith(PREFIX) and suite.plugin in catalogue.ours
    }
    tours = {}
    for name, suite in suites.items():
        task = str(suite.shared["task"])
        missing = _missing(suite, catalogue)
        if missing:
            say(f"{task} is left out: the weights of {missing} are not on this machine, see graft list backbones")
            continue
        tours[task] = _tour(out / name.removeprefix(PREFIX), suite, seeds, catalogue, say)
    return {"tours": tours}


def _missing(suite: SuiteEntry, catalogue: Catalogue) -> str | None:
    """The suite's backbone where it would have to be downloaded: the tour needs no network."""
    name = str(suite.shared.get("backbone") or catalogue.task(str(suite.shared["task"])).default_backbone)
    entry = catalogue.backbone(name)
    files = [*entry.input_files.values(), *([entry.weights[entry.default_weights]] if entry.default_weights else [])]
    return None if all(at_hand(file.places) for file in files) else name


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
