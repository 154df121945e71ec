"""The embedded tour: the whole procedure offline. Source weights, few labels, fine-tuning, and the same net from scratch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

from graftwork.catalogue import Catalogue
from graftwork.check import resolve_and_check
from graftwork.config import override_layer
from graftwork.report import write_report
from graftwork.run import execute

SUITE = "quickstart"


def run_quickstart(out: Path, seeds: int, catalogue: Catalogue, say: Callable[[str], None]) -> dict[str, Any]:
    """Fine-tune the embedded source model on few labels, train the same net from scratch, compare on test.

    Args:
        out: folder for the runs and the report.
        seeds: repeats, seeds 0, 1, ….
        catalogue: of this installation.
        say: takes lines for the user.

    Returns:
        `rows` (one a run: name, seed, accuracy on test, seconds), mean `transfer` and `scratch`, `difference`, `report`.
    """
    suite = catalogue.suite(SUITE)
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
