"""What a registry.yaml may say, and how one is read: facts alone, no code.

One registry.yaml stands in our tree, one at the root of each installed plugin package; `catalogue` puts them together.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from graftwork import __version__
from graftwork.errors import PluginError, UsageError
from graftwork.files.yaml import Lines, read_yaml

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

    @property
    def gives(self) -> list[str]:
        """What a head may need of it: its features, and the summaries of its stages as `stage1`, `stage2`, …"""
        return [*self.features, *(f"stage{cut}" for cut in range(1, self.stages + 1))]


class ModelWeights(Weights):
    """Weights of a whole upstream model: a backbone's, and what of the head does not depend on the labels."""

    backbone: str
    moves: dict[str, str] = Field(
        description="beginnings of the backbone's key names in the file, and what they become"
    )
    options: dict[str, int | float | str | bool] = Field({}, description="of the head, as the file has it")


class HeadEntry(Entry):
    tasks: tuple[str, ...]
    needs: tuple[str, ...] = Field(
        description="feature names, `stage2` for a summary; `map*` is one or several that begin so"
    )
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
    """A benchmark: a YAML file in the plugin's package, in the form that `graft bench` reads."""

    plugin: str
    summary: str
    file: str = Field(description="relative to the folder of the plugin's package, and inside it")

    @field_validator("file")
    @classmethod
    def _is_inside(cls, text: str) -> str:
        if not re.fullmatch(r"(\w[\w.-]*/)*\w[\w.-]*\.yaml", text, re.ASCII):  # no part may begin with a dot
            raise ValueError(f"{text!r} is no .yaml file inside the package. Write one such as suites/my-suite.yaml")
        return text


class PluginFacts(_Facts):
    summary: str
    package: str
    licence: str = "Apache-2.0"
    requires_graftwork: str | None = Field(None, alias="requires-graftwork", description="a range of its versions")

    @field_validator("requires_graftwork")
    @classmethod
    def _is_range(cls, text: str | None) -> str | None:
        if text is not None and _range(text) is None:
            raise ValueError(f'{text!r} is no range of versions. Write one such as ">=0.2,<0.3"')
        return text


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
        for name in entries:
            if not re.fullmatch(NAME_PATTERN, name):  # `match` would let a trailing line break through
                raise ValueError(f"{name!r} is not a catalogue name (lower-case letters, digits, '-', '_', '.')")
        return entries


class OtherVersion(UsageError):
    """A plugin that was written for other versions of graftwork than this one."""


def first_party_registry() -> Path:
    """Our own registry.yaml: beside the package when installed, at the repository root in a checkout."""
    package = Path(__file__).parents[1]
    for candidate in (package / "registry.yaml", package.parents[1] / "registry.yaml"):
        if candidate.is_file():
            return candidate
    raise PluginError("graftwork's own registry.yaml is missing", hint="Reinstall graftwork")


def read_registry(path: Path, plugin: str | None = None) -> Registry:
    """Read and validate one registry.yaml; errors name file, line and key.

    Args:
        path: of the file.
        plugin: whose it is, where that is asked whether it was written for this version of graftwork.

    Raises:
        UsageError: it cannot be read, or says what no registry.yaml says.
        OtherVersion: the plugin was not written for this version. Told before anything else: what it says may be right
            in another version.
    """
    value, lines = read_yaml(path)
    if plugin is not None:
        _check_version(value, plugin)
    try:
        return Registry.model_validate(value)
    except ValidationError as error:
        raise UsageError(_first_error(error), where=_where(error, lines, path)) from None


def _check_version(value: Mapping[str, Any], plugin: str) -> None:
    """Hold `requires-graftwork` of the file as it stands against this version; what is malformed is told in validation."""
    plugins = value.get("plugins")
    facts = plugins.get(plugin) if isinstance(plugins, dict) else None
    wanted = facts.get("requires-graftwork") if isinstance(facts, dict) else None
    allowed = _range(wanted) if isinstance(wanted, str) else None
    # A development version counts as what it will be: `>=0.2` takes 0.3.dev1.
    if allowed is not None and not allowed.contains(__version__, prereleases=True):
        raise OtherVersion(f"needs graftwork {wanted}, this is {__version__}")


def _range(text: str) -> Any:
    """A range of versions, None when it is none."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(text) if text.strip() else None
    except InvalidSpecifier:
        return None


def _where(error: ValidationError, lines: Lines, path: Path) -> str:
    location = tuple(error.errors()[0]["loc"])
    for end in range(len(location), -1, -1):
        if location[:end] in lines:
            return f"{path}:{lines[location[:end]]}"
    return str(path)


def _first_error(error: ValidationError) -> str:
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    return f"{'.'.join(str(part) for part in first['loc'])}: {message}"
