"""`graft list`: what is installed, from registry.yaml files alone. No plugin is imported, so that none can slow it or break it.

(A module called `list` would become an attribute of the package and hide the builtin there.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graftwork.cli.options import Json
from graftwork.console import amount, out, out_json, out_table, say
from graftwork.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from graftwork.catalogue import Catalogue

TITLES = {
    "tasks": ["name", "modality", "metric", "backbone", "head", "summary"],
    "backbones": ["name", "params", "features", "weights", "plugin", "summary"],
    "heads": ["name", "tasks", "needs", "summary"],
    "strategies": ["name", "summary"],
    "datasets": ["name", "task", "rows", "licence", "summary"],
    "observers": ["name", "summary"],
    "suites": ["name", "summary"],
    "plugins": ["name", "version", "origin", "provides", "state", "cause"],
}


def command(
    kind: Annotated[
        str | None, typer.Argument(metavar="[tasks|backbones|heads|strategies|datasets|observers|suites|plugins]")
    ] = None,
    task: Annotated[str | None, typer.Option("--task", metavar="T", help="Only what fits this task.")] = None,
    json: Json = False,
) -> None:
    """What there is: tasks, backbones, heads, strategies, sample data, plugins."""
    if kind is not None and kind not in TITLES:
        raise UsageError(f"there is no kind {kind!r} to list", hint=did_you_mean(kind, list(TITLES)))
    from graftwork.catalogue import load_catalogue

    catalogue = load_catalogue()
    _note_problems(catalogue, kind)
    if kind is None:
        _overview(catalogue, task, json)
    elif kind == "plugins":
        plugins = _plugins(catalogue)
        if json:
            out_json(plugins)
        else:
            _table(kind, [_plugin_row(plugin) for plugin in plugins])
    else:
        entries = _entries(catalogue, kind, task)
        if json:
            out_json(
                [{"name": name, **_facts(entry), **_place(kind, entry, catalogue)} for name, entry in entries.items()]
            )
        else:
            _table(kind, [_row(kind, name, entry) for name, entry in entries.items()])


def _note_problems(catalogue: Catalogue, kind: str | None) -> None:
    """What could not be taken in, on stderr; the rest of the list is right."""
    if kind != "plugins":
        for plugin in _plugins(catalogue):
            if plugin["state"] == "failed":
                say(f"graft: note: plugin {plugin['name']} {plugin['cause']}")
            elif plugin["cause"] and plugin["state"] != "left out":
                say(f"graft: note: plugin {plugin['name']} could not be read: {plugin['cause']}")
        without = [state.name for state in catalogue.plugins.values() if state.state == "left out"]
        if without:
            say(f"graft: note: left out by GRAFTWORK_PLUGINS: {', '.join(without)}")
    for (where, name), owners in catalogue.clashes.items():
        if kind in (None, where):
            picks = " or ".join(f"{owner}:{name}" for owner in owners)
            say(f"graft: note: {where} {name!r} is claimed by {' and '.join(owners)}: say {picks}")
    for (where, name), owners in catalogue.shadowed.items():
        if kind in (None, where):
            picks = " or ".join(f"{owner}:{name}" for owner in owners)
            say(f"graft: note: {where} {name!r} is graftwork's own; that of {' and '.join(owners)} is {picks}")


def _table(kind: str, rows: list[list[Any]]) -> None:
    if rows:
        out_table(TITLES[kind], rows)
    else:
        say(f"graft: no {kind} fit")


def _entries(catalogue: Catalogue, kind: str, task: str | None) -> dict[str, Any]:
    """Entries of a kind by name, those that fit the task."""
    entries: dict[str, Any] = dict(catalogue.entries[kind])  # type: ignore[index]
    if task is None:
        return entries
    wanted = catalogue.task(task)
    rules: dict[str, Callable[[str, Any], bool]] = {
        "tasks": lambda name, entry: entry is wanted,
        "backbones": lambda name, entry: entry.modality == wanted.modality,
        "heads": lambda name, entry: catalogue.refers(entry.plugin, "tasks", entry.tasks, task) is not None,
        "datasets": lambda name, entry: catalogue.refers(entry.plugin, "tasks", [entry.task], task) is not None,
    }
    fits = rules.get(kind)
    return {name: entry for name, entry in entries.items() if fits is None or fits(name, entry)}


def _place(kind: str, entry: Any, catalogue: Catalogue) -> dict[str, Any]:
    """Of a suite, where its file is here, so that it can be read or copied; null when the package does not hold it."""
    if kind != "suites":
        return {}
    from graftwork.bench.suite import suite_file

    path = suite_file(entry, catalogue)
    return {"path": str(path) if path.is_file() else None}


def _facts(entry: Any) -> dict[str, Any]:
    return entry if isinstance(entry, dict) else entry.model_dump(mode="json", exclude_none=True)


def _row(kind: str, name: str, entry: Any) -> list[Any]:
    if kind == "tasks":
        return [name, entry.modality, entry.primary_metric, entry.default_backbone, entry.default_head, entry.summary]
    if kind == "backbones":
        features = ",".join(entry.features)
        return [name, amount(entry.parameters), features, ",".join(entry.weights) or "-", entry.plugin, entry.summary]
    if kind == "heads":
        return [name, ",".join(entry.tasks), ",".join(entry.needs), entry.summary]
    if kind == "strategies":
        return [name if entry.argument is None else f"{name}:N", entry.summary]
    if kind == "datasets":
        return [f"sample:{name}", entry.task, f"{entry.rows:,}", entry.licence, entry.summary]
    return [name, _facts(entry).get("summary", "")]


def _plugins(catalogue: Catalogue) -> list[dict[str, Any]]:
    """Every installed plugin, what it provides and what is wrong with it."""
    from graftwork.plugins.failures import failure_of, remembered

    known = remembered()
    provided: dict[str, dict[str, list[str]]] = {}
    for kind, entries in catalogue.entries.items():
        for name, entry in entries.items():
            bare = name.removeprefix(f"{entry.plugin}:")
            provided.setdefault(entry.plugin, {}).setdefault(kind, []).append(bare)
    rows = []
    for state in catalogue.plugins.values():
        fault = failure_of(state, known) if state.problem is None else None
        rows.append(
            {
                "name": state.name,
                "package": state.package,
                "distribution": state.distribution,
                "version": state.version,
                "origin": state.origin,
                "editable": state.editable,
                "first_party": state.name in catalogue.ours,
                "provides": provided.get(state.name, {}) if state.problem is None else {},
                "state": "failed" if fault else state.state,
                "cause": f"{fault.cause}, when it was last loaded, {fault.when}" if fault else state.problem,
            }
        )
    return rows


def _plugin_row(plugin: dict[str, Any]) -> list[Any]:
    from graftwork.catalogue import singular

    counted = [
        f"{len(names)} {kind if len(names) > 1 else singular(kind)}" for kind, names in plugin["provides"].items()
    ]
    provides = ", ".join(counted) or "-"
    where = f"{'editable ' if plugin['editable'] else ''}{plugin['origin'] or '?'}"
    origin = f"{plugin['distribution']}, {where}"
    return [plugin["name"], plugin["version"], origin, provides, plugin["state"], plugin["cause"] or ""]


def _overview(catalogue: Catalogue, task: str | None, json: bool) -> None:
    counts = {kind: len(_entries(catalogue, kind, task)) for kind in TITLES if kind != "plugins"}
    counts["plugins"] = len(catalogue.plugins)
    if json:
        out_json({"counts": counts, "plugins": _plugins(catalogue)})
        return
    suffix = f" --task {task}" if task else ""
    out_table(
        ["kind", "count", "see"],
        [[kind, count, f"graft list {kind}{suffix if kind != 'plugins' else ''}"] for kind, count in counts.items()],
    )
    out("\nAll facts of a kind as JSON: graft list backbones --json")
