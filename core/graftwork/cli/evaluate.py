"""`graft evaluate`: a finished run's model on data, its metrics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graftwork.cli.options import Column, Device, Json, SetData, columns_of, data_options_of
from graftwork.console import number, out, out_json, out_table
from graftwork.errors import UsageError
from graftwork.machine.garbage import importing

if TYPE_CHECKING:
    from graftwork.catalogue import Catalogue


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    data: Annotated[str, typer.Option("--data", metavar="D", help="A path, sample:NAME, hf:NAME, …")],
    split: Annotated[str, typer.Option("--split", metavar="NAME", help="Which split to measure on.")] = "test",
    column: Column = None,
    assignments: SetData = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Measure a trained model on data."""
    from graftwork.catalogue import load_catalogue
    from graftwork.catalogue.references import read_model_card

    data_options = data_options_of(assignments)
    card = read_model_card(run)
    catalogue = load_catalogue()
    check_data_choice(card["task"]["name"], data, {}, catalogue)

    with importing():
        from graftwork.runs.predict import evaluate_run

    result = evaluate_run(run, data, split, columns_of(column), catalogue, device or "auto", data_options)
    if json:
        out_json(result)
        return
    out(f"{data}, {result['split']}: {result['rows']:,} rows")
    out()
    out_table(["metric", "value"], _metrics(result["metrics"]))


def _metrics(metrics: dict[str, Any]) -> list[list[str]]:
    return [[name, number(value)] for name, value in metrics.items() if isinstance(value, int | float)]


def check_data_choice(task: str, data: str, options: Mapping[str, Any], catalogue: Catalogue) -> None:
    """Names and options, before torch is imported or data is touched.

    Raises:
        UsageError: an unknown task or sample, a sample of another task, or task options that do not fit.
    """
    from graftwork.config.check import check_options, raise_for

    raise_for(check_options("task", catalogue.task(task), options))
    scheme, colon, name = data.partition(":")
    if colon and scheme == "sample":
        entry = catalogue.dataset(name)
        if catalogue.refers(entry.plugin, "tasks", [entry.task], task) is None:
            raise UsageError(f"{data} is for {entry.task}, not {task}")
