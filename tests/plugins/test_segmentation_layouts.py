"""Folders of pictures and masks as people have them: which are taken, which are told, and which mask is whose."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graftwork.errors import DataError
from graftwork.interfaces import DataRequest, Finding, Tables
from graftwork_segmentation.masks import decode_mask
from graftwork_segmentation.naming import core_names, split_and_kind, split_within
from graftwork_segmentation.read import read_segmentation

SIZE = (24, 16)


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8))


def mask(value: int, rows: int = 4) -> Image.Image:
    """The value in so many rows of pixels, 0 below."""
    pixels = np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)
    pixels[:rows] = value
    return Image.fromarray(pixels)


def plant(root: Path, name: str, image: Image.Image | str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image, str):
        path.write_text(image)
        return
    kinds = {".jpg": "JPEG", ".tif": "TIFF"}
    buffer = io.BytesIO()
    image.save(buffer, kinds.get(path.suffix.lower()) or path.suffix[1:].upper())
    path.write_bytes(buffer.getvalue())


def read(root: Path, **options: Any) -> tuple[Tables, dict[str, Finding]]:
    tables = read_segmentation(DataRequest(str(root), options=options))
    return tables, {finding.code: finding for finding in tables.findings}


def pairs(root: Path, tables: Tables) -> dict[str, dict[str, str]]:
    """By split, the mask's file of every picture."""
    return {
        split: {row["origin"]: str(Path(row["mask"]["path"]).relative_to(root)) for row in rows}
        for split, rows in tables.splits.items()
    }


# --- folders --------------------------------------------------------------------------------------------------------------

