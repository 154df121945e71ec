"""How a picture comes to a backbone's size and how it varies in training. Whole batches are mixed in mixing.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from graftwork.interfaces import ImageInput
from graftwork.vision.kept import channels_last

SMALL_PIXELS = 64
"""Up to this input size `light` is pad-and-crop, as is usual for CIFAR; a resized crop of 32 pixels shows little."""

CROP_SCALE = (0.35, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)

_CROP_TRIES = 10
_LOG_RATIO = torch.log(torch.tensor(CROP_RATIO)).tolist()

Transform = Callable[[Tensor], Tensor]

Move = tuple[int, int, bool]
"""Pixels down, pixels right, and whether mirrored then."""


@dataclass(frozen=True)
class ImageOptions:
    """The part of the task's options that examples read; defaults stand in registry.yaml.

    Args:
        augment: `none`, `light`, `strong` or `trivial`.
        flip: whether a mirrored image keeps its label (photos do; letters and digits do not).
        train_size: pixels, the side in training where that is smaller than the backbone's input; 0 is the same.
        mixup, cutmix: alpha of the Beta distribution; 0 is off.
        labels: what a row's label is: `single` class, `multi`ple classes, or a `number`.
    """

    augment: str
    flip: bool
    train_size: int
    mixup: float
    cutmix: float
    labels: str = "single"

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> ImageOptions:
        """From a task's options, other keys left aside."""
        return cls(**{field.name: options[field.name] for field in fields(cls) if field.name in options})


def build_transforms(input: ImageInput, options: ImageOptions, train: bool) -> tuple[Square | Shrink, Transform | None]:
    """The part that is the same in every epoch, and the random part (None where there is none).

    Both take and give uint8 [3, H, W]; after both the image is square at the wanted size.
    """
    size = min(options.train_size, input.size) if train and options.train_size else input.size
    resize = max(size, round(input.resize * size / input.size))
    mode = v2.InterpolationMode(input.interpolation)
    to_square = Square(size, resize, mode)
    if not train or options.augment == "none":
        return to_square, None
    # By the size at evaluation: photos that are trained on at 64 pixels are photos still.
    small = input.size <= SMALL_PIXELS
    first = PadCropFlip(size, max(1, size // 8), options.flip) if small else CropFlip(size, mode, options.flip)
    steps: list[Transform] = [first]
    if options.augment == "trivial":
        steps.append(v2.TrivialAugmentWide())
    elif options.augment == "strong":
        steps += [v2.RandAugment(num_ops=2, magnitude=9), v2.RandomErasing(p=0.25)]
    # The smallest crop has sides of sqrt(0.35 * 3/4) = 0.51 of a square image: above twice the input size, pixels are
    # only thrown away, and a 12-megapixel photo would cost more to crop than a small net costs to train.
    prepare = to_square if small else Shrink(2 * size, mode)
    return prepare, first if len(steps) == 1 else v2.Compose(steps)


@dataclass(frozen=True)
class Square:
    """Bring the shorter side to `resize` pixels and take the middle `size` pixels of both sides."""

    size: int
    resize: int
    mode: v2.InterpolationMode

    def __call__(self, image: Tensor) -> Tensor:
        if min(image.shape[-2:]) != self.resize:
            image = v2.functional.resize(image, [self.resize], self.mode, antialias=True)
        square: Tensor = v2.functional.center_crop(image, [self.size])
        return square


@dataclass(frozen=True)
class Shrink:
    """Bring the shorter side down to `side` pixels; smaller images stay as they are."""

    side: int
    mode: v2.InterpolationMode

    def __call__(self, image: Tensor) -> Tensor:
        if min(image.shape[-2:]) <= self.side:
            return image
        smaller: Tensor = v2.functional.resize(image, [self.side], self.mode, antialias=True)
        return smaller


@dataclass(frozen=True)
class CropFlip:
    """A random part of the image, with sides of a random ratio, brought to `size`; half of the images mirrored.

    Draws and gives what torchvision's RandomResizedCrop(size, CROP_SCALE, CROP_RATIO) and RandomHorizontalFlip do, in three
    quarters of their time: most of what is saved is that resizing gets its channels side by side.
    """

    size: int
    mode: v2.InterpolationMode
    flip: bool

    def __call__(self, image: Tensor) -> Tensor:
        top, left, height, width = self._draw(*image.shape[-2:])
        part = channels_last(image[:, top : top + height, left : left + width])
        crop: Tensor = v2.functional.resize(part, [self.size, self.size], self.mode, antialias=True)
        mirrored = self.flip and float(torch.rand(1)) < 0.5
        return crop.flip(-1) if mirrored else crop

    def _draw(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width of a part."""
        for _ in range(_CROP_TRIES):
            area = height * width * torch.empty(1).uniform_(*CROP_SCALE).item()
            ratio = torch.exp(torch.empty(1).uniform_(*_LOG_RATIO)).item()
            columns, rows = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < columns <= width and 0 < rows <= height:
                top = int(torch.randint(height - rows + 1, (1,)))
                return top, int(torch.randint(width - columns + 1, (1,))), rows, columns
        rows, columns = height, width
        if width / height < min(CROP_RATIO):
            rows = round(width / min(CROP_RATIO))
        elif width / height > max(CROP_RATIO):
            columns = round(height * max(CROP_RATIO))
        return (height - rows) // 2, (width - columns) // 2, rows, columns


class PadCropFlip:
    """Shift by up to `pad` pixels over black, mirror half of the images: He et al. 2016, for CIFAR.

    Does what RandomCrop(size, padding) and RandomHorizontalFlip do, in one random draw and without their bookkeeping. Drawn
    row by row, so that a row's augmentation is its own, and done for a whole batch at once in `move`: small images come by
    ten thousands.
    """

    def __init__(self, size: int, pad: int, flip: bool) -> None:
        self.size = size
        self._pad = pad
        self._shifts = 2 * pad + 1
        self._outcomes = self._shifts**2 * (2 if flip else 1)

    def draw(self) -> Move:
        """What happens to one image."""
        draw = int(torch.randint(self._outcomes, ()))
        mirrored, draw = divmod(draw, self._shifts**2)
        down, right = divmod(draw, self._shifts)
        return down - self._pad, right - self._pad, bool(mirrored)

    def __call__(self, image: Tensor) -> Tensor:
        return move(image[None], [self.draw()])[0]


def move(images: Tensor, moves: Sequence[Move]) -> Tensor:
    """Images moved, black where nothing was, then mirrored left to right where a move says so.

    Args:
        images: uint8 [B, 3, S, S].
        moves: one an image, each by less than S pixels.

    Returns:
        A copy, uint8 [B, 3, S, S] in channels_last.
    """
    count, channels, height, width = images.shape
    down, right, mirrored = (np.array(part) for part in zip(*moves, strict=True))
    pad = int(max(np.abs(down).max(), np.abs(right).max()))
    padded = np.zeros((count, height + 2 * pad, width + 2 * pad, channels), dtype=np.uint8)
    padded[:, pad : pad + height, pad : pad + width] = images.permute(0, 2, 3, 1).numpy()
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    moved = windows.transpose(0, 1, 2, 4, 5, 3)[np.arange(count), pad - down, pad - right]
    moved[mirrored] = moved[mirrored][:, :, ::-1]
    return torch.from_numpy(moved).permute(0, 3, 1, 2)
