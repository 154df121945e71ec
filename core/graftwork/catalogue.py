"""The catalogue: what exists, read from registry.yaml files without importing torch or a plugin.

One registry.yaml in our tree, one at the root of each installed plugin package. It holds facts, no code; `plugins` loads code.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from graftwork.errors import PluginError, UsageError, did_you_mean
from graftwork.yamlfile import Lines, parse_scalar, read_yaml

GROUP = "graftwork"
Kind = Literal["tasks", "backbones", "heads", "strategies", "datasets", "observers", "suites"]
KINDS: tuple[Kind, ...] = ("tasks", "backbones", "heads", "strategies", "datasets", "observers", "suites")
NAME_PATTERN = r"^[a-z0-9][a-z0-9_.-]{0,63}$"


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Option(_Facts):
    """A setting of a task, backbone, head or strategy; `--set head_options.dropout=0.2`."""

    type: Literal["int", "float", "bool", "str"]
    default: int | float | bool | str | None
    summary: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] | None = None

    def check(self, value: Any) -> str | None:
        """What is wrong with a value, or None."""
        if value is None:
            return None if self.default is None else "must not be empty"
        kinds: dict[str, Any] = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}
        if not isinstance(value, kinds[self.type]) or (self.type in ("int", "float") and isinstance(value, bool)):
            return f"must be {self.type}, not {value!r}"
        if self.choices and value not in self.choices:
            return f"must be one of {', '.join(self.choices)}, not {value!r}"
        if self.minimum is not None and not value >= self.minimum:  # so that NaN is refused too
            return f"must be at least {self.minimum:g}, not {value!r}"
        if self.maximum is not None and not value <= self.maximum:
            return f"must be at most {self.maximum:g}, not {value!r}"
        return None


class Recipe(_Facts):
    """Default settings with their source; each key is a setting of RunConfig."""

    source: str
    tasks: tuple[str, ...] = Field((), description="the tasks that it is for; every one where none is named")
    settings: dict[str, int | float | str | bool]


class Entry(_Facts):
    """What every entry says."""

    plugin: str
    summary: str
    factory: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    options: dict[str, Option] = {}
    recipe: Recipe | None = None

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The options with defaults filled in."""
        return {name: given.get(name, option.default) for name, option in self.options.items()}


class File(_Facts):
    """A file and how it is verified. Mirrors hold the same bytes; the first place that can be had is used."""

    source: str = Field(pattern=r"^(https://|package:)")
    mirrors: tuple[Annotated[str, Field(pattern=r"^(https://|package:)")], ...] = ()
    size: int
    sha256: str = Field(
        pattern=r"^[0-9a-f]{8,64}$", description="the whole hash, or the prefix that upstream publishes"
    )

    @property
    def places(self) -> tuple[str, ...]:
        """The source, then its mirrors."""
        return (self.source, *self.mirrors)


class Weights(File):
    """Where pretrained weights come from and what is known of them."""

    revision: str
    licence: str
    summary: str
    metrics: dict[str, float] = {}
    input: dict[str, Any] | None = None


class TaskEntry(Entry):
    modality: str
    primary_metric: str
    default_backbone: str
    default_head: str
    recipes: dict[str, Recipe] = Field({}, description="by strategy, stronger than the strategy's own")


class BackboneEntry(Entry):
    modality: str
    features: dict[str, int]
    stages: int
    parameters: int
    licence: str
    input: dict[str, Any]
    input_files: dict[str, File] = Field({}, description="facts of the input that are the text of a file")
    opens: tuple[str, ...] = Field((), description="schemes of pretrained backbones that it opens; `path` for folders")
    weights: dict[str, Weights] = {}
    default_weights: str | None = None
    recipes: dict[str, Recipe] = Field({}, description="by strategy, stronger than the task's")


class ModelWeights(Weights):
    """Weights of a whole upstream model: a backbone's, and what of the head does not depend on the labels."""

    backbone: str
    moves: dict[str, str] = Field(
        description="beginnings of the backbone's key names in the file, and what they become"
    )
    options: dict[str, int | float | str | bool] = Field({}, description="of the head, as the file has it")


