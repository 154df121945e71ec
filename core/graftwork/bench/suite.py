"""A suite: which tasks, data sets, backbones, strategies, label budgets and seeds are compared, as its YAML file says it.

What it expands into is `cells`; that its names are in the catalogue is asked there, since a file alone cannot know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from graftwork.bench.read_suite import At, Reader, raise_all
from graftwork.catalogue import Catalogue, SuiteEntry
from graftwork.config import Layer
from graftwork.errors import UsageError
from graftwork.files.yaml import read_yaml

AXES = ("task", "data", "backbone", "strategy", "labels", "seed")
"""What `exclude` and the `where` of overrides may name."""

_KEYS = ("version", "summary", "settings", "data", "backbones", "strategies", "labels", "seeds", "exclude", "overrides")
_MOST_SEEDS = 1000


@dataclass(frozen=True)
class DataSet:
    """One entry under `data:`.

    Args:
        name: in the suite.
        task: catalogue name.
        data: as `--data` takes it; a relative path is relative to the data root.
        chance: the score of guessing, in the task's primary metric.
        reference: the score that counts as 1 in a normalised score.
        settings: of runs on it.
        line: where the entry stands.
        lines: of the values that it has.
    """

    name: str
    task: str
    data: str
    chance: float | None
    reference: float | None
    settings: Layer
    line: int
    lines: Mapping[str, int]


@dataclass(frozen=True)
class Limits:
    """The data sets that a backbone or a strategy is for: those named, and those of the tasks named; all where nothing is."""

    tasks: tuple[str, ...] = ()
    data: tuple[str, ...] = ()

    def allow(self, data: DataSet) -> bool:
        return not (self.tasks or self.data) or data.task in self.tasks or data.name in self.data


@dataclass(frozen=True)
class BackboneChoice:
    """One entry under `backbones:`; `backbone` is what `--backbone` takes."""

    name: str
    backbone: str
    limits: Limits
    settings: Layer
    line: int
    lines: Mapping[str, int]


@dataclass(frozen=True)
class StrategyChoice:
    """One entry under `strategies:`; `strategy` is what `--strategy` takes.

    Args:
        points: of the sweep, each with its label and settings; one without a label where nothing is swept.
    """

    name: str
    strategy: str
    limits: Limits
    settings: Layer
    points: tuple[tuple[str, Layer], ...]
    line: int
    lines: Mapping[str, int]


@dataclass(frozen=True)
class Match:
    """Cells by the names on some of their axes: an entry of `exclude`, or the `where` of an override."""

    names: Mapping[str, tuple[str, ...]]
    line: int

    def fits(self, axes: Mapping[str, str]) -> bool:
        """Whether a cell with these names is meant."""
        return all(axes[axis] in names for axis, names in self.names.items())


@dataclass(frozen=True)
class Override:
    """Settings for some cells, over everything else."""

    where: Match
    settings: Layer


@dataclass(frozen=True)
class Suite:
    """A suite as its file says it; names are the file's own, catalogue names are not looked up yet.

    Args:
        name: of the file, without its ending.
        labels: budgets: `all`, `500` or `10/class`.
        seeds: distinct.
        keep_models: keep every run's model, not only its figures.
        lines: of the values at the top, by key.
    """

    name: str
    path: Path
    summary: str
    settings: Layer
    data: tuple[DataSet, ...]
    backbones: tuple[BackboneChoice, ...]
    strategies: tuple[StrategyChoice, ...]
    labels: tuple[str, ...]
    seeds: tuple[int, ...]
    exclude: tuple[Match, ...]
    overrides: tuple[Override, ...]
    keep_models: bool
    lines: Mapping[str, int]


def find_suite(name_or_path: str, catalogue: Catalogue) -> Path:
    """The file of a suite: a path, or a catalogue name.

    Args:
        name_or_path: an existing file or anything that ends in .yaml or .yml is a path.
        catalogue: of this installation.

    Raises:
        UsageError: there is no such suite (with the nearest), or its plugin's package does not hold the file.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        return path
    try:
        entry = catalogue.suite(name_or_path)
    except UsageError as error:
        end = "" if (error.hint or "").endswith("?") else "."
        raise UsageError(error.what, hint=f"{error.hint}{end} Or give a .yaml file" if error.hint else None) from None
    plugin = catalogue.plugins[entry.plugin]
    file = suite_file(entry, catalogue)
    if not file.is_file():
        hint = f"Reinstall it: pip install --force-reinstall {plugin.distribution}"
        what = f"plugin {entry.plugin!r} does not hold the file of its suite {name_or_path!r}"
        raise UsageError(what, where=str(file), hint=hint)
    return file


