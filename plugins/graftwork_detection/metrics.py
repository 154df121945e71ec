"""COCO's average precision and recall, by torchmetrics over faster-coco-eval, from rows of numbers of all processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graftwork.classification.gather import row_store
from graftwork.interfaces import Batch, Facts, Metrics, Predictions
from graftwork_detection.matching import Matched, best_threshold, match, totals

IOUS = np.linspace(0.5, 0.95, 10).tolist()
RECALLS = np.linspace(0.0, 1.0, 101).tolist()
"""COCO's thresholds in double precision; torchmetrics' own are float32, and 0.55000001 is not 0.55."""

SIZES = {"small": 32**2, "medium": 96**2, "large": 1e10}
"""COCO's classes of area: the pixels of a box, up to."""

_PICTURE, _OBJECT, _BOX = 0.0, 1.0, 2.0  # what a gathered line is about
_NAMES = {"map": "map", "map_50": "map_50", "map_75": "map_75", "mar_1": "ar_1", "mar_10": "ar_10", "mar_100": "ar_100"}
_NAMES |= {f"map_{size}": f"map_{size}" for size in SIZES} | {f"mar_{size}": f"ar_{size}" for size in SIZES}

Picture = dict[str, Tensor]


@dataclass(frozen=True)
class Gathered:
    """All pictures in the order of their rows, on the CPU.

    Args:
        predictions: a dict a picture: boxes float32 [m, 4] xyxy, scores [m], labels int64 [m].
        truth: a dict a picture: boxes float32 [n, 4], labels int64 [n], iscrowd int64 [n].
    """

    predictions: list[Picture]
    truth: list[Picture]


class DetectionMetrics(Metrics):
    """Average precision as COCO defines it (Lin et al. 2014, "Microsoft COCO: Common Objects in Context").

    - `map`: mean over classes and over the IoU thresholds 0.50, 0.55, … 0.95 of the area under precision over recall, at
      101 recalls; `map_50`, `map_75`: at one threshold; `map_small`, `map_medium`, `map_large`: of objects with boxes of up
      to 32², up to 96² and of more pixels, where there are any. COCO takes the area of an object's outline for its size;
      rows have no outlines, so here it is the box's.
    - `ar_100`: mean recall over the same classes and thresholds, with the 100 surest boxes of a picture.

    A class without objects is left out of the means, as in COCO; where no class has one, there is nothing to be found and
    the metrics are 0. Crowd objects count neither for nor against a prediction.

    Args:
        facts: `classes`, and `threshold` once it is chosen.
        device: where the predictions are.
    """

    def __init__(self, facts: Facts, device: torch.device) -> None:
        self._classes: list[str] = list(facts["classes"])
        self._threshold: float | None = facts.get("threshold")
        self._rows = row_store(8, device)

    def update(self, predictions: Predictions, batch: Batch) -> None:
        """Take in a dict a picture (boxes xyxy in pixels of the stored picture, scores, labels) and its truth."""
        assert isinstance(predictions, list) and isinstance(batch.targets, list)
        # What a line is, the picture's row, class, score or crowd, box. Boxes were chosen one by one (suppression), so the
        # device has been waited for already: small copies to it cost nothing more.
        parts = []
        for row, said, true in zip(batch.rows.tolist(), predictions, batch.targets, strict=True):
            place = said["boxes"].device
            parts.append(torch.tensor([[_PICTURE, row, 0, 0, 0, 0, 0, 0]], dtype=torch.float32, device=place))
            parts.append(_lines(_OBJECT, row, true["labels"], true["crowd"], true["boxes"]))
            parts.append(_lines(_BOX, row, said["labels"], said["scores"], said["boxes"]))
        self._rows.update(torch.cat(parts))

    def compute(self) -> dict[str, float]:
        """Metrics by name, over the rows of all processes."""
        gathered = self._gathered()
        if not gathered.truth:
            return {}
        numbers = coco_numbers(_evaluate(gathered))
        always = ("map", "map_50", "map_75", "ar_100")
        result = {name: numbers[name] or 0.0 for name in always}
        return result | {f"map_{size}": found for size in SIZES if (found := numbers[f"map_{size}"]) is not None}

    def details(self) -> dict[str, Any]:
        """More than numbers, all None where undefined.

        - `classes`; `iou_thresholds`; `coco`: COCO's twelve numbers by name.
        - `per_class`: class, ap, ap_50, ar, objects (without crowds), and `precision` at IoU 0.5 at the 101 `recalls`.
        - `threshold`, `precision`, `recall`, `f1`: the score from which boxes of all classes together have the best F1 at
          IoU 0.5 (or the facts', where validation has chosen it), and what they are there.
        - `sizes`: size, objects, and how many of them were found from `threshold` on.
        """
        gathered = self._gathered()
        result: dict[str, Any] = {"classes": self._classes}
        result |= {"iou_thresholds": [round(x, 2) for x in IOUS], "recalls": [round(x, 2) for x in RECALLS]}
        if not gathered.truth:
            return result
        found = _evaluate(gathered, extended=True)
        matched = [match_picture(*pair) for pair in zip(gathered.predictions, gathered.truth, strict=True)]
        threshold = self._threshold if self._threshold is not None else best_threshold(matched)
        return {
            **result,
            "coco": coco_numbers(found),
            "per_class": per_class(self._classes, found, gathered.truth),
            **totals(matched, threshold),
            "sizes": by_size(matched, gathered.truth, threshold),
        }

    def _gathered(self) -> Gathered:
        # By row, so that neither batches nor processes decide between boxes of equal score.
        lines = self._rows.compute().cpu()
        lines = lines[lines[:, 1].argsort(stable=True)]
        kind, row = lines[:, 0], lines[:, 1].contiguous()
        pictures = row[kind == _PICTURE].contiguous()
        parts = []
        for wanted in (_OBJECT, _BOX):
            of_kind = lines[kind == wanted]
            counts = torch.bincount(torch.searchsorted(pictures, row[kind == wanted]), minlength=len(pictures))
            parts.append(of_kind.split(counts.tolist()))
        return Gathered(
            [{"boxes": part[:, 4:], "scores": part[:, 3], "labels": part[:, 2].long()} for part in parts[1]],
            [{"boxes": part[:, 4:], "iscrowd": part[:, 3].long(), "labels": part[:, 2].long()} for part in parts[0]],
        )


