"""Frames: pictures of many sizes on common canvases, and what is drawn on them following every change."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from graftwork.interfaces import ImageInput
from graftwork.vision.frames import (
    VOID,
    FrameOptions,
    Framer,
    Pictures,
    boxes_on,
    collate_frames,
    collate_masks,
    left_of,
    picture_shape,
)

INPUT = ImageInput(size=224, resize=256)
PLAIN = FrameOptions(size=64, longest=0, augment="none", flip="none")


def marked(height: int, width: int, box: tuple[int, int, int, int]) -> torch.Tensor:
    """A grey picture whose box (corners) is white."""
    pixels = torch.full((3, height, width), 90, dtype=torch.uint8)
    pixels[:, box[1] : box[3], box[0] : box[2]] = 255
    return pixels


def encoded(pixels: torch.Tensor, kind: str = "PNG", **more: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(buffer, kind, **more)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("height", "width", "shape", "canvas"),
    [
        (480, 640, (64, 85), (64, 96)),
        (640, 480, (85, 64), (96, 64)),
        (100, 1000, (11, 107), (32, 128)),  # the longer side has a limit
        (10, 10, (64, 64), (64, 64)),
    ],
)
def test_a_picture_keeps_its_aspect_on_a_canvas_of_multiples_of_32(
    height: int, width: int, shape: tuple[int, int], canvas: tuple[int, int]
) -> None:
    assert PLAIN.shape(height, width) == shape
    assert PLAIN.canvas(height, width) == canvas


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**30), st.sampled_from(["light", "strong"]), st.sampled_from(["none", "horizontal", "both"]))
def test_boxes_and_masks_stay_on_what_they_mark(seed: int, augment: str, flip: str) -> None:
    box = (30, 20, 70, 60)
    pixels = marked(100, 140, box)
    mask = torch.zeros(100, 140, dtype=torch.uint8)
    mask[20:60, 30:70] = 7
    things = {"boxes": boxes_on(torch.tensor([box], dtype=torch.float32), 100, 140), "mask": tv_tensors.Mask(mask)}
    torch.manual_seed(seed)
    frame = Framer(FrameOptions(128, 0, augment, flip), INPUT, train=True)(pixels, things, (100, 140))
    cut, share = left_of(frame.things["boxes"])
    assert frame.pixels.shape[-2:] == frame.things["mask"].shape[-2:]
    assert all(have <= most for have, most in zip(frame.pixels.shape[-2:], frame.canvas, strict=True))
    inside = torch.nonzero(frame.things["mask"] == 7)
    if float(share) > 0.1:
        low, high = inside.amin(0).flip(0).float(), (inside.amax(0) + 1).flip(0).float()
        assert torch.allclose(cut[0], torch.cat([low, high]), atol=2.0)
        grey = frame.pixels.float().mean(0)
        assert float(grey[frame.things["mask"] == 7].mean()) > float(grey[frame.things["mask"] == 0].mean())


def test_a_crop_that_shows_nothing_is_tried_again() -> None:
    pixels = marked(64, 64, (0, 0, 6, 6))
    things = {"boxes": boxes_on(torch.tensor([[0.0, 0.0, 6.0, 6.0]]), 64, 64)}
    framer = Framer(
        FrameOptions(64, 0, "strong", "none"), INPUT, True, lambda t: bool((left_of(t["boxes"])[1] > 0.5).all())
    )
    for seed in range(30):
        torch.manual_seed(seed)
        assert float(left_of(framer(pixels, things, (64, 64)).things["boxes"])[1]) > 0.5


def test_a_frame_is_a_function_of_the_random_state() -> None:
    framer = Framer(FrameOptions(64, 0, "strong", "both"), INPUT, train=True)
    frames = []
    for _ in range(2):
        torch.manual_seed(3)
        frames.append(framer(marked(90, 70, (10, 10, 20, 20)), {}, (90, 70)).pixels)
    assert torch.equal(*frames)


def test_without_training_a_picture_is_only_resized() -> None:
    framer = Framer(FrameOptions(64, 0, "strong", "both"), INPUT, train=False)
    frame = framer(marked(128, 96, (0, 0, 48, 64)), {}, (128, 96))
    assert frame.pixels.shape == (3, 85, 64) and frame.original == (128, 96) and frame.canvas == (96, 64)


def test_a_batch_lies_at_the_top_left_of_the_largest_canvas_and_says_what_is_picture() -> None:
    framer = Framer(PLAIN, INPUT, train=False)
    pictures = [marked(64, 96, (0, 0, 9, 9)), marked(96, 64, (0, 0, 9, 9))]
    frames = [
        framer(pixels, {"mask": tv_tensors.Mask(torch.ones(pixels.shape[-2:], dtype=torch.uint8))}, pixels.shape[-2:])
        for pixels in pictures
    ]
    inputs = collate_frames(frames, INPUT)
    assert inputs["pixels"].shape == (2, 3, 96, 96) and inputs["pixels"].dtype == torch.uint8
    assert inputs["size"].tolist() == [[64, 96], [96, 64]] == inputs["original"].tolist()
    assert inputs["canvas"].shape == (2, 0, 96, 96)
    beyond = inputs["pixels"][0, :, 64:]
    assert [int(channel.unique()) for channel in beyond] == [round(255 * mean) for mean in INPUT.mean]
    masks = collate_masks(frames, inputs)
    assert masks.shape == (2, 96, 96) and bool((masks[0, 64:] == VOID).all()) and bool((masks[0, :64] == 1).all())


def test_kept_pictures_are_small_enough_and_do_not_travel_to_workers() -> None:
    large = marked(400, 600, (0, 0, 300, 200))
    rows = Dataset.from_dict({"image": [{"bytes": encoded(large), "path": None}]})
    for train, most in ((True, 87), (False, 400)):
        pictures = Pictures(rows, FrameOptions(64, 0, "light", "none"), train)
        assert pictures.shapes == [(400, 600)] and pictures.canvases() == [(64, 96)]
        first = pictures.pixels(0)
        assert first.shape[1] == most and pictures.pixels(0) is first
        assert len(pickle.dumps(pictures)) < 20_000 + len(encoded(large))
    none = Pictures(rows, PLAIN, True, cache_bytes=0)
    assert none.pixels(0) is not none.pixels(0)


def test_a_header_tells_the_upright_shape() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = marked(40, 70, (0, 0, 9, 9))
    assert picture_shape({"bytes": encoded(picture, "JPEG"), "path": None}) == (40, 70)
    assert picture_shape({"bytes": encoded(picture, "JPEG", exif=exif), "path": None}) == (70, 40)
    assert picture_shape({"bytes": encoded(picture, "PNG", exif=exif), "path": None}) == (70, 40)


def test_sizes_known_from_the_table_are_not_read_again() -> None:
    rows = Dataset.from_dict(
        {"image": [{"bytes": b"no picture", "path": None}], "height": [10], "width": [np.int64(20)]}
    )
    assert Pictures(rows, PLAIN, True).shapes == [(10, 20)]


def test_colours_change_alike_however_a_picture_lies_in_memory() -> None:
    framer = Framer(FrameOptions(64, 0, "strong", "none"), INPUT, train=True)
    whole = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)).permute(2, 0, 1)
    crop = whole[:, 10:70, 20:110]
    for seed in range(10):
        found = []
        for pixels in (crop, crop.contiguous(), crop.permute(1, 2, 0).contiguous().permute(2, 0, 1)):
            torch.manual_seed(seed)
            found.append(framer._recolour(pixels))
        assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
        torch.manual_seed(seed)
        expected = crop
        for change in (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation):
            factor = 1 + 0.4 * (2 * float(torch.rand(())) - 1)
            expected = change(expected, factor) if abs(factor - 1) > 0.02 else expected
        assert torch.equal(found[0], expected), "as the crop itself would have been changed"
