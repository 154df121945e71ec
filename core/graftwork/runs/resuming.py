"""Whether and how a run goes on: which settings it keeps, and that its data is still the data."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.catalogue import Catalogue
from graftwork.catalogue.references import RUN_SCHEME
from graftwork.config import Layer, Resolved, validate
from graftwork.config.check import resolve_and_check
from graftwork.data.sources import parse_source
from graftwork.errors import UsageError
from graftwork.log import say
from graftwork.runs.directory import CONFIG, DATA, RunDirectory, stored_layer, stored_settings

if TYPE_CHECKING:
    from graftwork.runs.data import RunData

GIVEN_IN = "given_in"
"""In data.json: the folder from which the run was begun, in which its relative paths are meant."""

WATCHING = ("observers", "observer_options")
"""Settings that change no number, so that a run may go on with others: on a machine without the library, for example."""


def resolve_resumed(layers: Sequence[Layer], catalogue: Catalogue, out: Path | None) -> Resolved:
    """The configuration of the run to go on with: its own, after a check that nothing given now contradicts it.

    Args:
        layers: what is given now, strongest first; may be a whole command, where no run was begun yet.
        out: the run directory.

    Raises:
        UsageError: no directory, no run in it (and no whole command to start one), or settings that differ.
    """
    if out is None:
        raise UsageError("--resume needs to know the run", hint="Example: graft train --out runs/first --resume")
    stored = stored_layer(out)
    if stored is None:
        given = {name for layer in layers for name in layer.values}
        if not {"task", "data"} <= given:
            raise UsageError(f"{out} holds no run to go on with", hint="Check --out, or give --task and --data")
        say(f"{out} holds no run yet: starting from the beginning")
        return resolve_and_check(layers, catalogue)
    began_in = _began_in(out)
    stored, moved = _from_where_it_began(stored, began_in, catalogue)
    gone = _gone(str(stored.values["data"])) and not RunDirectory(out).finished()
    # Data that has moved is held against the run's by its content, before anything is trained.
    different = contradictions(layers, stored, except_for=("data",) if gone else ())
    if different:
        raise UsageError(
            f"--resume keeps the settings of the run in {out}, but {'; '.join(different)}",
            hint=f"Leave them out, or start a new run from what this one has learned: {_new_run(layers, out)}",
        )
    if gone and not any("data" in layer.values for layer in layers):
        raise _without_data(str(stored.values["data"]), began_in, out)
    return _with_first_origins(resolve_and_check([*layers, stored], catalogue), out, moved)


def _new_run(layers: Sequence[Layer], out: Path) -> str:
    """The command that trains on from a run's weights, with its settings but those that are given now."""
    run = f"{RUN_SCHEME}{out}"
    words = ["graft", "train", "--config", str(out / CONFIG), "--backbone", run, "--weights", run]
    for layer in layers:
        for name, value in layer.values.items():
            flag = layer.origin[name]
            if flag.startswith("--") and flag != "--set" and isinstance(value, str | int | float):
                words += [] if name in ("task", "backbone", "weights") else [flag, str(value)]
    return f"{shlex.join(words)} --out ANOTHER"


def _began_in(out: Path) -> Path | None:
    """The folder from which a run was begun; None for runs of before this was written down."""
    path = out / DATA
    found = RunDirectory(out).read_json(DATA).get(GIVEN_IN) if path.is_file() else None
    return Path(found) if isinstance(found, str) else None


