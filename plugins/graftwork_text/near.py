"""Texts that are nearly alike, in any language, without comparing all with all: in different splits, or to be kept in one.

A text is the set of its character n-grams. MinHash signatures (Broder 1997, On the resemblance and containment of
documents) by one permutation with rotation (Shrivastava, Li 2014) put texts that may be alike into one bucket; what meets
there is compared exactly. Case, white space, punctuation and Unicode form do not count; digits and symbols do, since a
label may hang on a number or an emoji.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from graftwork.data.alike import Linked, numbered, smallest_names
from graftwork.interfaces import Finding
from graftwork_text.look import contents_of

if TYPE_CHECKING:
    from datasets import Dataset

GRAM = 4
"""Characters of an n-gram."""

JACCARD = 0.8
"""Shared n-grams by all n-grams of two texts, from which on they are nearly alike."""

SHORTEST = 12
"""N-grams; a text with fewer says too little to be compared."""

MOST_ROWS = 200_000
"""Rows; of more, a sample is looked at."""

_READ = 2_000  # characters of a text that are compared
_BATCH = 256
_BINS, _ROWS_OF_BAND = 96, 6  # 16 bands: found with 0.8 alike 99 of 100 times, with 0.3 alike once in 100
_EMPTY = np.uint32(0xFFFFFFFF)
_WINDOW = 32  # rows that each row of one table meets in a bucket
_BUCKET = 8  # rows of the first split that a row of the second meets in a bucket
_CONFIRMED = 4  # candidates of a row that are compared exactly
_APART = r"[\s\p{P}\p{Z}\p{C}]+"
_SHOWN = 5


def check_near_texts(
    splits: Mapping[str, Dataset], contents: Mapping[str, Sequence[str]], jaccard: float = JACCARD
) -> list[Finding]:
    """Rows in different splits whose texts (and partners) are nearly alike; equal ones are left to `check_duplicates`.

    Args:
        splits: rows with `text`, maybe `text_pair`, and `origin`.
        contents: a digest of every row, by split.
        jaccard: the smallest likeness of two texts, 0..1.
    """
    if len(splits) < 2:
        return []
    chosen = _sample({split: len(rows) for split, rows in splits.items()})
    looked = {split: rows.select(chosen[split]) for split, rows in splits.items()}
    signatures = {split: _signatures(rows) for split, rows in looked.items()}
    names = list(splits)
    told: list[tuple[float, str]] = []
    leaked: list[str] = []
    for position, first in enumerate(names):
        for second in names[position + 1 :]:
            pairs = _candidates(signatures[first], signatures[second])
            a, b = ([str(contents[split][row]) for row in chosen[split].tolist()] for split in (first, second))
            # What is in both is told as a duplicate.
            both = set(a).intersection(b)
            distinct = [(i, j) for i, j in zip(*(side.tolist() for side in pairs), strict=True) if b[j] not in both]
            closest = _confirmed(looked[first], looked[second], distinct, jaccard)
            told += [(-alike, _pair(first, looked[first][i], second, looked[second][j])) for j, (alike, i) in closest]
            if closest:
                leaked.append(f"{len(closest):,} of {len(looked[second]):,} {second} rows like a {first} row")
    return _findings(told, leaked, splits, looked)


def alike_texts(rows: Dataset) -> list[str]:
    """A group for every row (`Task.alike`): equal texts and nearly equal ones, with all that they are linked by.

    Of more than MOST_ROWS different texts only equal ones are in one group.

    Args:
        rows: with `text`, maybe `text_pair`.
    """
    distinct, numbers = numbered(contents_of(rows))
    if len(distinct) > MOST_ROWS:
        return [distinct[number] for number in numbers.tolist()]
    _, first = np.unique(numbers, return_index=True)
    different = rows.select(first)
    linked = Linked(len(distinct))
    for a, b in _neighbours(_signatures(different)):
        new = linked.apart((a, b))
        pairs = list(zip(a[new].tolist(), b[new].tolist(), strict=True))
        close = np.array([_alike(different[i], different[j]) >= JACCARD for i, j in pairs], dtype=bool)
        linked.link((a[new][close], b[new][close]))
    names = smallest_names(distinct, linked.components)
    return [names[number] for number in numbers.tolist()]


def shingles(text: str) -> frozenset[str]:
    """The character n-grams of a text in its compared form; empty where there are too few to say anything."""
    plain = unicodedata.normalize("NFKC", text[:_READ]).lower()
    plain = " ".join(_split_apart(plain))
    grams = frozenset(plain[start : start + GRAM] for start in range(len(plain) - GRAM + 1))
    return grams if len(plain) - GRAM + 1 >= SHORTEST else frozenset()


def _split_apart(text: str) -> list[str]:
    spaced = "".join(" " if not one.isalnum() and unicodedata.category(one)[0] in "PZC" else one for one in text)
    return spaced.split()


def _findings(
    told: list[tuple[float, str]], leaked: list[str], splits: Mapping[str, Dataset], looked: Mapping[str, Dataset]
) -> list[Finding]:
    findings = []
    total, seen = sum(map(len, splits.values())), sum(map(len, looked.values()))
    sampled = f"; looked at a sample of {seen:,} of {total:,} rows" if seen < total else ""
    if told:
        message = (
            f"texts in different splits that are nearly alike ({', '.join(leaked)}{sampled}), which is leakage: "
            f"{len(told):,}"
        )
        shown = tuple(text for _, text in sorted(told)[:_SHOWN])
        findings.append(Finding("near-duplicate-across-splits", "warning", message, shown, len(told)))
    elif sampled:
        message = f"no near duplicates across splits{sampled}"
        findings.append(Finding("near-duplicates-sampled", "note", message, (), seen))
    return findings


def _pair(first: str, one: Mapping[str, str], second: str, other: Mapping[str, str]) -> str:
    return f"{first}: {one['origin']} ({_short(one['text'])}) ~ {second}: {other['origin']} ({_short(other['text'])})"


def _short(text: str) -> str:
    flat = re.sub(r"\s+", " ", text[:200]).strip()
    return flat if len(flat) <= 60 else flat[:59] + "…"


def _sample(rows: Mapping[str, int]) -> dict[str, NDArray[np.int64]]:
    """Row numbers that are looked at, ascending: all, or of every split its share, but of small splits all."""
    left, share = MOST_ROWS, {}
    for position, split in enumerate(sorted(rows, key=rows.__getitem__)):
        share[split] = min(rows[split], left // (len(rows) - position))
        left -= share[split]
    generator = np.random.default_rng(0)
    return {
        split: np.arange(count)
        if share[split] == count
        else np.sort(generator.choice(count, share[split], replace=False))
        for split, count in rows.items()
    }


def _signatures(rows: Dataset) -> NDArray[np.uint16]:
    """MinHash signatures, [rows, 96]; all zero for a text that is too short to be compared."""
    columns = [name for name in ("text", "text_pair") if name in rows.column_names]
    parts = [np.zeros((0, _BINS), dtype=np.uint16)]
    for batch in rows.select_columns(columns).with_format("arrow").iter(batch_size=_BATCH):
        texts = [pc.utf8_slice_codeunits(pc.fill_null(batch[name].combine_chunks(), ""), 0, _READ) for name in columns]
        joined = pc.binary_join_element_wise(*texts, " ") if len(texts) > 1 else texts[0]
        plain = pc.utf8_lower(pc.utf8_normalize(joined, form="NFKC"))
        plain = pc.utf8_trim_whitespace(pc.replace_substring_regex(plain, _APART, " "))
        parts.append(_minhash(plain))
    return np.concatenate(parts)


def _minhash(texts: pa.Array) -> NDArray[np.uint16]:
    lengths = pc.utf8_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)
    codes = np.frombuffer("".join(texts.to_pylist()).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    row = np.repeat(np.arange(len(lengths)), lengths)
    if len(codes) < GRAM:
        return np.zeros((len(lengths), _BINS), dtype=np.uint16)
    last = len(codes) - GRAM + 1
    grams = codes[:last].copy()
    for offset in range(1, GRAM):
        grams = grams * np.uint64(0x9E3779B97F4A7C15) + codes[offset : last + offset]
    inside = row[:last] == row[GRAM - 1 :]
    grams, row = grams[inside], row[:last][inside]
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64's finish
        grams = (grams ^ (grams >> np.uint64(shift))) * np.uint64(factor)
    bins = ((grams >> np.uint64(32)) % np.uint64(_BINS)).astype(np.int64)
    smallest = np.full(len(lengths) * _BINS, _EMPTY, dtype=np.uint32)
    np.minimum.at(smallest, row * _BINS + bins, (grams & np.uint64(0xFFFFFFFE)).astype(np.uint32))
    table = _rotated(smallest.reshape(-1, _BINS))
    # The smallest of many begins with zeros; its low bits are as good as random.
    signature = ((table >> np.uint32(1)) & np.uint32(0xFFFF)).astype(np.uint16)
    signature[lengths - GRAM + 1 < SHORTEST] = 0
    return signature


def _rotated(table: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Empty bins filled from the next one to the right that is not, marked by how far away it was."""
    far = np.zeros(table.shape, dtype=np.uint32)
    for _ in range(7):  # steps of 1, 2, 4, … 64 bins reach every bin
        step = 1 << _
        empty = table == _EMPTY
        if not empty.any():
            break
        moved, moved_far = np.roll(table, -step, axis=1), np.roll(far, -step, axis=1) + np.uint32(step)
        table, far = np.where(empty, moved, table), np.where(empty, moved_far, far)
    return np.where(table == _EMPTY, table, table + far * np.uint32(0x9E3779B0))