def coco_numbers(found: dict[str, Tensor]) -> dict[str, float | None]:
    """COCO's twelve numbers from what torchmetrics gave; None in place of -1, which says that there is nothing to measure."""
    return {ours: value if (value := float(found[theirs])) >= 0 else None for theirs, ours in _NAMES.items()}


def per_class(classes: Sequence[str], found: dict[str, Tensor], truth: Sequence[Picture]) -> list[dict[str, Any]]:
    """A line a class from torchmetrics' extended summary; see `DetectionMetrics.details`."""
    labels = torch.cat([picture["labels"][picture["iscrowd"] == 0] for picture in truth])
    objects = torch.bincount(labels, minlength=len(classes)).tolist()
    # [thresholds, recalls, classes, sizes, most boxes]: all sizes, 100 boxes. Classes are those that occur.
    where = {int(label): at for at, label in enumerate(found["classes"].reshape(-1).tolist())}
    lines = []
    for index, name in enumerate(classes):
        line: dict[str, Any] = {"class": name, "objects": objects[index]}
        if objects[index]:
            precision = found["precision"][:, :, where[index], 0, -1]
            line |= {"ap": float(precision.mean()), "ap_50": float(precision[0].mean())}
            line |= {"ar": float(found["recall"][:, where[index], 0, -1].mean()), "precision": precision[0].tolist()}
        else:
            line |= dict.fromkeys(("ap", "ap_50", "ar", "precision"))
        lines.append(line)
    return lines


def by_size(matched: Sequence[Matched], truth: Sequence[Picture], threshold: float) -> list[dict[str, Any]]:
    """How many objects of each size there are, and how many were found; crowds are left out."""
    objects, found = dict.fromkeys(SIZES, 0), dict.fromkeys(SIZES, 0)
    for picture, true in zip(matched, truth, strict=True):
        hits = picture.found_from(threshold)
        areas = (true["boxes"][:, 2:] - true["boxes"][:, :2]).prod(dim=1).tolist()
        for at, area in enumerate(areas):
            if not picture.crowd[at]:
                size = next(name for name, most in SIZES.items() if area <= most)
                objects[size] += 1
                found[size] += at in hits
    return [{"size": size, "objects": objects[size], "found": found[size]} for size in SIZES]


def match_picture(said: Picture, true: Picture) -> Matched:
    """One picture of `Gathered`, matched."""
    return match(
        said["boxes"].numpy(),
        said["scores"].numpy(),
        said["labels"].numpy(),
        true["boxes"].numpy(),
        true["labels"].numpy(),
        true["iscrowd"].numpy().astype(bool),
    )


def _lines(kind: float, row: int, labels: Tensor, numbers: Tensor, boxes: Tensor) -> Tensor:
    """[n, 8]; float32 holds row and class numbers exactly up to 16 million."""
    heads = torch.tensor([[kind, float(row)]], device=boxes.device).expand(len(labels), 2)
    return torch.cat([heads, labels.float()[:, None], numbers.float()[:, None], boxes.float().reshape(-1, 4)], dim=1)


def _evaluate(gathered: Gathered, extended: bool = False) -> dict[str, Tensor]:
    from torchmetrics.detection import MeanAveragePrecision

    metric = MeanAveragePrecision(
        box_format="xyxy",
        iou_type="bbox",
        iou_thresholds=IOUS,
        rec_thresholds=RECALLS,
        extended_summary=extended,
        backend="faster_coco_eval",
        sync_on_compute=False,  # the rows are those of all processes already
    )
    metric.warn_on_many_detections = False
    metric.update(gathered.predictions, gathered.truth)
    found: dict[str, Tensor] = metric.compute()
    return found
