"""Names that later releases will fill; they answer, so that nobody takes them for a typing error."""

from __future__ import annotations

import typer

from graftwork.errors import UsageError

NAMES = ("rank", "depth", "export")


def command(context: typer.Context) -> None:
    """Comes with a later release."""
    raise UsageError(f"graft {context.info_name} comes with a later release", hint="See graft --help")
