"""One look at one image file: can it be decoded, how is it made, what does it look like. Never raises for bad content."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from graftwork.errors import DataError
from graftwork.vision.damaged import begins_like_one, kind_of, reason_of
from graftwork.vision.decode import PIXEL_LIMIT, read_cell, to_rgb, turn_upright
from graftwork.vision.levels import deep_values, depth_of, gaps_of, spread, to_eight_bits

if TYPE_CHECKING:
    import pyarrow as pa

_WITH_FRAMES = ("GIF", "WEBP", "PNG", "TIFF", "AVIF")  # an MPO's second picture is a view of the first, or smaller
_COARSE = (9, 8)  # pixels; a column more than the hash has bits
FINE = (16, 16)
"""Pixels of the small grey picture."""

LIKENESS = 8 + FINE[0] * FINE[1]  # bytes
SIDEWAYS = frozenset(
    {Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90}
)
_STEP = 3
"""Grey levels; a smaller rise from pixel to pixel counts as none, so that JPEG noise in even areas sets no bits."""
TRAITS = ("grey", "alpha", "palette", "cmyk", "deep", "rotated", "animated", "float", "gaps")
"""What a picture's file may be; `deep` is of more than 8 bits a channel, `float` of these one whose levels are fractions,
`rotated` turned upright as EXIF says, `animated` of several frames or pages, `gaps` a deep one with pixels that have no value."""

DETAIL = 32
"""Pixels; a smaller side says too little for a likeness: two sevens of 8×8 or 28×28 pixels are all but equal."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at an image showed.

    Args:
        problem: why it cannot be used: `missing-file`, `empty-file`, `not-an-image`, `unreadable-image`,
            `too-many-pixels`; None where it can.
        reason: the decoder's words.
        content: hex digest of the encoded file, 32 digits.
        width, height: pixels, upright.
        traits: of `TRAITS`.
        likeness: a perceptual hash (8 bytes) and a small grey picture; empty where the image is too small to tell.
        levels: of a deep image the least and the greatest level, but for stray pixels; NaN where no pixel has a value.
    """

    problem: str | None = None
    reason: str = ""
    content: str = ""
    width: int = 0
    height: int = 0
    traits: tuple[str, ...] = ()
    likeness: bytes = b""
    levels: tuple[float, float] = (0.0, 0.0)


def digest_of(cell: Mapping[str, Any] | None) -> str | None:
    """`Look.content` of an image cell without a look at it; None where there is nothing to read."""
    try:
        data = read_cell(cell)
    except DataError:
        return None
    return _digest(data) if data else None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def look_at(cell: Mapping[str, Any] | None) -> Look:
    """Decode an image cell as far as is needed to know that `decode_rgb` will succeed.

    JPEGs are decoded at a reduced scale: every coefficient is read, few are transformed.
    """
    try:
        data = read_cell(cell)
    except DataError as error:
        return Look("missing-file", f"{error.where}: {error.what}" if error.where else error.what)
    if not data:
        return Look("empty-file")
    content = _digest(data)
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            if width * height > PIXEL_LIMIT:
                return Look("too-many-pixels", f"{width}×{height}", content)
            traits = _traits(image)
            image.draft("L", (64, 64))
            deep = deep_values(image, data) if "deep" in traits else None
            image.load()
            turn = turn_upright(image)
            if turn is not None:
                traits = (*traits, "rotated")
            if turn in SIDEWAYS:
                width, height = height, width
            levels = (0.0, 0.0) if deep is None else spread(deep)
            if deep is not None and gaps_of(deep).any():
                traits = (*traits, "gaps")
            # Near duplicates differ in their levels too, so each is seen by its own.
            seen = image if deep is None or not levels[0] < levels[1] else _by_own_levels(deep, levels)
            likeness = _likeness(seen, turn) if min(width, height) >= DETAIL else b""
            return Look(None, "", content, width, height, traits, likeness, levels)
    except Image.DecompressionBombError:
        return Look("too-many-pixels", f"more than {PIXEL_LIMIT:,} pixels", content)
    except UnidentifiedImageError:
        if begins_like_one(data):
            return Look("unreadable-image", "damaged header", content)
        return Look("not-an-image", kind_of(data) or "unknown content", content)
    except Exception as error:  # a library boundary: damaged files make Pillow raise whatever its readers run into
        return Look("unreadable-image", reason_of(error), content)


@dataclass(frozen=True)
class Looks:
    """What looks at many images showed, by column: as objects they would take five times the memory.

    Args:
        problems: of those that cannot be used, by row: problem and reason.
        content: hex digests, [images].
        sizes: width and height, pixels, upright, int32 [images, 2].
        traits: a bit for each of `TRAITS`, uint16 [images].
        hashes: perceptual hashes, uint64 [images]; 0, which says nothing, where the image is too small to tell.
        views: small grey pictures that confirm what the hashes suggest, uint8 [images, 256].
        levels: of deep images the least and the greatest level, float64 [images, 2]; 0 of others.
    """

    problems: Mapping[int, tuple[str, str]]
    content: pa.StringArray
    sizes: NDArray[np.int32]
    traits: NDArray[np.uint16]
    hashes: NDArray[np.uint64]
    views: NDArray[np.uint8]
    levels: NDArray[np.float64]

    @classmethod
    def gather(cls, count: int, batches: Iterable[Sequence[Look]]) -> Looks:
        """So many looks, that come in batches."""
        import pyarrow as pa

        problems: dict[int, tuple[str, str]] = {}
        contents: list[pa.Array] = []
        sizes = np.zeros((count, 2), np.int32)
        traits = np.zeros(count, np.uint16)
        hashes = np.zeros(count, np.uint64)
        views = np.zeros((count, LIKENESS - 8), np.uint8)
        levels = np.zeros((count, 2), np.float64)
        start = 0
        for batch in batches:
            here = slice(start, start + len(batch))
            problems.update(
                (start + row, (look.problem, look.reason)) for row, look in enumerate(batch) if look.problem
            )
            contents.append(pa.array([look.content for look in batch], pa.string()))
            sizes[here] = [(look.width, look.height) for look in batch]
            levels[here] = [look.levels for look in batch]
            traits[here] = [sum(1 << TRAITS.index(trait) for trait in look.traits) for look in batch]
            # A missing one gives zeros, which are never compared.
            likenesses = np.frombuffer(b"".join(look.likeness or bytes(LIKENESS) for look in batch), np.uint8)
            likenesses = likenesses.reshape(len(batch), LIKENESS)
            hashes[here] = np.ascontiguousarray(likenesses[:, :8]).view(np.uint64)[:, 0]
            views[here] = likenesses[:, 8:]
            start += len(batch)
        content = pa.chunked_array(contents, pa.string()).combine_chunks()
        return cls(problems, content, sizes, traits, hashes, views, levels)

    def __len__(self) -> int:
        return len(self.traits)

    def select(self, rows: NDArray[np.int64] | Sequence[int]) -> Looks:
        """Those of some rows, each once."""
        chosen = np.asarray(rows, np.int64)
        if np.array_equal(chosen, np.arange(len(self))):
            return self
        places = {int(row): place for place, row in enumerate(chosen) if row in self.problems}
        problems = {place: self.problems[row] for row, place in places.items()}
        columns = (self.sizes, self.traits, self.hashes, self.views, self.levels)
        return Looks(problems, self.content.take(chosen), *(column[chosen] for column in columns))  # type: ignore[arg-type]

    def likenesses(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """`Look.likeness` of some rows, [rows, LIKENESS]; zeros where there is none."""
        return np.concatenate([self.hashes[rows, None].view(np.uint8), self.views[rows]], axis=1)

    @property
    def shorter(self) -> NDArray[np.int32]:
        """Pixels of each image's shorter side."""
        return np.asarray(self.sizes.min(axis=1))

    @property
    def longer(self) -> NDArray[np.int32]:
        """Pixels of each image's longer side."""
        return np.asarray(self.sizes.max(axis=1))

    def has(self, trait: str) -> NDArray[np.bool_]:
        """Which images have a trait, [images]."""
        return (self.traits >> TRAITS.index(trait) & 1).astype(bool)


