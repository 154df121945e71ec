"""The page of several runs side by side."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from graftwork.interfaces import Figure
from graftwork.report.figures import learning_curves
from graftwork.report.format import number, seconds, setting
from graftwork.report.page import draw, fill
from graftwork.report.render import metric_of, rows_of, seconds_of
from graftwork.report.view import RunView


@dataclass(frozen=True)
class _Column:
    name: str
    value: Callable[[RunView], Any]
    show: Callable[[Any], str] = number
    numeric: bool = True
    best: Callable[[list[float]], float] | None = None


def compare(views: Sequence[RunView]) -> str:
    """One self-contained page: a table of the runs, their curves together, and the settings in which they differ.

    Args:
        views: two or more runs, in the order in which they are to be shown.
    """
    names = run_names(views)
    columns = _columns(views)
    values = [[column.value(view) for view in views] for column in columns]
    rows = [
        [{"text": name, "best": False}, *(_cell(column, values[at], index) for at, column in enumerate(columns))]
        for index, name in enumerate(names)
    ]
    figure = learning_curves(views, names)
    return fill(
        "compare.html.j2",
        {
            "title": f"{len(views)} runs compared",
            "subtitle": _subtitle(views),
            "problems": _problems(views, names),
            "columns": [{"name": "run", "numeric": False}, *({"name": c.name, "numeric": c.numeric} for c in columns)],
            "rows": rows,
            "curves": draw(Figure(figure, "Stars: the epochs whose weights were kept."), "curves") if figure else None,
            "names": names,
            "differences": differences(views),
        },
    )


def run_names(views: Sequence[RunView]) -> list[str]:
    """The runs' names, numbered where two are the same."""
    often = Counter(view.name for view in views)
    return [
        f"{view.name} ({index})" if often[view.name] > 1 else view.name for index, view in enumerate(views, start=1)
    ]


def differences(views: Sequence[RunView]) -> list[list[str]]:
    """Settings in which the runs differ: name, then the value of every run."""
    flat = [_flatten(view.config) for view in views]
    names = dict.fromkeys(name for config in flat for name in config)
    lines = [[name, *(setting(config.get(name)) for config in flat)] for name in names]
    return [line for line in lines if len(set(line[1:])) > 1]


def _columns(views: Sequence[RunView]) -> list[_Column]:
    def config(name: str) -> Callable[[RunView], Any]:
        return lambda view: view.config.get(name)

    def metric(split: str, name: str) -> Callable[[RunView], Any]:
        return lambda view: metric_of(view, split, name)

    primary = list(dict.fromkeys(view.primary_metric for view in views))
    tested = dict.fromkeys(name for view in views for name in view.summary.get("test") or {})
    ordered = [*(name for name in primary if name in tested), *(name for name in tested if name not in primary)]
    columns = [
        _Column("strategy", lambda view: view.plan.get("strategy") or view.config.get("strategy"), numeric=False),
        _Column("backbone", config("backbone"), numeric=False),
        _Column("weights", config("weights"), numeric=False),
        *(_Column(f"test {name}", metric("test", name), best=_direction(name)) for name in ordered),
        *(_Column(f"val {name}", metric("val", name), best=_direction(name)) for name in primary),
        _Column("best epoch", lambda view: view.best_epoch),
        _Column("train rows", lambda view: rows_of(view, "train")),
        _Column("time", seconds_of, show=seconds),
        _Column("trained", lambda view: (view.summary.get("parameters") or {}).get("trained")),
    ]
    if len({view.config.get("task") for view in views}) > 1:
        columns.insert(0, _Column("task", config("task"), numeric=False))
    return columns


def _direction(metric: str) -> Callable[[list[float]], float]:
    # The only metric of the contract that is an error.
    return min if metric == "ece" else max


def _cell(column: _Column, values: list[Any], index: int) -> dict[str, Any]:
    value = values[index]
    known = [v for v in values if isinstance(v, int | float) and math.isfinite(v)]
    best = column.best is not None and len(known) > 1 and value == column.best(known) and len(set(known)) > 1
    return {"text": column.show(value), "best": best}


def _subtitle(views: Sequence[RunView]) -> str:
    data = list(dict.fromkeys(str(view.config.get("data", "?")) for view in views))
    return "Data: " + ", ".join(data)


def _problems(views: Sequence[RunView], names: Sequence[str]) -> list[str]:
    lines = [f"{name} has not finished." for view, name in zip(views, names, strict=True) if not view.finished]
    lines += [
        f"{name}: could not be read: {line}" for view, name in zip(views, names, strict=True) for line in view.problems
    ]
    prints = {view.data.get("fingerprint") for view in views if view.data.get("fingerprint")}
    if len(prints) > 1:
        lines.append("These runs saw different data (their fingerprints differ): their metrics cannot be compared.")
    return lines


def _flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict) and value:
            flat |= _flatten(value, f"{prefix}{name}.")
        elif value != {}:
            flat[prefix + name] = value
    return flat
