"""Whether and how a run goes on: which settings it keeps, and that its data is still the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.catalogue import Catalogue
from graftwork.config import Layer, Resolved, validate
from graftwork.config.check import resolve_and_check
from graftwork.errors import UsageError
from graftwork.log import say
from graftwork.runs.directory import DATA, RunDirectory, stored_layer, stored_settings

if TYPE_CHECKING:
    from graftwork.runs.data import RunData

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
    different = contradictions(layers, stored)
    if different:
        raise UsageError(
            f"--resume keeps the settings of the run in {out}, but {'; '.join(different)}",
            hint="Leave them out, or start a new run with another --out",
        )
    return _with_first_origins(resolve_and_check([*layers, stored], catalogue), out)


def _with_first_origins(resolved: Resolved, out: Path) -> Resolved:
    """A resumed run goes on saying where its settings first came from, not that config.yaml repeats them."""
    first = {
        name: setting
        for name, setting in stored_settings(out).items()
        if name in resolved.settings and setting.value == _as_json(resolved.settings[name].value)
    }
    return replace(resolved, settings={**resolved.settings, **first})


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def contradictions(layers: Sequence[Layer], stored: Layer) -> list[str]:
    """Explicit settings that a stored run does not have, as `lr is 0.1 (--lr), was 0.01`."""
    required = {"task": "?", "data": "?"}
    before = validate({**required, **stored.values})
    found: dict[str, str] = {}
    for layer in reversed(layers):  # the strongest last, so that its word counts
        now = validate({**required, **layer.values})
        for name in layer.values:
            found.pop(name, None)
            given, kept = getattr(now, name), getattr(before, name)
            if given == "auto" or name in WATCHING or _equal(name, given, kept):
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
