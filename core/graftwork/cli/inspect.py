"""`graft inspect`: audits data before a step is spent on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from graftwork.cli.options import Column, Json, Set, columns_of
from graftwork.console import duration, number, out, out_json, out_table
from graftwork.errors import DataError, UsageError

LEVELS = ("error", "warning", "note")


def command(
    task: Annotated[str, typer.Option("--task", metavar="T", help="The kind of problem, e.g. image-classification.")],
    data: Annotated[str, typer.Option("--data", metavar="D", help="A path, sample:NAME, hf:NAME, torchvision:NAME.")],
    backbone: Annotated[
        str | None, typer.Option(metavar="B", help="Whose input limits the rows are held against.")
    ] = None,
    column: Column = None,
    group_by: Annotated[str | None, typer.Option(metavar="COLUMN", help="Never torn between splits.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of a split that has to be made.")] = None,
    assignments: Set = None,
    json: Json = False,
) -> None:
    """Audit data: what is in it, and what would go wrong. Exit code 3 when it cannot be trained on."""
    from graftwork.catalogue import load_catalogue
    from graftwork.config import override_layer
    from graftwork.config.check import resolve_and_check

    flags = {"task": task, "data": data, "backbone": backbone, "columns": columns_of(column) or None}
    layer = override_layer({**flags, "group_by": group_by, "seed": seed}, assignments or ())
    strangers = sorted(set(layer.values) - {*flags, "group_by", "seed", "task_options", "data_options"})
    if strangers:
        raise UsageError(
            f"inspect has no setting {strangers[0]!r}",
            hint="It takes --set task_options.KEY=value and data_options.KEY=value",
        )
    catalogue = load_catalogue()
    resolved = resolve_and_check([layer], catalogue)

    from graftwork import run

    found = run.inspect(resolved, catalogue)
    out_json(found) if json else _show(found)
    errors = sum(finding["level"] == "error" for finding in found["findings"])
    if errors:
        what = "a finding that forbids" if errors == 1 else f"{errors} findings that forbid"
        raise DataError(f"the data has {what} training on it", where=data, hint="See the errors above")


def _show(found: Mapping[str, Any]) -> None:
    """The audit for people: rows, facts, then findings, errors first."""
    rows = found["rows"]
    out(f"{found['source']}: {sum(rows.values()):,} rows" + (f", fingerprint {str(found['fingerprint'])[:16]}"
                                                             if found.get("fingerprint") else ""))  # fmt: skip
    out()
    facts = [[f"rows in {split}", number(count)] for split, count in rows.items()]
    facts += [[name.replace("_", " "), _fact(name, value)] for name, value in found["facts"].items()]
    out_table(["fact", "value"], facts)
    out()
    findings = sorted(found["findings"], key=lambda finding: _rank(finding["level"]))
    if not findings:
        out("no findings")
        return
    out_table(
        ["level", "finding", "count", "what", "where"],
        [
            [finding["level"], finding["code"], number(finding.get("count")), finding["message"], _where(finding)]
            for finding in findings
        ],
    )


def _rank(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else len(LEVELS)


def _where(finding: Mapping[str, Any]) -> str:
    where = finding.get("where")
    if isinstance(where, list | tuple):
        return ", ".join(map(str, where[:3])) + (", …" if len(where) > 3 else "")
    return str(where or "")


def _fact(name: str, value: Any) -> str:
    if name.endswith("seconds") and isinstance(value, int | float):
        return duration(float(value))
    if isinstance(value, Mapping):
        shown = [f"{key} {number(inner)}" for key, inner in list(value.items())[:12]]
        return ", ".join(shown) + (f", … ({len(value)} in all)" if len(value) > 12 else "")
    if isinstance(value, list | tuple):
        shown = [number(inner) for inner in value[:12]]
        return ", ".join(shown) + (f", … ({len(value)} in all)" if len(value) > 12 else "")
    return number(value)
