"""Cells: what a suite expands into, each one ordinary run with its settings and where every one of them was said.

Nothing runs here. What can be wrong with a suite beyond its file is `check_suite`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from graftwork.bench.cell import SELECTABLE, Cell
from graftwork.bench.check_suite import (
    clashing_folders,
    misplaced,
    problem,
    unfit_entries,
    unknown_names,
    wrong_settings,
)
from graftwork.bench.read_suite import raise_all
from graftwork.bench.suite import BackboneChoice, DataSet, StrategyChoice, Suite
from graftwork.catalogue import Catalogue, split_strategy
from graftwork.catalogue.references import backbone_entry
from graftwork.config import Layer
from graftwork.data.sources import parse_source
from graftwork.errors import UsageError, did_you_mean


def expand(suite: Suite, catalogue: Catalogue, data_root: Path = Path()) -> list[Cell]:
    """All cells of a suite, in an order that depends on the file alone; those that share data and backbone stand together.

    Later settings win: the suite's, the data set's, the backbone's, the strategy's, the sweep's, the labels', overrides.
    A backbone's `weights` do not count for a strategy whose own recipe says which (`scratch`: none).

    Args:
        suite: from `load_suite`.
        catalogue: of this installation.
        data_root: what relative paths of data and weights are relative to.

    Raises:
        UsageError: with every problem, each with its line: names that the catalogue does not have, settings that no run
            takes, backbones of another modality than the task's, entries of `exclude` or `overrides` that match no cell.
    """
    problems = unknown_names(suite, catalogue)
    raise_all(problems)
    problems += unfit_entries(suite, catalogue)
    everything = list(_cells(suite, catalogue, data_root))
    excluded = [match for match in suite.exclude if not any(match.fits(cell.axes) for cell in everything)]
    problems += [
        problem(suite, match.line, "exclude matches no cell", "Its names exist, but not together") for match in excluded
    ]
    cells = [cell for cell in everything if not any(match.fits(cell.axes) for match in suite.exclude)]
    for override in suite.overrides:
        problems += misplaced(suite, override, [cell for cell in cells if override.where.fits(cell.axes)])
    problems += clashing_folders(suite, cells)
    if not cells:
        problems.append(UsageError("has no cell", where=str(suite.path), hint="Exclude less"))
    raise_all(problems)
    raise_all(wrong_settings(suite, cells, catalogue))
    return cells


def missing_data(cells: Sequence[Cell]) -> list[str]:
    """Paths that cells name as their data and that do not exist, each once."""
    named = dict.fromkeys(str(cell.settings["data"]) for cell in cells)
    return [data for data in named if parse_source(data).scheme == "path" and not Path(data).expanduser().exists()]


def select(cells: Sequence[Cell], words: Sequence[str]) -> list[Cell]:
    """The cells that a user asks for, in their order.

    Args:
        cells: of one suite.
        words: `AXIS=NAME[,NAME]`; several of one axis add up, several axes narrow down.

    Raises:
        UsageError: a word of another form, an unknown axis or name (with the nearest), or no cell is left.
    """
    wanted: dict[str, set[str]] = {}
    for word in words:
        axis, equals, names = word.partition("=")
        if not equals or axis not in SELECTABLE:
            hint = "Write AXIS=NAME" if not equals else did_you_mean(axis, list(SELECTABLE))
            raise UsageError(f"cells cannot be selected by {word!r}", hint=hint)
        known = list(dict.fromkeys(cell.axes[axis] for cell in cells))
        for name in names.split(","):
            if name not in known:
                raise UsageError(f"no cell has the {axis} {name!r}", hint=did_you_mean(name, known))
            wanted.setdefault(axis, set()).add(name)
    kept = [cell for cell in cells if all(cell.axes[axis] in names for axis, names in wanted.items())]
    if not kept:
        raise UsageError(f"no cell is left by {' '.join(words)}", hint="Each exists, but not together")
    return kept


def _cells(suite: Suite, catalogue: Catalogue, data_root: Path) -> Iterator[Cell]:
    """Every combination. A seed's strategies follow one another, so that a suite that is cut off can compare them."""
    for data, backbone in product(suite.data, suite.backbones):
        if backbone.limits.allow(data):
            for labels, seed, strategy in product(suite.labels, suite.seeds, suite.strategies):
                if strategy.limits.allow(data):
                    for point in strategy.points:
                        chosen = _Chosen(data, backbone, strategy, labels, point, seed)
                        yield _cell(suite, chosen, catalogue, data_root)