FOLDERS: dict[str, tuple[str, str, str]] = {
    "v82": ("{s}_images/{n}.jpg", "{s}_masks/{n}.png", ""),
    "kind first": ("images_{s}/{n}.jpg", "masks_{s}/{n}.png", ""),
    "camel": ("{S}Images/{n}.jpg", "{S}Masks/{n}.png", ""),
    "dashes": ("{s}-imgs/{n}.jpg", "{s}-gt/{n}.png", ""),
    "Carvana": ("{s}/{n}.jpg", "{s}_masks/{n}_mask.gif", ""),
    "nnU-Net": ("images{t}/{n}_0000.png", "labels{t}/{n}.png", ""),
    "DRIVE": (
        "{s}ing/images/{n}_training.tif",
        "{s}ing/1st_manual/{n}_manual1.gif",
        "{s}ing/mask/{n}_training_mask.gif",
    ),
    "HRF": ("{s}/images/{n}.jpg", "{s}/manual1/{n}.tif", "{s}/mask/{n}_mask.tif"),
    "gt before mask": ("{s}/images/{n}.png", "{s}/ground_truth/{n}.png", "{s}/mask/{n}.png"),
    "fov": ("{s}/images/{n}.png", "{s}/mask/{n}.png", "{s}/fov/{n}.png"),
    "Pets": ("images/{s}/{n}.jpg", "annotations/trimaps/{s}/{n}.png", ""),
    "inner folders": ("{s}/images/all/{n}.jpg", "{s}/annotations/semantic/{n}.png", "{s}/annotations/depth/{n}.png"),
    "a word in the name": ("my_{s}_set/images/{n}.jpg", "my_{s}_set/masks/{n}.png", ""),
    "0.jpg.png": ("{s}/images/{n}.jpg", "{s}/masks/{n}.jpg.png", ""),
    "bmp beside png": ("{s}/{n}.bmp", "{s}/{n}.png", ""),
    "jpg beside png": ("{s}/{n}.jpg", "{s}/{n}.png", ""),
    "png beside gif": ("{s}/{n}.png", "{s}/{n}.gif", ""),
    "tif beside bmp": ("{s}/{n}.tif", "{s}/{n}.bmp", ""),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_by_the_names_that_people_give_them(tmp_path: Path, name: str) -> None:
    images, masks, others = FOLDERS[name]
    expected: dict[str, dict[str, str]] = {}
    for split in ("train", "test"):
        for number in range(4):
            key = {
                "s": split,
                "S": split.title(),
                "t": split[0].upper() + ("r" if split == "train" else "s"),
                "n": f"a{number}",
            }
            image, target, other = (place.format(**key) for place in (images, masks, others))
            plant(tmp_path, image, picture(number))
            plant(tmp_path, target, mask(1 + number % 2))
            if other:
                plant(tmp_path, other, mask(255, 12))
            expected.setdefault(split, {})[image] = target
    tables, found = read(tmp_path)
    assert pairs(tmp_path, tables) == expected
    assert tables.names == ("0", "1", "2")
    assert ("unused-folders" in found) == bool(others)
    if others:
        unused = found["unused-folders"]
        folder = Path(others).parent.as_posix()
        assert {where.split("/ (")[0] for where in unused.where} == {
            folder.format(s=split) for split in ("train", "test")
        }
        assert unused.level == ("note" if name in ("fov", "inner folders") else "warning")
        assert "--set task_options.mask_folder=NAME" in unused.message


def test_a_field_of_view_is_no_mask_in_a_split_that_has_nothing_else(tmp_path: Path) -> None:
    """DRIVE's test set as it is handed out."""
    for number in range(4):
        for split in ("training", "test"):
            plant(tmp_path, f"{split}/images/{number:02}_{split}.tif", picture(number))
            plant(tmp_path, f"{split}/mask/{number:02}_{split}_mask.gif", mask(255, 12))
        plant(tmp_path, f"training/1st_manual/{number:02}_manual1.gif", mask(255))
    tables, found = read(tmp_path)
    assert set(tables.splits) == {"train"}
    assert found["unlabelled-split"].where == ("test/",)
    assert all("1st_manual" in path for path in pairs(tmp_path, tables)["train"].values())


@pytest.mark.parametrize(
    ("image_folder", "mask_folder"),
    [
        ("frames2", "truth"),
        ("views/left", "truth"),
        ("images", "mask"),
        ("images", "annotations/instances"),
        ("", "odd name"),
    ],
)
def test_the_options_name_folders_of_any_name(tmp_path: Path, image_folder: str, mask_folder: str) -> None:
    for split in ("train", "val"):
        for number in range(3):
            for folder in ("frames2", "views/left", "images"):
                plant(tmp_path, f"{split}/{folder}/{number}.png", picture(number))
            for folder in ("truth", "mask", "annotations/instances", "annotations/semantic", "odd name", "masks"):
                plant(tmp_path, f"{split}/{folder}/{number}.png", mask(1))
    tables, found = read(tmp_path, image_folder=image_folder, mask_folder=mask_folder)
    expected = {f"train/{image_folder or 'images'}/{n}.png": f"train/{mask_folder}/{n}.png" for n in range(3)}
    assert pairs(tmp_path, tables)["train"] == expected
    assert found["unused-folders"].level == "warning"
    with pytest.raises(DataError, match=r"has no such folders of pictures and masks \(nothing\)"):
        read(tmp_path, mask_folder="nothing")


def test_unknown_folders_are_refused_with_a_way_out_that_works(tmp_path: Path) -> None:
    for number in range(3):
        plant(tmp_path, f"views/{number}.png", picture(number))
        plant(tmp_path, f"truth/{number}.png", mask(1))
    with pytest.raises(DataError, match=r"task_options\.image_folder=NAME and mask_folder=NAME name other folders"):
        read(tmp_path)
    tables, _ = read(tmp_path, image_folder="views", mask_folder="truth")
    assert len(tables.splits["train"]) == 3


def test_one_mask_for_all_pictures_is_told(tmp_path: Path) -> None:
    from graftwork_segmentation.audit import audit_segmentation

    for number in range(6):
        plant(tmp_path, f"images/{number}.png", picture(number))
        plant(tmp_path, f"masks/{number}.png", mask(255, 12))
    _, found = audit_segmentation(read(tmp_path)[0])
    assert [finding.count for finding in found if finding.code == "same-mask"] == [6]


@pytest.mark.parametrize(
    ("name", "split", "kind"),
    [
        ("train_images", "train", "images"),
        ("imagesTs", "test", "images"),
        ("ValMasks", "validation", "masks"),
        ("testannot", "test", "annot"),
        ("masks-training", "train", "masks"),
        ("Train", "train", ""),
        ("masks", None, "masks"),
        ("trainers", None, "trainers"),
    ],
)
def test_a_folders_name_says_its_split_and_its_kind(name: str, split: str | None, kind: str) -> None:
    assert split_and_kind(name) == (split, kind)


def test_a_word_within_a_name_means_a_split_where_it_is_the_only_one() -> None:
    assert [split_within(name) for name in ("stage1_train", "instances_val2017", "trainval", "train_test", "x")] == [
        "train",
        "validation",
        None,
        None,
        None,
    ]


# --- files ----------------------------------------------------------------------------------------------------------------

NAMES: dict[str, tuple[str, str]] = {
    "truth before": ("img_{n:02}", "truth_{n:02}"),
    "other words": ("scene-{n:03}-rgb8", "seg-{n:03}-v2"),
    "number first": ("{n:02}_photo", "{n:02}_annotated"),
    "letters": ("{n:02}x", "{n:02}X"),
    "upper case": ("IMG_{n:03}", "img_{n:03}"),
    "composed accents": (unicodedata.normalize("NFC", "Übung {n}"), unicodedata.normalize("NFD", "Übung {n}")),
    "percent-encoded": ("a b {n}", "a%20b%20{n}_mask"),
    "DRIVE": ("{n}_training", "{n}_manual1"),
    "two suffixes": ("{n}", "{n}_gt_mask"),
}


@pytest.mark.parametrize("name", NAMES)
def test_masks_find_their_pictures_whatever_is_added_to_their_names(tmp_path: Path, name: str) -> None:
    image, target = NAMES[name]
    for number in range(8, 13):
        plant(tmp_path, f"images/{image.format(n=number)}.jpg", picture(number))
        plant(tmp_path, f"masks/{target.format(n=number)}.png", mask(1))
    tables, found = read(tmp_path)
    expected = {f"images/{image.format(n=n)}.jpg": f"masks/{target.format(n=n)}.png" for n in range(8, 13)}
    assert pairs(tmp_path, tables)["train"] == expected
    assert found["mask-by-suffix"].count == 5


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (["a1", "a2", "a3"], ["b4", "b5", "b6"]),
        (["00", "01", "02"], ["10", "11", "12"]),
        (["one", "two"], ["three", "four"]),
        (["x_1", "y_1"], ["m_1", "m_2"]),
        (["only"], ["other"]),
    ],
)
def test_names_that_say_nothing_are_refused_with_a_true_hint(
    tmp_path: Path, images: Sequence[str], masks: Sequence[str]
) -> None:
    for number, (image, target) in enumerate(zip(images, masks, strict=True)):
        plant(tmp_path, f"images/{image}.jpg", picture(number))
        plant(tmp_path, f"masks/{target}.png", mask(1))
    with pytest.raises(DataError, match=f"images/{images[0]}.jpg, masks/.*a table with an image and a mask column"):
        read(tmp_path)
    lines = [f"images/{image}.jpg,masks/{target}.png" for image, target in zip(images, masks, strict=True)]
    (tmp_path / "pairs.csv").write_text("\n".join(["image,mask", *lines]) + "\n")
    assert len(read(tmp_path / "pairs.csv")[0].splits["train"]) == len(images)


