"""Whether an installed plugin can be used, and if not, why: found out from its files, without importing it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from graftwork.catalogue.installed import SELECTION, Installed, package_folder
from graftwork.catalogue.registry import KINDS, NAME_PATTERN, OtherVersion, Registry, read_registry
from graftwork.errors import UsageError

PluginStatus = Literal["ok", "left out", "other version", "half-installed", "broken", "clash"]
RESERVED = frozenset({"run", "hf", "sample", "path", "torchvision", "package", "http", "https", "file", "problem"})
"""What stands before a colon with another meaning; no plugin can be called so."""


@dataclass(frozen=True)
class PluginState:
    """An installed plugin: where it is from, and whether its entries are in use.

    Args:
        name: of its entry point.
        package: the package that it is.
        distribution, version: what pip installed.
        problem: why its entries are not in use; None when they are.
        state: the same in a word or two.
        origin: the folder that it is installed in, or the source folder of an editable installation.
        editable: whether it is one.
        folder: of the package, where that was found.
    """

    name: str
    package: str
    distribution: str
    version: str
    problem: str | None = None
    state: PluginStatus = "ok"
    origin: str = ""
    editable: bool = False
    folder: Path | None = None


def state_from(
    item: Installed,
    state: PluginStatus,
    problem: str | None = None,
    folder: Path | None = None,
    name: str | None = None,
) -> PluginState:
    """The state of what is installed; under another name where its own is somebody else's."""
    return PluginState(
        name or item.name,
        item.package,
        item.distribution,
        item.version,
        problem,
        state,
        item.folder,
        item.editable,
        folder,
    )


def not_ours(item: Installed) -> PluginState:
    """A distribution that brings a plugin under the name of one that comes with graftwork."""
    problem = f"{item.name} is the name of a plugin that comes with graftwork. Its author has to call it otherwise"
    return state_from(item, "clash", problem, name=f"{item.name} ({item.distribution})")


def judge(claims: Sequence[Installed], wanted: bool) -> tuple[PluginState, Registry | None]:
    """The state of a third party's plugin, and what it has when it can be used.

    Args:
        claims: everything installed that bears its name; more than one is a clash.
        wanted: whether the user leaves it in use.
    """
    item = claims[0]
    if not wanted:
        return state_from(item, "left out", f"left out by {SELECTION}"), None
    if len(claims) > 1:
        return state_from(item, "clash", _clash(claims)), None
    if item.problem is not None:
        return state_from(item, "broken", item.problem), None
    state: PluginStatus = "broken"
    folder: Path | None = None
    try:
        _check_name(item.name)
        state = "half-installed"
        folder = package_folder(item)
        path = _registry_file(folder, item)
        state = "broken"
        registry = read_registry(path, item.name)
        _check_owners(registry, item.name)
    except OtherVersion as error:
        return state_from(item, "other version", str(error), folder), None
    except UsageError as error:
        return state_from(item, state, str(error), folder), None
    except Exception as error:  # a finder or a file system of somebody else's: one broken plugin breaks only itself
        return state_from(item, state, f"{type(error).__name__}: {error}", folder), None
    return state_from(item, "ok", None, folder), registry


def _clash(claims: Sequence[Installed]) -> str:
    who = sorted({f"{claim.distribution} {claim.version}" for claim in claims})
    if len(who) == 1:
        return f"{who[0]} brings it twice, with other code. Report it to the plugin's author"
    return f"{' and '.join(who)} both bring a plugin of this name, so neither is used. Uninstall one of them"


def _check_name(name: str) -> None:
    if name in RESERVED:
        raise UsageError(f"no plugin can be called {name!r}, since {name}: begins other things")
    if not re.fullmatch(NAME_PATTERN, name) or len(name) < 2:
        raise UsageError(f"{name!r} is no name for a plugin (lower-case letters, digits, '-', '_', '.')")


def _registry_file(folder: Path, item: Installed) -> Path:
    path = folder / "registry.yaml"
    if not path.is_file():
        what = "is not a file" if os.path.lexists(path) else "is missing"
        hint = f"Reinstall {item.distribution}, or ask its author whether the file is in the package"
        raise UsageError(f"{item.package} has no registry.yaml: {path} {what}", hint=hint)
    return path


def _check_owners(registry: Registry, name: str) -> None:
    owners = {entry.plugin for kind in KINDS for entry in getattr(registry, kind).values()}
    strangers = (owners | set(registry.plugins)) - {name}
    if strangers:
        raise UsageError(f"its registry.yaml names another plugin: {', '.join(sorted(strangers))}")