def _candidates(first: NDArray[np.uint16], second: NDArray[np.uint16]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of rows that share a bucket and whose signatures promise likeness; a few of each row of the second."""
    left, right = np.flatnonzero(first.any(axis=1)), np.flatnonzero(second.any(axis=1))
    found = [np.empty(0, dtype=np.int64)]
    for start in range(0, _BINS, _ROWS_OF_BAND):
        band = slice(start, start + _ROWS_OF_BAND)
        keys, wanted = _keys(first[left, band]), _keys(second[right, band])
        order = np.argsort(keys, kind="stable")
        begin = np.searchsorted(keys[order], wanted, "left")
        count = np.minimum(np.searchsorted(keys[order], wanted, "right") - begin, _BUCKET)
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        i = left[order[np.repeat(begin, count) + within]]
        found.append(np.repeat(right, count) * len(first) + i)
    pairs = np.unique(np.concatenate(found))
    i, j = pairs % max(1, len(first)), pairs // max(1, len(first))
    alike = np.empty(len(pairs), dtype=np.float32)
    for start in range(0, len(pairs), 100_000):
        part = slice(start, start + 100_000)
        alike[part] = (first[i[part]] == second[j[part]]).mean(axis=1)
    promising = np.flatnonzero(alike >= JACCARD - 0.2)
    order = promising[np.lexsort((-alike[promising], j[promising]))]
    rank = np.arange(len(order)) - np.searchsorted(j[order], j[order], "left")
    kept = order[rank < _CONFIRMED]
    return i[kept], j[kept]


def _neighbours(signatures: NDArray[np.uint16]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of rows of one table that share a bucket, each with the next few there, whose signatures promise likeness."""
    telling = np.flatnonzero(signatures.any(axis=1))
    for start in range(0, _BINS, _ROWS_OF_BAND):
        keys = _keys(signatures[telling, start : start + _ROWS_OF_BAND])
        order = np.argsort(keys, kind="stable")
        rows, keys = telling[order], keys[order]
        for step in range(1, min(_WINDOW, len(rows) - 1) + 1):
            same = np.flatnonzero(keys[step:] == keys[:-step])
            if not len(same):
                break
            a, b = rows[same], rows[same + step]
            alike = (signatures[a] == signatures[b]).mean(axis=1) >= JACCARD - 0.2
            yield a[alike], b[alike]


def _keys(band: NDArray[np.uint16]) -> NDArray[np.uint64]:
    key = np.zeros(len(band), dtype=np.uint64)
    for column in band.T:
        key = (key ^ column) * np.uint64(0xBF58476D1CE4E5B9)
        key ^= key >> np.uint64(29)
    return key


def _confirmed(
    first: Dataset, second: Dataset, pairs: Sequence[tuple[int, int]], jaccard: float
) -> list[tuple[int, tuple[float, int]]]:
    """Rows of the second with the closest row of the first, exactly; of pairs of texts the less alike side counts."""
    closest: dict[int, tuple[float, int]] = {}
    for i, j in pairs:
        alike = _alike(first[i], second[j])
        if alike >= jaccard and alike > closest.get(j, (0.0, 0))[0]:
            closest[j] = (alike, i)
    return sorted(closest.items())


def _alike(one: Mapping[str, str | None], other: Mapping[str, str | None]) -> float:
    return min(_jaccard(one[name] or "", other[name] or "") for name in ("text", "text_pair") if name in one)


def _jaccard(one: str, other: str) -> float:
    if one == other:
        return 1.0
    a, b = shingles(one), shingles(other)
    return len(a & b) / max(1, len(a | b))
