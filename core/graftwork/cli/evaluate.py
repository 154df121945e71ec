"""`graft evaluate`: a finished run's model on data, its metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from graftwork.cli.options import Column, Device, Json, columns_of
from graftwork.console import number, out, out_json, out_table, say
from graftwork.machine.garbage import importing


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    data: Annotated[str, typer.Option("--data", metavar="D", help="A path, sample:NAME, hf:NAME, …")],
    split: Annotated[str, typer.Option("--split", metavar="NAME", help="Which split to measure on.")] = "test",
    column: Column = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Measure a trained model on data."""
    from graftwork.catalogue import load_catalogue
    from graftwork.catalogue.references import read_model_card
    from graftwork.cli.inspect import check_data_choice

    card = read_model_card(run)
    catalogue = load_catalogue()
    check_data_choice(card["task"]["name"], data, {}, catalogue)

    with importing():
        from graftwork.runs import predict

    result = predict.evaluate(run, data, split, columns_of(column), catalogue, device=device or "auto", say=say)
    if json:
        out_json(result)
        return
    out(f"{data}, {result['split']}: {result['rows']:,} rows")
    out()
    out_table(["metric", "value"], _metrics(result["metrics"]))


def _metrics(metrics: dict[str, Any]) -> list[list[str]]:
    return [[name, number(value)] for name, value in metrics.items() if isinstance(value, int | float)]
