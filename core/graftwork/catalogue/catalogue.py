"""The catalogue: what there is, by name, from every registry.yaml; no torch, no plugin is imported. `plugins` loads code.

A name means one thing. What comes with graftwork keeps its names; a third party's entry is called by its plain name where
nobody else claims that, and always as `PLUGIN:NAME`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from itertools import groupby
from typing import Any

from graftwork.catalogue.installed import SELECTION, Installed, find_installed, left_out
from graftwork.catalogue.registry import (
    KINDS,
    NAME_PATTERN,
    BackboneEntry,
    DatasetEntry,
    Entry,
    File,
    HeadEntry,
    Kind,
    ModelWeights,
    ObserverEntry,
    Option,
    PluginFacts,
    Recipe,
    Registry,
    StrategyEntry,
    SuiteEntry,
    TaskEntry,
    Weights,
    first_party_registry,
    read_registry,
)
from graftwork.catalogue.usable import PluginState, PluginStatus, judge, not_ours, state_from
from graftwork.errors import UsageError, did_you_mean
from graftwork.files.yaml import parse_scalar

__all__ = [
    "KINDS",
    "NAME_PATTERN",
    "BackboneEntry",
    "Catalogue",
    "DatasetEntry",
    "Entry",
    "File",
    "HeadEntry",
    "Kind",
    "ModelWeights",
    "ObserverEntry",
    "Option",
    "PluginFacts",
    "PluginState",
    "PluginStatus",
    "Recipe",
    "Registry",
    "StrategyEntry",
    "SuiteEntry",
    "TaskEntry",
    "Weights",
    "first_party_registry",
    "forbidden_by",
    "load_catalogue",
    "offline",
    "read_registry",
    "singular",
    "split_strategy",
    "strategy_argument",
]  # fmt: skip


@dataclass
class Catalogue:
    """Everything that is installed, by kind and name.

    Args:
        entries: each entry once, under the shortest name that means it and nothing else.
        plugins: every plugin, those whose entries are not in use too.
        clashes: names that several third parties claim; nobody has them.
        shadowed: third parties that claim a name which comes with graftwork.
        entry_points: where the code of every plugin is.
        ours: the plugins that come with graftwork.
    """

    entries: dict[Kind, dict[str, Any]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    plugins: dict[str, PluginState] = field(default_factory=dict)
    clashes: dict[tuple[Kind, str], list[str]] = field(default_factory=dict)
    shadowed: dict[tuple[Kind, str], list[str]] = field(default_factory=dict)
    entry_points: dict[str, EntryPoint] = field(default_factory=dict)
    ours: frozenset[str] = frozenset()
    _of_plugin: dict[str, dict[Kind, dict[str, Any]]] = field(default_factory=dict, init=False, repr=False)

    def get(self, kind: Kind, name: str) -> Any:
        """The entry of that name; `PLUGIN:NAME` is that plugin's own.

        Raises:
            UsageError: there is none (with the nearest names), or two plugins claim it.
        """
        found = self.find(kind, name)
        if found is None:
            raise self._unknown(kind, name)
        return found

    def find(self, kind: Kind, name: str, owner: str | None = None) -> Any:
        """The entry of that name, or None: there is none, or several plugins claim it.

        Args:
            kind: of the entry.
            name: as a user writes it, or as an entry refers to it.
            owner: the plugin whose entry refers to it; what it has itself comes first.
        """
        if owner is not None and name in (own := self.own(owner, kind)):
            return own[name]
        found = self.entries[kind].get(name)
        if found is None and ":" in name:
            plugin, _, bare = name.partition(":")
            found = self._of_plugin.get(plugin, {}).get(kind, {}).get(bare)
        return found

    def own(self, plugin: str, kind: Kind) -> dict[str, Any]:
        """A third party's entries by their plain names; empty for what comes with graftwork, whose names are the plain ones."""
        return {} if plugin in self.ours else self._of_plugin.get(plugin, {}).get(kind, {})

    def qualified(self, kind: Kind, name: str) -> str:
        """The name that goes on meaning this entry, whatever is installed later: PLUGIN:NAME for a third party's.

        Raises:
            UsageError: there is no such entry.
        """
        entry: Entry = self.get(kind, name)
        bare = name.removeprefix(f"{entry.plugin}:")
        if self.own(entry.plugin, kind).get(bare) is not entry:
            return bare if entry.plugin in self.ours else name
        return f"{entry.plugin}:{bare}"

    def name_for(self, owner: str, kind: Kind, name: str) -> str:
        """What a user would write for what an entry of `owner` refers to as `name`."""
        own = self.own(owner, kind).get(name)
        return name if own is None or self.entries[kind].get(name) is own else f"{owner}:{name}"

    def refers(self, owner: str, kind: Kind, references: Iterable[str], name: str) -> str | None:
        """The one of the references in an entry of `owner` that means what a user calls `name`, or None."""
        wanted = self.find(kind, name)
        for reference in references:
            meant = self.find(kind, reference, owner)
            if wanted is None or meant is None:
                claimed = (kind, reference) in self.clashes and name.partition(":")[2] == reference
                if reference == name or claimed:
                    return reference
            elif meant is wanted:
                return reference
        return None

    def task(self, name: str) -> TaskEntry:
        entry: TaskEntry = self.get("tasks", name)
        return entry

    def backbone(self, name: str) -> BackboneEntry:
        entry: BackboneEntry = self.get("backbones", name)
        return entry

    def head(self, name: str) -> HeadEntry:
        entry: HeadEntry = self.get("heads", name)
        return entry

    def strategy(self, name: str) -> StrategyEntry:
        entry: StrategyEntry = self.get("strategies", name)
        return entry

    def dataset(self, name: str) -> DatasetEntry:
        entry: DatasetEntry = self.get("datasets", name)
        return entry

    def suite(self, name: str) -> SuiteEntry:
        entry: SuiteEntry = self.get("suites", name)
        return entry

    def add(self, registry: Registry, owner: str) -> None:
        """Take in a registry. A name of graftwork's own stays graftwork's; one that third parties share is nobody's."""
        for kind in KINDS:
            entries = self.entries[kind]
            for name, entry in getattr(registry, kind).items():
                self._of_plugin.setdefault(entry.plugin, {}).setdefault(kind, {})[name] = entry
                known = entries.get(name)
                if (kind, name) in self.clashes:
                    self.clashes[kind, name].append(owner)
                elif known is None:
                    entries[name] = entry
                    continue
                elif known.plugin in self.ours:
                    self.shadowed.setdefault((kind, name), []).append(owner)
                else:
                    self.clashes[kind, name] = [known.plugin, owner]
                    entries[f"{known.plugin}:{name}"] = entries.pop(name)
                entries[f"{owner}:{name}"] = entry

    def _unknown(self, kind: Kind, name: str) -> UsageError:
        what = f"unknown {singular(kind)} {name!r}"
        if (kind, name) in self.clashes:
            owners = self.clashes[kind, name]
            hint = f"Pick one: {' or '.join(f'{owner}:{name}' for owner in owners)}"
            return UsageError(f"{singular(kind)} {name!r} is claimed by {' and '.join(owners)}", hint=hint)
        plugin, colon, bare = name.partition(":")
        if not colon:
            return UsageError(what, hint=f"{did_you_mean(name, list(self.entries[kind]))}{self._missing()}")
        state = self.plugins.get(plugin)
        if state is not None and state.problem:
            return UsageError(f"{what}: plugin {plugin} is not in use", hint=_capital(state.problem))
        if state is not None:
            own = [f"{plugin}:{known}" for known in self._of_plugin.get(plugin, {}).get(kind, {})]
            return UsageError(f"{what}: plugin {plugin} has no such {singular(kind)}", hint=did_you_mean(name, own))
        same = [known for known in self.entries[kind] if known.rpartition(":")[2] == bare]
        # No command to install it: the name may come from a stranger's artifact.
        hint = f"Did you mean {same[0]}?" if same else "What a plugin made needs that plugin; see graft list plugins"
        return UsageError(f"{what}: no plugin {plugin!r} is installed, so it is not a catalogue name", hint=hint)

    def _missing(self) -> str:
        """Plugins that may have the name and are not in use, as the end of a hint."""
        unread = [
            f"{state.name} ({state.problem})"
            for state in self.plugins.values()
            if state.problem and state.state != "left out"
        ]
        without = [state.name for state in self.plugins.values() if state.state == "left out"]
        text = f". Plugins that could not be read: {', '.join(unread)}" if unread else ""
        return text + (f". Left out by {SELECTION}: {', '.join(without)}" if without else "")


