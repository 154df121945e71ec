"""Metrics of a classification, by torchmetrics, from three numbers a row that stay on the device until the end."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graftwork.classification.gather import row_store
from graftwork.interfaces import Batch, Facts, Metrics, Predictions

BINS = 15
"""Confidence bins of the calibration error, as in Guo et al. 2017."""


class ClassificationMetrics(Metrics):
    """Accuracy and what accuracy hides.

    - `accuracy`: share of rows with the right class.
    - `macro_f1`: mean F1 of the classes that occur among the labels or the predictions; a class that nobody has and
      nobody says is left out, as in scikit-learn's `f1_score(average="macro")`.
    - `mcc`: Matthews' correlation coefficient, -1 to 1, 0 for guessing, whatever the class sizes; 0 too where all labels
      or all predictions are of one class, as in scikit-learn.
    - `ece`: expected calibration error (Naeini et al. 2015; Guo et al. 2017), 15 bins of equal width, l1.
    - `auroc`: for two classes, of the second class's probability; left out where only one class occurs.

    Args:
        facts: `classes`.
        device: where the predictions are.
    """

    def __init__(self, facts: Facts, device: torch.device) -> None:
        self._classes: list[str] = list(facts["classes"])
        self._outcomes = row_store(4, device)

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
        from torchmetrics.functional import classification

        classes = max(len(self._classes), 2)
        right = (predicted == label).double()
        result = {
            "accuracy": float(right.mean()),
            "macro_f1": float(
                classification.multiclass_f1_score(predicted, label, num_classes=classes, average="macro")
            ),
            "mcc": matthews(predicted, label, classes),
            "ece": expected_calibration_error(calibration_bins(confidence, right)),
        }
        if len(self._classes) == 2 and 0 < int(label.sum()) < len(label):
            result["auroc"] = float(classification.binary_auroc(last, label))
        return result

    def details(self) -> dict[str, Any]:
        """`classes`, `confusion` (rows true, columns predicted), `per_class` and `calibration`."""
        label, predicted, confidence, _ = self._gathered()
        size = len(self._classes)
        confusion = torch.bincount(label * size + predicted, minlength=size * size).reshape(size, size)
        return {
            "classes": self._classes,
            "confusion": confusion.tolist(),
            "per_class": per_class(self._classes, confusion),
            "calibration": calibration_bins(confidence, (predicted == label).double()),
        }

    def _gathered(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Label, predicted class, confidence and last class's probability of all rows of all processes, on the CPU."""
        # Apple's devices know no float64, so it is the CPU's from here on.
        label, predicted, confidence, last = self._outcomes.compute().cpu().unbind(dim=1)
        return label.long(), predicted.long(), confidence.double(), last.double()


def matthews(predicted: Tensor, label: Tensor, classes: int) -> float:
    """Matthews' correlation coefficient of class indices [N]; 0 where one of the two has one class only.

    torchmetrics gives -1 to 1 there, by how many of its two classes are right.
    """
    from torchmetrics.functional.classification import multiclass_matthews_corrcoef

    if predicted.min() == predicted.max() or label.min() == label.max():
        return 0.0
    return float(multiclass_matthews_corrcoef(predicted, label, num_classes=classes))


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
