"""Arrangements in which data sets come whose folders are not called images and masks, and lists of splits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graftwork.interfaces import DataRequest, Finding, Tables
from graftwork_segmentation.labelfiles import VOC_NAMES, voc_colour
from graftwork_segmentation.masks import decode_mask
from graftwork_segmentation.read import read_segmentation

SIZE = (24, 16)


def plant(root: Path, name: str, content: Image.Image | str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content) if isinstance(content, str) else content.save(path)


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8))


def rows(*values: int) -> Image.Image:
    levels = np.array(values, np.uint8)[np.arange(SIZE[1]) * len(values) // SIZE[1]]
    return Image.fromarray(np.repeat(levels[:, None], SIZE[0], axis=1))


def read(root: Path, **options: Any) -> tuple[Tables, dict[str, Finding]]:
    tables = read_segmentation(DataRequest(str(root), options=options))
    return tables, {finding.code: finding for finding in tables.findings}


FORMS: dict[str, tuple[str, str, Mapping[str, str]]] = {
    "LoveDA": ("{S}/{n}/images_png/0.png", "{S}/{n}/masks_png/0.png", {"train": "Train", "validation": "Val"}),
    "mmsegmentation": ("img_dir/{S}/{n}.jpg", "ann_dir/{S}/{n}.png", {"train": "train", "validation": "val"}),
    "ISIC": (
        "ISIC2018_Task1-2_{S}_Input/I_{n}.jpg",
        "ISIC2018_Task1_{S}_GroundTruth/I_{n}_segmentation.png",
        {"train": "Training", "validation": "Validation", "test": "Test"},
    ),
    "DeepGlobe": ("{S}/{n}_sat.jpg", "{S}/{n}_mask.png", {"train": "train", "validation": "valid"}),
    "Potsdam": ("2_Ortho_RGB/top_2_{n}_RGB.tif", "5_Labels_all/top_2_{n}_label.tif", {"train": ""}),
    "STARE": ("stare-images/im{n:04}.ppm", "labels-ah/im{n:04}.ah.ppm", {"train": ""}),
    "CamVid": ("701_StillsRaw_full/s{n}.png", "LabeledApproved_full/s{n}_L.png", {"train": ""}),
    "drones": ("a/original_images/{n:03}.jpg", "a/label_images_semantic/{n:03}.png", {"train": ""}),
    "a folder a picture": ("{S}/{n}/image.png", "{S}/{n}/mask.png", {"train": "train", "test": "test"}),
    "sites": ("site{n}/images/0.png", "site{n}/masks/0.png", {"train": ""}),
    "labelme's older export": ("JPEGImages/{n}.jpg", "SegmentationClassPNG/{n}.png", {"train": ""}),
}


@pytest.mark.parametrize("form", FORMS)
def test_data_sets_as_they_come(tmp_path: Path, form: str) -> None:
    image, target, splits = FORMS[form]
    for at, said in enumerate(splits.values()):
        for number in range(3):
            plant(tmp_path, image.format(S=said, n=number), picture(number + 9 * at))
            plant(tmp_path, target.format(S=said, n=number), rows(0, 1 + at))
    tables, _ = read(tmp_path)
    found = {split: [Path(row["mask"]["path"]) for row in read] for split, read in tables.splits.items()}
    assert found == {
        split: [tmp_path / target.format(S=said, n=number) for number in range(3)] for split, said in splits.items()
    }
    assert [row["image"]["path"] for row in tables.splits["train"]] == [
        str(tmp_path / image.format(S=splits["train"], n=number)) for number in range(3)
    ]


@pytest.mark.parametrize(
    ("name", "line"),
    [("{s}.txt", "k{n}"), ("splits/{s}.txt", "images/k{n}.jpg masks/k{n}.png"), ("ImageSets/{s}.txt", "k{n}.jpg")],
)
def test_lists_of_splits_beside_the_folders_are_used(tmp_path: Path, name: str, line: str) -> None:
    for number in range(10):
        plant(tmp_path, f"images/k{number}.jpg", picture(number))
        plant(tmp_path, f"masks/k{number}.png", rows(0, 1))
    splits = {"train": range(6), "val": range(6, 9)}
    for split, members in splits.items():
        plant(tmp_path, name.format(s=split), "\n".join(line.format(n=number) for number in members) + "\n")
    plant(tmp_path, "test.txt", "of something else\n")
    tables, found = read(tmp_path)
    assert {split: len(members) for split, members in tables.splits.items()} == {"train": 6, "validation": 3}
    assert found["split-lists"].count == 2
    assert found["not-in-lists"].count == 1


def test_labelmes_folders_have_one_numbering_by_their_names(tmp_path: Path) -> None:
    for number, names in enumerate([("cat", "dog"), ("dog", "cat"), ("cow",)]):
        label = rows(*range(len(names) + 1))
        label.putpalette([40 * level % 256 for level in range(768)])
        plant(tmp_path, f"{number}_json/img.png", picture(number))
        plant(tmp_path, f"{number}_json/label.png", label)
        plant(tmp_path, f"{number}_json/label_viz.png", picture(number + 9))
        plant(tmp_path, f"{number}_json/label_names.txt", "\n".join(["_background_", *names]) + "\n")
    tables, _ = read(tmp_path)
    assert tables.names == ("background", "cat", "cow", "dog")
    masks = [decode_mask(row["mask"], row["mask_map"], strict=True)[:, 0] for row in tables.splits["train"]]
    assert [list(dict.fromkeys(mask.tolist())) for mask in masks] == [[0, 1, 3], [0, 3, 1], [0, 2]]


def test_pascal_vocs_colours_have_its_names(tmp_path: Path) -> None:
    for number in range(3):
        codes = [bytes.fromhex(voc_colour(value)[1:]) for value in (0, 15, 255)]
        plant(tmp_path, f"JPEGImages/{number}.jpg", picture(number))
        plant(
            tmp_path,
            f"SegmentationClass/{number}.png",
            Image.fromarray(
                np.array([list(codes[at]) for at in np.asarray(rows(0, 1, 2)).ravel()], np.uint8).reshape(
                    SIZE[1], SIZE[0], 3
                )
            ),
        )
    tables, _ = read(tmp_path)
    assert tables.names == VOC_NAMES
    row = tables.splits["train"][0]
    assert set(decode_mask(row["mask"], row["mask_map"], strict=True).unique().tolist()) == {0, 15, 255}


def test_names_beside_the_masks_are_found(tmp_path: Path) -> None:
    for number in range(3):
        plant(tmp_path, f"images/{number}.jpg", picture(number))
        plant(tmp_path, f"masks/{number}.png", rows(0, 1))
    plant(tmp_path, "masks/classes.txt", "ground\ntree\n")
    assert read(tmp_path)[0].names == ("ground", "tree")
