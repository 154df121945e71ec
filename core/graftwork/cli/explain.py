"""`graft explain`: every setting of a run and where it came from. Reads JSON only."""

from __future__ import annotations

import json as json_format
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from graftwork.cli.options import Json
from graftwork.console import format_plan, number, out, out_json, out_table
from graftwork.errors import UsageError

LIMIT = 64 * 1024 * 1024  # bytes; a plan.json is a few kilobytes


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    json: Json = False,
) -> None:
    """Every setting of a run, where it came from and why; the phases; what of the weights fitted."""
    plan = read_plan(run)
    if json:
        out_json(plan)
        return
    try:
        _show(plan)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(f"is not a plan that graftwork wrote ({error!r})", where=str(run / "plan.json")) from None


def read_plan(run: Path) -> dict[str, Any]:
    """The content of RUN/plan.json.

    Raises:
        UsageError: there is none, or it is no JSON mapping.
    """
    path = run / "plan.json"
    if not run.is_dir():
        raise UsageError(f"{run} is not a run directory", hint="Give the directory that graft train wrote")
    if not path.is_file():
        raise UsageError(f"{run} holds no plan.json", hint="The run stopped before its plan was made")
    try:
        if path.stat().st_size > LIMIT:
            raise ValueError("larger than any plan")
        plan = json_format.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"is not readable JSON ({error})", where=str(path)) from None
    if not isinstance(plan, dict):
        raise UsageError("is not a plan that graftwork wrote", where=str(path))
    return plan


def _show(plan: Mapping[str, Any]) -> None:
    settings = plan.get("settings", [])
    out_table(
        ["setting", "value", "from", "why"],
        [[row["name"], _value(row["value"]), row["origin"], row.get("reason", "")] for row in settings],
    )
    out()
    out(format_plan(plan))
    out()
    for words in phases_in_words(plan.get("plan", plan)):
        out(words)
    report = plan.get("weights")
    if report:
        out()
        out("weights:")
        for line in _weights(report):
            out(f"  {line}")


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={inner}" for key, inner in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)


def phases_in_words(plan: Mapping[str, Any]) -> list[str]:
    """One sentence a phase: what trains, what stays as it was."""
    lines = []
    for index, phase in enumerate(plan.get("phases", []), start=1):
        stages, frozen = phase.get("stages"), phase.get("frozen_stages", 0)
        if not frozen:
            what = "everything trains"
        elif frozen == stages:
            what = f"only the head trains, all {stages} stages of the backbone stay as they were"
        else:
            what = f"the head and the last {stages - frozen} of {stages} stages train, the others stay as they were"
        epochs = phase["epochs"]
        count = f"{epochs} epoch{'' if epochs == 1 else 's'}"
        why = f" ({phase['reason']})" if phase.get("reason") else ""
        lines.append(f"Phase {index}, {phase['name']}, {count}: {what}{why}.")
    return lines


def _weights(report: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, value in report.items():
        title = name.replace("_", " ")
        if isinstance(value, list | tuple):
            names = ", ".join(map(str, value[:5])) + (", …" if len(value) > 5 else "")
            lines.append(f"{title}: {len(value)}" + (f" ({names})" if value else ""))
        elif isinstance(value, Mapping):
            lines.append(f"{title}: {_value(value)}")
        else:
            lines.append(f"{title}: {number(value)}")
    return lines
