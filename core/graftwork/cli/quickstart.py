"""`graft quickstart`: the embedded tour, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from graftwork.cli.options import Json
from graftwork.console import number, out, out_json, out_table


def command(
    where: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the runs and the report go.")] = Path(
        "runs/quickstart"
    ),
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="Repeats with other seeds.")] = 1,
    json: Json = False,
) -> None:
    """See transfer at work: small source weights, few labels, and the same net from scratch. Offline, about a minute."""
    from graftwork.catalogue import load_catalogue
    from graftwork.cli import Interrupted

    catalogue = load_catalogue()

    from graftwork.bench.tour import run_quickstart

    try:
        result = run_quickstart(where, seeds, catalogue)
    except KeyboardInterrupt:
        raise Interrupted(None) from None
    out_json(result) if json else _show(result)


def _show(result: dict[str, Any]) -> None:
    for task, tour in result["tours"].items():
        metric = tour["metric"]
        out(f"{task}:")
        out_table(
            ["run", "seed", metric, "seconds"],
            [[row["name"], row["seed"], f"{row[metric]:.3f}", f"{row['seconds']:.1f}"] for row in tour["rows"]],
        )
        out()
        out(f"transfer {number(tour['transfer'])}, from scratch {number(tour['scratch'])}: "
            f"{tour['difference'] * 100:+.1f} percentage points for the same labels")  # fmt: skip
        out(f"report     {tour['report']}")
        out()
    out("Now on your own data:")
    out("  graft inspect --task image-classification --data photos/")
    out("  graft train --task image-classification --data photos/ --strategy lp-ft")
    out("  graft train --task text-classification --data messages.csv --column text=message --column label=topic")