@dataclass(frozen=True)
class _Chosen:
    """One entry of each axis of a suite."""

    data: DataSet
    backbone: BackboneChoice
    strategy: StrategyChoice
    labels: str
    point: tuple[str, Layer]
    seed: int


def _cell(suite: Suite, chosen: _Chosen, catalogue: Catalogue, data_root: Path) -> Cell:
    data, backbone, strategy, labels = chosen.data, chosen.backbone, chosen.strategy, chosen.labels
    point, seed = chosen.point, chosen.seed
    axes = {"task": data.task, "data": data.name, "backbone": backbone.name, "strategy": strategy.name}
    axes |= {"labels": labels, "seed": str(seed)}
    overrides = [override.settings for override in suite.overrides if override.where.fits(axes)]
    general = [suite.settings, data.settings, backbone.settings]
    recipe = catalogue.strategy(split_strategy(strategy.strategy, catalogue)[0]).recipe
    if recipe and "weights" in recipe.settings:
        general = [_without(layer, "weights") for layer in general]
    own = [
        _said(suite, data, "task", data.task),
        _said(suite, data, "data", _below(data_root, data.data)),
        _said(suite, backbone, "backbone", backbone.backbone),
        _said(suite, strategy, "strategy", strategy.strategy),
        _above(suite, "seeds", {"seed": seed}),
    ]
    budget = {} if labels == "all" else {"limit_train": labels if "/" in labels else int(labels)}
    limit = _above(suite, "labels", budget)
    merged = _merge([*own, *general, strategy.settings, point[1], limit, *overrides])
    values = dict(merged.values)
    if "weights" in values:
        values["weights"] = _weights(str(values["weights"]), backbone, catalogue, data_root)
    return Cell(
        suite.name, data.name, data.task, backbone.name, strategy.name, labels, point[0], seed,
        values, merged.origin, data.chance, data.reference,
    )  # fmt: skip


def _said(suite: Suite, entry: DataSet | BackboneChoice | StrategyChoice, key: str, value: str) -> Layer:
    return Layer({key: value}, {key: f"{suite.path.name}:{entry.lines.get(key, entry.line)}"})


def _above(suite: Suite, key: str, values: Mapping[str, Any]) -> Layer:
    """Values that a key at the top of the suite says; without that key, the file as a whole."""
    return Layer(values, dict.fromkeys(values, f"{suite.path.name}:{suite.lines.get(key, 1)}"))


def _without(layer: Layer, name: str) -> Layer:
    return Layer({key: value for key, value in layer.values.items() if key != name}, layer.origin)


def _merge(layers: Sequence[Layer]) -> Layer:
    """The later over the earlier; mappings key by key, as `resolve` does it."""
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for layer in layers:
        for name, value in layer.values.items():
            values[name] = {**values.get(name, {}), **value} if isinstance(value, dict) else value
            origin[name] = layer.origin[name]
    return Layer(values, origin)


def _below(root: Path, source: str) -> str:
    """A source with its path, if it is one, below the data root."""
    return str(root / Path(source).expanduser()) if parse_source(source).scheme == "path" else source


def _weights(weights: str, backbone: BackboneChoice, catalogue: Catalogue, root: Path) -> str:
    """A weights file below the data root; names of weights stay what they are."""
    if weights in backbone_entry(backbone.backbone, catalogue).weights or not Path(weights).suffix:
        return weights
    return _below(root, weights)
