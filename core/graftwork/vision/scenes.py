"""Scenes composed of real handwritten digits, with exact boxes and masks: what embedded samples of vision tasks are made of.

Rows and columns are made by the plugins; here are only pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COUNTS = {"train": 240, "validation": 60, "test": 100}
"""Scenes by split."""

NAMES = tuple("0123456789")
"""Class names by index."""

SIZES = ((96, 128), (128, 96), (128, 128))
"""Pixels, (height, width) of a scene."""

SIDES = (16, 32)
"""Pixels, smallest and largest side of an enlarged 8×8 digit: 2 to 4 times."""

MOST = 6
"""Digits in a scene, at most."""

EMPTY_EVERY = 16
"""Every so many-th scene shows no digit."""

_INK = 0.25
"""Of the darkest value; fainter pixels are not drawn and belong neither to the box nor to the mask."""
_CONTRAST = 70  # grey levels between a digit and what it stands on
_TRIES = 40
_SPLITS = {"train": 0, "validation": 1, "test": 2}


@dataclass(frozen=True)
class Scene:
    """One picture and all that is true of it.

    Args:
        pixels: uint8 [height, width, 3].
        boxes: (x, y, width, height) in pixels from the top left, tight around the drawn pixels of each digit.
        labels: the digit in each box, 0..9.
        mask: uint8 [height, width]; 0 is background, 1 + digit elsewhere. Drawn pixels of two digits never overlap.
        digits: the row of each digit in scikit-learn's table.
    """

    pixels: NDArray[np.uint8]
    boxes: tuple[tuple[float, float, float, float], ...]
    labels: tuple[int, ...]
    mask: NDArray[np.uint8]
    digits: tuple[int, ...]


def compose(split: str, count: int | None = None, seed: int = 0) -> list[Scene]:
    """Scenes of one split: 1 to 6 digits, or none in every 16th, on uneven grey.

    Digits are scikit-learn's copy of the test part of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak,
    1998, UCI, CC BY 4.0). Splits share no digit, and they are the splits of `sample:digits`, so that a model trained on
    its train split has not seen the digits of other splits here.

    Args:
        split: `train`, `validation` or `test`.
        count: scenes; COUNTS[split] when None. Fewer are the first of more.
        seed: places, colours and backgrounds; not which digits belong to which split.
    """
    images, labels, rows = _digits_of(split)
    rng = np.random.default_rng([seed, _SPLITS[split]])
    supply = _endless(len(rows), rng)
    scenes = []
    for number in range(COUNTS[split] if count is None else count):
        height, width = SIZES[int(rng.integers(len(SIZES)))]
        pixels = _background(height, width, rng)
        mask = np.zeros((height, width), dtype=np.uint8)
        wanted = 0 if number % EMPTY_EVERY == EMPTY_EVERY - 1 else int(rng.integers(1, MOST + 1))
        boxes: list[tuple[float, float, float, float]] = []
        shown: list[int] = []
        for _ in range(wanted):
            index = next(supply)
            box = _draw(pixels, mask, images[index], int(labels[index]), rng)
            if box is not None:
                boxes.append(box)
                shown.append(index)
        drawn = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
        found = tuple(int(labels[index]) for index in shown)
        scenes.append(Scene(drawn, tuple(boxes), found, mask, tuple(int(rows[index]) for index in shown)))
    return scenes


def _digits_of(split: str) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Images [digits, 8, 8] in 0..1, labels [digits] and rows [digits] in scikit-learn's table."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    labels = bunch.target.astype(np.int64)
    rest, test = train_test_split(np.arange(len(labels)), test_size=497, random_state=0, stratify=labels)
    train, validation = train_test_split(rest, test_size=300, random_state=0, stratify=labels[rest])
    rows = np.sort({"train": train, "validation": validation, "test": test}[split])
    return (bunch.images[rows] / 16).astype(np.float32), labels[rows], rows


def _endless(count: int, rng: np.random.Generator) -> Iterator[int]:
    """Every digit once in random order, then again in another."""
    while True:
        yield from map(int, rng.permutation(count))


def _background(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Uneven, slightly coloured grey, float32 [height, width, 3] in 0..255: broad clouds and fine noise."""
    clouds = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(clouds).resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
    grey = smooth.mean(axis=2, keepdims=True)
    base = rng.uniform(70, 185)
    tint = rng.uniform(-12, 12, 3).astype(np.float32)
    noise = rng.normal(0, rng.uniform(1, 7), (height, width, 1)).astype(np.float32)
    uneven: NDArray[np.float32] = base + tint + 0.25 * (grey - 128) + 0.06 * (smooth - 128) + noise
    return uneven.astype(np.float32)


def _draw(
    pixels: NDArray[np.float32],
    mask: NDArray[np.uint8],
    digit: NDArray[np.float32],
    label: int,
    rng: np.random.Generator,
) -> tuple[float, float, float, float] | None:
    """Draw the digit where its ink meets no other digit's, and give its box; None where there is no room."""
    ink = _enlarge(digit, rng)
    height, width = ink.shape
    for _ in range(_TRIES):
        top = int(rng.integers(0, mask.shape[0] - height + 1))
        left = int(rng.integers(0, mask.shape[1] - width + 1))
        place = np.s_[top : top + height, left : left + width]
        # A margin of one pixel keeps strokes apart; boxes may overlap a little, as 7 and 1 do side by side.
        around = mask[max(top - 1, 0) : top + height + 1, max(left - 1, 0) : left + width + 1]
        if np.count_nonzero(around) > 0.02 * around.size or mask[place][ink > 0].any():
            continue
        under = float(pixels[place].mean())
        colour = np.full(3, _ink_level(under, rng)) + rng.uniform(-25, 25, 3)
        alpha = ink[..., None]
        pixels[place] = pixels[place] * (1 - alpha) + colour.astype(np.float32) * alpha
        mask[place][ink > 0] = label + 1
        return float(left), float(top), float(width), float(height)
    return None


def _enlarge(digit: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """The digit 2 to 4 times as large, cut to its ink: opacity, float32 [height, width], 0 where nothing is drawn."""
    if rng.random() < 0.3:
        factor = int(rng.integers(SIDES[0] // 8, SIDES[1] // 8 + 1))
        large = digit.repeat(factor, axis=0).repeat(factor, axis=1)
    else:
        side = int(rng.integers(SIDES[0], SIDES[1] + 1))
        large = np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BILINEAR))
    drawn = large >= _INK
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    tight = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    # The root lifts faint strokes, so that the edge of a box is where an eye sees it.
    opacity: NDArray[np.float32] = np.where(drawn[tight], np.sqrt(large[tight]), 0).astype(np.float32)
    return opacity


def _ink_level(under: float, rng: np.random.Generator) -> float:
    """A grey level that stands out from `under`, darker or lighter."""
    ranges = [(0.0, under - _CONTRAST), (under + _CONTRAST, 255.0)]
    possible = [(low, high) for low, high in ranges if high - low > 5]
    low, high = possible[int(rng.integers(len(possible)))]
    return float(rng.uniform(low, high))
