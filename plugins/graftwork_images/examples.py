"""Rows as an image backbone's input: decode, bring to size, augment, collate. Normalising is the backbone's own work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from graftwork.interfaces import Batch, Examples, ImageInput
from graftwork.vision.decode import decode_rgb
from graftwork_images.mixing import build_mixing

if TYPE_CHECKING:
    from datasets import Dataset

Example = tuple[Tensor, int | None]
"""Pixels uint8 [3, size, size], and the class index where the row has one."""

SMALL_PIXELS = 64
"""Up to this input size `light` is pad-and-crop, as is usual for CIFAR; a resized crop of 32 pixels shows little."""

CROP_SCALE = (0.35, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)

CACHE_BYTES = 256 * 2**20
"""Decoded pixels that one Examples object keeps, over all loader workers together."""


@dataclass(frozen=True)
class ImageOptions:
    """The part of the task's options that examples read; defaults stand in registry.yaml.

    Args:
        augment: `none`, `light`, `strong` or `trivial`.
        flip: whether a mirrored image keeps its label (photos do; letters and digits do not).
        train_size: pixels, the side in training where that is smaller than the backbone's input; 0 is the same.
        mixup, cutmix: alpha of the Beta distribution; 0 is off.
    """

    augment: str
    flip: bool
    train_size: int
    mixup: float
    cutmix: float

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> ImageOptions:
        """From a task's options, other keys left aside."""
        return cls(**{field.name: options[field.name] for field in fields(cls)})


