"""Masks of one class each beside their pictures, and halves of data that are not there: read, or told where they would be."""

from __future__ import annotations

import json
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
    with pytest.raises(DataError, match=r"holds no images with masks"):
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


def test_folders_of_one_class_each_beside_the_pictures_are_told_how_to_be_read(tmp_path: Path) -> None:
    for n in range(4):
        save(tmp_path / f"images/{n}.jpg", seed=n)
        for at, word in enumerate(("cup", "disc")):
            save(tmp_path / word / f"{n}.png", disc(10 * at + n))
    with pytest.raises(DataError, match=r"mask_folder=cup takes those of one; .* move them into masks/"):
        read(tmp_path)
    assert len(read(tmp_path, mask_folder="cup").splits["train"]) == 4
    for word in ("cup", "disc"):
        (tmp_path / "masks").mkdir(exist_ok=True)
        (tmp_path / word).rename(tmp_path / "masks" / word)
    assert present(read(tmp_path)) == {"background", "cup", "disc"}


@pytest.mark.parametrize(("name", "names"), [("trainval", ("train", "test")), ("train", ("train", "test"))])
def test_lists_among_the_annotations_are_the_splits(name: str, names: tuple[str, ...], tmp_path: Path) -> None:
    for n in range(4):
        save(tmp_path / f"images/cat_{n}.jpg", seed=n)
        save(tmp_path / f"annotations/trimaps/cat_{n}.png", disc(n, 1) + 1)
    (tmp_path / f"annotations/{name}.txt").write_text("cat_0 1 1 1\ncat_1 1 1 1\ncat_2 1 1 1\n")
    (tmp_path / "annotations/test.txt").write_text("cat_3 1 1 1\n")
    (tmp_path / "annotations/list.txt").write_text("#Image CLASS-ID\ncat_0 1 1 1\n")
    assert {split: len(rows) for split, rows in read(tmp_path).splits.items()} == dict(zip(names, (3, 1), strict=True))


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.5, 3.0])
def test_rectangles_resized_with_blur_are_no_classes_and_read_by_what_is_told(scale: float, tmp_path: Path) -> None:
    for n in range(4):
        values = np.zeros((60, 80), np.uint8)
        values[7 + n : 41, 11 : 52 + n] = 255
        size = (round(80 * scale), round(60 * scale))
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(values).resize(size, Image.Resampling.BILINEAR).save(tmp_path / f"masks/{n}.png")
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.new("RGB", size, (n, 9, 9)).save(tmp_path / f"images/{n}.png")
    with pytest.raises(DataError, match=r"--set task_options.mask_values=nearest"):
        read(tmp_path)
    assert read(tmp_path, mask_values="nearest").names == ("0", "255")


# --- COCO -----------------------------------------------------------------------------------------------------------------


def coco(root: Path, images: list[dict[str, Any]], **more: Any) -> None:
    outline = [[1, 1, 20, 1, 20, 20]]
    objects = [{"id": n, "image_id": n, "category_id": 1, "segmentation": outline, **more} for n in range(len(images))]
    content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "a"}]}
    (root / "train.json").write_text(json.dumps(content))


@pytest.mark.parametrize("key", ["file_name", "path", "coco_url"])
def test_coco_pictures_are_found_by_name_path_or_address(key: str, tmp_path: Path) -> None:
    for n in range(3):
        save(tmp_path / f"{n}.png", seed=n)
    before = {"file_name": "", "path": "/srv/x/", "coco_url": "http://images.cocodataset.org/train2017/"}[key]
    coco(tmp_path, [{"id": n, key: f"{before}{n}.png"} for n in range(3)])
    assert present(read(tmp_path)) == {"background", "a"}


def test_coco_pictures_of_one_id_are_refused(tmp_path: Path) -> None:
    for n in range(3):
        save(tmp_path / f"{n}.png", seed=n)
    coco(tmp_path, [{"id": 0, "file_name": f"{n}.png"} for n in range(3)])
    with pytest.raises(DataError, match=r"two images have the id 0: 0.png and 1.png"):
        read(tmp_path)


def test_coco_panoptic_is_named(tmp_path: Path) -> None:
    save(tmp_path / "0.png")
    coco(tmp_path, [{"id": 0, "file_name": "0.png"}], segments_info=[{"id": 5, "category_id": 1}])
    with pytest.raises(DataError, match=r"panoptic form.*panoptic2semantic_segmentation.py"):
        read(tmp_path)


@pytest.mark.parametrize("labels", ["labels", "labels/train", "train/Labels"])
def test_outlines_of_yolo_are_named_wherever_they_lie(labels: str, tmp_path: Path) -> None:
    save(tmp_path / "images/train/0.jpg")
    (tmp_path / labels).mkdir(parents=True)
    (tmp_path / labels / "0.txt").write_text("0 .1 .1 .5 .1 .5 .5 .1 .5\n")
    with pytest.raises(DataError, match=r"outlines as YOLO's text files"):
        read(tmp_path)
