"""What one-stage heads share beside their pyramid: anchors level by level, and which of their many scores are looked at.

All in float32 whatever the precision of the run: bf16 tells pixel 256 from 257 no more.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator

from graftwork.interfaces import Features, Outputs, Targets
from graftwork_detection.heads.postprocess import Limits, finish

BEFORE_NMS = 1000
"""Candidates a level that go into non-maximum suppression (Lin et al. 2017, "Focal Loss", section 4)."""


def canvas_of(features: Features) -> tuple[int, int]:
    """(height, width) in pixels of the canvas on which a batch's pictures lie."""
    height, width = features["canvas"].shape[-2:]
    return height, width


class Anchors(AnchorGenerator):  # type: ignore[misc]
    """Torchvision's generator, and its anchors from shapes alone.

    Upstream's keeps its shapes on the last device in an attribute, where tracing would leave tensors of its own; here they are
    buffers too, and move with the head.
    """

    def __init__(self, sizes: Sequence[Sequence[float]], aspects: Sequence[float]) -> None:
        super().__init__(tuple(map(tuple, sizes)), (tuple(aspects),) * len(sizes))
        for level, shapes in enumerate(self.cell_anchors):
            self.register_buffer(f"level{level}", shapes, persistent=False)

    def on(self, levels: Sequence[Tensor], canvas: tuple[int, int]) -> list[Tensor]:
        """Those of each level, float32 [cells x shapes, 4] as corners in canvas pixels, cells row by row.

        Cells are as far apart as the level's own size says (canvas over cells, rounded down, as torchvision has it): a stem
        without padding gives maps that are not exactly canvas over stride.
        """
        found = []
        for shapes, level in zip(self.buffers(), levels, strict=True):
            ys, xs = (
                torch.arange(cells, dtype=torch.int32, device=level.device) * (pixels // cells)
                for cells, pixels in zip(level.shape[-2:], canvas, strict=True)
            )
            y, x = torch.meshgrid(ys, xs, indexing="ij")
            found.append((torch.stack([x, y, x, y], dim=2).view(-1, 1, 4) + shapes).view(-1, 4))
        return found

    def counts(self, sizes: Sequence[tuple[int, int]]) -> list[int]:
        """How many there are of each level, for levels of these heights and widths."""
        return [height * width * len(shapes) for shapes, (height, width) in zip(self.buffers(), sizes, strict=True)]


def decoded(coder: BoxCoder, deltas: Tensor, anchors: Tensor) -> Tensor:
    """Deltas [B, anchors, 4] from anchors [anchors, 4] as corners in canvas pixels, [B, anchors, 4]."""
    boxes: Tensor = coder.decode_single(deltas.flatten(0, 1), anchors.expand_as(deltas).flatten(0, 1))
    return boxes.view_as(deltas)


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


def objects_of(outputs: Outputs, features: Features, sizes: Sequence[int], limits: Limits) -> list[dict[str, Tensor]]:
    """The objects of each picture in its own pixels, best first.

    Args:
        outputs: `boxes` [B, anchors, 4], corners on the canvas, and `scores` [B, anchors, classes], levels one after another.
        features: hold `size` and `original`.
        sizes: anchors of each level.
    """
    found = []
    for row, (boxes, scores) in enumerate(zip(outputs["boxes"], outputs["scores"], strict=True)):
        place, label, score = candidates(scores, sizes, limits.score_threshold)
        found.append(finish(boxes[place], score, label, features["size"][row], features["original"][row], limits))
    return found


def picture_by_picture(targets: Targets) -> list[dict[str, Tensor]]:
    """Targets as detectors take them: a dict a picture."""
    assert isinstance(targets, list)
    return targets


def rows_of(targets: Targets) -> Tensor:
    """The divisor of losses that are sums over pictures: how many there are."""
    return torch.tensor(float(len(picture_by_picture(targets))))