def suite_file(entry: SuiteEntry, catalogue: Catalogue) -> Path:
    """Where the file of a suite has to be: in its plugin's package, which is not imported."""
    package = catalogue.plugins[entry.plugin].package
    found = find_spec(package)
    folders = list(found.submodule_search_locations or ()) if found else []
    return Path(folders[0] if folders else package, entry.file)


def load_suite(path: Path) -> Suite:
    """Read a suite.

    Args:
        path: of the YAML file, in the form of those in `suites/`.

    Raises:
        UsageError: with every problem, each with its line.
    """
    value, lines = read_yaml(path)
    reader = Reader(path, lines)
    top = reader.mapping(value, (), (*_KEYS, "keep_models"))
    if top.get("version") != 1 or isinstance(top["version"], bool):
        found = f"version {top['version']!r}" if "version" in top else "no version"
        reader.problem(("version",), f"has {found}, this graftwork reads version 1", "Begin the file with version: 1")
    data = _data(reader, top.get("data"))
    backbones = _backbones(reader, top.get("backbones"), data)
    strategies = _strategies(reader, top.get("strategies"), data)
    labels = _labels(reader, top.get("labels"))
    seeds = _seeds(reader, top.get("seeds"))
    axes = {
        "task": sorted({entry.task for entry in data}),
        "data": [entry.name for entry in data],
        "backbone": [entry.name for entry in backbones],
        "strategy": [entry.name for entry in strategies],
        "labels": list(labels),
        "seed": [str(seed) for seed in seeds],
    }
    suite = Suite(
        name=path.stem,
        path=path,
        summary=reader.text(top.get("summary"), ("summary",), ""),
        settings=reader.settings(top.get("settings"), ("settings",)),
        data=data,
        backbones=backbones,
        strategies=strategies,
        labels=labels,
        seeds=seeds,
        exclude=_exclude(reader, top.get("exclude"), axes),
        overrides=_overrides(reader, top.get("overrides"), axes),
        keep_models=reader.truth(top.get("keep_models"), ("keep_models",)),
        lines=reader.lines_in((), top),
    )
    raise_all(reader.problems)
    return suite


def _data(reader: Reader, value: Any) -> tuple[DataSet, ...]:
    found = []
    example = "data: {digits: {task: image-classification, data: sample:digits}}"
    for name, given in reader.entries(value, ("data",), example).items():
        at: At = ("data", name)
        entry = reader.mapping(given, at, ("task", "data", "chance", "reference", "settings"))
        chance = reader.number(entry.get("chance"), (*at, "chance"))
        reference = reader.number(entry.get("reference"), (*at, "reference"))
        if chance is not None and reference is not None and chance >= reference:
            what = f"reference {reference:g} must be above chance {chance:g}"
            reader.problem((*at, "reference"), what, "Scores are normalised to (score - chance) / (reference - chance)")
        found.append(
            DataSet(
                name,
                reader.text(entry.get("task"), (*at, "task")),
                reader.text(entry.get("data"), (*at, "data")),
                chance,
                reference,
                reader.settings(entry.get("settings"), (*at, "settings")),
                reader.line(at),
                reader.lines_in(at, entry),
            )
        )
    return tuple(found)


def _backbones(reader: Reader, value: Any, data: Sequence[DataSet]) -> tuple[BackboneChoice, ...]:
    found = []
    for name, given in reader.entries(value, ("backbones",), "backbones: {graftnet-s: }").items():
        at: At = ("backbones", name)
        entry = reader.mapping(given, at, ("backbone", "tasks", "data", "settings"))
        backbone = reader.text(entry.get("backbone"), (*at, "backbone"), name)
        settings = reader.settings(entry.get("settings"), (*at, "settings"))
        limits = _limits(reader, entry, at, data)
        found.append(BackboneChoice(name, backbone, limits, settings, reader.line(at), reader.lines_in(at, entry)))
    return tuple(found)


