"""From candidate boxes on a canvas to the objects of one picture, in its own pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import batched_nms, remove_small_boxes


def to_original(boxes: Tensor, size: Tensor, original: Tensor) -> Tensor:
    """Boxes [n, 4] in canvas pixels, clipped to their picture, in the pixels of the picture as stored.

    Args:
        size: [2], height and width of the picture on the canvas.
        original: [2], as stored.
    """
    # Not torchvision's clip_boxes_to_image: it takes numbers, and reading them waits for the device, once a picture.
    edge = size.flip(0).to(boxes.dtype)
    clipped = torch.minimum(boxes.clamp(min=0), edge.repeat(2))
    scale = (original / size).flip(0).to(boxes.dtype)
    return clipped * scale.repeat(2)


def finish(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    size: Tensor,
    original: Tensor,
    score_threshold: float,
    nms_iou: float,
    top: int,
) -> dict[str, Tensor]:
    """The objects of one picture: non-maximum suppression within each class, then the best.

    Args:
        boxes: float32 [n, 4], corners in canvas pixels.
        scores: float32 [n], 0 to 1.
        labels: int64 [n], class index.
        size, original: [2], as for `to_original`.
        score_threshold: only above it.
        nms_iou: a box that overlaps a better one of its class by more is left out.
        top: at most so many.

    Returns:
        `boxes` [m, 4] in original pixels, `scores` [m] descending, `labels` [m].
    """
    found = to_original(boxes, size, original)
    kept = torch.where(scores > score_threshold)[0]
    kept = kept[remove_small_boxes(found[kept], 1e-2)]
    kept = kept[batched_nms(found[kept], scores[kept], labels[kept], nms_iou)[:top]]
    return {"boxes": found[kept], "scores": scores[kept], "labels": labels[kept]}