def split_strategy(spec: str, catalogue: Catalogue | None = None) -> tuple[str, str | None]:
    """`partial:2` to its catalogue name and its argument; with a catalogue also `PLUGIN:NAME:2`.

    What the catalogue knows decides: a strategy that is called like a plugin keeps its argument.
    """
    name, colon, argument = spec.partition(":")
    if catalogue is not None and colon and name in catalogue.plugins:
        inner, another, rest = argument.partition(":")
        picked = f"{name}:{inner}"
        if catalogue.find("strategies", picked) is not None or catalogue.find("strategies", name) is None:
            return picked, rest if another else None
    return name, argument if colon else None


def strategy_argument(entry: StrategyEntry, spec: str, catalogue: Catalogue | None = None) -> Any:
    """The argument of a strategy as its type, or its default.

    Raises:
        UsageError: an argument where none is taken, or one of the wrong type.
    """
    name, text = split_strategy(spec, catalogue)
    if entry.argument is None:
        if text is not None:
            raise UsageError(f"strategy {name!r} takes no argument, got {text!r}")
        return None
    value = entry.argument.default if text is None else parse_scalar(text)
    problem = entry.argument.check(value)
    if problem:
        raise UsageError(f"argument of {spec!r} {problem}", hint=f"{entry.argument.summary}, e.g. {name}:2")
    return value


