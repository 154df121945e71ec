"""Masks of one class each beside their pictures, and halves of data that are not there: read, or told where they would be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graftwork.errors import DataError
from graftwork.interfaces import DataRequest, Tables
from graftwork_segmentation.masks import decode_mask
from graftwork_segmentation.read import read_segmentation

SIZE = (24, 32)


def save(path: Path, values: Any = None, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)
    Image.fromarray(noise if values is None else values).save(path)


def disc(at: int, bright: int = 255) -> Any:
    values = np.zeros(SIZE, np.uint8)
    values[4:12, at : at + 8] = bright
    return values


def read(root: Path, **options: Any) -> Tables:
    return read_segmentation(DataRequest(str(root), options=options))


def present(tables: Tables, split: str = "train") -> set[str]:
    """Names of the classes that pixels of a split have."""
    found = set()
    for row in tables.splits[split]:
        found |= set(np.unique(decode_mask(row["mask"], row["mask_map"]).numpy()).tolist())
    return {tables.names[index] for index in found}


@pytest.mark.parametrize(
    ("words", "suffix", "home"),
    [
        (("_cup", "_disc"), ".png", ""),
        (("_cup", "_disc", "_vessel"), ".png", ""),
        (("-cup", "-disc"), ".png", ""),
        ((" left cup", " disc"), ".tif", ""),
        ((".cup", ".disc"), ".bmp", "train/"),
        (("_CUP", "_DISC"), ".png", "train/"),
        (("_lung_left", "_lung_right"), ".png", "data/"),
    ],
)
def test_masks_of_one_class_each_beside_their_pictures(
    words: tuple[str, ...], suffix: str, home: str, tmp_path: Path
) -> None:
    for n in range(5):
        save(tmp_path / f"{home}eye{n}.jpg", seed=n)
        for at, word in enumerate(words):
            save(tmp_path / f"{home}eye{n}{word}{suffix}", disc(8 * at))
    tables = read(tmp_path)
    assert len(tables.splits["train"]) == 5
    assert present(tables) == {"background", *(word.strip("_-. ") for word in words)}


def test_pictures_of_pictures_are_no_masks(tmp_path: Path) -> None:
    for n in range(5):
        save(tmp_path / f"{n}.png", seed=n)
        save(tmp_path / f"{n}_small.png", seed=n + 9)
    with pytest.raises(DataError, match="holds no images with masks"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("masks", "wanted"),
    [
        ("SegmentationClass/{}.png", "JPEGImages/{}.jpg"),
        ("masks/{}.png", "images/{}.jpg"),
        ("export/SegmentationClass/{}.png", "export/JPEGImages/{}.png"),
        ("ground truth/{}.png", "images/{}.png"),
        ("labels/{}_mask.png", "images/{}.jpg"),
    ],
)
def test_masks_whose_pictures_are_not_there_say_where_these_are_looked_for(
    masks: str, wanted: str, tmp_path: Path
) -> None:
    for n in range(4):
        save(tmp_path / masks.format(n), disc(n, 1))
        if "Segmentation" in masks:
            save(tmp_path / masks.replace("Class", "Object").format(n), disc(n, 3))
    home = Path(masks).parent.parent
    if "Segmentation" in masks:
        lists = tmp_path / home / "ImageSets/Segmentation"
        lists.mkdir(parents=True)
        (lists / "default.txt").write_text("0\n1\n2\n3\n")
        (tmp_path / home / "labelmap.txt").write_text(
            "# label:color_rgb:parts:actions\nbackground:0,0,0::\na:1,1,1::\n"
        )
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    said = str(caught.value)
    assert f"{Path(wanted).parent.name}/ beside it" in said and f"{Path(masks).parent.name}/ holds masks" in said
    for n in range(4):
        save(tmp_path / wanted.format(n), seed=n)
    assert len(read(tmp_path).splits["train"]) == 4


@pytest.mark.parametrize("folder", ["images", "JPEGImages", "imgs", "set/images"])
def test_pictures_whose_masks_are_not_there_say_where_these_are_looked_for(folder: str, tmp_path: Path) -> None:
    for n in range(4):
        save(tmp_path / folder / f"{n}.jpg", seed=n)
    with pytest.raises(DataError, match=r"looked for in masks/ beside it, called like the pictures \(0.png\)"):
        read(tmp_path)
    for n in range(4):
        save(tmp_path / folder / f"../masks/{n}.png", disc(n, 1))
    assert len(read(tmp_path).splits["train"]) == 4
