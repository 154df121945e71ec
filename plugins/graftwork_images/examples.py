"""Rows as an image backbone's input: decode, bring to size, augment, collate. Normalising is the backbone's own work."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torchvision.transforms import v2

from graftwork.classification.labels import targets_of
from graftwork.interfaces import Batch, Examples, ImageInput
from graftwork.vision.decode import decode_rgb
from graftwork.vision.kept import KeptPixels, stack_channels_last
from graftwork.vision.levels import NO_RANGES, Ranges
from graftwork_images.augment import ImageOptions as ImageOptions  # the task takes it from here
from graftwork_images.augment import Move, PadCropFlip, build_transforms, move
from graftwork_images.mixing import build_mixing

if TYPE_CHECKING:
    from datasets import Dataset

Example = tuple[Tensor, int | None, Move | None]
"""Pixels uint8 [3, size, size], the class index where the row has one, and what is still to be done with the pixels."""

CACHE_BYTES = 16 * 2**20
"""Decoded pixels that one Examples object keeps in memory, over all loader workers together."""


class ImageExamples(Examples):
    """Images of a table at a backbone's size.

    What is the same in every epoch (decode, the deterministic resize) is done once a row and kept, see `KeptPixels`; a row
    gives the same pixels as without that.

    Args:
        rows: columns `image` ({bytes, path}, not decoded) and, unless for prediction, `label` (class index, list of them, or
            number, as `labels` says).
        input: what the backbone wants.
        classes: how many there are.
        options: of the task.
        train: whether to augment and to mix.
        cache_bytes: bytes, the most that is kept in memory; 0 for keeping nothing.
        ranges: by which deep levels become 8 bits.
        labels: what a label is: `single`, `multi` or `number`.
    """

    def __init__(
        self,
        rows: Dataset,
        input: ImageInput,
        classes: int,
        options: ImageOptions,
        train: bool,
        cache_bytes: int = CACHE_BYTES,
        ranges: Ranges = NO_RANGES,
        labels: str = "single",
    ) -> None:
        self._images = rows.select_columns(["image"])
        # As one tensor: a cached row is then served without touching the table.
        about = {"labels": labels, "classes": range(classes)}
        self._targets = targets_of(rows["label"][:], about) if "label" in rows.column_names else None
        self._prepare, self._augment = build_transforms(input, options, train)
        self._input, self._options = input, options
        self._mix = build_mixing(options.mixup, options.cutmix, max(classes, 1)) if train else None
        self._kept = KeptPixels(rows, str(self._prepare), cache_bytes, ranges)
        self._ranges = ranges

    def __len__(self) -> int:
        return len(self._images)

    def view(self, number: int) -> Examples:
        """Fixed views have the evaluation's size: a smaller one in training makes up for what random crops magnify
        (Touvron et al. 2019, FixRes), and a view without a crop magnifies nothing."""
        if self._augment is None:
            return self
        fixed = copy.copy(self)
        options = replace(self._options, train_size=0)
        fixed._prepare, fixed._augment = build_transforms(self._input, options, True)
        if number == 0 or (number == 1 and options.flip):
            fixed._prepare, _ = build_transforms(self._input, options, False)
            fixed._augment = v2.functional.horizontal_flip if number == 1 else None
        fixed._kept = self._kept.remade(str(fixed._prepare))
        return fixed

    def read_once(self) -> Examples:
        """Decoded pixels are not kept."""
        other = copy.copy(self)
        other._kept = self._kept.read_once()
        return other

    def load(self, row: int) -> Example:
        """Pixels and label. What can be done for a batch at once is only drawn here."""
        pixels = self._kept.get(row, lambda: self._prepare(decode_rgb(self._images[row]["image"], self._ranges)))
        label = int(self._targets[1][row]) if self._targets is not None and self._targets[0] == "label" else None
        if isinstance(self._augment, PadCropFlip):
            return pixels, label, self._augment.draw()
        return pixels if self._augment is None else self._augment(pixels), label, None

    def collate(self, rows: Sequence[int], examples: Sequence[Example]) -> Batch:
        """Inputs {"pixels": uint8 [B, 3, size, size] in channels_last}, targets {"label": int64 [B]}, {"labels": float32
        [B, classes]} or {"value": float32 [B]}, by what a label is.

        {} where rows have no labels. With mixup or cutmix: {"pixels": float32 in 0..1}, and {"probabilities": float32
        [B, classes]} in place of `label`.
        """
        numbers = torch.tensor(rows, dtype=torch.int64)
        pixels = stack_channels_last([example[0] for example in examples])
        if any(example[2] for example in examples):
            pixels = move(pixels, [example[2] or (0, 0, False) for example in examples])
        if self._targets is None:
            return Batch(numbers, {"pixels": pixels}, {})
        name, values = self._targets
        labels = values[numbers]
        if self._mix is None:
            return Batch(numbers, {"pixels": pixels}, {name: labels})
        mixed, soft = self._mix(pixels, labels)
        return Batch(numbers, {"pixels": mixed}, {"probabilities" if name == "label" else name: soft})
