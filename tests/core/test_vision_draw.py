"""Drawing: colours that are told apart, boxes and masks where they belong, names of any origin, pictures of any size."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from graftwork.vision.draw import (
    LEAST,
    class_colours,
    draw_boxes,
    draw_mask,
    line_of,
    mask_png,
    resize,
    side_by_side,
    stretch,
    to_picture,
    with_key,
)

NAMES = [
    "",
    "a" * 5000,
    "чашка",
    "猫と犬",
    "قطة",
    "é" * 30,
    "\ud800 broken",
    "two\nlines\x00\t",
    "👩‍👩‍👧 family",
    "$x_1$",
]
RED = (200, 0, 0)


def grey(height: int, width: int, value: int = 120) -> torch.Tensor:
    return torch.full((3, height, width), value, dtype=torch.uint8)


def test_a_class_keeps_its_colour_whatever_the_count() -> None:
    assert class_colours(256)[:20] == class_colours(20)
    assert class_colours(0) == []
    assert len(set(class_colours(256))) == 256


def test_fifteen_colours_are_told_apart_with_and_without_red_or_green_cones() -> None:
    # Viénot, Brettel & Mollon 1999: what is left of linear light without the cones for red, and for green.
    no_red = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
    no_green = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    linear = (np.asarray(class_colours(15)) / 255.0) ** 2.2
    for eyes in (np.eye(3), no_red, no_green):
        x, y, z = np.cbrt((linear @ eyes.T).clip(0, 1) @ to_xyz.T / np.array([0.9505, 1, 1.089])).T
        lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
        distances = [float(np.linalg.norm(one - other)) for one, other in itertools.combinations(lab, 2)]
        assert min(distances) > 15


def test_a_box_is_drawn_where_it_is_and_nothing_else_changes() -> None:
    pixels = grey(400, 500)
    drawn = draw_boxes(pixels, torch.tensor([[100.0, 50.0, 300.0, 200.0]]), [""], [RED])
    assert drawn.shape == (3, 400, 500)
    assert tuple(drawn[:, 50, 200].tolist()) == tuple(drawn[:, 120, 100].tolist()) == RED
    inside, outside = drawn[:, 60:190, 110:290], drawn[:, 210:, :]
    assert (inside == 120).all()
    assert (outside == 120).all()
    assert (pixels == 120).all()


def test_a_text_stands_in_the_corner_of_its_box() -> None:
    drawn = draw_boxes(grey(400, 500), torch.tensor([[100.0, 50.0, 300.0, 200.0]]), ["cup 0.93"], [RED])
    corner = drawn[:, 52:64, 102:160]
    assert (corner[0] == RED[0]).float().mean() > 0.3
    assert (corner.min(dim=0).values > 200).any()  # white on a dark colour


def test_a_small_picture_is_enlarged_with_its_boxes() -> None:
    drawn = draw_boxes(grey(48, 64), torch.tensor([[10.0, 10.0, 30.0, 30.0]]), ["7"], [RED])
    assert drawn.shape == (3, 48 * 5, 64 * 5)
    assert tuple(drawn[:, 100, 50].tolist()) == RED
    assert resize(grey(1, 1)).shape == (3, LEAST, LEAST)


def test_a_large_picture_is_brought_down_with_its_boxes() -> None:
    drawn = draw_boxes(grey(2000, 1000), torch.tensor([[500.0, 1000.0, 900.0, 1900.0]]), [""], [RED], most=400)
    assert drawn.shape == (3, 400, 200)
    assert tuple(drawn[:, 300, 100].tolist()) == RED
    assert resize(grey(5000, 1), 400).shape == (3, 400, 1)


@pytest.mark.filterwarnings("error")
def test_boxes_of_no_sense_and_names_of_any_origin_are_drawn_without_complaint() -> None:
    nan, far = float("nan"), 1e30
    odd = [[nan, 0, 5, 5], [-far, -far, far, far], [30, 30, 10, 10], [5, 5, 5, 5], [400, 400, 500, 500]]
    drawn = draw_boxes(grey(64, 64), torch.tensor(odd * 2), NAMES, class_colours(len(NAMES)))
    assert drawn.shape[1] >= LEAST
    assert draw_boxes(grey(64, 64), torch.zeros(0, 4), [], []).shape == (3, 320, 320)
    side_by_side([drawn] * len(NAMES), NAMES)
    with_key(drawn, NAMES, class_colours(len(NAMES)))


def test_a_name_becomes_one_printable_line() -> None:
    assert line_of("two\nlines\x00\t") == "two lines"
    assert line_of("a" * 100) == "a" * 23 + "…"
    assert line_of("\ud800x") == "x"
    assert line_of("猫と犬") == "猫と犬"


def test_a_mask_colours_its_classes_and_leaves_the_rest() -> None:
    mask = torch.full((400, 400), 255, dtype=torch.uint8)
    mask[:, :100], mask[:, 100:200] = 0, 2
    drawn = draw_mask(grey(400, 400), mask, 3, alpha=1.0)
    colours = class_colours(3)
    assert tuple(drawn[:, 5, 50].tolist()) == colours[0]
    assert tuple(drawn[:, 5, 150].tolist()) == colours[2]
    assert (drawn[:, :, 200:] == 120).all()
    half = draw_mask(grey(400, 400), mask, 3, alpha=0.5)
    assert half[:, 5, 50].tolist() == pytest.approx([(120 + part) / 2 for part in colours[0]], abs=1)
    assert (draw_mask(grey(400, 400), torch.full_like(mask, 255), 3) == 120).all()


def test_a_mask_is_stretched_over_its_picture() -> None:
    mask = torch.tensor([[0, 1]], dtype=torch.uint8)
    drawn = draw_mask(grey(1000, 2000), mask, 2, alpha=1.0, most=500)
    assert drawn.shape == (3, 250, 500)
    assert tuple(drawn[:, 100, 249].tolist()) == class_colours(2)[0]
    assert tuple(drawn[:, 100, 250].tolist()) == class_colours(2)[1]
    assert stretch(torch.arange(6).reshape(2, 3), 2, 3).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert stretch(torch.arange(6).reshape(2, 3), 4, 6)[::2, ::2].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_mask_file_holds_the_indices_and_shows_the_colours() -> None:
    mask = torch.arange(256, dtype=torch.uint8).reshape(8, 32)
    image = Image.open(io.BytesIO(mask_png(mask)))
    assert image.mode == "P"
    assert torch.equal(torch.from_numpy(np.array(image)), mask)
    seen = np.array(image.convert("RGB")).reshape(-1, 3)
    assert [tuple(colour) for colour in seen.tolist()] == [*class_colours(255), (0, 0, 0)]


def test_pictures_stand_side_by_side_under_their_captions() -> None:
    row = side_by_side([grey(320, 320, 10), grey(200, 400, 250)], ["left", "right " * 200])
    assert row.mode == "RGB"
    strip = row.height - 320
    pixels = np.array(row)
    assert (pixels[strip:, :320] == 10).all()
    assert (pixels[strip : strip + 200, -400:] == 250).all()
    assert (pixels[:strip] < 100).any()
    assert (pixels[:, 320 : row.width - 400] == 255).all()  # a long caption ends with its picture


def test_a_key_names_the_colours_below_the_picture() -> None:
    image = with_key(grey(100, 320), ["road", "a very long name indeed", "tree", "sky"], class_colours(4))
    assert (np.array(image)[:100] == 120).all()
    below = {tuple(colour) for colour in np.array(image)[100:].reshape(-1, 3).tolist()}
    assert set(class_colours(4)) <= below
    assert with_key(grey(100, 320), [], []).size == (320, 100)


def test_pixels_become_a_picture() -> None:
    pixels = torch.arange(18, dtype=torch.uint8).reshape(3, 2, 3)
    assert np.array(to_picture(pixels)).transpose(2, 0, 1).tolist() == pixels.tolist()
