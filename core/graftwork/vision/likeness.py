"""Which pictures are nearly alike, by what one look at each has kept of it: a hash of 64 bits, and 16×16 grey pixels.

The hash only suggests; the pixels have to agree, and so has what stands on a plain backdrop once that is taken off: two
objects before one wall share the wall.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from graftwork.data.alike import Linked, Pairs
from graftwork.interfaces import Finding
from graftwork.vision.look import FINE, Looks

BITS = 10
CORRELATION = 0.97
"""Bits of 64, and correlation of 16×16 grey pixels. On CIFAR-10's test against train this names 72 of 10,000 rows, all or
nearly all rightly by eye; at 0.96 seascapes of different ships begin to pair."""

PLAIN = 6
"""Grey levels around its middle value within which three quarters of a picture's rim lie where it has a plain backdrop."""

CONTRAST = 0.9
"""On one backdrop: how much fainter what stands there may be in one of two pictures."""

MOST = 60_000
"""Rows that all meet all others; of more, each meets those that share a quarter of its hash."""

_CHUNK = 500_000  # pairs at a time, 8 bytes each: they stay in the processor's cache
_PAIRS = 4_000  # of views at a time, two kilobytes each as float32
_BUCKET = 64  # rows that each meets of those that share a quarter of its hash
_SHOWN = 5


def near_across(
    looks: Mapping[str, Looks], contents: Mapping[str, Sequence[str]], origins: Mapping[str, Sequence[str]]
) -> list[Finding]:
    """Rows in different splits that look nearly alike; those whose very content is in both are left to `check_duplicates`.

    Args:
        looks: of every row, by split.
        contents: a hash of every row's content, by split.
        origins: what every row is called, by split.
    """
    splits = [split for split in looks if len(looks[split])]
    told: list[tuple[float, str]] = []
    leaked: list[str] = []
    for position, first in enumerate(splits):
        for second in splits[position + 1 :]:
            a, b = near_pairs(looks[first].hashes, looks[second].hashes, BITS)
            alike = likeness(looks[first], a, looks[second], b)
            near = np.flatnonzero(alike >= CORRELATION)
            shared = {contents[first][i] for i in set(a[near].tolist())}
            closest: dict[int, tuple[float, int]] = {}
            for i, j, value in zip(a[near].tolist(), b[near].tolist(), alike[near].tolist(), strict=True):
                if contents[second][j] not in shared:
                    closest[j] = max(closest.get(j, (value, i)), (value, i))
            told += [
                (-value, f"{first}: {origins[first][i]} ~ {second}: {origins[second][j]}")
                for j, (value, i) in closest.items()
            ]
            if closest:
                leaked.append(f"{len(closest):,} of {len(looks[second]):,} {second} rows like a {first} row")
    if not told:
        return []
    message = f"pairs of rows in different splits that look nearly alike ({', '.join(leaked)}), which is leakage"
    shown = tuple(pair for _, pair in sorted(told)[:_SHOWN])
    return [Finding("near-duplicate-across-splits", "warning", f"{message}: {len(told):,}", shown, len(told))]


def near_within(looks: Looks, linked: Linked) -> None:
    """Link the rows that look nearly alike.

    Args:
        looks: of every row, in an order that is not the source's.
        linked: takes the pairs.
    """
    blocks = _blocks(looks.hashes, looks.hashes, BITS) if len(looks) <= MOST else _in_buckets(looks.hashes, BITS)
    for a, b in blocks:
        new = (a < b) & linked.apart((a, b))
        left, right = a[new], b[new]
        near = likeness(looks, left, looks, right) >= CORRELATION
        linked.link((left[near], right[near]))


def near_pairs(first: NDArray[np.uint64], second: NDArray[np.uint64], distance: int) -> Pairs:
    """All pairs (row of first, row of second) of hashes within a Hamming distance.

    Every hash meets every other whose number of set bits allows it: 50,000 × 10,000 take about two seconds, little
    beside decoding what was hashed. Hashes with fewer than 6 bits set, or unset, come from nearly even content, say
    nothing, and are never paired. Of pictures with few bits, where most is backdrop, few may differ: a quarter of those that
    the two have on average.

    Args:
        first, second: [rows].
        distance: bits.
    """
    pairs = list(_blocks(first, second, distance))
    nothing = np.empty(0, dtype=np.int64)
    return np.concatenate([nothing, *(a for a, _ in pairs)]), np.concatenate([nothing, *(b for _, b in pairs)])


