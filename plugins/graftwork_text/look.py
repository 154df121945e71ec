"""What one pass over the texts sees: a digest of each row, and traits of its text, batch by batch in Arrow."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

if TYPE_CHECKING:
    from datasets import Dataset

LONG = 100_000
"""Characters; a longer text is reported."""

_BATCH = 1000

_CP1252 = (
    r"\x{80}-\x{bf}\x{20ac}\x{201a}\x{192}\x{201e}\x{2026}\x{2020}\x{2021}\x{2c6}\x{2030}\x{160}\x{2039}\x{152}\x{17d}"
    r"\x{2018}\x{2019}\x{201c}\x{201d}\x{2022}\x{2013}\x{2014}\x{2dc}\x{2122}\x{161}\x{203a}\x{153}\x{17e}\x{178}"
)  # what the bytes 80 to BF read as
# What is invisible though no space: format characters (\p{C}), Hangul fillers, the blank Braille pattern.
_SEEN = r"[^\s\p{Z}\p{C}\x{115F}\x{1160}\x{3164}\x{FFA0}\x{2800}\x{034F}]"
# UTF-8 that was read as Windows-1252 or Latin-1: two-byte letters, Cyrillic twice in a row, dashes and quotes, emoji.
_MOJIBAKE = (
    rf"\x{{c3}}[{_CP1252}]|\x{{c2}}[\x{{80}}-\x{{bf}}]|\x{{e2}}[\x{{20ac}}\x{{80}}][{_CP1252}]"
    rf"|(?:[\x{{d0}}\x{{d1}}][{_CP1252}]){{2}}|\x{{f0}}[\x{{178}}\x{{9f}}]|\x{{ef}}\x{{bb}}\x{{bf}}"
)
_TAGS = "a|b|br|p|div|span|i|em|strong|u|li|ul|ol|td|tr|th|table|img|h[1-6]|script|style|font|blockquote"

TRAITS = {
    "replacement": r"\x{FFFD}",
    "mojibake": _MOJIBAKE,
    "nul": r"\x00",
    "control": r"[\x01-\x08\x0b\x0e-\x1f\x7f-\x{9f}]",
    "bidi": r"[\x{202A}-\x{202E}\x{2066}-\x{2069}\x{200E}\x{200F}\x{061C}]",
    # Not the joiners U+200C and U+200D, which Persian and emoji are written with.
    "invisible": r"[\x{200B}\x{2060}\x{FEFF}\x{00AD}\x{180E}]",
    "printed": r"""(?s)^\s*(?:b'.*'|b".*"|\[\s*(?:'.*'|".*")\s*\])\s*$""",
    "missing": r"^\s*(?i:nan|none|null|n/a|<na>|#n/a|#name\?|#ref!|#value!|#div/0!|#num!|#null!)\s*$",
    "html": rf"(?i)</?(?:{_TAGS})(?:\s[^<>]*)?/?>|&(?:amp|lt|gt|quot|apos|nbsp|#\d{{2,6}}|#x[0-9a-f]{{2,6}});",
}
"""Patterns (RE2) of what is odd in a text."""


@dataclass(frozen=True)
class Looks:
    """What was seen in a split.

    Args:
        content: hex digest of every row's text (and partner) in Unicode form NFC.
        number: the first 64 bits of it, [rows], which are cheap to count.
        empty: rows without anything to be seen in the text or its partner, [rows].
        length: characters, text and partner together, [rows].
        traits: by name of `TRAITS`, which rows have it, [rows].
    """

    content: pa.ChunkedArray
    number: NDArray[np.uint64]
    empty: NDArray[np.bool_]
    length: NDArray[np.int64]
    traits: dict[str, NDArray[np.bool_]]


def look_at(rows: Dataset) -> Looks:
    """One pass over a split's texts."""
    columns = [name for name in ("text", "text_pair") if name in rows.column_names]
    contents: list[pa.Array] = []
    numbers: list[NDArray[np.uint64]] = []
    empty: list[NDArray[np.bool_]] = []
    length: list[NDArray[np.int64]] = []
    traits: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in TRAITS}
    for batch in rows.select_columns(columns).with_format("arrow").iter(batch_size=_BATCH):
        texts = [pc.fill_null(batch[name].combine_chunks(), "") for name in columns]
        content, number = _digests(texts)
        contents.append(content)
        numbers.append(number)
        empty.append(_unseen(texts))
        length.append(
            np.sum([pc.utf8_length(text).to_numpy(zero_copy_only=False) for text in texts], axis=0, dtype=np.int64)
        )
        for name, pattern in TRAITS.items():
            traits[name].append(np.any([_matches(text, pattern) for text in texts], axis=0))
    return Looks(
        pa.chunked_array(contents, pa.string()),
        np.concatenate([np.empty(0, dtype=np.uint64), *numbers]),
        np.concatenate([np.empty(0, dtype=np.bool_), *empty]),
        np.concatenate([np.empty(0, dtype=np.int64), *length]),
        {name: np.concatenate([np.empty(0, dtype=np.bool_), *found]) for name, found in traits.items()},
    )


def without_text(rows: Dataset) -> NDArray[np.bool_]:
    """`Looks.empty` of every row."""
    columns = [name for name in ("text", "text_pair") if name in rows.column_names]
    found = [
        _unseen([pc.fill_null(batch[name].combine_chunks(), "") for name in columns])
        for batch in rows.select_columns(columns).with_format("arrow").iter(batch_size=_BATCH)
    ]
    return np.concatenate([np.empty(0, dtype=np.bool_), *found])


def contents_of(rows: Dataset) -> list[str]:
    """`Looks.content` of every row."""
    columns = [name for name in ("text", "text_pair") if name in rows.column_names]
    found: list[str] = []
    for batch in rows.select_columns(columns).with_format("arrow").iter(batch_size=_BATCH):
        content, _ = _digests([pc.fill_null(batch[name].combine_chunks(), "") for name in columns])
        found += content.to_pylist()
    return found


def _unseen(texts: list[pa.Array]) -> NDArray[np.bool_]:
    return np.asarray(np.any([~_matches(text, _SEEN) for text in texts], axis=0), dtype=np.bool_)


def _matches(texts: pa.Array, pattern: str) -> NDArray[np.bool_]:
    return np.asarray(pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False), dtype=np.bool_)


def _digests(texts: list[pa.Array]) -> tuple[pa.Array, NDArray[np.uint64]]:
    """BLAKE2b, 128 bits; a pair's parts are told apart by their lengths."""
    digests = []
    for row in zip(*(text.to_pylist() for text in texts), strict=True):
        parts = [unicodedata.normalize("NFC", part).encode() for part in row]
        digest = hashlib.blake2b(parts[0], digest_size=16)
        for part in parts[1:]:
            digest.update(f"\0{len(parts[0])}\0".encode() + part)
        digests.append(digest.digest())
    numbers = np.frombuffer(b"".join(digests), dtype="<u8")[::2].copy()
    return pa.array([digest.hex() for digest in digests], pa.string()), numbers
