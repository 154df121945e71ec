"""Pictures of many sizes on a common canvas: brought to size, augmented together with what is drawn on them, collated.

For dense tasks (boxes, masks). What is annotated goes along as a torchvision `TVTensor`, so it follows every change of
the picture; what becomes a target is the plugin's business.
"""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.ops import box_area, clip_boxes_to_image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from graftwork.errors import DataError
from graftwork.interfaces import ImageInput
from graftwork.interfaces.batch import pad_rows
from graftwork.vision.damaged import why_unreadable
from graftwork.vision.decode import decode_rgb, read_cell, turn_upright
from graftwork.vision.kept import KeptPixels
from graftwork.vision.levels import NO_RANGES, Ranges
from graftwork.vision.look import SIDEWAYS

if TYPE_CHECKING:
    from datasets import Dataset

GRID = 32
"""Pixels; the sides of a canvas are multiples of it, as nets that halve their maps five times like them."""

VOID = 255
"""The mask value that is not scored; what lies beyond a picture has it."""

CACHE_BYTES = 64 * 2**20
"""Decoded pixels that one `Pictures` keeps in memory, over all loader workers together."""

SCALES: Mapping[str, tuple[float, float]] = {"none": (1.0, 1.0), "light": (0.75, 1.35), "strong": (0.5, 2.0)}
"""The range of a training picture's scale by `augment`; the strong one is near the large-scale jitter of Ghiasi et al. 2021."""

COLOURS: Mapping[str, float] = {"none": 0.0, "light": 0.2, "strong": 0.4}
"""The largest relative change of brightness, contrast and saturation by `augment`."""

_TRIES = 8

Things = dict[str, Any]
"""What is drawn on a picture: tv_tensors by name."""


@dataclass(frozen=True)
class FrameOptions:
    """How pictures come to size, and how they vary in training; defaults stand in registry.yaml.

    Args:
        size: pixels, the shorter side.
        longest: pixels, the most that the longer side may have; 0 is 5/3 of `size`, as torchvision's detectors have it.
        augment: `none`, `light` or `strong`.
        flip: `none`, `horizontal` or `both`: by which mirrors a picture stays a good example.
    """

    size: int
    longest: int
    augment: str
    flip: str

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> FrameOptions:
        """From a task's options, other keys left aside."""
        return cls(**{field.name: options[field.name] for field in fields(cls)})

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """The size of a picture within its canvas, pixels."""
        limit = self.longest or round(self.size * 5 / 3)
        scale = min(self.size / min(height, width), limit / max(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))

    def canvas(self, height: int, width: int) -> tuple[int, int]:
        """The canvas of a picture of this original size: the sides of `shape`, rounded up to GRID."""
        rows, columns = self.shape(height, width)
        return math.ceil(rows / GRID) * GRID, math.ceil(columns / GRID) * GRID


@dataclass(frozen=True)
class Frame:
    """A picture on its way into a batch.

    Args:
        pixels: uint8 [3, h, w], h and w at most those of the canvas.
        things: what is drawn on it, in the same pixels.
        original: height and width of the picture as stored, upright.
        canvas: height and width, pixels.
    """

    pixels: Tensor
    things: Things
    original: tuple[int, int]
    canvas: tuple[int, int]