def traits_of(bits: int) -> tuple[str, ...]:
    """The traits that these bits stand for."""
    return tuple(trait for place, trait in enumerate(TRAITS) if bits >> place & 1)


def _traits(image: Image.Image) -> tuple[str, ...]:
    mode, depth = image.mode, depth_of(image)
    found = {
        "grey": mode in ("1", "L", "LA", "La") or mode.startswith(("I", "F")),
        "alpha": mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info,
        "palette": mode in ("P", "PA"),
        "cmyk": mode == "CMYK",
        "deep": depth is not None,
        "animated": has_frames(image),
        "float": depth == "float",
    }
    return tuple(name for name, is_so in found.items() if is_so)


def has_frames(image: Image.Image) -> bool:
    """Whether a file that is opened holds more pictures than the first: an animation, or several pages."""
    return image.format in _WITH_FRAMES and getattr(image, "n_frames", 1) > 1


def _by_own_levels(values: NDArray[Any], levels: tuple[float, float]) -> Image.Image:
    return Image.fromarray(to_eight_bits(values, {"integer": levels, "float": levels}))


def _likeness(image: Image.Image, turn: Image.Transpose | None) -> bytes:
    """A difference hash and a small grey picture.

    A bit of the hash says whether a pixel is brighter than its left neighbour (Krawetz: Kind of like that, 2013), here by
    at least `_STEP` grey levels.
    """
    if image.mode in ("P", "PA", "RGBA", "LA") or image.mode.startswith(("I", "F")):
        image = to_rgb(image)
    grey = image.convert("L")
    if turn is not None:
        grey = grey.transpose(turn)
    coarse, fine = (grey.resize(size, Image.Resampling.BOX, reducing_gap=3.0).tobytes() for size in (_COARSE, FINE))
    grid = np.frombuffer(coarse, np.uint8).reshape(_COARSE[1], _COARSE[0]).astype(np.int16)
    return np.packbits(grid[:, 1:] - grid[:, :-1] >= _STEP).tobytes() + fine
