"""What can be known to be wrong with a suite and its cells before anything runs: no torch, no data.

Each function gives its problems; `cells.expand` raises them, as many at once as do not follow from one another.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from graftwork.bench.suite import DataSet, Override, Suite
from graftwork.catalogue import Catalogue, split_strategy, strategy_argument
from graftwork.catalogue.references import backbone_entry
from graftwork.config import Layer, resolve
from graftwork.config.check import check
from graftwork.errors import GraftworkError, UsageError

if TYPE_CHECKING:
    from graftwork.bench.cell import Cell

_LONGEST = 200  # characters: file systems take 255 bytes, and a run puts endings behind it


def problem(suite: Suite, line: int, what: str, hint: str | None = None) -> UsageError:
    """A problem at a line of the suite's file."""
    return UsageError(what, where=f"{suite.path}:{line}", hint=hint)


def unknown_names(suite: Suite, catalogue: Catalogue) -> list[UsageError]:
    """Tasks, backbones and strategies that the catalogue does not have, or not for the data they are meant for."""
    problems = []

    def attempt(line: int, what: Any, *arguments: Any) -> None:
        try:
            what(*arguments)
        except GraftworkError as error:
            problems.append(problem(suite, line, error.what, error.hint))

    for data in suite.data:
        attempt(data.lines.get("task", data.line), catalogue.task, data.task)
    for backbone in suite.backbones:
        line = backbone.lines.get("backbone", backbone.line)
        for data in suite.data:  # which entry opens a reference depends on the modality
            if backbone.limits.allow(data) and catalogue.find("tasks", data.task) is not None:
                attempt(line, backbone_entry, backbone.backbone, catalogue, _modality(data, catalogue))
    for strategy in suite.strategies:
        attempt(strategy.lines.get("strategy", strategy.line), _strategy, strategy.strategy, catalogue)
    return problems


def _strategy(spec: str, catalogue: Catalogue) -> None:
    strategy_argument(catalogue.strategy(split_strategy(spec, catalogue)[0]), spec, catalogue)


def unfit_entries(suite: Suite, catalogue: Catalogue) -> list[UsageError]:
    """Backbones of another modality than that of the tasks they are meant for, and entries that meet no others."""
    problems = []
    for backbone in suite.backbones:
        for data in suite.data:
            needs = _modality(data, catalogue)
            takes = (
                backbone_entry(backbone.backbone, catalogue, needs).modality if backbone.limits.allow(data) else needs
            )
            if takes != needs:
                what = f"backbone {backbone.name!r} takes {takes}, {data.name!r} ({data.task}) needs {needs}"
                problems.append(problem(suite, backbone.line, what, "Give the backbone tasks: [...] or data: [...]"))
    for data in suite.data:
        if not any(backbone.limits.allow(data) for backbone in suite.backbones):
            problems.append(problem(suite, data.line, f"no backbone is for the data set {data.name!r}"))
        if not any(strategy.limits.allow(data) for strategy in suite.strategies):
            problems.append(problem(suite, data.line, f"no strategy is for the data set {data.name!r}"))
    return problems


def _modality(data: DataSet, catalogue: Catalogue) -> str:
    return catalogue.task(data.task).modality


def misplaced(suite: Suite, override: Override, met: Sequence[Cell]) -> list[UsageError]:
    """An override that meets no cell, or that sets what the cells' own axes are there to vary."""
    line = override.where.line
    if not met:
        return [problem(suite, line, "where matches no cell", "Its names exist, but not together")]
    problems = []
    points = {strategy.name: strategy.points for strategy in suite.strategies}
    for name in override.settings.values:
        place = int(override.settings.origin[name].rpartition(":")[2])
        if name == "limit_train" and any(cell.labels != "all" for cell in met):
            problems.append(problem(suite, place, "limit_train is overridden where labels says it", "Keep one"))
        value = override.settings.values[name]
        swept = {
            cell.strategy
            for cell in met
            if any(_same(value, layer.values[name]) for _, layer in points[cell.strategy] if name in layer.values)
        }
        if swept:
            what = f"{name} is overridden where {' and '.join(sorted(swept))} sweeps it"
            problems.append(problem(suite, place, what, "Keep one"))
    return problems


def _same(one: Any, two: Any) -> bool:
    """Whether two values of a setting are of the same thing: of mappings, a key of both."""
    return not (isinstance(one, dict) and isinstance(two, dict)) or bool(one.keys() & two.keys())


def clashing_folders(suite: Suite, cells: Sequence[Cell]) -> list[UsageError]:
    """Two cells in one folder (names that end where the next begins), or a folder that no file system takes."""
    problems = []
    seen: dict[str, Cell] = {}
    for cell in cells:
        other = seen.setdefault(cell.folder.lower(), cell)
        if other is not cell:
            what = f"{' '.join(other.axes.values())} and {' '.join(cell.axes.values())} would share a folder"
            problems.append(UsageError(f"{what}, {cell.folder}", where=str(suite.path), hint="Rename one of them"))
        if len(cell.folder) > _LONGEST:
            what = f"{cell.folder[:40]}… would be a folder with a name of {len(cell.folder)} characters"
            problems.append(UsageError(what, where=str(suite.path), hint=f"Shorten names, at most {_LONGEST} together"))
    return problems[:3]


def wrong_settings(suite: Suite, cells: Sequence[Cell], catalogue: Catalogue) -> list[UsageError]:
    """What `check` says of the cells, each distinct configuration asked once; seeds change nothing there."""
    lines = {entry.name: entry.lines.get("data", entry.line) for entry in suite.data}
    distinct = {(cell.data, cell.backbone, cell.strategy, cell.point, str(_checked(cell))): cell for cell in cells}
    problems = []
    for cell in distinct.values():
        settings = _checked(cell)
        try:
            resolved = resolve([Layer(settings, cell.origin)], catalogue)
            task = catalogue.task(cell.task)
            head = catalogue.name_for(task.plugin, "heads", task.default_head)
            config = resolved.config
            named = config.model_copy(update={"head": head}) if config.head == "auto" else config
            found = check(named, catalogue)
        except GraftworkError as error:
            found = [str(error)]
        problems += [problem(suite, _blamed(text, cell, lines[cell.data]), text) for text in found]
    return problems


def _checked(cell: Cell) -> dict[str, Any]:
    """Without the seed, which was checked when the suite was read."""
    return {name: value for name, value in cell.settings.items() if name != "seed"}


def _blamed(text: str, cell: Cell, line: int) -> int:
    """The line of the setting that a message of `check` begins with; else the data set's."""
    begins = re.match(r"(?:unknown )?(\w+)", text)
    for name in (begins[1], f"{begins[1]}s") if begins else ():
        place = cell.origin.get(name, "").rpartition(":")[2]
        if name in cell.settings and place.isdigit():
            return int(place)
    return line
