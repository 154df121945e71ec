"""Outlines in every form in which tools write them, and damaged ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco
from hypothesis import given
from hypothesis import strategies as st

from graftwork.vision.outlines import box_of_outline, draw_outline, outline_of_shape

SQUARE = [3, 2, 9, 2, 9, 6, 3, 6]


def inside(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    pixels = np.zeros((10, 12), dtype=bool)
    pixels[top:bottom, left:right] = True
    return pixels


@pytest.mark.parametrize(
    "outline",
    [
        [SQUARE],
        SQUARE,
        [[3, 2], [9, 2], [9, 6], [3, 6]],
        [[[3, 2], [9, 2], [9, 6], [3, 6]]],
        [SQUARE, [1, 1, 2, 2]],
        {"size": [10, 12], "counts": [32, 4, 6, 4, 6, 4, 6, 4, 6, 4, 6, 4, 34]},
        coco.encode(np.asfortranarray(inside(3, 2, 9, 6).astype(np.uint8))),
    ],
    ids=["polygons", "one polygon", "points", "lists of points", "with a line", "runs", "packed runs"],
)
def test_one_square_in_every_form_is_one_square(outline: Any) -> None:
    drawn = draw_outline(outline, 10, 12)
    assert drawn is not None
    assert np.array_equal(drawn, inside(3, 2, 9, 6))
    assert box_of_outline(outline) == (3, 2, 9, 6)


@pytest.mark.parametrize(
    "outline",
    [
        None,
        [],
        [[]],
        "",
        7,
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5]],
        [[1, 2, 3, 4, 5, float("nan")]],
        [[1, 2, 3, 4, 5, 1e12]],
        [["1", "2", "3", "4", "5", "6"]],
        {"size": [10, 12], "counts": [5, 5]},
        {"size": [10, 12], "counts": [-5, 125]},
        {"size": [10, 12], "counts": [float("inf"), 1]},
        {"size": [10], "counts": [120]},
        {"size": [10, 12], "counts": "\n"},
        {"size": [10, 12], "counts": "oooooooooooooo"},
        {"counts": "04"},
    ],
)
def test_what_is_no_outline_is_none(outline: Any) -> None:
    assert draw_outline(outline, 10, 12) is None
    assert box_of_outline(outline) is None


@given(st.lists(st.booleans(), min_size=60, max_size=60), st.sampled_from([(6, 10), (10, 6), (1, 60), (60, 1)]))
def test_packed_runs_are_read_as_coco_packs_them(pixels: list[bool], size: tuple[int, int]) -> None:
    mask = np.array(pixels).reshape(size)
    drawn = draw_outline(coco.encode(np.asfortranarray(mask.astype(np.uint8))), *size)
    assert drawn is not None
    assert np.array_equal(drawn, mask)
    assert draw_outline(coco.encode(np.asfortranarray(mask.astype(np.uint8))), size[0] + 1, size[1]) is None


def test_shapes_of_labelme_have_outlines_where_they_have_an_inside() -> None:
    assert outline_of_shape("polygon", [[3, 2], [9, 2], [9, 6], [3, 6]]) == [SQUARE]
    assert box_of_outline(outline_of_shape("rectangle", [[9, 6], [3, 2]])) == (3, 2, 9, 6)
    drawn = draw_outline(outline_of_shape("circle", [[20, 20], [30, 20]]), 40, 40)
    assert drawn is not None
    assert drawn.sum() == pytest.approx(314, rel=0.04)
    for kind, points in (("point", [[1, 1]]), ("line", [[1, 1], [5, 5]]), ("linestrip", [[1, 1], [5, 5], [9, 1]])):
        assert outline_of_shape(kind, points) is None
    assert outline_of_shape("polygon", [[1, "a"], [2, 2], [3, 3]]) is None
