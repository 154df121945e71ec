"""What one-stage heads share beside their pyramid: anchors level by level, and which of their many scores are looked at.

All in float32 whatever the precision of the run: bf16 tells pixel 256 from 257 no more.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator

from graftwork.interfaces import Features

BEFORE_NMS = 1000
"""Candidates a level that go into non-maximum suppression (Lin et al. 2017, "Focal Loss", section 4)."""


def canvas_of(features: Features) -> tuple[int, int]:
    """(height, width) in pixels of the canvas on which a batch's pictures lie."""
    height, width = features["canvas"][0].tolist()
    return int(height), int(width)


def anchors_by_level(generator: AnchorGenerator, levels: Sequence[Tensor], canvas: tuple[int, int]) -> list[Tensor]:
    """The anchors of each level, float32 [cells x shapes, 4] as corners in canvas pixels, cells row by row.

    Cells are as far apart as the level's own size says (canvas over cells, rounded down, as torchvision has it): a stem
    without padding gives maps that are not exactly canvas over stride.
    """
    generator.set_cell_anchors(torch.float32, levels[0].device)
    grids = [tuple(level.shape[-2:]) for level in levels]
    strides = [(canvas[0] // height, canvas[1] // width) for height, width in grids]
    anchors: list[Tensor] = generator.grid_anchors(grids, strides)
    return anchors


def candidates(
    scores: Tensor, sizes: Sequence[int], threshold: float, most: int = BEFORE_NMS
) -> tuple[Tensor, Tensor, Tensor]:
    """The best scores of each level of one picture.

    Args:
        scores: [anchors, classes], levels one after another.
        sizes: anchors of each level.
        threshold: only scores above it.
        most: at most so many a level.

    Returns:
        Anchor index, class index and score of each candidate, all [m].
    """
    classes = scores.shape[1]
    places, values, start = [], [], 0
    for level in torch.split(scores, list(sizes)):
        flat = level.flatten()
        kept = torch.where(flat > threshold)[0]
        best, order = flat[kept].topk(min(most, len(kept)))
        places.append(kept[order] + start * classes)
        values.append(best)
        start += len(level)
    place = torch.cat(places)
    return place // classes, place % classes, torch.cat(values)


def rows_of(targets: object) -> Tensor:
    """The divisor of losses that are sums over pictures: how many there are."""
    assert isinstance(targets, list)
    return torch.tensor(float(len(targets)))
