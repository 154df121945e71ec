"""Metrics of a segmentation, all from one confusion matrix that is counted on the device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from graftwork.classification.gather import row_store
from graftwork.interfaces import Batch, Facts, Metrics, Predictions


class SegmentationMetrics(Metrics):
    """Agreement of class indices, pixel by pixel; pixels without a class (255) are left out.

    - `mean_iou`: mean over the classes that occur in truth or prediction of the intersection over union (Jaccard index) of
      all their pixels in the split, as in PASCAL VOC (Everingham et al. 2015) and scikit-learn's
      `jaccard_score(average="macro")`.
    - `pixel_accuracy`: share of pixels with the right class; `mean_accuracy`: mean of the classes' shares.
    - `frequency_weighted_iou`: the classes' IoU weighted by their pixels (these three: Long et al. 2015, "Fully
      Convolutional Networks").

    All are 0 where no pixel is scored.

    Args:
        facts: `classes`.
        device: where the predictions are.
    """

    def __init__(self, facts: Facts, device: torch.device) -> None:
        self._classes: list[str] = list(facts["classes"])
        self._counts = _count_store(len(self._classes) ** 2 + 1, device)
        self._pictures = row_store(2, device)

    def update(self, predictions: Predictions, batch: Batch) -> None:
        """Take in a `mask` [H, W] a picture and the truth's of the same size."""
        assert isinstance(predictions, list) and isinstance(batch.targets, list)
        size = len(self._classes)
        for row, said, true in zip(batch.rows.tolist(), predictions, batch.targets, strict=True):
            counts = count_cells(true["mask"], said["mask"], size)
            self._counts.update(counts)
            iou = picture_iou(counts[:-1].reshape(size, size))
            self._pictures.update(torch.stack([torch.full_like(iou, row), iou])[None])

    def compute(self) -> dict[str, float]:
        """Metrics by name, over the rows of all processes."""
        if not len(self._pictures.compute()):
            return {}
        return segmentation_numbers(self._gathered()[0])

    def details(self) -> dict[str, Any]:
        """`classes`; `confusion` in pixels (rows true, columns predicted) and `confusion_shares` of each row;
        `per_class`: class, iou, accuracy (None where undefined), pixels, predicted_pixels; `unscored_pixels`; and
        `picture_iou`: the mean IoU of each picture alone, by row, None where none of its pixels is scored."""
        confusion, unscored = self._gathered()
        pictures = self._pictures.compute().cpu()
        by_row = pictures[pictures[:, 0].argsort(stable=True), 1].tolist()
        true, said = confusion.sum(dim=1), confusion.sum(dim=0)
        shares = confusion / true.clamp(min=1)[:, None]
        lines = zip(self._classes, *_rates(confusion), true.tolist(), said.tolist(), strict=True)
        return {
            "classes": self._classes,
            "confusion": confusion.tolist(),
            "confusion_shares": [[round(share, 4) for share in row] for row in shares.tolist()],
            "per_class": [
                {
                    "class": name,
                    "iou": iou if pixels or predicted else None,
                    "accuracy": accuracy if pixels else None,
                    "pixels": pixels,
                    "predicted_pixels": predicted,
                }
                for name, iou, accuracy, pixels, predicted in lines
            ],
            "unscored_pixels": unscored,
            "picture_iou": [None if math.isnan(value) else round(value, 6) for value in by_row],
        }

    def _gathered(self) -> tuple[Tensor, int]:
        """The confusion matrix int64 [C, C] and the pixels without a class, of all processes, on the CPU."""
        counts = self._counts.compute().cpu()
        size = len(self._classes)
        return counts[:-1].reshape(size, size), int(counts[-1])


def count_cells(true: Tensor, said: Tensor, classes: int) -> Tensor:
    """The confusion matrix of a picture, flattened, and last its pixels without a class: int64 [classes² + 1].

    Args:
        true, said: [H, W], class indices; in the truth `classes` and above is no class.
    """
    true, said = true.reshape(-1).long(), said.reshape(-1).long()
    cells = torch.where(true < classes, true * classes + said, classes * classes)
    # Not bincount: it asks the device for the largest number, and so waits for it. On a CPU both take as long.
    counts = torch.zeros(classes * classes + 1, dtype=torch.int64, device=cells.device)
    return counts.scatter_add_(0, cells, torch.ones_like(cells))


def picture_iou(confusion: Tensor) -> Tensor:
    """The mean IoU of a confusion matrix as a float32 scalar on its device; nan where it is empty."""
    both = confusion.sum(dim=0) + confusion.sum(dim=1)
    right = confusion.diagonal()
    return (right / (both - right).clamp(min=1)).sum() / (both > 0).sum()


def segmentation_numbers(confusion: Tensor) -> dict[str, float]:
    """The metrics of a confusion matrix int64 [C, C], rows true; see `SegmentationMetrics`."""
    iou, accuracy = (torch.tensor(rates, dtype=torch.float64) for rates in _rates(confusion))
    true = confusion.sum(dim=1)
    occurs, total = true + confusion.sum(dim=0) > 0, max(int(true.sum()), 1)
    return {
        "mean_iou": float(iou[occurs].mean()) if occurs.any() else 0.0,
        "pixel_accuracy": int(confusion.diagonal().sum()) / total,
        "mean_accuracy": float(accuracy[true > 0].mean()) if occurs.any() else 0.0,
        "frequency_weighted_iou": float((iou * true).sum()) / total,
    }


def _rates(confusion: Tensor) -> tuple[Sequence[float], Sequence[float]]:
    """IoU and accuracy of each class, 0 where undefined."""
    right, true, said = confusion.diagonal().double(), confusion.sum(dim=1), confusion.sum(dim=0)
    iou = right / (true + said - confusion.diagonal()).clamp(min=1)
    return iou.tolist(), (right / true.clamp(min=1)).tolist()


def _count_store(size: int, device: torch.device) -> Any:
    """A torchmetrics metric that adds up counts int64 [size], over all processes."""
    import torchmetrics

    class Counts(torchmetrics.Metric):
        """A sum of counts."""

        full_state_update = False

        def __init__(self) -> None:
            super().__init__()
            self.counts: Tensor
            self.add_state("counts", default=torch.zeros(size, dtype=torch.int64), dist_reduce_fx="sum")

        def update(self, counts: Tensor) -> None:
            self.counts += counts

        def compute(self) -> Tensor:
            return self.counts

    store = Counts().to(device)
    # Else torchmetrics warns that nothing was taken in, on a process without rows.
    store.update(torch.zeros(size, dtype=torch.int64, device=device))
    return store
