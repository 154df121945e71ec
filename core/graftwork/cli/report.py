"""`graft report`: one self-contained HTML page about one run or several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graftwork.console import out
from graftwork.errors import UsageError


def command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN [RUN...]", help="Run directories.")],
    where: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The page; in the first RUN by default.")
    ] = None,
) -> None:
    """Write the report of a run, or one page that compares several, and print where it is."""
    for run in runs:
        if not run.is_dir():
            raise UsageError(f"{run} is not a run directory", hint="Give the directory that graft train wrote")
    if where is None:
        where = runs[0] / "report.html" if len(runs) == 1 else Path("report.html")
    from graftwork.catalogue import load_catalogue

    catalogue = load_catalogue()

    from graftwork.report import write_report

    out(str(write_report(runs, where, catalogue)))