class Pictures:
    """The pictures of a table, decoded and brought down to what training can use; kept, see `KeptPixels`.

    Args:
        rows: column `image` ({bytes, path}, not decoded); `width` and `height` (pixels, upright) where they are known.
        options: say to what size pictures come; a kept one has no more pixels than the largest scale asks for.
        train: whether a scale above 1 can be asked for.
        cache_bytes: bytes, the most that is kept in memory; 0 for keeping nothing.
        ranges: by which deep levels become 8 bits.
    """

    def __init__(
        self,
        rows: Dataset,
        options: FrameOptions,
        train: bool,
        cache_bytes: int = CACHE_BYTES,
        ranges: Ranges = NO_RANGES,
    ) -> None:
        self._images = rows.select_columns(["image"])
        self._options = options
        self._largest = SCALES[options.augment][1] if train else 1.0
        self.shapes = _shapes(rows)
        made = "as they are"
        if self._largest != 1.0:
            made = f"{self._largest} times a side of {options.size}, the longer at most {options.longest or 'its 5/3'}"
        self._kept = KeptPixels(rows, made, cache_bytes, ranges)
        self._ranges = ranges

    def __len__(self) -> int:
        return len(self._images)

    def canvases(self) -> list[tuple[int, int]]:
        """The canvas of every row, height and width in pixels."""
        return [self._options.canvas(height, width) for height, width in self.shapes]

    def read_once(self) -> Pictures:
        """The same pictures, of which nothing is kept."""
        other = copy.copy(self)
        other._kept = self._kept.read_once()
        return other

    def pixels(self, row: int) -> Tensor:
        """uint8 [3, h, w]: the picture, not larger than it has to be."""
        return self._kept.get(row, lambda: self._shrunk(decode_rgb(self._images[row]["image"], self._ranges)))

    def _shrunk(self, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        wanted = [math.ceil(side * self._largest) for side in self._options.shape(height, width)]
        if wanted[0] >= height or self._largest == 1.0:
            return pixels
        smaller: Tensor = F.resize(pixels, wanted, antialias=True)
        return smaller


class Framer:
    """Brings a picture, and what is drawn on it, to its size; in training with a random scale, crop, mirror and colour.

    Args:
        options: of the task.
        input: of the backbone, for its interpolation.
        train: whether to augment.
        keeps: tells whether a crop still shows enough, from what is drawn on it; by default every crop does.
    """

    def __init__(
        self, options: FrameOptions, input: ImageInput, train: bool, keeps: Callable[[Things], bool] | None = None
    ) -> None:
        self._options = options
        self._mode = v2.InterpolationMode(input.interpolation)
        self._augment = options.augment if train else "none"
        self._flip = options.flip if train else "none"
        self._chance = 0.5
        self._keeps = keeps

    def view(self, number: int) -> Framer:
        """A fixed view, as `Examples.view` numbers them: 0 only brings to size, 1 also mirrors left to right where the
        options allow it, others vary as training does."""
        if number > 1 or (number == 1 and self._flip == "none"):
            return self
        fixed = copy.copy(self)
        fixed._augment = "none"
        fixed._flip, fixed._chance = ("none", 0.0) if number == 0 else ("horizontal", 1.0)
        return fixed

    def __call__(self, pixels: Tensor, things: Things, original: tuple[int, int]) -> Frame:
        """A frame of this picture.

        Args:
            pixels: uint8 [3, h, w], the picture at any scale.
            things: tv_tensors in pixels of `pixels` as given.
            original: height and width as stored.
        """
        canvas = self._options.canvas(*original)
        shape = self._options.shape(*original)
        low, high = SCALES[self._augment]
        if low == high:
            pixels, things = self._resize(pixels, things, shape)
        else:
            pixels, things = self._jitter(pixels, things, shape, canvas, low, high)
        pixels, things = self._mirror(pixels, things)
        return Frame(self._recolour(pixels), things, original, canvas)

    def _resize(self, pixels: Tensor, things: Things, shape: tuple[int, int]) -> tuple[Tensor, Things]:
        if tuple(pixels.shape[-2:]) == shape:
            return pixels, things
        resized = {name: F.resize(thing, list(shape)) for name, thing in things.items()}
        return F.resize(pixels, list(shape), self._mode, antialias=True), resized

    def _jitter(
        self,
        pixels: Tensor,
        things: Things,
        shape: tuple[int, int],
        canvas: tuple[int, int],
        low: float,
        high: float,
    ) -> tuple[Tensor, Things]:
        """A random scale (uniform in its logarithm), then a random part of at most the canvas's size."""
        whole = (pixels, things)
        for _ in range(_TRIES):
            scale = low * (high / low) ** float(torch.rand(()))
            pixels, things = self._resize(*whole, (max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))))
            height, width = pixels.shape[-2:]
            rows, columns = min(height, canvas[0]), min(width, canvas[1])
            top, left = (int(torch.randint(spare + 1, ())) for spare in (height - rows, width - columns))
            if (rows, columns) != (height, width):
                pixels = F.crop(pixels, top, left, rows, columns)
                things = {name: F.crop(thing, top, left, rows, columns) for name, thing in things.items()}
            if self._keeps is None or self._keeps(things):
                return pixels, things
        return self._resize(*whole, shape)

    def _mirror(self, pixels: Tensor, things: Things) -> tuple[Tensor, Things]:
        mirrors = {"none": (), "horizontal": (F.horizontal_flip,), "both": (F.horizontal_flip, F.vertical_flip)}
        for mirror in mirrors[self._flip]:
            if float(torch.rand(())) < self._chance:
                pixels, things = mirror(pixels), {name: mirror(thing) for name, thing in things.items()}
        return pixels, things

    def _recolour(self, pixels: Tensor) -> Tensor:
        most = COLOURS[self._augment]
        if not most:
            return pixels
        pixels = pixels.contiguous()  # a crop's channels lie apart: each change would take half as long again
        for change in (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation):
            factor = 1 + most * (2 * float(torch.rand(())) - 1)
            if abs(factor - 1) > 0.02:
                pixels = change(pixels, factor)
        return pixels