class HeadEntry(Entry):
    tasks: tuple[str, ...]
    needs: tuple[str, ...] = Field(description="feature names; `map*` is any one feature that begins so, or several")
    weights: dict[str, ModelWeights] = {}

    def lacking(self, features: Iterable[str]) -> list[str]:
        """What it needs and these features do not have."""
        there = list(features)
        return sorted(need for need in self.needs if not fnmatch.filter(there, need))


class StrategyEntry(Entry):
    argument: Option | None = None


class DatasetEntry(Entry):
    task: str
    rows: int
    licence: str
    source: str


class ObserverEntry(Entry):
    pass


class SuiteEntry(_Facts):
    """Runs that belong together: settings shared by all, and what each arm sets beside them."""

    plugin: str
    summary: str
    shared: dict[str, int | float | str | bool]
    arms: dict[str, dict[str, int | float | str | bool]]


class PluginFacts(_Facts):
    summary: str
    package: str
    licence: str = "Apache-2.0"


class Registry(_Facts):
    """One registry.yaml."""

    version: Literal[1]
    plugins: dict[str, PluginFacts] = {}
    tasks: dict[str, TaskEntry] = {}
    backbones: dict[str, BackboneEntry] = {}
    heads: dict[str, HeadEntry] = {}
    strategies: dict[str, StrategyEntry] = {}
    datasets: dict[str, DatasetEntry] = {}
    observers: dict[str, ObserverEntry] = {}
    suites: dict[str, SuiteEntry] = {}

    @field_validator("tasks", "backbones", "heads", "strategies", "datasets", "observers", "suites", "plugins")
    @classmethod
    def _names(cls, entries: dict[str, Any]) -> dict[str, Any]:
        import re

        for name in entries:
            if not re.fullmatch(NAME_PATTERN, name):  # `match` would let a trailing line break through
                raise ValueError(f"{name!r} is not a catalogue name (lower-case letters, digits, '-', '_', '.')")
        return entries


@dataclass(frozen=True)
class PluginState:
    """An installed plugin: where it is from and, when its registry.yaml is broken, why."""

    name: str
    package: str
    distribution: str
    version: str
    problem: str | None = None