def _from_where_it_began(stored: Layer, folder: Path | None, catalogue: Catalogue) -> tuple[Layer, frozenset[str]]:
    """A run's settings with its relative paths meant in the folder where it was begun, and which settings that changed."""
    if folder is None or folder == Path.cwd():
        return stored, frozenset()

    def meant(value: Any, path: bool) -> Any:
        if isinstance(value, Mapping):
            return {key: meant(inner, False) for key, inner in value.items()}
        if not isinstance(value, str) or not (path or value.startswith(RUN_SCHEME)):
            return value
        scheme, name = (RUN_SCHEME, value[len(RUN_SCHEME) :]) if value.startswith(RUN_SCHEME) else ("", value)
        there = folder / Path(name).expanduser()
        return f"{scheme}{there}" if there.exists() else value

    backbone, weights = (str(stored.values.get(name, "")) for name in ("backbone", "weights"))
    named = catalogue.find("backbones", backbone) is not None
    paths = {
        "data": parse_source(str(stored.values["data"])).scheme == "path",
        "backbone": not named,
        # A name of the catalogue's is no path, whatever lies in the folder.
        "weights": "." in weights or "/" in weights or (weights == backbone and not named),
    }
    values = {name: meant(value, paths.get(name, False)) for name, value in stored.values.items()}
    moved = frozenset(name for name, value in values.items() if value != stored.values[name])
    return replace(stored, values=values), moved


def _gone(data: str) -> bool:
    """Whether data is a path at which there is nothing."""
    source = parse_source(data or ".")
    return source.scheme == "path" and not Path(source.name).expanduser().exists()


def _without_data(data: str, began_in: Path | None, out: Path) -> UsageError:
    name_it = f"name its place: graft train --out {shlex.quote(str(out))} --resume --data PATH"
    if began_in is None and not Path(data).expanduser().is_absolute():
        what = f"the run's data {data} was given in another folder, and is not found from here"
        return UsageError(what, where=str(out), hint=f"Go on in the folder where the run was begun, or {name_it}")
    place = data if began_in is None else began_in / Path(data).expanduser()
    return UsageError(f"the run's data {place} is no longer there", where=str(out), hint=f"Put it back, or {name_it}")


def _with_first_origins(resolved: Resolved, out: Path, moved: frozenset[str]) -> Resolved:
    """A resumed run goes on saying where its settings first came from, not that config.yaml repeats them."""
    first = {}
    for name, setting in stored_settings(out).items():
        if name in resolved.settings:
            value = resolved.settings[name].value
            if setting.value == _as_json(value) or name in moved:
                first[name] = replace(setting, value=value) if name in moved else setting
    return replace(resolved, settings={**resolved.settings, **first})


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def contradictions(layers: Sequence[Layer], stored: Layer, except_for: Sequence[str] = ()) -> list[str]:
    """Explicit settings that a stored run does not have, as `lr is 0.1 (--lr), was 0.01`.

    Args:
        except_for: settings that may differ.
    """
    required = {"task": "?", "data": "?"}
    before = validate({**required, **stored.values})
    found: dict[str, str] = {}
    for layer in reversed(layers):  # the strongest last, so that its word counts
        now = validate({**required, **layer.values})
        for name in layer.values:
            found.pop(name, None)
            given, kept = getattr(now, name), getattr(before, name)
            if given == "auto" or name in (*WATCHING, *except_for) or _equal(name, given, kept):
                continue
            found[name] = f"{name} is {given} ({layer.origin[name]}), was {kept}"
    return list(found.values())


def _equal(name: str, given: Any, kept: Any) -> bool:
    if isinstance(given, Mapping) and isinstance(kept, Mapping):
        return all(key in kept and kept[key] == value for key, value in given.items())
    if name in ("data", "weights", "backbone") and given != kept:
        return Path(given).resolve() == Path(str(kept)).resolve()
    return bool(given == kept)


def check_same_data(directory: RunDirectory, data: RunData) -> None:
    """Hold the data against what a run in this directory has begun on, if there is one.

    Raises:
        UsageError: it is other data.
    """
    if not (directory.path / DATA).is_file():
        return
    if directory.read_json(DATA).get("fingerprint") != data.fingerprint:
        raise UsageError(
            "the data has changed since this run began, so it cannot be resumed exactly",
            where=str(directory.path),
            hint="Put the data back, or start a new run with another --out",
        )