class ImageExamples(Examples):
    """Images of a table at a backbone's size.

    What is the same in every epoch (decode, the deterministic resize) is done once a row and kept while it fits into
    `cache_bytes`; a row gives the same pixels from the cache as without it.

    Args:
        rows: columns `image` ({bytes, path}, not decoded) and, unless for prediction, `label` (class index).
        input: what the backbone wants.
        classes: how many there are.
        options: of the task.
        train: whether to augment and to mix.
        cache_bytes: bytes, the most that the cache may hold; 0 for no cache.
    """

    def __init__(
        self,
        rows: Dataset,
        input: ImageInput,
        classes: int,
        options: ImageOptions,
        train: bool,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._images = rows.select_columns(["image"])
        # As one tensor: a cached row is then served without touching the table.
        self._labels = torch.tensor(rows["label"][:], dtype=torch.int64) if "label" in rows.column_names else None
        self._prepare, self._augment = build_transforms(input, options, train)
        self._mix = build_mixing(options.mixup, options.cutmix, classes) if train else None
        self._cache_bytes = cache_bytes
        self._cache: dict[int, Tensor] = {}
        self._cached_bytes = 0

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker starts with an empty cache rather than with a copy through a pipe.
        return {**self.__dict__, "_cache": {}, "_cached_bytes": 0}

    def __len__(self) -> int:
        return len(self._images)

    def load(self, row: int) -> Example:
        """Pixels uint8 [3, size, size] and the label."""
        pixels = self._cache.get(row)
        if pixels is None:
            pixels = self._prepare(decode_rgb(self._images[row]["image"]))
            self._keep(row, pixels)
        if self._augment is not None:
            pixels = self._augment(pixels)
        return pixels, None if self._labels is None else int(self._labels[row])

    def collate(self, rows: Sequence[int], examples: Sequence[Example]) -> Batch:
        """Inputs {"pixels": uint8 [B, 3, size, size]}, targets {"label": int64 [B]}, or {} where rows have no labels.

        With mixup or cutmix: {"pixels": float32 in 0..1}, {"probabilities": float32 [B, classes]}.
        """
        numbers = torch.tensor(rows, dtype=torch.int64)
        pixels = torch.stack([example[0] for example in examples])
        if self._labels is None:
            return Batch(numbers, {"pixels": pixels}, {})
        labels = torch.tensor([example[1] for example in examples], dtype=torch.int64)
        if self._mix is None:
            return Batch(numbers, {"pixels": pixels}, {"label": labels})
        mixed, probabilities = self._mix(pixels, labels)
        return Batch(numbers, {"pixels": mixed}, {"probabilities": probabilities})

    def _keep(self, row: int, pixels: Tensor) -> None:
        worker = torch.utils.data.get_worker_info()
        budget = self._cache_bytes // (worker.num_workers if worker else 1)
        # What is kept stays: throwing out the oldest would empty the cache once an epoch.
        if self._cached_bytes + pixels.nbytes <= budget:
            # A crop is a view, and would keep the whole image alive.
            shared = pixels.untyped_storage().nbytes() > pixels.nbytes
            self._cache[row] = pixels.clone() if shared else pixels
            self._cached_bytes += pixels.nbytes


Transform = Callable[[Tensor], Tensor]


def build_transforms(input: ImageInput, options: ImageOptions, train: bool) -> tuple[Transform, Transform | None]:
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
    prepare, steps = _crop_and_flip(size, input.size <= SMALL_PIXELS, to_square, mode, options.flip)
    if options.augment == "trivial":
        steps.append(v2.TrivialAugmentWide())
    elif options.augment == "strong":
        steps += [v2.RandAugment(num_ops=2, magnitude=9), v2.RandomErasing(p=0.25)]
    return prepare, steps[0] if len(steps) == 1 else v2.Compose(steps)


def _crop_and_flip(
    size: int, small: bool, to_square: Transform, mode: v2.InterpolationMode, flip: bool
) -> tuple[Transform, list[Transform]]:
    if small:
        return to_square, [PadCropFlip(size, pad=max(1, size // 8), flip=flip)]
    crop = v2.RandomResizedCrop(size, CROP_SCALE, CROP_RATIO, interpolation=mode, antialias=True)
    # The smallest crop has sides of sqrt(0.35 * 3/4) = 0.51 of a square image: above twice the input size, pixels are
    # only thrown away, and a 12-megapixel photo would cost more to crop than a small net costs to train.
    return Shrink(2 * size, mode), [crop, v2.RandomHorizontalFlip()] if flip else [crop]


class Square:
    """Bring the shorter side to `resize` pixels and take the middle `size` pixels of both sides."""

    def __init__(self, size: int, resize: int, mode: v2.InterpolationMode) -> None:
        self._size = size
        self._resize = resize
        self._mode = mode

    def __call__(self, image: Tensor) -> Tensor:
        if min(image.shape[-2:]) != self._resize:
            image = v2.functional.resize(image, [self._resize], self._mode, antialias=True)
        # Decoders give the channels last; stacking a batch of such views takes six times as long.
        square: Tensor = v2.functional.center_crop(image, [self._size])
        return square.contiguous()


class Shrink:
    """Bring the shorter side down to `side` pixels; smaller images stay as they are."""

    def __init__(self, side: int, mode: v2.InterpolationMode) -> None:
        self._side = side
        self._mode = mode

    def __call__(self, image: Tensor) -> Tensor:
        if min(image.shape[-2:]) <= self._side:
            return image
        smaller: Tensor = v2.functional.resize(image, [self._side], self._mode, antialias=True)
        return smaller


class PadCropFlip(torch.nn.Module):
    """Shift by up to `pad` pixels over black, mirror half of the images: He et al. 2016, for CIFAR.

    Does what RandomCrop(size, padding) and RandomHorizontalFlip do, in one random draw and without their bookkeeping:
    at 32 pixels a third of the time, and small images come by ten thousands.
    """

    def __init__(self, size: int, pad: int, flip: bool) -> None:
        super().__init__()
        self._size = size
        self._pad = pad
        self._shifts = 2 * pad + 1
        self._outcomes = self._shifts**2 * (2 if flip else 1)

    def forward(self, image: Tensor) -> Tensor:
        draw = int(torch.randint(self._outcomes, ()))
        mirrored, draw = divmod(draw, self._shifts**2)
        down, right = divmod(draw, self._shifts)
        return shift_and_flip(image, down - self._pad, right - self._pad, bool(mirrored))


def shift_and_flip(image: Tensor, down: int, right: int, mirrored: bool) -> Tensor:
    """The image [3, S, S] moved by so many pixels, black where nothing was, then mirrored left to right."""
    height, width = image.shape[-2:]
    moved = torch.zeros_like(image)
    moved[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = image[
        :, max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return moved.flip(-1) if mirrored else moved
