"""Looks at pictures, gathered by column."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from graftwork.vision.look import Look, Looks, look_at


def _png(width: int, height: int, mode: str = "RGB", seed: int = 0) -> dict[str, object]:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


CELLS = [
    _png(40, 50),
    {"bytes": b"", "path": None},
    _png(20, 64, "L", seed=1),
    _png(64, 33, "LA", seed=2),
    {"bytes": b"<html>", "path": None},
]


def _gathered() -> tuple[list[Look], Looks]:
    each = [look_at(cell) for cell in CELLS]
    return each, Looks.gather(len(each), [each[:2], each[2:3], each[3:]])


def test_batches_of_looks_become_columns_in_their_order() -> None:
    each, looks = _gathered()
    assert len(looks) == 5
    assert looks.content.to_pylist() == [look.content for look in each]
    assert looks.sizes.tolist() == [[40, 50], [0, 0], [20, 64], [64, 33], [0, 0]]
    assert looks.problems == {1: ("empty-file", ""), 4: ("not-an-image", "a web page (HTML)")}
    assert looks.has("grey").tolist() == [False, False, True, True, False]
    assert looks.has("alpha").tolist() == [False, False, False, True, False]
    assert looks.shorter.tolist() == [40, 0, 20, 33, 0] and looks.longer.tolist() == [50, 0, 64, 64, 0]
    # A side of 20 pixels tells too little: no hash, and no view to compare.
    assert (looks.hashes != 0).tolist() == [True, False, False, True, False] == looks.views.any(axis=1).tolist()


def test_chosen_looks_keep_their_own_problems() -> None:
    _, looks = _gathered()
    chosen = looks.select([0, 3, 4])
    assert chosen.problems == {2: ("not-an-image", "a web page (HTML)")}
    assert chosen.sizes.tolist() == [[40, 50], [64, 33], [0, 0]]
    assert chosen.content.to_pylist() == [looks.content[row].as_py() for row in (0, 3, 4)]
    assert chosen.hashes.tolist() == looks.hashes[[0, 3, 4]].tolist()
    assert looks.select(range(5)) is looks