def singular(kind: Kind) -> str:
    """One of a kind: `strategy` of `strategies`."""
    return {"strategies": "strategy"}.get(kind, kind[:-1])


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def load_catalogue() -> Catalogue:
    """The catalogue of this installation. What is wrong with a plugin is its state, and the rest works.

    Raises:
        UsageError: $GRAFTWORK_PLUGINS names a plugin that is not there.
    """
    own = read_registry(first_party_registry())
    catalogue = Catalogue(ours=frozenset(own.plugins))
    catalogue.add(own, "graftwork")
    found = find_installed()
    without = left_out((item.name for item in found), catalogue.ours)
    for name, claims in ((name, list(items)) for name, items in groupby(found, key=lambda item: item.name)):
        if name in catalogue.ours:
            for item in claims:
                _take_in(catalogue, item, state_from(item, "ok") if item.ours else not_ours(item))
            continue
        state, registry = judge(claims, name not in without)
        if registry is not None:
            catalogue.add(registry, name)
        _take_in(catalogue, claims[0], state)
    for name in sorted(catalogue.ours - catalogue.plugins.keys()):
        problem = "graftwork's installation is older than its code and does not name it. Reinstall graftwork"
        package = own.plugins[name].package
        catalogue.plugins[name] = PluginState(name, package, "graftwork", "?", problem, "half-installed")
    return catalogue


def _take_in(catalogue: Catalogue, item: Installed, state: PluginState) -> None:
    catalogue.plugins[state.name] = state
    if item.point is not None and state.state == "ok":
        catalogue.entry_points[state.name] = item.point


NETWORK = ("GRAFTWORK_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Variables that forbid the network; huggingface_hub obeys the last two itself."""


def forbidden_by(*more: str) -> str | None:
    """The variable by which the user forbade the network, or None.

    Args:
        more: variables that count too, for what is asked for: HF_DATASETS_OFFLINE for data.
    """
    no = ("", "0", "false", "no", "off")
    return next((name for name in (*NETWORK, *more) if os.environ.get(name, "").strip().lower() not in no), None)


def offline(*more: str) -> bool:
    """Whether the user forbade the network: GRAFTWORK_OFFLINE, HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE.

    Args:
        more: variables that count too, for what is asked for.
    """
    return forbidden_by(*more) is not None