def _blocks(first: NDArray[np.uint64], second: NDArray[np.uint64], distance: int) -> Iterator[Pairs]:
    left, right = _telling(first), _telling(second)
    ones = np.bitwise_count(first[left]).astype(np.int64)
    start = 0
    while start < len(right):
        low = int(np.bitwise_count(second[right[start]]))
        size = max(1, _CHUNK // max(1, len(left)))
        rows = right[start : start + size]
        high = int(np.bitwise_count(second[rows[-1]]))
        begin, end = np.searchsorted(ones, [low - distance, high + distance + 1])
        i, j = np.nonzero(np.bitwise_count(first[left[begin:end]][:, None] ^ second[rows][None]) <= distance)
        yield _close(first, left[begin + i], second, rows[j], distance)
        start += size


def _in_buckets(hashes: NDArray[np.uint64], distance: int) -> Iterator[Pairs]:
    """Pairs that agree in 16 bits in a row, each row with the next few of those that do."""
    telling = _telling(hashes)
    for shift in range(0, 64, 16):
        quarter = (hashes[telling] >> np.uint64(shift)) & np.uint64(0xFFFF)
        order = np.lexsort((hashes[telling], quarter))
        rows, keys = telling[order], quarter[order]
        for step in range(1, _BUCKET + 1):
            same = np.flatnonzero(keys[step:] == keys[:-step])
            a, b = rows[same], rows[same + step]
            yield _close(hashes, np.minimum(a, b), hashes, np.maximum(a, b), distance)


def _close(
    first: NDArray[np.uint64], left: NDArray[np.int64], second: NDArray[np.uint64], right: NDArray[np.int64], most: int
) -> Pairs:
    a, b = first[left], second[right]
    bits = np.bitwise_count(a).astype(np.int64) + np.bitwise_count(b)
    near = np.bitwise_count(a ^ b) <= np.minimum(most, bits // 4)
    return left[near], right[near]


def _telling(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Rows whose hash says something, by its number of set bits."""
    ones = np.bitwise_count(hashes)
    rows = np.flatnonzero((ones >= 6) & (ones <= 58))
    return rows[np.argsort(ones[rows], kind="stable")]


def likeness(first: Looks, left: NDArray[np.int64], second: Looks, right: NDArray[np.int64]) -> NDArray[np.float32]:
    """How alike pairs of rows look, -1..1, [pairs]: the smaller of the correlation of all pixels and of what stands out from
    the backdrop, where both have a plain one; 0 for what has no variation, or stands out much less in one of the two.
    """
    result = np.zeros(len(left), dtype=np.float32)
    for start in range(0, len(left), _PAIRS):
        part = slice(start, start + _PAIRS)
        a, b = first.views[left[part]].astype(np.float32), second.views[right[part]].astype(np.float32)
        result[part] = np.minimum(_correlation(a, b, np.ones_like(a)), _standing_out(a, b))
    return result


def _standing_out(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """The likeness of what stands on plain backdrops, [pairs]; 1 where there is no backdrop to take off."""
    wall_a, plain_a = _backdrop(a)
    wall_b, plain_b = _backdrop(b)
    rest_a, rest_b = a - wall_a, b - wall_b
    stands = ((np.abs(rest_a) > PLAIN) | (np.abs(rest_b) > PLAIN)).astype(np.float32)
    energy = [np.sqrt((rest * rest * stands).sum(axis=1)) for rest in (rest_a, rest_b)]
    fainter = np.minimum(*energy) / np.maximum(np.maximum(*energy), 1e-6)
    other = (np.abs(wall_a - wall_b)[:, 0] <= PLAIN) & (fainter < CONTRAST)
    found = np.where(other, 0, _correlation(a, b, stands))
    return np.where(plain_a & plain_b, found, 1).astype(np.float32)


_INNER = np.zeros((FINE[1], FINE[0]), bool)
_INNER[1:-1, 1:-1] = True
_RIM = np.flatnonzero(~_INNER.reshape(-1))


def _backdrop(views: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The middle grey of each picture's rim, [rows, 1], and whether most of the rim is as grey as that, [rows]."""
    rim = views[:, _RIM]
    middle = np.median(rim, axis=1, keepdims=True)
    return middle, (np.abs(rim - middle) <= PLAIN).mean(axis=1) >= 0.75


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pearson's of each row, over the pixels that have a weight of 1; 0 for rows without any variation there."""
    count = np.maximum(weights.sum(axis=1, keepdims=True), 1)
    a = (a - (a * weights).sum(axis=1, keepdims=True) / count) * weights
    b = (b - (b * weights).sum(axis=1, keepdims=True) / count) * weights
    norm = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    found: NDArray[np.float32] = (a * b).sum(axis=1) / np.maximum(norm, 1e-6)
    return found
