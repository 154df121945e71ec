"""From candidate boxes on a canvas to the objects of one picture, in its own pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import batched_nms, remove_small_boxes

SMALLEST = 1e-2
"""Pixels; a box with a shorter side is none. Torchvision's."""


@dataclass(frozen=True)
class Limits:
    """Which candidates are told as objects.

    Args:
        score_threshold: only above it.
        nms_iou: a box that overlaps a better one of its class by more is left out.
        detections: at most so many a picture.
    """

    score_threshold: float
    nms_iou: float
    detections: int

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Limits:
        """From a head's options, others left aside."""
        return cls(float(options["score_threshold"]), float(options["nms_iou"]), int(options["detections"]))


def clipped(boxes: Tensor, size: Tensor) -> Tensor:
    """Boxes [..., n, 4] in canvas pixels, cut to their pictures, whose height and width are `size` [..., 2]."""
    # Not torchvision's clip_boxes_to_image: it takes numbers, and reading them waits for the device, once a picture.
    edge = size.flip(-1).to(boxes.dtype)
    return torch.minimum(boxes.clamp(min=0), torch.cat([edge, edge], dim=-1).unsqueeze(-2))


def to_original(boxes: Tensor, size: Tensor, original: Tensor) -> Tensor:
    """Boxes [n, 4] in canvas pixels, clipped to their picture, in the pixels of the picture as stored.

    Args:
        size: [2], height and width of the picture on the canvas.
        original: [2], as stored.
    """
    scale = (original / size).flip(0).to(boxes.dtype)
    return clipped(boxes, size) * scale.repeat(2)


def finish(
    boxes: Tensor, scores: Tensor, labels: Tensor, size: Tensor, original: Tensor, limits: Limits
) -> dict[str, Tensor]:
    """The objects of one picture: non-maximum suppression within each class, then the best.

    Args:
        boxes: float32 [n, 4], corners in canvas pixels.
        scores: float32 [n], 0 to 1.
        labels: int64 [n], class index.
        size, original: [2], as for `to_original`.

    Returns:
        `boxes` [m, 4] in original pixels, `scores` [m] descending, `labels` [m].
    """
    found = to_original(boxes, size, original)
    kept = torch.where(scores > limits.score_threshold)[0]
    kept = kept[remove_small_boxes(found[kept], SMALLEST)]
    kept = kept[batched_nms(found[kept], scores[kept], labels[kept], limits.nms_iou)[: limits.detections]]
    return {"boxes": found[kept], "scores": scores[kept], "labels": labels[kept]}
