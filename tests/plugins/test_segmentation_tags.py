"""Masks that show one class each, masks that number objects, and masks that are drawn in the alpha channel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from graftwork.errors import DataError
from graftwork.interfaces import DataRequest, Finding, Tables
from graftwork_segmentation.audit import audit_segmentation
from graftwork_segmentation.masks import decode_mask
from graftwork_segmentation.read import read_segmentation

WIDTH, HEIGHT = 48, 32


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))


def inside(number: int, place: int) -> NDArray[np.bool_]:
    """A disc's rim (place 0) and what lies wholly in it (place 1)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    away = np.maximum(abs(y - 15 - number % 3), abs(x - 20 - number))
    shown: NDArray[np.bool_] = away < (12, 5)[place]
    return shown


def plant(root: Path, name: str, image: Image.Image | str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(image) if isinstance(image, str) else image.save(path)


def read(root: Path, **options: Any) -> tuple[Tables, dict[str, Finding]]:
    tables, found = audit_segmentation(read_segmentation(DataRequest(str(root), options=options)))
    return tables, {finding.code: finding for finding in (*tables.findings, *found)}


def decoded(tables: Tables, split: str = "train") -> list[NDArray[np.uint8]]:
    return [decode_mask(row["mask"], row["mask_map"], strict=True).numpy() for row in tables.splits[split]]


# --- one class each -----------------------------------------------------------------------------------------------------------

FORMS: dict[str, tuple[str, str]] = {
    "a folder a class": ("images/{n}.jpg", "masks/{c}/{n}.png"),
    "with a suffix": ("images/{n}.jpg", "masks/{c}/{n}_mask.png"),
    "IDRiD": ("1. Original Images/ID_{n:02}.jpg", "2. All Segmentation Groundtruths/{c}/ID_{n:02}_{s}.tif"),
    "by word": ("images/a {n}.jpg", "masks/a {n}_{c}.png"),
    "word first": ("images/{n}.jpg", "masks/{c}-{n}.png"),
    "CelebAMask": ("CelebA-HQ-img/{n}.jpg", "CelebAMask-HQ-mask-anno/0/{n:05}_{c}.png"),
    "a folder a picture of masks": ("images/im{n}.jpg", "masks/im{n}/{c}.png"),
    "a folder a picture": ("{n}/images/{n}.jpg", "{n}/masks/{c}.png"),
    "JPEG": ("images/{n}.jpg", "masks/{c}/{n}.jpg"),
}


@pytest.mark.parametrize("form", FORMS)
def test_masks_of_one_class_each_are_joined_smaller_on_larger(tmp_path: Path, form: str) -> None:
    image, target = FORMS[form]
    for number in range(5):
        plant(tmp_path, image.format(n=number), picture(number))
        for place, name in enumerate(("rim", "cup")):
            shown = Image.fromarray(inside(number, place).astype(np.uint8) * 255)
            plant(tmp_path, target.format(n=number, c=name, s=name[:2].upper()), shown)
    tables, found = read(tmp_path)
    assert tables.names == ("background", "cup", "rim")
    assert found["joined-masks"].count == 5
    for number, mask in enumerate(decoded(tables)):
        expected = np.where(inside(number, 1), 1, inside(number, 0) * 2)
        assert np.array_equal(mask, expected)


def test_classes_are_the_same_in_all_splits_whatever_each_shows(tmp_path: Path) -> None:
    for split, names in {"train": ("cup", "rim"), "val": ("rim",), "test": ("cup",)}.items():
        for number in range(2 if split == "train" else 1):
            plant(tmp_path, f"{split}/images/{number}.jpg", picture(number + len(split)))
            for name in names:
                shown = Image.fromarray(inside(number, name == "cup").astype(np.uint8) * 255)
                plant(tmp_path, f"{split}/masks/{name}/{number}.png", shown)
    tables, _ = read(tmp_path)
    assert tables.names == ("background", "cup", "rim")
    assert [np.unique(decoded(tables, split)[0]).tolist() for split in ("train", "validation", "test")] == [
        [0, 1, 2],
        [0, 2],
        [0, 1],
    ]


def test_class_masks_that_are_damaged_or_differ_in_size_are_left_out(tmp_path: Path) -> None:
    for number in range(5):
        plant(tmp_path, f"images/{number}.jpg", picture(number))
        for place, name in enumerate(("rim", "cup")):
            shown = Image.fromarray(inside(number, place).astype(np.uint8) * 255)
            plant(
                tmp_path, f"masks/{name}/{number}.png", shown.resize((20, 20)) if (number, place) == (3, 1) else shown
            )
    (tmp_path / "masks/rim/1.png").write_bytes((tmp_path / "masks/rim/1.png").read_bytes()[:50])
    tables, found = read(tmp_path)
    assert len(tables.splits["train"]) == 3
    assert (found["unreadable-mask"].count, found["mask-size-differs"].count) == (1, 1)


@pytest.mark.parametrize(("folders", "levels"), [(("a", "b"), (0, 1, 2)), (("rater1", "rater2"), (0, 255))])
def test_several_masks_that_are_no_classes_are_refused_with_a_way_out(
    tmp_path: Path, folders: Sequence[str], levels: Sequence[int]
) -> None:
    for number in range(4):
        plant(tmp_path, f"images/{number}.jpg", picture(number))
        for folder in folders:
            values = np.array(levels, np.uint8)[np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) // 400 % len(levels)]
            plant(tmp_path, f"masks/{folder}/{number}.png", Image.fromarray(values))
    with pytest.raises(DataError) as refused:
        read(tmp_path)
    assert refused.value.hint is not None
    option = refused.value.hint.split("mask_folder=")[1].split()[0]
    assert read(tmp_path, mask_folder=option)[0].names == tuple(map(str, levels))


@pytest.mark.parametrize("images", ["images/{n}.jpg", "images/{f}/{n}.jpg"])
def test_masks_in_folders_that_mean_nothing_find_their_pictures(tmp_path: Path, images: str) -> None:
    for number in range(4):
        plant(tmp_path, images.format(n=number, f="xy"[number % 2]), picture(number))
        folder = "uv"[number % 2] + "/" if "{f}" not in images else ""
        plant(tmp_path, f"masks/{folder}{number}.png", Image.fromarray(inside(number, 0).astype(np.uint8)))
    tables, found = read(tmp_path)
    assert len(tables.splits["train"]) == 4
    assert tables.names == ("0", "1")
    assert ("mask-folders" in found) == ("{f}" not in images)


# --- numbers of objects ---------------------------------------------------------------------------------------------------------


def strips(count: int) -> NDArray[np.int64]:
    values = np.zeros((HEIGHT, WIDTH), dtype=np.int64)
    for number in range(count):
        values[4:28, 4 * number : 4 * number + 3] = number + 1
    return values


def coloured(number: int) -> Image.Image:
    colours = np.random.default_rng(number).integers(1, 256, (3, 3), dtype=np.uint8)
    colours[0] = 0
    return Image.fromarray(colours[strips(2)])


def own_palette(number: int) -> Image.Image:
    mask = Image.fromarray(strips(2).astype(np.uint8))
    mask.putpalette([0, 0, 0, *np.random.default_rng(number).integers(1, 256, 6).tolist()])
    return mask


NUMBERED: dict[str, Callable[[int], Image.Image]] = {
    "one a picture": lambda number: Image.fromarray(((strips(1) > 0) * (1000 + number)).astype(np.uint16)),
    "counted on": lambda number: Image.fromarray(np.where(s := strips(3), s + 3 * number, 0).astype(np.uint8)),
    "from 1 in every picture": lambda number: Image.fromarray(strips(2 + number).astype(np.uint8)),
    "with void": lambda number: Image.fromarray(
        np.where(s := strips(3), s + 3 * number, [[255]] + [[0]] * 31).astype(np.uint8)
    ),
    "colours": coloured,
    "palettes": own_palette,
}


@pytest.mark.parametrize("kind", NUMBERED)
def test_numbers_of_objects_are_no_classes_and_the_option_makes_them_one(tmp_path: Path, kind: str) -> None:
    for number in range(8):
        plant(tmp_path, f"images/{number}.jpg", picture(number))
        plant(tmp_path, f"masks/{number}.png", NUMBERED[kind](number))
    with pytest.raises(DataError, match="number objects, and are no classes") as refused:
        read(tmp_path)
    assert "--set task_options.mask_values=object" in str(refused.value.hint)
    tables, found = read(tmp_path, mask_values="object")
    assert tables.names == ("background", "object")
    assert "one-object" in found
    for number, mask in enumerate(decoded(tables)):
        objects = np.asarray(NUMBERED[kind](number))
        shown = (objects > 0) if objects.ndim == 2 else objects.any(axis=2)
        assert np.array_equal(mask == 1, shown & (mask != 255))
        assert (mask == 255).any() == (kind == "with void")


@pytest.mark.parametrize(
    "values",
    [
        [(0, 1, 2)] * 8,
        [(0, 1), (0, 1, 2), (0, 1, 2, 3), (0, 1, 2), (0, 2, 3), (0, 1, 3)],
        [(0, n % 4 + 1) for n in range(8)],
        [(1, 2, 3, 4, 5, 6)] * 4 + [(1, 2, 6)] * 3,
        [(0, 10 + n) for n in range(4)],
    ],
)
def test_classes_are_not_taken_for_numbers_of_objects(tmp_path: Path, values: Sequence[Sequence[int]]) -> None:
    for number, levels in enumerate(values):
        plant(tmp_path, f"images/{number}.jpg", picture(number))
        rows = np.array(levels, np.uint8)[np.arange(HEIGHT) * len(levels) // HEIGHT]
        plant(tmp_path, f"masks/{number}.png", Image.fromarray(np.repeat(rows[:, None], WIDTH, axis=1)))
    assert set(read(tmp_path)[0].names) == {str(value) for levels in values for value in levels}


# --- alpha ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", ["", "0: ground\n255: thing\n"])
@pytest.mark.parametrize("colour", [0, 255, (255, 0, 0)])
def test_masks_of_one_colour_are_read_by_their_alpha_channel(tmp_path: Path, colour: Any, labels: str) -> None:
    for number in range(5):
        alpha = inside(number, 0).astype(np.uint8) * 255
        rgba = np.zeros((HEIGHT, WIDTH, 4), dtype=np.uint8)
        rgba[..., :3], rgba[..., 3] = colour, alpha
        plant(tmp_path, f"images/{number}.jpg", picture(number))
        plant(tmp_path, f"masks/{number}.png", Image.fromarray(rgba))
    if labels:
        plant(tmp_path, "labels.yaml", labels)
    tables, found = read(tmp_path)
    assert tables.names == (("ground", "thing") if labels else ("0", "255"))
    assert found["alpha-masks"].level == "warning"
    assert "one-class-only" not in found
    assert all(np.array_equal(mask, inside(number, 0)) for number, mask in enumerate(decoded(tables)))