def collate_frames(frames: Sequence[Frame], input: ImageInput) -> dict[str, Tensor]:
    """Frames as a model's inputs.

    Returns:
        `pixels` uint8 [B, 3, H, W], each picture at the top left, beyond it the mean colour; `size` int64 [B, 2], its
        height and width there; `original` int64 [B, 2], as stored; `canvas` uint8 [B, 0, H, W], which holds nothing
        and says by its shape how large the canvas is.
    """
    height = max(frame.canvas[0] for frame in frames)
    width = max(frame.canvas[1] for frame in frames)
    beyond = torch.tensor([round(255 * mean) for mean in input.mean], dtype=torch.uint8)
    pixels = beyond.view(1, 3, 1, 1).repeat(len(frames), 1, height, width)
    for place, frame in zip(pixels, frames, strict=True):
        place[:, : frame.pixels.shape[1], : frame.pixels.shape[2]] = frame.pixels
    return {
        "pixels": pixels,
        "size": torch.tensor([frame.pixels.shape[-2:] for frame in frames]),
        "original": torch.tensor([frame.original for frame in frames]),
        # A shape and no numbers: heads lay anchors without waiting for a device, and under tracing; where states are kept
        # there are no pixels to ask.
        "canvas": torch.empty(len(frames), 0, height, width, dtype=torch.uint8),
    }


def collate_masks(frames: Sequence[Frame], inputs: Mapping[str, Tensor], name: str = "mask") -> Tensor:
    """The masks drawn on frames as uint8 [B, H, W]; VOID beyond a picture."""
    height, width = inputs["pixels"].shape[-2:]
    masks = torch.full((len(frames), height, width), VOID, dtype=torch.uint8)
    for place, frame in zip(masks, frames, strict=True):
        mask = frame.things[name]
        place[: mask.shape[-2], : mask.shape[-1]] = mask.reshape(mask.shape[-2:])
    return masks


def join_frames(name: str, values: Sequence[Tensor]) -> Tensor:
    """One input or target of frames that were collated one by one, as `collate_frames` and `collate_masks` give it."""
    if name != "mask":
        return pad_rows(values)
    height, width = (max(mask.shape[side] for mask in values) for side in (0, 1))
    masks = torch.full((len(values), height, width), VOID, dtype=torch.uint8)
    for place, mask in zip(masks, values, strict=True):
        place[: mask.shape[0], : mask.shape[1]] = mask
    return masks


def boxes_on(boxes: Tensor, height: int, width: int) -> tv_tensors.BoundingBoxes:
    """Boxes [n, 4] as x1, y1, x2, y2 in pixels of a picture of that size, as a thing that follows its changes.

    A crop leaves them as large as they were: how much of one is left, `left_of` tells.
    """
    return tv_tensors.BoundingBoxes(
        boxes.reshape(-1, 4),
        format=tv_tensors.BoundingBoxFormat.XYXY,
        canvas_size=(height, width),
        clamping_mode=None,
    )


def left_of(boxes: tv_tensors.BoundingBoxes) -> tuple[Tensor, Tensor]:
    """What a picture still shows of boxes: they, cut to it, float32 [n, 4], and the share of their area that is left [n]."""
    height, width = boxes.canvas_size
    plain = boxes.as_subclass(Tensor)
    cut = clip_boxes_to_image(plain, (height, width))
    return cut, box_area(cut) / box_area(plain).clamp(min=1e-6)


def picture_shape(cell: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width, upright, from a picture's header.

    Raises:
        DataError: it cannot be read.
    """
    data = read_cell(cell)
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            if image.format == "PNG":
                image.load()  # its EXIF data may stand behind the pixels
            return (width, height) if turn_upright(image) in SIDEWAYS else (height, width)
    except Exception as error:  # a library boundary: damaged files make Pillow raise whatever its readers run into
        raise DataError(why_unreadable(data, error), where=str(cell.get("path") or "a picture")) from None


def _shapes(rows: Dataset) -> list[tuple[int, int]]:
    if {"width", "height"} <= set(rows.column_names):
        return list(zip(rows["height"][:], rows["width"][:], strict=True))
    return [picture_shape(row["image"]) for row in rows.select_columns(["image"])]
