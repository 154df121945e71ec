"""Rows as an image backbone's input with their masks: decoded, brought to size, augmented together, collated."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torchvision import tv_tensors

from graftwork.interfaces import Batch, Examples, ImageInput
from graftwork.vision.frames import (
    VOID,
    Frame,
    FrameOptions,
    Framer,
    Pictures,
    Things,
    collate_frames,
    collate_masks,
    join_frames,
)
from graftwork.vision.kept import KeptPixels
from graftwork.vision.levels import NO_RANGES, Ranges
from graftwork_segmentation.masks import decode_mask

if TYPE_CHECKING:
    from datasets import Dataset

MASK_BYTES = 16 * 2**20
"""Decoded masks that one `SegmentationExamples` keeps, over all loader workers together; on no disk, where a PNG of a mask is
read as fast."""


class SegmentationExamples(Examples):
    """Pictures of a table on canvases of many shapes, with their masks.

    Args:
        rows: columns `image` and, unless for prediction, `mask` ({bytes, path}) and `mask_map`; `width` and `height`
            where they are known.
        input: what the backbone wants.
        options: of the task.
        train: whether to augment, and to give masks on the canvas; else they are at their original size.
        ranges: by which deep levels become 8 bits.
    """

    evaluated_together: ClassVar[int] = 16

    def __init__(
        self, rows: Dataset, input: ImageInput, options: FrameOptions, train: bool, ranges: Ranges = NO_RANGES
    ) -> None:
        self._pictures = Pictures(rows, options, train, ranges=ranges)
        self._masks = rows.select_columns(["mask", "mask_map"]) if "mask" in rows.column_names else None
        self._kept = KeptPixels(self._masks, "masks", MASK_BYTES) if self._masks is not None else None
        self._framer = Framer(options, input, train, _shows_a_class)
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
        """Decoded pictures and masks are not kept."""
        other = copy.copy(self)
        other._pictures = self._pictures.read_once()
        other._kept = None if self._kept is None else self._kept.read_once()
        return other

    def join(self, name: str, values: Sequence[Tensor]) -> Tensor:
        return join_frames(name, values)

    def load(self, row: int) -> tuple[Frame, Tensor | None]:
        """A frame, with its mask in training; and the mask at its original size in evaluation."""
        pixels = self._pictures.pixels(row)
        original = self._pictures.shapes[row]
        if self._kept is None:
            return self._framer(pixels, {}, original), None
        mask = self._kept.get(row, lambda: self._mask(row, pixels.shape[-2:])[None])[0]
        if not self._train:
            return self._framer(pixels, {}, original), mask.clone()
        return self._framer(pixels, {"mask": tv_tensors.Mask(mask)}, original), None

    def _mask(self, row: int, shape: torch.Size) -> Tensor:
        """uint8 [h, w]; in training of this shape, since a large picture is kept smaller than it is stored."""
        assert self._masks is not None
        cells = self._masks[row]
        mask = decode_mask(cells["mask"], cells["mask_map"], shape=self._pictures.shapes[row])
        if not self._train or mask.shape == shape:
            return mask
        return torch.nn.functional.interpolate(mask[None, None], tuple(shape), mode="nearest-exact")[0, 0]

    def collate(self, rows: Sequence[int], examples: Sequence[tuple[Frame, Tensor | None]]) -> Batch:
        """Inputs as of `collate_frames`; targets {"mask": uint8 [B, H, W]} on the canvas in training, a dict a row with
        `mask` uint8 [h, w] at the original size in evaluation, {} where rows have none."""
        frames = [frame for frame, _ in examples]
        inputs = collate_frames(frames, self._input)
        numbers = torch.tensor(rows, dtype=torch.int64)
        if self._masks is None:
            return Batch(numbers, inputs, {})
        if self._train:
            return Batch(numbers, inputs, {"mask": collate_masks(frames, inputs)})
        return Batch(numbers, inputs, [{"mask": mask} for _, mask in examples if mask is not None])


def _shows_a_class(things: Things) -> bool:
    """Whether a crop shows a pixel that is scored."""
    mask = things.get("mask")
    return mask is None or bool((mask != VOID).any())
