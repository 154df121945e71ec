"""Options that several commands share, and what they mean as settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from graftwork.errors import UsageError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Column = Annotated[
    list[str] | None,
    typer.Option("--column", metavar="CANONICAL=SOURCE", help="Which of the data's columns is which; repeatable."),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting, also head_options.dropout=0.1; repeatable."),
]
SetData = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="data_options.KEY=VALUE", help="How a table is written: delimiter, encoding, header, quote."
    ),
]
Device = Annotated[str | None, typer.Option(metavar="auto|cpu|cuda[:N]|mps", help="Where to compute.")]


def columns_of(pairs: Sequence[str] | None) -> dict[str, str]:
    """`--column label=stars` as a mapping.

    Raises:
        UsageError: no `=`, an empty side, or one canonical column twice.
    """
    columns: dict[str, str] = {}
    for pair in pairs or ():
        canonical, equals, source = pair.partition("=")
        if not equals or not canonical or not source:
            raise UsageError(f"--column {pair!r} does not fit", hint="Write --column label=stars")
        if canonical in columns:
            raise UsageError(f"--column gives {canonical!r} twice", hint="Give one source column for it")
        columns[canonical] = source
    return columns


def data_options_of(assignments: Sequence[str] | None) -> dict[str, Any]:
    """`--set data_options.delimiter=;` as a mapping, of a command that has no other settings.

    Raises:
        UsageError: another setting, or a value that does not fit.
    """
    from graftwork.config import override_layer
    from graftwork.config.forms import parse_form

    layer = override_layer({}, assignments or ())
    if strangers := sorted(set(layer.values) - {"data_options"}):
        raise UsageError(f"this command has no setting {strangers[0]!r}", hint="It takes --set data_options.KEY=value")
    options = dict(layer.values.get("data_options", {}))
    parse_form(options)
    return options
