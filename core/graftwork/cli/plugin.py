"""`graft plugin new` and `graft plugin check`: a plugin of one's own, and whether it is what it says."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graftwork.cli.options import Json
from graftwork.console import out, out_json, say
from graftwork.errors import PluginError, UsageError, did_you_mean
from graftwork.scaffold import KINDS, PREFIX

if TYPE_CHECKING:
    from graftwork.catalogue import Catalogue
    from graftwork.scaffold.checking import Checked


def application() -> typer.Typer:
    """The commands below `graft plugin`."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, help="Write a plugin, and check one.")
    settings = {"help_option_names": ["-h", "--help"]}
    app.callback(invoke_without_command=True, help=_start.__doc__, context_settings=settings)(_start)
    app.command("new", context_settings=settings)(new_command)
    app.command("check", context_settings=settings)(check_command)
    return app


def _start(context: typer.Context) -> None:
    """Write a plugin, and check one."""
    if context.invoked_subcommand is None:
        out(context.get_help())


def new_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called, for example my-net.")],
    kind: Annotated[str, typer.Option("--kind", metavar="|".join(KINDS), help="What the plugin brings.")],
    folder: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to; ./graftwork-NAME unless given.")
    ] = None,
    json: Json = False,
) -> None:
    """Write a plugin's package: it installs, trains, and passes every check; change it from there."""
    from graftwork.catalogue import load_catalogue
    from graftwork.scaffold.package import package_of, refuse_taken, write_package

    package = package_of(name, kind)
    refuse_taken(package, load_catalogue())
    home = folder or Path(package.distribution)
    files = write_package(package, home)
    commands = [f"cd {shlex.quote(str(home))}", *package.commands]
    if json:
        out_json(
            {
                "name": package.name,
                "kind": kind,
                "plugin": package.distribution,
                "package": package.package,
                "folder": str(home),
                "files": files,
                "next": commands,
            }
        )
        return
    out(f"{home}: a {kind} called {package.name}, {len(files)} files. Next:")
    for command in commands:
        out(f"  {command}")


def check_command(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A plugin; that of this folder, or every third party's, unless given."),
    ] = None,
    json: Json = False,
) -> None:
    """Check an installed plugin by graftwork's conformance kit; needs pytest. A line a fault; exit code 4 when there is one."""
    from graftwork.catalogue import load_catalogue
    from graftwork.scaffold.checking import check_plugin

    catalogue = load_catalogue()
    results = []
    for plugin in _chosen(name, catalogue):
        say(f"graft: checking {plugin}")
        results.append(_broken(plugin, catalogue) or check_plugin(plugin))
        if not json:
            _show(results[-1])
    faults = sum(len(result.faults) for result in results)
    if json:
        out_json({"ok": not faults, "plugins": [result.to_json() for result in results]})
    if faults:
        failing = [result.plugin for result in results if result.faults]
        raise PluginError(
            f"{', '.join(failing)}: {faults} {'fault' if faults == 1 else 'faults'}",
            hint="graft plugin check --json has the tracebacks",
        )


def _chosen(name: str | None, catalogue: Catalogue) -> list[str]:
    """The plugins to check.

    Raises:
        UsageError: that plugin is not installed, or there is none.
    """
    if name is not None:
        return [_installed(name, catalogue)]
    here = plugins_of_folder(Path.cwd())
    if here:
        return [_installed(plugin, catalogue) for plugin in here]
    strangers = [
        name for name, state in catalogue.plugins.items() if name not in catalogue.ours and state.state != "left out"
    ]
    if not strangers:
        hint = "graft plugin new my-net --kind backbone writes one; graft plugin check graftwork-images checks one of graftwork's"
        raise UsageError("no third party's plugin is installed", hint=hint)
    return strangers


def _installed(name: str, catalogue: Catalogue) -> str:
    for candidate in (name, PREFIX + name):
        if candidate in catalogue.plugins:
            return candidate
    if name in plugins_of_folder(Path.cwd()):
        raise UsageError(f"plugin {name!r} is not installed", hint="In its folder: pip install -e '.[test]'")
    raise UsageError(f"plugin {name!r} is not installed", hint=did_you_mean(name, list(catalogue.plugins)))


def plugins_of_folder(folder: Path) -> list[str]:
    """The plugins whose source code a folder (or one above it) is, by its pyproject.toml; none where there is none."""
    for place in (folder, *folder.parents):
        path = place / "pyproject.toml"
        if path.is_file():
            try:
                project: Any = tomllib.loads(path.read_text(encoding="utf-8"))
                return list(project["project"]["entry-points"]["graftwork"])
            except (OSError, ValueError, KeyError, TypeError):
                return []
    return []


def _broken(name: str, catalogue: Catalogue) -> Checked | None:
    """The verdict on a plugin that the catalogue could not take in: its entries are not there to be checked."""
    from graftwork.scaffold.checking import Checked, Fault

    problem = catalogue.plugins[name].problem
    return Checked(name, faults=(Fault("", "it can be read", problem),)) if problem else None


def _show(result: Checked) -> None:
    for fault in result.faults:
        out(f"{result.plugin}: {fault.line()}")
    total = result.passed + len(result.faults)
    out(f"{result.plugin}: {result.passed} of {total} checks hold{_left_out(result.skipped)}")


def _left_out(skipped: Sequence[str]) -> str:
    if not skipped:
        return ""
    return f", {len(skipped)} {'does' if len(skipped) == 1 else 'do'} not apply here"
