"""From the first look of a two-stage head to a fixed number of proposals a picture: every shape follows from shapes alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import MultiScaleRoIAlign, batched_nms, roi_align

from graftwork_detection.heads.postprocess import clipped


@torch.library.custom_op("graftwork_detection::best_apart", mutates_args=())
def best_apart(boxes: Tensor, scores: Tensor, groups: Tensor, usable: Tensor, iou: float, most: int) -> Tensor:
    """Non-maximum suppression that always gives equally many places: int64 [B, most], best first, then -1.

    An operator of its own, since torchvision's gives as many as it finds, which nothing that is traced can know.

    Args:
        boxes: [B, n, 4], corners.
        scores: [B, n].
        groups: int64 [B, n]; boxes of different groups do not suppress one another.
        usable: bool [B, n]; others are left out.
        iou: a box that overlaps a better one of its group by more is left out.
        most: how many places.
    """
    found = boxes.new_full((len(boxes), most), -1, dtype=torch.int64)
    for row in range(len(boxes)):
        there = torch.where(usable[row])[0]
        kept = there[batched_nms(boxes[row][there], scores[row][there], groups[row][there], iou)[:most]]
        found[row, : len(kept)] = kept
    return found


@best_apart.register_fake
def _(boxes: Tensor, scores: Tensor, groups: Tensor, usable: Tensor, iou: float, most: int) -> Tensor:
    return boxes.new_empty((boxes.shape[0], most), dtype=torch.int64)


def propose(
    rpn: RegionProposalNetwork, boxes: Tensor, objectness: Tensor, anchors: Sequence[int], size: Tensor, most: int
) -> tuple[Tensor, Tensor]:
    """The best boxes of each picture, as `filter_proposals` of torchvision's network chooses them.

    Args:
        rpn: the network, for its thresholds.
        boxes: float32 [B, n, 4], corners on the canvas, levels one after another.
        objectness: float32 [B, n], before the sigmoid.
        anchors: how many of the n belong to each level.
        size: [B, 2], height and width of each picture on the canvas.
        most: proposals of a picture; also at most so many of a level before suppression.

    Returns:
        Proposals [B, most, 4] within their pictures, best first, then zeros; and bool [B, most], which are none of these.
    """
    best, level, start = [], [], 0
    for number, scores in enumerate(torch.split(objectness, list(anchors), dim=1)):
        places = scores.topk(min(most, scores.shape[1]), dim=1).indices
        best.append(places + start)
        level.append(torch.full_like(places, number))
        start += scores.shape[1]
    place, group = torch.cat(best, dim=1), torch.cat(level, dim=1)
    scores = objectness.gather(1, place).sigmoid()
    boxes = clipped(_rows(boxes, place), size)
    usable = (boxes[..., 2:] - boxes[..., :2] >= rpn.min_size).all(dim=2) & (scores >= rpn.score_thresh)
    chosen = best_apart(boxes, scores, group, usable, rpn.nms_thresh, most)
    there = chosen >= 0
    return _rows(boxes, chosen.clamp(min=0)).where(there.unsqueeze(2), 0.0), there


def cut_out(pool: MultiScaleRoIAlign, levels: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """What `pool` makes of boxes [B, n, 4]: [B n, C, side, side].

    Each box is cut out of every level, and taken from the one that the pool maps it to: how many belong to a level does not
    follow from shapes.
    """
    flat = boxes.flatten(0, 1)
    rows = torch.arange(boxes.shape[0], device=boxes.device).repeat_interleave(boxes.shape[1])
    regions = torch.cat([rows.unsqueeze(1).to(boxes.dtype), flat], dim=1)
    mapped = pool.map_levels([flat]).view(-1, 1, 1, 1)
    found: Tensor | None = None
    for number, (level, scale) in enumerate(zip(levels, pool.scales, strict=True)):
        part = roi_align(level, regions, pool.output_size, scale, pool.sampling_ratio)
        found = part if found is None else torch.where(mapped == number, part, found)
    assert found is not None
    return found


def _rows(boxes: Tensor, places: Tensor) -> Tensor:
    """The boxes [B, m, 4] at places [B, m] among [B, n, 4]."""
    return boxes.gather(1, places.unsqueeze(2).expand(-1, -1, 4))
