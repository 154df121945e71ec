"""A cell: one run of a suite, with its settings and where every one of them was said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graftwork.config import Layer

SELECTABLE = ("task", "data", "backbone", "strategy", "labels", "point", "seed")
"""Axes of a cell, as `select` knows them."""


@dataclass(frozen=True)
class Cell:
    """One run of a suite.

    Args:
        suite, data, backbone, strategy: names in the suite.
        task: catalogue name.
        labels: budget: `all`, `500` or `10/class`.
        point: of the sweep, `lr=0.001`; empty without one.
        settings: of the run, by name.
        origin: of each setting, `suite.yaml:12`.
        chance: score of guessing, None where the suite does not say.
        reference: score that counts as 1, None where the suite does not say.
    """

    suite: str
    data: str
    task: str
    backbone: str
    strategy: str
    labels: str
    point: str
    seed: int
    settings: Mapping[str, Any] = field(hash=False)
    origin: Mapping[str, str] = field(hash=False)
    chance: float | None
    reference: float | None

    @property
    def folder(self) -> str:
        """A readable name that every file system takes: `digits.graftnet-s.lp-ft.10-class.seed0`."""
        parts = [self.data, self.backbone, self.strategy, self.point, self.labels, f"seed{self.seed}"]
        return ".".join(re.sub(r"[^A-Za-z0-9._-]+", "-", part) for part in parts if part)

    @property
    def method(self) -> str:
        """Backbone and strategy: `graftnet-s/lp-ft`. The points of a sweep are one method, chosen among on validation."""
        return f"{self.backbone}/{self.strategy}"

    @property
    def axes(self) -> dict[str, str]:
        """The names that tell it from other cells, by axis."""
        return {axis: str(getattr(self, axis)) for axis in SELECTABLE}


def cell_layer(cell: Cell) -> Layer:
    """A cell's settings for `resolve_and_check`; in `graft explain` their origin is the suite's line."""
    return Layer(cell.settings, cell.origin)
