"""Pictures that are nearly alike: copies are known, different objects before one wall are not taken for one."""

from __future__ import annotations

import io
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from graftwork.vision.likeness import CORRELATION, likeness, near_across, near_pairs
from graftwork.vision.look import Looks, look_at


def seen(contents: list[str], hashes: NDArray[np.uint64], views: NDArray[np.uint8]) -> Looks:
    rows = len(contents)
    return Looks(
        {},
        pa.array(contents),
        np.full((rows, 2), 64, np.int32),
        np.zeros(rows, np.uint8),
        hashes,
        views,
        np.zeros((rows, 2)),
    )


HASHES = st.lists(st.integers(0, 2**64 - 1), max_size=30)


@settings(deadline=None)
@given(
    HASHES, HASHES, st.integers(0, 12), st.lists(st.tuples(st.integers(0, 29), st.integers(0, 2**64 - 1)), max_size=5)
)
def test_near_pairs_are_all_pairs_within_the_distance(
    first: list[int], second: list[int], distance: int, planted: list[tuple[int, int]]
) -> None:
    second = second + [first[n % len(first)] ^ (noise & (noise >> 7) & (noise >> 13)) for n, noise in planted if first]
    a, b = near_pairs(np.array(first, dtype=np.uint64), np.array(second, dtype=np.uint64), distance)
    expected = {
        (i, j)
        for i, x in enumerate(first)
        for j, y in enumerate(second)
        if (x ^ y).bit_count() <= min(distance, (x.bit_count() + y.bit_count()) // 4)
        and all(6 <= z.bit_count() <= 58 for z in (x, y))
    }
    assert len(a) == len(expected)
    assert set(zip(a.tolist(), b.tolist(), strict=True)) == expected


def test_near_duplicates_need_a_close_hash_and_a_like_view_and_another_content() -> None:
    generator = np.random.default_rng(0)
    view = generator.integers(0, 256, (4, 256), dtype=np.uint8)
    hashes = np.array([0x0F0F0F0F0F0F0F0F, 0x00FF00FF00FF00FF, 0x3333333333333333, 0x5555AAAA5555AAAA], dtype=np.uint64)
    contents = {"train": ["a", "b", "c", "d"], "test": ["a", "e", "f", "g"]}
    other = np.concatenate([view[:2], generator.integers(0, 256, (1, 256), dtype=np.uint8), view[3:]])
    looks = {
        "train": seen(contents["train"], hashes, view),
        "test": seen(contents["test"], hashes ^ np.uint64(3), other),
    }
    found = near_across(looks, contents, {"train": ["t0", "t1", "t2", "t3"], "test": ["v0", "v1", "v2", "v3"]})
    assert set(found[0].where) == {"train: t1 ~ test: v1", "train: t3 ~ test: v3"}
    assert "2 of 4 test rows like a train row" in found[0].message


def test_sixty_thousand_hashes_are_compared_in_seconds() -> None:
    generator = np.random.default_rng(0)
    first = generator.integers(0, 2**64, 50_000, dtype=np.uint64)
    second = np.concatenate([generator.integers(0, 2**64, 9_990, dtype=np.uint64), first[:10] ^ np.uint64(7)])
    start = time.perf_counter()
    a, b = near_pairs(first, second, 10)
    assert time.perf_counter() - start < 30
    assert {(n, 9_990 + n) for n in range(10)} <= set(zip(a.tolist(), b.tolist(), strict=True))


BACKDROPS = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "green": (40, 160, 60),
    "grey with grain": (140, 140, 140),
    "cream": (240, 230, 200),
}
OBJECTS = ("disc", "square", "triangle", "ring", "cross", "bar")


def drawn(thing: str, backdrop: str, colour: tuple[int, int, int], radius: int = 34) -> Image.Image:
    """A thing in the middle of a plain backdrop, 128×128."""
    image = Image.new("RGB", (128, 128), BACKDROPS[backdrop])
    draw = ImageDraw.Draw(image)
    low, high, third = 64 - radius, 64 + radius, radius // 3
    if thing == "disc":
        draw.ellipse((low, low, high, high), fill=colour)
    elif thing == "square":
        draw.rectangle((low, low, high, high), fill=colour)
    elif thing == "triangle":
        draw.polygon([(64, low), (low, high), (high, high)], fill=colour)
    elif thing == "ring":
        draw.ellipse((low, low, high, high), outline=colour, width=third)
    if thing in ("cross", "bar"):
        draw.rectangle((low, 64 - third, high, 64 + third), fill=colour)
    if thing == "cross":
        draw.rectangle((64 - third, low, 64 + third, high), fill=colour)
    if "grain" in backdrop:
        noise = np.random.default_rng(0).normal(0, 3, (128, 128, 1))
        image = Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))
    return image


def looked(*images: Image.Image, **options: Any) -> Looks:
    cells = []
    for image in images:
        buffer = io.BytesIO()
        image.save(
            buffer, options.get("kind", "PNG"), **{key: value for key, value in options.items() if key != "kind"}
        )
        cells.append({"bytes": buffer.getvalue(), "path": None})
    return Looks.gather(len(cells), [[look_at(cell) for cell in cells]])


def near_of(first: Looks, second: Looks) -> set[tuple[int, int]]:
    a, b = near_pairs(first.hashes, second.hashes, 10)
    close = likeness(first, a, second, b) >= CORRELATION
    return set(zip(a[close].tolist(), b[close].tolist(), strict=True))


@pytest.mark.parametrize("backdrop", BACKDROPS)
def test_different_objects_on_one_plain_backdrop_are_not_alike_and_copies_are(backdrop: str) -> None:
    light, dark = (200, 180, 60), (90, 30, 110)
    images = [drawn(thing, backdrop, colour) for thing in OBJECTS for colour in (light, dark)]
    looks = looked(*images)
    assert {(i, j) for i, j in near_of(looks, looks) if i != j} == set()
    telling = {i for i, j in near_of(looks, looks) if i == j}
    assert len(telling) >= 10
    copies = near_of(looks, looked(*images, kind="JPEG", quality=80))
    assert {i for i, j in copies if i == j} >= telling and all(i == j for i, j in copies)
    smaller = near_of(looks, looked(*(image.resize((96, 96)) for image in images)))
    assert len({i for i, j in smaller if i == j}) >= len(telling) - 2 and all(i == j for i, j in smaller)
