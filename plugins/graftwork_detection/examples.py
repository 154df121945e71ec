"""Rows as an image backbone's input with their boxes: decoded, brought to size, augmented together, collated."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from graftwork.interfaces import Batch, Examples, ImageInput
from graftwork.vision.frames import (
    Frame,
    FrameOptions,
    Framer,
    Pictures,
    Things,
    boxes_on,
    collate_frames,
    join_frames,
    left_of,
)
from graftwork.vision.levels import NO_RANGES, Ranges

if TYPE_CHECKING:
    from datasets import Dataset

SEEN = 0.3
"""The share of a box that must be left in a crop for its object to stay; less of it would teach to see objects in slivers."""


@dataclass(frozen=True)
class Objects:
    """The objects of one picture.

    Args:
        boxes: float32 [n, 4], corners in original pixels.
        labels: int64 [n], class index.
        crowd: bool [n], objects that are not scored.
    """

    boxes: Tensor
    labels: Tensor
    crowd: Tensor


class DetectionExamples(Examples):
    """Pictures of a table on canvases of many shapes, with their boxes.

    Args:
        rows: columns `image` and, unless for prediction, `objects` (COCO's bbox, class index, crowd); `width` and `height`
            where they are known.
        input: what the backbone wants.
        options: of the task.
        train: whether to augment, and to give boxes in canvas pixels; else they are in original pixels.
        ranges: by which deep levels become 8 bits.
    """

    evaluated_together: ClassVar[int] = 16

    def __init__(
        self, rows: Dataset, input: ImageInput, options: FrameOptions, train: bool, ranges: Ranges = NO_RANGES
    ) -> None:
        self._pictures = Pictures(rows, options, train, ranges=ranges)
        self._objects = _all_objects(rows) if "objects" in rows.column_names else None
        self._framer = Framer(options, input, train, shows_an_object)
        self._input = input
        self._train = train

    def __len__(self) -> int:
        return len(self._pictures)

    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of every row's canvas, pixels."""
        return self._pictures.canvases()

    def view(self, number: int) -> Examples:
        fixed = copy.copy(self)
        fixed._framer = self._framer.view(number)
        return fixed

    def read_once(self) -> Examples:
        """Decoded pictures are not kept."""
        other = copy.copy(self)
        other._pictures = self._pictures.read_once()
        return other

    def join(self, name: str, values: Sequence[Tensor]) -> Tensor:
        return join_frames(name, values)

    def load(self, row: int) -> tuple[Frame, Objects | None]:
        """A frame with the boxes that are left on it, and the objects as they were."""
        pixels = self._pictures.pixels(row)
        original = self._pictures.shapes[row]
        objects = self._objects[row] if self._objects is not None else None
        if objects is None or not self._train:
            return self._framer(pixels, {}, original), objects
        kept = ~objects.crowd
        height, width = pixels.shape[-2:]
        scale = torch.tensor([width / original[1], height / original[0]]).repeat(2)
        boxes = objects.boxes[kept] * scale
        frame = self._framer(pixels, {"boxes": boxes_on(boxes, height, width)}, original)
        return frame, Objects(boxes, objects.labels[kept], objects.crowd[kept])

    def collate(self, rows: Sequence[int], examples: Sequence[tuple[Frame, Objects | None]]) -> Batch:
        """Inputs as of `collate_frames`; targets, a dict a row: `boxes` float32 [n, 4], `labels` int64 [n], `crowd` bool
        [n]; {} where rows have no objects to learn from."""
        frames = [frame for frame, _ in examples]
        inputs = collate_frames(frames, self._input)
        numbers = torch.tensor(rows, dtype=torch.int64)
        if self._objects is None:
            return Batch(numbers, inputs, {})
        return Batch(numbers, inputs, [self._target(frame, objects) for frame, objects in examples if objects])

    def _target(self, frame: Frame, objects: Objects) -> dict[str, Tensor]:
        if not self._train:
            return {"boxes": objects.boxes, "labels": objects.labels, "crowd": objects.crowd}
        boxes, share = left_of(frame.things["boxes"])
        kept = share >= SEEN
        return {"boxes": boxes[kept], "labels": objects.labels[kept], "crowd": objects.crowd[kept]}


def shows_an_object(things: Things) -> bool:
    """Whether a crop shows an object, where there was one."""
    boxes = things.get("boxes")
    return boxes is None or not len(boxes) or bool((left_of(boxes)[1] >= SEEN).any())


def _all_objects(rows: Dataset) -> list[Objects]:
    """The objects of every row; as tensors, so that a row is served without touching the table."""
    found = []
    for objects in rows["objects"][:]:
        boxes = torch.tensor(objects["bbox"], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = torch.tensor(objects["category"], dtype=torch.int64)
        found.append(Objects(boxes, labels, torch.tensor(objects["crowd"], dtype=torch.bool)))
    return found
