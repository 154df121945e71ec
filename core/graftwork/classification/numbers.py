"""Metrics where a label is a number."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graftwork.classification.gather import row_store
from graftwork.interfaces import Batch, Facts, Metrics, Predictions

POINTS = 2000
"""Pairs that a report draws at most."""


class NumberMetrics(Metrics):
    """Agreement of predicted and true numbers.

    - `spearman`, `pearson`: correlation of ranks and of values, -1 to 1; 0 where one side is constant.
    - `rmse`, `mae`: root mean squared and mean absolute error, in the labels' unit.
    """

    def __init__(self, facts: Facts, device: torch.device) -> None:
        self._rows = row_store(2, device)

    def update(self, predictions: Predictions, batch: Batch) -> None:
        """Take in `value` [B] and the batch's `value` [B]."""
        assert isinstance(predictions, dict) and isinstance(batch.targets, dict)
        self._rows.update(torch.stack([predictions["value"].float(), batch.targets["value"].float()], dim=1))

    def compute(self) -> dict[str, float]:
        """Metrics by name, over the rows of all processes."""
        said, true = self._gathered()
        if not len(true):
            return {}
        return {
            "spearman": _correlation(_ranks(said), _ranks(true)),
            "pearson": _correlation(said, true),
            "rmse": float((said - true).square().mean().sqrt()),
            "mae": float((said - true).abs().mean()),
        }

    def details(self) -> dict[str, Any]:
        """`points`, up to POINTS pairs (true, predicted), evenly spread over the rows."""
        said, true = self._gathered()
        step = max(1, -(-len(true) // POINTS))
        return {"points": torch.stack([true, said], dim=1)[::step].tolist()}

    def _gathered(self) -> tuple[Tensor, Tensor]:
        rows = self._rows.compute().cpu().double()
        return rows[:, 0], rows[:, 1]


def _ranks(values: Tensor) -> Tensor:
    """Ranks, ties at their mean."""
    found: tuple[Tensor, Tensor, Tensor] = torch.unique(values, return_inverse=True, return_counts=True)
    _, where, counts = found
    ends = counts.cumsum(0).double()
    ranks: Tensor = (ends - (counts.double() - 1) / 2)[where]
    return ranks


def _correlation(first: Tensor, second: Tensor) -> float:
    if bool((first == first[0]).all()) or bool((second == second[0]).all()):
        return 0.0
    a, b = first - first.mean(), second - second.mean()
    # Scaled one by one: a product of small units would vanish.
    return float((a / a.norm() * (b / b.norm())).sum())
