"""Metrics of a classification, from four numbers a row that stay on the device until the end."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graftwork.classification.gather import Rows
from graftwork.classification.numbers import ranks
from graftwork.interfaces import Batch, Facts, Metrics, Predictions

BINS = 15
"""Confidence bins of the calibration error, as in Guo et al. 2017."""


class ClassificationMetrics(Metrics):
    """Accuracy and what accuracy hides.

    - `accuracy`: share of rows with the right class.
    - `macro_f1`: mean F1 of the classes that occur among the labels or the predictions; a class that nobody has and
      nobody says is left out, as in scikit-learn's `f1_score(average="macro")`.
    - `mcc`: Matthews' correlation coefficient of many classes (Gorodkin 2004, "Comparing two K-category assignments by a
      K-category correlation coefficient"), -1 to 1, 0 for guessing, whatever the class sizes.
    - `ece`: expected calibration error (Naeini et al. 2015; Guo et al. 2017), 15 bins of equal width, l1.
    - `auroc`: for two classes, area under the ROC curve of the second class's probability; left out where only one class
      occurs.

    Args:
        facts: `classes`.
        device: where the predictions are.
    """

    def __init__(self, facts: Facts, device: torch.device) -> None:
        self._classes: list[str] = list(facts["classes"])
        self._outcomes = Rows(4, device)

    def update(self, predictions: Predictions, batch: Batch) -> None:
        """Take in `probabilities` [B, C] and the batch's `label` [B]."""
        assert isinstance(predictions, dict) and isinstance(batch.targets, dict)
        # A row: label, predicted class, its confidence, the last class's probability.
        probabilities = predictions["probabilities"].float()
        confidence, predicted = probabilities.max(dim=1)
        label = batch.targets["label"].float()
        self._outcomes.update(torch.stack([label, predicted.float(), confidence, probabilities[:, -1]], dim=1))

    def compute(self) -> dict[str, float]:
        """Metrics by name, over the rows of all processes."""
        label, predicted, confidence, last = self._gathered()
        if not len(label):
            return {}
        right = (predicted == label).double()
        confusion = self._confusion(label, predicted)
        result = {
            "accuracy": float(right.mean()),
            "macro_f1": macro_f1(confusion),
            "mcc": matthews_correlation(confusion),
            "ece": expected_calibration_error(calibration_bins(confidence, right)),
        }
        if len(self._classes) == 2 and 0 < int(label.sum()) < len(label):
            result["auroc"] = area_under_roc(last, label)
        return result

    def details(self) -> dict[str, Any]:
        """`classes`, `confusion` (rows true, columns predicted), `per_class` and `calibration`."""
        label, predicted, confidence, _ = self._gathered()
        confusion = self._confusion(label, predicted)
        return {
            "classes": self._classes,
            "confusion": confusion.tolist(),
            "per_class": per_class(self._classes, confusion),
            "calibration": calibration_bins(confidence, (predicted == label).double()),
        }

    def _confusion(self, label: Tensor, predicted: Tensor) -> Tensor:
        """How often each class was taken for each, int64 [C, C], rows true."""
        size = len(self._classes)
        return torch.bincount(label * size + predicted, minlength=size * size).reshape(size, size)

    def _gathered(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Label, predicted class, confidence and last class's probability of all rows of all processes, on the CPU."""
        # Apple's devices know no float64, so it is the CPU's from here on.
        label, predicted, confidence, last = self._outcomes.compute().cpu().unbind(dim=1)
        return label.long(), predicted.long(), confidence.double(), last.double()


def macro_f1(confusion: Tensor) -> float:
    """Mean F1 of the classes that occur in a confusion matrix int64 [C, C], among the labels or the predictions."""
    both = confusion.sum(dim=0) + confusion.sum(dim=1)
    f1 = 2 * confusion.diagonal().double() / both.clamp(min=1)
    return float(f1[both > 0].mean())


def matthews_correlation(confusion: Tensor) -> float:
    """Matthews' correlation coefficient of a confusion matrix int64 [C, C]; 0 where one side is constant."""
    counts = confusion.double()
    said, true, total = counts.sum(dim=0), counts.sum(dim=1), counts.sum()
    covariance = counts.trace() * total - said @ true
    spread = (total**2 - said @ said).sqrt() * (total**2 - true @ true).sqrt()
    return float(covariance / spread) if spread > 0 else 0.0


def area_under_roc(scores: Tensor, label: Tensor) -> float:
    """Area under the ROC curve: the share of pairs of a positive and a negative row whose scores stand in the right order,
    ties counting half (Hanley and McNeil 1982).

    Args:
        scores: [N], higher for the positive class.
        label: [N], 0 or 1, both of which occur.
    """
    positive = label == 1
    count = int(positive.sum())
    ahead = float(ranks(scores)[positive].sum()) - count * (count + 1) / 2
    return ahead / (count * (len(label) - count))


def per_class(classes: list[str], confusion: Tensor) -> list[dict[str, Any]]:
    """A line a class from its confusion matrix [C, C]: class, precision, recall, f1, rows (0 where undefined)."""
    right = confusion.diagonal().double()
    said = confusion.sum(dim=0)
    true = confusion.sum(dim=1)
    lines = zip(
        classes,
        (right / said.clamp(min=1)).tolist(),
        (right / true.clamp(min=1)).tolist(),
        (2 * right / (said + true).clamp(min=1)).tolist(),
        true.tolist(),
        strict=True,
    )
    return [
        {"class": name, "precision": precision, "recall": recall, "f1": f1, "rows": rows}
        for name, precision, recall, f1, rows in lines
    ]


def calibration_bins(confidence: Tensor, right: Tensor, bins: int = BINS) -> list[dict[str, Any]]:
    """Bins of equal width over 0..1, empty ones left out: from, to, mean confidence, accuracy, count."""
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    index = torch.bucketize(confidence, edges[1:-1], right=True)
    count = torch.bincount(index, minlength=bins)
    confident = torch.bincount(index, confidence, minlength=bins)
    correct = torch.bincount(index, right, minlength=bins)
    return [
        {
            "from": float(edges[at]),
            "to": float(edges[at + 1]),
            "confidence": float(confident[at] / count[at]),
            "accuracy": float(correct[at] / count[at]),
            "count": int(count[at]),
        }
        for at in range(bins)
        if count[at]
    ]


def expected_calibration_error(bins: list[dict[str, Any]]) -> float:
    """Mean distance of accuracy and confidence over the rows, 0 to 1."""
    rows = sum(line["count"] for line in bins)
    return float(sum(abs(line["accuracy"] - line["confidence"]) * line["count"] for line in bins) / rows)
