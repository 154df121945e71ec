"""Which predicted box is which object: found, missed, false alarm. As COCO matches, at one IoU; for tables and pictures.

Average precision itself is the library's (`metrics`); what is here explains single pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

IOU = 0.5
"""Overlap (intersection over union) from which a box counts as the object."""

THRESHOLD = 0.5
"""Score from which a box counts where nothing better is known."""

FALSE_ALARM, OF_A_CROWD = -1, -2
"""What a box is that is no object: nothing there, or part of a crowd, which counts neither for nor against."""


@dataclass(frozen=True)
class Matched:
    """A picture's boxes and objects, matched.

    Args:
        scores: float [m], of the predicted boxes.
        found: int [m], the object that each box is, or FALSE_ALARM or OF_A_CROWD.
        crowd: bool [n], of the objects.
    """

    scores: np.ndarray
    found: np.ndarray
    crowd: np.ndarray

    @property
    def objects(self) -> int:
        """How many there are to be found."""
        return int((~self.crowd).sum())

    def found_from(self, threshold: float) -> set[int]:
        """Objects that a box with at least this score found."""
        return {int(index) for index in self.found[(self.scores >= threshold) & (self.found >= 0)]}

    def missed_from(self, threshold: float) -> set[int]:
        """Objects that none found."""
        return set(np.flatnonzero(~self.crowd).tolist()) - self.found_from(threshold)

    def false_alarms_from(self, threshold: float) -> int:
        """Boxes with at least this score that are no object."""
        return int(((self.scores >= threshold) & (self.found == FALSE_ALARM)).sum())

    def f1(self, threshold: float) -> float:
        """2 found / (objects + boxes), 0 to 1; 1 where there is nothing to find and nothing said."""
        found, wrong = len(self.found_from(threshold)), self.false_alarms_from(threshold)
        both = self.objects + found + wrong
        return 2 * found / both if both else 1.0


def match(
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    true_boxes: np.ndarray,
    true_labels: np.ndarray,
    crowd: np.ndarray,
) -> Matched:
    """Match a picture as COCO does (Lin et al. 2014): boxes choose by falling score, each the free object of its class that
    it overlaps most, from IOU on; one that finds none is part of a crowd of its class, or a false alarm.

    As the sure choose first, leaving out the unsure afterwards changes nothing for those that stay.

    Args:
        boxes, true_boxes: [m, 4] and [n, 4], left, top, right, bottom in pixels.
        scores, labels: [m]. true_labels, crowd: [n].
    """
    found = np.full(len(scores), FALSE_ALARM, dtype=np.int64)
    overlap = _overlap(boxes.astype(np.float64), true_boxes.astype(np.float64), crowd)
    overlap[labels[:, None] != true_labels[None, :]] = 0.0
    free = ~crowd
    for at in np.argsort(-scores, kind="stable"):
        for candidates, taken in ((free, True), (crowd, False)):
            open_to = np.where(candidates, overlap[at], 0.0)
            best = int(open_to.argmax()) if len(open_to) else 0
            if len(open_to) and open_to[best] >= IOU:
                found[at] = best if taken else OF_A_CROWD
                free = free & (np.arange(len(free)) != best) if taken else free
                break
    return Matched(scores, found, crowd)


def best_threshold(pictures: Sequence[Matched]) -> float:
    """The score from which all pictures' boxes together have the best F1; THRESHOLD where no box is right."""
    if not pictures:
        return THRESHOLD
    scores = np.concatenate([picture.scores for picture in pictures])
    found = np.concatenate([picture.found for picture in pictures])
    scores, found = scores[found != OF_A_CROWD], found[found != OF_A_CROWD]
    if not (found >= 0).any():
        return THRESHOLD
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], (found[order] >= 0).cumsum()
    objects = sum(picture.objects for picture in pictures)
    f1 = 2 * right / (objects + np.arange(1, len(scores) + 1))
    last_of_ties = np.append(scores[1:] < scores[:-1], True)
    best = int(np.where(last_of_ties, f1, -1.0).argmax())
    # Between two scores, so that no rounding decides.
    below = float(scores[best + 1]) if best + 1 < len(scores) else 0.0
    return (float(scores[best]) + below) / 2


def totals(pictures: Sequence[Matched], threshold: float) -> dict[str, Any]:
    """Over all pictures from this score on: `threshold`, `precision`, `recall`, `f1` (0 where undefined)."""
    found = sum(len(picture.found_from(threshold)) for picture in pictures)
    wrong = sum(picture.false_alarms_from(threshold) for picture in pictures)
    objects = sum(picture.objects for picture in pictures)
    return {
        "threshold": threshold,
        "precision": found / max(found + wrong, 1),
        "recall": found / max(objects, 1),
        "f1": 2 * found / max(objects + found + wrong, 1),
    }


def _overlap(boxes: np.ndarray, true_boxes: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """[m, n]: intersection over union; with a crowd, the share of the box that lies in it (as in COCO)."""
    low = np.maximum(boxes[:, None, :2], true_boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], true_boxes[None, :, 2:])
    inside = (high - low).clip(min=0).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)[:, None]
    true_area = (true_boxes[:, 2:] - true_boxes[:, :2]).prod(axis=1)[None, :]
    union = np.where(crowd[None, :], area, area + true_area - inside)
    shares: np.ndarray = inside / np.maximum(union, 1e-12)
    return shares