def test_the_picture_with_the_very_suffix_that_a_mask_names_is_meant(tmp_path: Path) -> None:
    plant(tmp_path, "images/0.jpg", picture(0))
    plant(tmp_path, "images/0.png", picture(1))
    for suffix in ("jpg", "png"):
        plant(tmp_path, f"masks/0.{suffix}.png", mask(1))
    assert pairs(tmp_path, read(tmp_path)[0])["train"] == {
        "images/0.jpg": "masks/0.jpg.png",
        "images/0.png": "masks/0.png.png",
    }


def test_core_names_keep_numbers_whole() -> None:
    assert core_names(["21_training", "22_training"]) == ["21", "22"]
    assert core_names(["img_08_x1", "img_09_x1"]) == ["08", "09"]
    assert core_names(["a"]) == [""]


# --- several masks of a picture ---------------------------------------------------------------------------------------------


def halves(number: int) -> list[Image.Image]:
    """Masks of two objects: rows 0 to 3, and columns 0 to 5."""
    across = np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)
    across[:, : 6 + number] = 255
    return [mask(255), Image.fromarray(across)]


SEVERAL: dict[str, tuple[str, Sequence[str]]] = {
    "DSB2018": (
        "stage1_train/{h}/images/{h}.png",
        ("stage1_train/{h}/masks/{h}x0.png", "stage1_train/{h}/masks/{h}x1.png"),
    ),
    "folders at the top": ("{h}/image/i.png", ("{h}/mask/0.png", "{h}/mask/1.png")),
    "split folders": ("train/{h}/images/{h}.png", ("train/{h}/masks/m.png", "train/{h}/masks/n.png")),
    "BUSI": ("benign/benign ({n}).png", ("benign/benign ({n})_mask.png", "benign/benign ({n})_mask_1.png")),
    "numbers": ("images/{n}.jpg", ("masks/{n}_mask_0.png", "masks/{n}_mask_1.png")),
    "gt numbers": ("images/{h}.jpg", ("gt/{h}_gt_1.png", "gt/{h}_gt_2.png")),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_masks_of_one_object_each_are_joined(tmp_path: Path, name: str) -> None:
    image, targets = SEVERAL[name]
    for number in range(4):
        key = {"n": number, "h": f"{number:08x}"}
        plant(tmp_path, image.format(**key), picture(number))
        for target, half in zip(targets, halves(number), strict=True):
            plant(tmp_path, target.format(**key), half)
    tables, found = read(tmp_path)
    assert tables.names == ("background", "object")
    assert found["joined-masks"].count == 4
    for number, row in enumerate(tables.splits["train"]):
        expected = np.maximum(*(np.asarray(half) for half in halves(number))) > 0
        assert np.array_equal(decode_mask(row["mask"], row["mask_map"], strict=True).numpy(), expected)


def test_a_single_mask_beside_joined_ones_shows_an_object_too(tmp_path: Path) -> None:
    for number in range(3):
        plant(tmp_path, f"normal/n ({number}).png", picture(number))
        for half, target in zip(halves(number)[: 1 + number % 2], ("_mask", "_mask_1"), strict=False):
            plant(tmp_path, f"normal/n ({number}){target}.png", half)
    tables, found = read(tmp_path)
    assert tables.names == ("background", "object")
    assert found["joined-masks"].count == 1
    shown = [int(decode_mask(row["mask"], row["mask_map"], strict=True).sum()) for row in tables.splits["train"]]
    assert shown == [4 * 24, 4 * 24 + 12 * 7, 4 * 24]


def test_a_folder_a_picture_with_one_mask_is_read_as_it_is(tmp_path: Path) -> None:
    for number in range(4):
        plant(tmp_path, f"{number}/images/a.png", picture(number))
        plant(tmp_path, f"{number}/masks/a.png", mask(1 + number % 2))
    assert read(tmp_path)[0].names == ("0", "1", "2")


def brushes(root: Path, tasks: Sequence[int], names: Sequence[str], folder: str = "masks") -> None:
    for number, (task, name) in enumerate(zip(tasks, names, strict=True)):
        plant(root, f"images/{name}", picture(number))
        for tag, half in zip(("road-sign", "car"), halves(number), strict=True):
            plant(root, f"{folder}/task-{task}-annotation-{task + 7}-by-1-tag-{tag}-0.png", half)


def check_brushes(tables: Tables, order: Sequence[str]) -> None:
    assert tables.names == ("background", "car", "road-sign")
    rows = {Path(row["origin"]).name: row for row in tables.splits["train"]}
    for number, name in enumerate(order):
        first, second = (np.asarray(half) > 0 for half in halves(number))
        expected = np.where(first, 2, np.where(second, 1, 0))
        found = decode_mask(rows[name]["mask"], rows[name]["mask_map"]).numpy()
        assert np.array_equal(found, expected)


def test_label_studios_brush_masks_are_joined_by_tag_in_the_order_of_tasks(tmp_path: Path) -> None:
    names = ["2.png", "9.png", "10.png", "11.png"]
    brushes(tmp_path, [5, 6, 9, 12], names)
    tables, found = read(tmp_path)
    check_brushes(tables, names)
    assert found["paired-by-order"].level == "warning"
    assert found["paired-by-order"].count == 4


def test_label_studios_export_says_which_picture_a_task_is(tmp_path: Path) -> None:
    names = ["z.png", "y.png", "x.png"]
    brushes(tmp_path, [5, 6, 9], names)
    plant(tmp_path, "images/more.png", picture(9))
    with pytest.raises(DataError, match=r"Label Studio's, by 3 tasks; nothing says which of 4 images.*JSON export"):
        read(tmp_path)
    entries = [
        f'{{"id": {task}, "data": {{"image": "/data/upload/1/0123abcd-{name}"}}, "annotations": []}}'
        for task, name in zip([5, 6, 9], names, strict=True)
    ]
    (tmp_path / "project-1.json").write_text(f"[{', '.join(entries)}]")
    tables, found = read(tmp_path)
    check_brushes(tables, names)
    assert "paired-by-order" not in found
    assert found["image-without-mask"].where == ("images/more.png",)