@dataclass
class Catalogue:
    """Everything that is installed, by kind and name."""

    entries: dict[Kind, dict[str, Any]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    plugins: dict[str, PluginState] = field(default_factory=dict)
    clashes: dict[tuple[Kind, str], list[str]] = field(default_factory=dict)

    def get(self, kind: Kind, name: str) -> Any:
        """The entry of that name.

        Raises:
            UsageError: there is none (with the nearest names), or two plugins claim it.
        """
        if (kind, name) in self.clashes:
            owners = " and ".join(self.clashes[kind, name])
            raise UsageError(f"{_singular(kind)} {name!r} is claimed by {owners}", hint="Uninstall one of them")
        found = self.entries[kind].get(name)
        if found is None:
            broken = [f"{plugin.name} ({plugin.problem})" for plugin in self.plugins.values() if plugin.problem]
            hint = did_you_mean(name, list(self.entries[kind]))
            if broken:
                hint += f". Plugins that could not be read: {', '.join(broken)}"
            raise UsageError(f"unknown {_singular(kind)} {name!r}", hint=hint)
        return found

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

    @cached_property
    def entry_points(self) -> dict[str, EntryPoint]:
        """The installed entry points of the group, by plugin name."""
        return {point.name: point for point in entry_points(group=GROUP)}

    def suite(self, name: str) -> SuiteEntry:
        entry: SuiteEntry = self.get("suites", name)
        return entry

    def add(self, registry: Registry, owner: str) -> None:
        """Take in a registry; a name that is there already is a clash that only its user meets."""
        for kind in KINDS:
            for name, entry in getattr(registry, kind).items():
                known = self.entries[kind].get(name)
                if known is not None:
                    self.clashes.setdefault((kind, name), [known.plugin]).append(owner)
                else:
                    self.entries[kind][name] = entry


def split_strategy(spec: str) -> tuple[str, str | None]:
    """`partial:2` to its catalogue name and its argument."""
    name, colon, argument = spec.partition(":")
    return name, argument if colon else None


def strategy_argument(entry: StrategyEntry, spec: str) -> Any:
    """The argument of a strategy as its type, or its default.

    Raises:
        UsageError: an argument where none is taken, or one of the wrong type.
    """
    name, text = split_strategy(spec)
    if entry.argument is None:
        if text is not None:
            raise UsageError(f"strategy {name!r} takes no argument, got {text!r}")
        return None
    value = entry.argument.default if text is None else parse_scalar(text)
    problem = entry.argument.check(value)
    if problem:
        raise UsageError(f"argument of {spec!r} {problem}", hint=f"{entry.argument.summary}, e.g. {name}:2")
    return value


def _singular(kind: Kind) -> str:
    return {"strategies": "strategy"}.get(kind, kind[:-1])


def first_party_registry() -> Path:
    """Our own registry.yaml: beside the package when installed, at the repository root in a checkout."""
    here = Path(__file__).parent
    for candidate in (here / "registry.yaml", here.parents[1] / "registry.yaml"):
        if candidate.is_file():
            return candidate
    raise PluginError("graftwork's own registry.yaml is missing", hint="Reinstall graftwork")


def read_registry(path: Path) -> Registry:
    """Read and validate one registry.yaml; errors name file, line and key."""
    value, lines = read_yaml(path)
    try:
        return Registry.model_validate(value)
    except ValidationError as error:
        raise UsageError(_first_error(error, lines), where=_where(error, lines, path)) from None


def _where(error: ValidationError, lines: Lines, path: Path) -> str:
    location = tuple(error.errors()[0]["loc"])
    for end in range(len(location), -1, -1):
        if location[:end] in lines:
            return f"{path}:{lines[location[:end]]}"
    return str(path)


def _first_error(error: ValidationError, lines: Lines) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def load_catalogue() -> Catalogue:
    """The catalogue of this installation. A plugin with a broken registry.yaml is noted, and the rest works."""
    catalogue = Catalogue()
    own = read_registry(first_party_registry())
    catalogue.add(own, "graftwork")
    for point in catalogue.entry_points.values():
        package = point.value.partition(":")[0].partition(".")[0]
        distribution = point.dist.name if point.dist else "?"
        version = point.dist.version if point.dist else "?"
        problem = None if point.name in own.plugins else _add_third_party(catalogue, point.name, package)
        catalogue.plugins[point.name] = PluginState(point.name, package, distribution, version, problem)
    return catalogue


def _add_third_party(catalogue: Catalogue, name: str, package: str) -> str | None:
    """Add a plugin's registry; what is wrong with it, or None."""
    try:
        found = find_spec(package)
        if found is None or not found.submodule_search_locations:
            return f"package {package} is not installed completely"
        path = Path(next(iter(found.submodule_search_locations))) / "registry.yaml"
        if not path.is_file():
            return f"{package} has no registry.yaml"
        registry = read_registry(path)
        strangers = {entry.plugin for kind in KINDS for entry in getattr(registry, kind).values()} - {name}
        if strangers:
            return f"its registry.yaml names another plugin: {', '.join(sorted(strangers))}"
        catalogue.add(registry, name)
    except Exception as error:  # one broken plugin breaks only itself
        return f"{type(error).__name__}: {error}" if not isinstance(error, UsageError) else str(error)
    return None


def offline() -> bool:
    """Whether the user forbade the network (GRAFTWORK_OFFLINE or HF_HUB_OFFLINE)."""
    return any(os.environ.get(name, "") not in ("", "0") for name in ("GRAFTWORK_OFFLINE", "HF_HUB_OFFLINE"))
