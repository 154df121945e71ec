"""Mask maps, ready to use: a mask's numbers to class indices, and how its file is to be read for them."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork_segmentation.labelmap import ALPHA, NEAREST, PALETTE, REST, SETTINGS, SIZE, VOID

_AT_ONCE = 1 << 20  # distances


@dataclass(frozen=True)
class Form:
    """How a mask's file is read.

    Args:
        by_colour: whether its colours count; None where there is no map: what the file has.
        lossy: whether formats are read that change values.
        palette: whether a palette's colours count, or the grey levels in it, rather than its indices.
        alpha: whether the values are in the alpha channel.
    """

    by_colour: bool | None
    lossy: bool = False
    palette: bool = False
    alpha: bool = False


@dataclass(frozen=True)
class Lookup:
    """A mask map, ready to use.

    Args:
        form: how files are read for it.
        codes: its values or colours as numbers, ascending, int64.
        indices: their class indices, uint8.
        rest: the class index of what is not listed; None where that is unknown.
        nearest: whether what is not listed is the nearest that is.
        scale: whether a mask of its picture's shape and another size is brought to that.
    """

    form: Form
    codes: NDArray[np.int64]
    indices: NDArray[np.uint8]
    rest: int | None
    nearest: bool
    scale: bool

    @property
    def by_colour(self) -> bool:
        return bool(self.form.by_colour)

    def lists(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether the map has each of these values itself."""
        if not len(self.codes):
            return np.zeros(values.shape, dtype=bool)
        places = np.minimum(np.searchsorted(self.codes, values), len(self.codes) - 1)
        listed: NDArray[np.bool_] = self.codes[places] == values
        return listed

    def __call__(self, values: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Class indices of values, and whether each is known; unknown ones become VOID."""
        rest = np.uint8(VOID if self.rest is None else self.rest)
        if not len(self.codes):
            return np.full(values.shape, rest), np.full(values.shape, self.rest is not None)
        listed = self.lists(values)
        places = np.minimum(np.searchsorted(self.codes, values), len(self.codes) - 1)
        indices = np.where(listed, self.indices[places], rest)
        if self.nearest and not listed.all():
            strange, where = np.unique(values[~listed], return_inverse=True)
            indices[~listed] = self._nearest(strange.astype(np.int64))[where]
            return indices, np.ones(values.shape, dtype=bool)
        return indices, listed | (self.rest is not None)

    def _nearest(self, values: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The class of the listed value that is nearest to each of these; of two as near, the smaller."""
        ends = _points(self.codes, self.by_colour)
        step = max(1, _AT_ONCE // len(ends))
        found = [
            np.abs(_points(values[start : start + step], self.by_colour)[:, None] - ends).astype(np.int64)
            for start in range(0, len(values), step)
        ]
        places = np.concatenate([(away * away).sum(axis=2).argmin(axis=1) for away in found])
        nearest: NDArray[np.uint8] = self.indices[places]
        return nearest


@functools.lru_cache(maxsize=64)
def lookup(mask_map: str) -> Lookup:
    """The column `mask_map` as a Lookup; a table has one such text for all rows, or few."""
    given: dict[str, int] = json.loads(mask_map)
    settings = {key for key in SETTINGS if given.pop(key, None)}
    rest = given.pop(REST, None)
    codes = {code_of(key): index for key, index in given.items()}
    ordered = sorted(codes)
    indices = np.array([codes[code] for code in ordered], dtype=np.uint8)
    by_colour = any(key.startswith("#") for key in given)
    form = Form(by_colour, NEAREST in settings, PALETTE in settings, ALPHA in settings)
    nearest, scale = NEAREST in settings, SIZE in settings
    return Lookup(form, np.array(ordered, dtype=np.int64), indices, rest, nearest, scale)


def code_of(key: str) -> int:
    """The number of a mask map's key: `7` is 7, `#000102` is 258."""
    return int(key[1:], 16) if key.startswith("#") else int(key)


def key_of_code(code: int, by_colour: bool) -> str:
    """The mask map's key of a number; the reverse of `code_of`."""
    return f"#{code:06x}" if by_colour else str(code)


def _points(codes: NDArray[np.int64], by_colour: bool) -> NDArray[np.int64]:
    """Numbers as places, [codes, 1], or colours, [codes, 3]."""
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1) if by_colour else codes[:, None]
