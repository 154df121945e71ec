"""Several mask files of one picture, one an object, as one mask; and files that look like masks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from graftwork_segmentation.labelmap import LARGEST_VALUE

_FEW = 64  # distinct colours of a mask
_STEPS, _EDGES = 8, 0.15  # values, and share of pixels, of the soft edges of one object


@dataclass(frozen=True)
class Mask:
    """A picture's mask.

    Args:
        files: each with the value that its objects have in the joined mask; None where the one file is the mask itself.
        drawn: a PNG, where the mask was drawn from outlines.
    """

    files: tuple[tuple[Path, int | None], ...]
    drawn: bytes | None = None

    def cell(self) -> dict[str, Any]:
        """{"bytes", "path"}: what the column `mask` holds."""
        first = self.files[0][0] if self.files else None
        path = None if first is None else str(first)
        if self.drawn is not None:
            return {"bytes": self.drawn, "path": path}
        if len(self.files) == 1 and self.files[0][1] is None:
            return {"bytes": None, "path": path}
        return {
            "bytes": join_files([(file, 1 if value is None else value) for file, value in self.files]),
            "path": path,
        }


def join_files(files: Sequence[tuple[Path, int]]) -> bytes:
    """One mask from several as a PNG: the value of each where it shows its object; smaller objects lie on larger ones.

    A file shows its object where it is brighter than half of its brightest pixel. A file that cannot be read is given
    instead of all, and a mask of nothing that is known where sizes differ: the audit leaves them out, and says why.
    """
    shape: tuple[int, ...] | None = None
    inside: list[tuple[int, NDArray[np.bool_]]] = []
    for file, value in files:
        try:
            with Image.open(file) as image:
                levels = _levels(image)
        except (OSError, Image.DecompressionBombError, SyntaxError, ValueError):
            return _content(file)
        shape = shape or levels.shape
        if levels.shape != shape:  # no pixel of it means anything, so that the row is left out
            return png(np.full(min(shape, levels.shape), LARGEST_VALUE))
        if value:
            inside.append((value, levels * 2 > levels.max(initial=0)))
    if shape is None:
        return b""
    joined = np.zeros(shape, dtype=np.uint16)
    for value, shown in sorted(inside, key=lambda one: -int(one[1].sum())):
        joined[shown] = value
    return png(joined)


def shows_object(file: Path) -> bool:
    """Whether a mask has but two values, or is black and white but for its edges; True for one that cannot be read."""
    try:
        with Image.open(file) as image:
            levels = _levels(image)
    except Exception:  # a library boundary; the audit says what is wrong with it
        return True
    values = np.unique(levels)
    if len(values) <= 2:
        return True
    share = levels / levels.max()
    between = float(((share > 0.15) & (share < 0.85)).mean())
    return between < _EDGES if len(values) > _STEPS else between == 0


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def png(values: NDArray[Any]) -> bytes:
    """Values [height, width], 0 to 65,535, as a grey PNG."""
    buffer = io.BytesIO()
    small = values.max(initial=0) < 256
    Image.fromarray(values.astype(np.uint8 if small else np.uint16)).save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def look_like_masks(file: Path, other: Path) -> bool:
    """Whether of two files of one name the first has few colours, and fewer than the second."""
    mine, theirs = _colours(file), _colours(other)
    return mine <= _FEW and mine < theirs


def _colours(file: Path) -> int:
    try:
        with Image.open(file) as image:
            found = image.convert("RGB").getcolors(1 << 16)
    except Exception:  # a library boundary: damaged files make Pillow raise whatever its readers run into
        return 1 << 24
    return len(found) if found is not None else 1 << 16


def _levels(image: Image.Image) -> NDArray[np.int64]:
    """How bright each pixel is; of 16 bits, as they stand."""
    if image.mode.startswith(("I", "F")):
        return np.asarray(image).astype(np.int64)
    if image.mode in ("LA", "RGBA") and image.getchannel(0).getextrema() == (0, 0):
        return np.asarray(image.getchannel("A")).astype(np.int64)  # an object by its opacity alone
    return np.asarray(image.convert("RGB").convert("L")).astype(np.int64)
