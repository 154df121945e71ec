"""With which hyper-parameters the numbers came about: what was the same everywhere, and what each method had."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graftwork.bench.analysis import Analysis

SHOWN = (
    "epochs", "budget", "batch_size", "batch_units", "optimizer", "lr", "weight_decay", "momentum", "schedule", "warmup",
    "grad_clip", "ema", "patience", "imbalance", "views", "limit_train", "strategy_options", "head", "head_options",
    "backbone_options", "task_options",
)  # fmt: skip
"""Settings that move scores; every other one is in the table's column `settings` too."""


@dataclass(frozen=True)
class HyperParameters:
    """The hyper-parameters of a result set's entries.

    Args:
        same: name and value of what all entries have in common.
        names: of what differs.
        rows: for each entry, in the order of `Analysis.entries`, the values of `names`.
    """

    same: tuple[tuple[str, str], ...]
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def hyper_parameters(analysis: Analysis) -> HyperParameters:
    """Read them from the first cell of each entry; seeds differ in nothing else."""
    known = {row["folder"]: row for row in analysis.rows}
    settings = [json.loads(known[entry.folders[0]]["settings"]) for entry in analysis.entries]
    columns = {name: [_text(values.get(name)) for values in settings] for name in SHOWN}
    said = {name: values for name, values in columns.items() if any(values)}
    differing = tuple(name for name, values in said.items() if len(set(values)) > 1)
    same = tuple((name, values[0]) for name, values in said.items() if name not in differing)
    return HyperParameters(same, differing, tuple(_row(said, differing, at) for at in range(len(settings))))


def _row(columns: dict[str, list[str]], names: Sequence[str], at: int) -> tuple[str, ...]:
    return tuple(columns[name][at] for name in names)


def _text(value: Any) -> str:
    """As it would be typed; empty for what is not set."""
    if value is None or value == {}:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{name}={_text(inner)}" for name, inner in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
