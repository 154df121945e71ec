"""Looking at all masks of a table: in threads, once each; and counting what is in them."""

from __future__ import annotations

import functools
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graftwork_segmentation.labelmap import VOID
from graftwork_segmentation.lookup import Form, lookup
from graftwork_segmentation.masks import MaskLook, look_at_mask

if TYPE_CHECKING:
    from datasets import Dataset

_BATCH = 256
_FIRST = 16  # masks


def look_at_masks(rows: Dataset, form: Form) -> Iterator[MaskLook]:
    """`look_at_mask` every row, in threads: Pillow and numpy work outside the interpreter's lock.

    One batch at a time: a mask that was a JPEG once has ten thousands of values.
    """
    masks = rows.select_columns("mask")
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for batch in masks.iter(batch_size=_BATCH):
            yield from pool.map(functools.partial(look_at_mask, form=form), batch["mask"])


def class_pixels(look: MaskLook, mask_map: str, classes: int) -> NDArray[np.int64]:
    """Pixels of every class in a mask, int64 [classes]; what is not scored is not counted."""
    indices, _ = lookup(mask_map)(look.values)
    scored = indices != VOID
    return np.bincount(indices[scored], look.counts[scored], classes).astype(np.int64)[:classes]


@dataclass
class Census:
    """What is in all masks together.

    Args:
        counts: pixels and stretches by value.
        pairs: the number of masks by their values, of masks with two.
        largest: the most values that one mask has.
        palettes: the colours by value that palettes give it.
        homes: the number of masks that have a value.
        counted: how often the values of a mask, but for 0 and 255, are 1 to k, by k; 0 stands for every other mask with
            values.
        opacity: the most levels that one mask's alpha channel has.
        by_colour: whether any mask has colours.
        masks, refused: how many there are, and how many of them are in a lossy format.
        reason: why the first that cannot be read cannot.
    """

    counts: dict[int, list[int]] = field(default_factory=dict)
    pairs: Counter[tuple[int, ...]] = field(default_factory=Counter)
    largest: int = 0
    palettes: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    homes: Counter[int] = field(default_factory=Counter)
    counted: Counter[int] = field(default_factory=Counter)
    opacity: int = 0
    by_colour: bool = False
    masks: int = 0
    refused: int = 0
    reason: str = ""

    def add(self, look: MaskLook) -> None:
        self.masks += 1
        self.refused += look.problem == "jpeg-mask"
        self.reason = self.reason or look.reason
        self.by_colour = self.by_colour or look.by_colour
        for value, pixels, runs in zip(look.values.tolist(), look.counts.tolist(), look.runs.tolist(), strict=True):
            both = self.counts.setdefault(value, [0, 0])
            both[0] += pixels
            both[1] += runs
        if len(look.values) == 2:
            self.pairs[tuple(look.values.tolist())] += 1
        self.largest = max(self.largest, len(look.values))
        self.opacity = max(self.opacity, look.opacity)
        self.homes.update(look.values.tolist())
        numbers = look.values[(look.values != 0) & (look.values != VOID)]
        if len(numbers):
            self.counted[len(numbers) if int(numbers[-1]) == len(numbers) else 0] += 1
        for value, colour in look.palette.items():
            self.palettes[value].add(colour)

    @property
    def values(self) -> NDArray[np.int64]:
        return np.array(sorted(self.counts), dtype=np.int64)

    @property
    def pixels(self) -> NDArray[np.int64]:
        return np.array([self.counts[value][0] for value in sorted(self.counts)], dtype=np.int64)

    @property
    def runs(self) -> NDArray[np.int64]:
        return np.array([self.counts[value][1] for value in sorted(self.counts)], dtype=np.int64)

    @property
    def palettes_differ(self) -> bool:
        """Whether one index has two colours."""
        return any(len(colours) > 1 for colours in self.palettes.values())


def count_masks(splits: Mapping[str, Dataset], form: Form, most: int) -> Census:
    """A look at every mask; ends early where more than `most` values were seen."""
    census = Census()
    for rows in splits.values():
        for look in look_at_masks(rows, form):
            census.add(look)
            if len(census.counts) > most:
                return census
    return census


def in_colour(splits: Mapping[str, Dataset]) -> bool:
    """Whether the first masks of a table are in colour, and not of values."""
    rows = next(iter(splits.values()))
    looks = list(look_at_masks(rows.select(range(min(_FIRST, len(rows)))), Form(None)))
    return any(look.by_colour for look in looks)
