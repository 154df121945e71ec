"""The embedded tour: the whole procedure offline, a domain a stop. Source weights, few labels, and the same net from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from graftwork.bench.cell import Cell
from graftwork.bench.cells import expand
from graftwork.bench.suite import find_suite, load_suite
from graftwork.catalogue import Catalogue
from graftwork.config import Layer
from graftwork.config.check import resolve_and_check
from graftwork.log import say
from graftwork.models.fetch import at_hand
from graftwork.report import write_report
from graftwork.run import execute

PREFIX = "quickstart-"
"""Suites of the tour are named so; each has the strategies `transfer` and `scratch`."""


def run_quickstart(out: Path, seeds: int, catalogue: Catalogue) -> dict[str, Any]:
    """For every suite of the tour: fine-tune source weights on few labels, train the same net from scratch, compare on test.

    Args:
        out: folder for the runs and the report.
        seeds: repeats, seeds 0, 1, ….
        catalogue: of this installation.

    Returns:
        `tours`, by task, those whose weights are at hand: `metric`, `rows` (one a run: name, seed, the metric on test,
        seconds), mean `transfer` and `scratch`, `difference`, `report`.
    """
    # The tour is graftwork's own: a suite of somebody else's must not be able to break it.
    names = [
        name
        for name, suite in catalogue.entries["suites"].items()
        if name.startswith(PREFIX) and suite.plugin in catalogue.ours
    ]
    tours = {}
    for name in names:
        cells = expand(load_suite(find_suite(name, catalogue)), catalogue)
        task = cells[0].task
        missing = _missing(str(cells[0].settings["backbone"]), catalogue)
        if missing:
            say(f"{task} is left out: the weights of {missing} are not on this machine, see graft list backbones")
            continue
        tours[task] = _tour(out / name.removeprefix(PREFIX), cells, seeds, catalogue)
    return {"tours": tours}


def _missing(backbone: str, catalogue: Catalogue) -> str | None:
    """The suite's backbone where it would have to be downloaded: the tour needs no network."""
    entry = catalogue.backbone(backbone)
    files = [*entry.input_files.values(), *([entry.weights[entry.default_weights]] if entry.default_weights else [])]
    return None if all(at_hand(file.places) for file in files) else backbone


def _tour(out: Path, cells: Sequence[Cell], seeds: int, catalogue: Catalogue) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    runs: list[Path] = []
    for seed in range(seeds):
        for cell in cells:
            name, settings = cell.strategy, {**cell.settings, "seed": seed}
            path = out / f"{name}-seed{seed}"
            say(f"{name}, seed {seed}: {settings['limit_train']} labelled rows of {settings['data']}")
            resolved = resolve_and_check([Layer(settings, cell.origin)], catalogue)
            summary = execute(resolved, catalogue, path, resume=True)
            metric = summary["primary_metric"]
            rows.append({"name": name, "seed": seed, metric: summary["test"][metric], "seconds": summary["seconds"]})
            runs.append(path)
    means = {cell.strategy: mean(row[metric] for row in rows if row["name"] == cell.strategy) for cell in cells}
    report = write_report(runs, out / "report.html", catalogue)
    return {
        "metric": metric,
        "rows": rows,
        **means,
        "difference": means["transfer"] - means["scratch"],
        "report": str(report),
    }
