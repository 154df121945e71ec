"""Metrics where a row has several classes: ranking first, and F1 at the threshold that validation chose."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graftwork.classification.gather import row_store
from graftwork.interfaces import Batch, Facts, Metrics, Predictions


class MultiLabelMetrics(Metrics):
    """Ranking and decisions over classes that are there or not.

    - `map`: mean over the classes that occur of the average precision (area under precision over recall), no threshold.
    - `micro_f1`: F1 over all (row, class) pairs at `threshold`; `macro_f1`: mean of the classes' F1 there.
    - `threshold`: the facts' where they have one; else the one with the best `micro_f1` on the rows taken in, which is for
      validation to choose.

    Args:
        facts: `classes`, and `threshold` once it is chosen.
        device: where the predictions are.
    """

    def __init__(self, facts: Facts, device: torch.device) -> None:
        self._classes: list[str] = list(facts["classes"])
        self._threshold: float | None = facts.get("threshold")
        self._rows = row_store(2 * len(self._classes), device)

    def update(self, predictions: Predictions, batch: Batch) -> None:
        """Take in `probabilities` [B, C] and the batch's `labels` [B, C]."""
        assert isinstance(predictions, dict) and isinstance(batch.targets, dict)
        self._rows.update(torch.cat([predictions["probabilities"].float(), batch.targets["labels"].float()], dim=1))

    def compute(self) -> dict[str, float]:
        """Metrics by name, over the rows of all processes."""
        probabilities, labels = self._gathered()
        if not len(labels):
            return {}
        threshold = self._choose(probabilities, labels)
        f1, micro = f1_at(probabilities, labels, threshold)
        occur = labels.any(dim=0)
        precision = average_precision(probabilities, labels)
        return {
            "map": float(precision[occur].mean()) if occur.any() else float("nan"),
            "micro_f1": micro,
            "macro_f1": float(f1[occur].mean()) if occur.any() else 0.0,
            "threshold": threshold,
        }

    def details(self) -> dict[str, Any]:
        """`classes`, `threshold`, and `per_class`: average precision, F1, rows."""
        probabilities, labels = self._gathered()
        threshold = self._choose(probabilities, labels)
        f1, _ = f1_at(probabilities, labels, threshold)
        precision = average_precision(probabilities, labels)
        lines = zip(self._classes, precision.tolist(), f1.tolist(), labels.sum(dim=0).tolist(), strict=True)
        return {
            "classes": self._classes,
            "threshold": threshold,
            "per_class": [
                {"class": name, "average_precision": ap if rows else None, "f1": value, "rows": int(rows)}
                for name, ap, value, rows in lines
            ],
        }

    def _choose(self, probabilities: Tensor, labels: Tensor) -> float:
        return self._threshold if self._threshold is not None else best_threshold(probabilities, labels)

    def _gathered(self) -> tuple[Tensor, Tensor]:
        rows = self._rows.compute().cpu().double()
        size = len(self._classes)
        return rows[:, :size], rows[:, size:] > 0.5


def average_precision(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Of each class [C]; 0 where a class does not occur.

    Args:
        probabilities: [N, C]. labels: bool [N, C].
    """
    from torchmetrics.functional.classification import binary_average_precision

    found = torch.zeros(labels.shape[1], dtype=torch.float64)
    # Class by class: torchmetrics' multilabel form refuses a single class, and warns about each that does not occur.
    for index in labels.any(dim=0).nonzero().flatten().tolist():
        found[index] = binary_average_precision(probabilities[:, index], labels[:, index].long())
    return found


def best_threshold(probabilities: Tensor, labels: Tensor) -> float:
    """The threshold with the best F1 over all (row, class) pairs: between two probabilities, so that ties do not decide."""
    scores, order = probabilities.flatten().sort(descending=True)
    right = labels.flatten()[order].double().cumsum(0)
    named = torch.arange(1, len(scores) + 1, dtype=torch.float64)
    f1 = 2 * right / (named + float(labels.sum())).clamp(min=1)
    last_of_ties = torch.ones(len(scores), dtype=torch.bool)
    last_of_ties[:-1] = scores[1:] < scores[:-1]
    best = int(torch.where(last_of_ties, f1, -1.0).argmax()) if len(scores) else 0
    if not len(scores):
        return 0.5
    below = float(scores[best + 1]) if best + 1 < len(scores) else 0.0
    return (float(scores[best]) + below) / 2


def f1_at(probabilities: Tensor, labels: Tensor, threshold: float) -> tuple[Tensor, float]:
    """F1 of each class [C] (0 where undefined) and over all pairs."""
    said = probabilities >= threshold
    right = (said & labels).sum(dim=0).double()
    both = (said.sum(dim=0) + labels.sum(dim=0)).double()
    return 2 * right / both.clamp(min=1), float(2 * right.sum() / both.sum().clamp(min=1))