def _strategies(reader: Reader, value: Any, data: Sequence[DataSet]) -> tuple[StrategyChoice, ...]:
    found = []
    for name, given in reader.entries(value, ("strategies",), "strategies: {scratch: , full: }").items():
        at: At = ("strategies", name)
        entry = reader.mapping(given, at, ("strategy", "tasks", "data", "settings", "sweep"))
        found.append(
            StrategyChoice(
                name,
                reader.text(entry.get("strategy"), (*at, "strategy"), name),
                _limits(reader, entry, at, data),
                reader.settings(entry.get("settings"), (*at, "settings")),
                reader.points(entry.get("sweep"), (*at, "sweep")),
                reader.line(at),
                reader.lines_in(at, entry),
            )
        )
    return tuple(found)


def _limits(reader: Reader, entry: Mapping[str, Any], at: At, data: Sequence[DataSet]) -> Limits:
    tasks = reader.chosen(entry.get("tasks"), (*at, "tasks"), sorted({known.task for known in data}), "task")
    names = reader.chosen(entry.get("data"), (*at, "data"), [known.name for known in data], "data set")
    return Limits(tasks, names)


def _labels(reader: Reader, value: Any) -> tuple[str, ...]:
    found: list[str] = []
    for item, at in reader.listed(value, ("labels",)):
        text = str(item)
        if isinstance(item, bool) or not re.fullmatch(r"all|[1-9][0-9]*(/class)?", text):
            reader.problem(at, f"labels cannot be {item!r}", "Write all, a number of rows, or N/class")
        elif text in found:
            reader.problem(at, f"labels has {text} twice")
        else:
            found.append(text)
    return tuple(found) or ("all",)


def _seeds(reader: Reader, value: Any) -> tuple[int, ...]:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST_SEEDS:
        return tuple(range(value))
    if value is not None and not isinstance(value, list):
        reader.problem(("seeds",), f"seeds cannot be {value!r}", f"Write how many (1 to {_MOST_SEEDS}), or a list")
        return (0,)
    found: list[int] = []
    for item, at in reader.listed(value, ("seeds",)):
        if isinstance(item, bool) or not isinstance(item, int) or not 0 <= item < 2**31:
            reader.problem(at, f"a seed cannot be {item!r}", "Write whole numbers from 0 on")
        elif item in found:
            reader.problem(at, f"seeds has {item} twice", "Two runs with one seed are one run")
        else:
            found.append(item)
    if value == []:
        reader.problem(("seeds",), "seeds is empty", "Write how many, or a list")
    return tuple(found) or (0,)


def _exclude(reader: Reader, value: Any, axes: Mapping[str, Sequence[str]]) -> tuple[Match, ...]:
    return tuple(_match(reader, item, at, axes) for item, at in reader.listed(value, ("exclude",)))


def _overrides(reader: Reader, value: Any, axes: Mapping[str, Sequence[str]]) -> tuple[Override, ...]:
    found = []
    for item, at in reader.listed(value, ("overrides",)):
        entry = reader.mapping(item, at, ("where", "settings"))
        where = _match(reader, entry.get("where"), (*at, "where"), axes)
        settings = reader.settings(entry.get("settings"), (*at, "settings"))
        if not entry.get("settings"):
            reader.problem(
                at, "an override without settings", "Example: {where: {data: digits}, settings: {lr: 0.001}}"
            )
        found.append(Override(where, settings))
    return tuple(found)


def _match(reader: Reader, value: Any, at: At, axes: Mapping[str, Sequence[str]]) -> Match:
    given = reader.mapping(value, at, AXES)
    if not value:
        reader.problem(at, "names no axis, so it would mean every cell", f"Axes: {', '.join(AXES)}")
    what = {"data": "data set", "labels": "label budget"}
    names = {axis: reader.chosen(inner, (*at, axis), axes[axis], what.get(axis, axis)) for axis, inner in given.items()}
    return Match(names, reader.line(at))
