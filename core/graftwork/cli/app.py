"""The typer application: which commands there are. Imports no torch, no rich and no catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from graftwork import __version__
from graftwork.cli import (
    bench,
    cache,
    doctor,
    evaluate,
    explain,
    listing,
    plugin,
    predict,
    quickstart,
    report,
    reserved,
    train,
)
from graftwork.cli import inspect as inspect_command
from graftwork.console import out
from graftwork.errors import did_you_mean

HELP = {"help_option_names": ["-h", "--help"]}


def _version(wanted: bool) -> None:
    if wanted:
        out(f"graftwork {__version__}")
        raise typer.Exit


def _start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of a failure (also GRAFTWORK_DEBUG=1).")
    ] = False,
) -> None:
    """Transfer learning by measurement: a pretrained backbone, a new head, one engine for every domain.

    Start with `graft quickstart`, or on your own data with `graft inspect --task T --data D`.
    """
    if context.invoked_subcommand is None:
        out(context.get_help())


def application() -> Any:
    """The click command behind `graft`."""
    # rich costs 0.1 s at start and its boxes make errors many lines long: plain help, and `main` prints the errors.
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback(invoke_without_command=True, context_settings=HELP)(_start)
    for name, command in (
        ("quickstart", quickstart.command),
        ("list", listing.command),
        ("inspect", inspect_command.command),
        ("train", train.command),
        ("evaluate", evaluate.command),
        ("predict", predict.command),
        ("report", report.command),
        ("explain", explain.command),
        ("doctor", doctor.command),
    ):
        app.command(name, context_settings=HELP)(command)
    app.add_typer(bench.application(), name="bench")
    app.add_typer(cache.application(), name="cache")
    app.add_typer(plugin.application(), name="plugin")
    for name in reserved.NAMES:
        settings = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
        app.command(name, hidden=True, context_settings=settings)(reserved.command)
    return typer.main.get_command(app)


def invoke(words: Sequence[str]) -> int:
    """Parse and run. Failures come out as exceptions, Ctrl-C too (click's own `main` would swallow it)."""
    try:
        group = application()
        with group.make_context("graft", list(words)) as context:
            group.invoke(context)
    except typer.Exit as done:
        return int(done.exit_code)
    return 0


def usage_message(error: Any) -> str:
    """What the option parser complains about, on one line, with the nearest name and where to read more."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "graft"
    option = getattr(error, "option_name", None)
    if type(error).__name__ == "NoSuchOption" and context is not None:
        known = [name for parameter in context.command.params for name in parameter.opts]
        nearest = did_you_mean(option or "", known)
        hint = f"{nearest} " if nearest.startswith("Did") else ""
        if any(getattr(parameter, "nargs", 1) == -1 for parameter in context.command.params):
            hint += "Put -- before a text or a name that begins with a dash. "
        return f"{path} has no option {option}. {hint}See {path} --help"
    message = error.format_message().rstrip(".")
    return f"{message}{'' if message.endswith('?') else '.'} See {path} --help"
