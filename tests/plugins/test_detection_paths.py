"""Boxes whose pictures are named as another machine names them: found, never on the wrong picture; and boxes in other units."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from graftwork.errors import DataError
from graftwork.interfaces import DataRequest, Finding, Tables
from graftwork_detection.audit import audit_detection
from graftwork_detection.read import read_detection

SIDE = 64


def picture(path: Path, shade: int = 0, size: tuple[int, int] = (SIDE, SIDE)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), shade % 256, np.uint8)).save(path)


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def coco(names: Sequence[str], box: Sequence[float] | None = None, **changes: Any) -> str:
    """A COCO file; picture n has n + 1 objects."""
    return json.dumps(
        {
            "images": [{"id": n, "file_name": name, "width": SIDE, "height": SIDE} for n, name in enumerate(names)],
            "annotations": [
                {"id": 100 * n + m, "image_id": n, "category_id": 1, "bbox": box or [m, m, 9, 9 + n], **changes}
                for n in range(len(names))
                for m in range(n + 1)
            ],
            "categories": [{"id": 1, "name": "x"}],
        }
    )


def xml(name: str, box: Sequence[float] = (5, 5, 20, 20)) -> str:
    corners = "".join(
        f"<{corner}>{value}</{corner}>" for corner, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return (
        f"<annotation><filename>{name}</filename><object><name>x</name><bndbox>{corners}</bndbox></object></annotation>"
    )


def read(root: Path, name: str = "") -> Tables:
    return read_detection(DataRequest(str(root / name)))


def rows(tables: Tables, split: str = "train") -> dict[str, int]:
    """Objects by picture, from the data's folder."""
    return {row["origin"]: len(row["objects"]["bbox"]) for row in tables.splits[split]}


def codes(findings: Sequence[Finding]) -> dict[str, int]:
    return {finding.code: finding.count for finding in findings}


# --- COCO -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "names"),
    [
        (["images/Train/Data/a.png", "images/Train/Data/b.png"], ["a.png", "b.png"]),
        (["data/a.png", "data/b.png"], ["a.png", "b.png"]),
        (["images/cam1/0.png", "images/cam2/0.png"], ["/home/u/images/cam1/0.png", "/home/u/images/cam2/0.png"]),
        (["pics/cam1/0.png", "pics/cam2/0.png"], ["D:\\rec\\cam1\\0.png", "D:\\rec\\cam2\\0.png"]),
        (["Images/A.PNG", "Images/B.PNG"], ["images/a.png", "images/b.png"]),
        (["images/Ü ä.png", "images/b.png"], [f"images/{quote('Ü ä.png')}", "images/b.png"]),
        (["images/Ü ä.png", "images/b.png"], [unicodedata.normalize("NFD", "Ü ä.png"), "b.png"]),
        (["images/a.png", "images/b.png"], ["https://host/upload/a.png", "/data/local-files/?d=in/b.png"]),
        (["images/a.png", "images/b.png"], ["a", "b"]),
    ],
)
def test_coco_pictures_are_found_by_the_names_of_another_machine(
    tmp_path: Path, there: list[str], names: list[str]
) -> None:
    for name in there:
        picture(tmp_path / name)
    text(tmp_path / "annotations/instances_Train.json", coco(names))
    assert rows(read(tmp_path)) == {there[0]: 1, there[1]: 2}


@pytest.mark.parametrize(
    ("there", "names", "kept"),
    [
        (["images/0.png", "images/z.png"], ["cam1/0.png", "cam2/0.png", "z.png"], {"images/z.png": 3}),
        (["images/0.png"], ["0.png", "cam2/0.png"], {"images/0.png": 1}),
        (["images/cam1/0.png"], ["cam2/0.png", "cam1/0.png"], {"images/cam1/0.png": 2}),
        (["images/a.png"], ["A.png", "a.png"], {"images/a.png": 2}),
        (["images/a b.png"], ["a b.png", "a%20b.png"], {"images/a b.png": 1}),
        (["images/0.png", "images/z.png"], ["C:\\l\\0.png", "C:\\r\\0.png", "z.png"], {"images/z.png": 3}),
    ],
)
def test_two_coco_entries_never_fall_on_one_picture(
    tmp_path: Path, there: list[str], names: list[str], kept: dict[str, int]
) -> None:
    for name in there:
        picture(tmp_path / name)
    text(tmp_path / "annotations.json", coco(names))
    tables = read(tmp_path)
    assert rows(tables) == kept
    assert codes(tables.findings)["annotation-without-image"] == len(names) - len(kept)


def test_entries_of_two_splits_never_fall_on_one_picture(tmp_path: Path) -> None:
    for name in ("0.png", "1.png", "2.png"):
        picture(tmp_path / "images" / name)
    text(tmp_path / "train.json", coco(["cam1/0.png", "1.png"]))
    text(tmp_path / "val.json", coco(["cam2/0.png", "2.png"]))
    tables = read(tmp_path)
    assert (rows(tables), rows(tables, "validation")) == ({"images/1.png": 2}, {"images/2.png": 2})


def test_a_picture_is_not_guessed_from_another_splits_folder(tmp_path: Path) -> None:
    picture(tmp_path / "train/deep/a.png")
    picture(tmp_path / "val/deep/b.png")
    text(tmp_path / "train.json", coco(["a.png"]))
    text(tmp_path / "val.json", coco(["a.png", "b.png"]))
    tables = read(tmp_path)
    assert (rows(tables), rows(tables, "validation")) == ({"train/deep/a.png": 1}, {"val/deep/b.png": 2})


def test_a_coco_file_without_any_picture_says_where_it_looked(tmp_path: Path) -> None:
    picture(tmp_path / "images/z.png")
    text(tmp_path / "annotations.json", coco(["a.png"]))
    with pytest.raises(DataError, match=rf"a\.png \(looked for in {tmp_path} and below\)"):
        read(tmp_path)


TRIANGLE = [5, 5, 15, 5, 15, 25]


@pytest.mark.parametrize(
    ("outline", "box"),
    [
        ([TRIANGLE], [5, 5, 10, 20]),
        ([TRIANGLE, [1, 2, 4, 2, 4, 6]], [1, 2, 14, 23]),
        ([[[5, 5], [15, 5], [15, 25]]], [5, 5, 10, 20]),
        ({"size": [4, 4], "counts": [5, 2, 2, 2, 5]}, [1, 1, 2, 2]),
        ({"size": [4, 4], "counts": "52203"}, [1, 1, 2, 2]),
    ],
)
def test_a_coco_object_without_box_gets_that_of_its_outline(tmp_path: Path, outline: Any, box: list[float]) -> None:
    content = json.loads(coco(["a.png"], segmentation=outline))
    del content["annotations"][0]["bbox"]
    picture(tmp_path / "a.png")
    text(tmp_path / "annotations.json", json.dumps(content))
    tables = read(tmp_path)
    assert tables.splits["train"][0]["objects"]["bbox"] == [box]
    assert codes(tables.findings) == {"polygon-as-box": 1}


def test_pictures_whose_names_are_no_utf8_are_read(tmp_path: Path) -> None:
    picture(tmp_path / os.fsdecode(b"images/tr\xe4.png"))
    text(tmp_path / "annotations.json", coco(["images/trä.png"]))
    tables, _ = audit_detection(read(tmp_path))
    assert rows(tables) == {"images/tr\\xe4.png": 1}


# --- YOLO -----------------------------------------------------------------------------------------------------------------

LINE = "0 0.5 0.5 0.25 0.25\n"


def yolo(root: Path, train: str, val: str, more: str = "", lines: str = LINE) -> None:
    """Two pictures, in train/images and valid/images."""
    text(root / "data.yaml", f"train: {train}\nval: {val}\n{more}names: [x]\n")
    for split in ("train", "valid"):
        picture(root / split / "images/a.png", len(split))
        text(root / split / "labels/a.txt", lines)


@pytest.mark.parametrize(
    ("train", "val", "more"),
    [
        ("/content/datasets/s-1/train/images", "/content/datasets/s-1/valid/images", ""),
        ("D:\\sets\\s\\train\\images", "D:\\sets\\s\\valid\\images", ""),
        ("../../train/images/", "../../valid/images/", ""),
        ("Train/Images", "VALID/images", ""),
        ("s/train/images", "s/valid/images", "path: /kaggle/input\n"),
        ("train/images", "valid/images", "test: /content/s-1/test/images\n"),
        ("/c/s/train.txt", "/c/s/val.txt", ""),
    ],
)
def test_what_a_yolo_description_of_another_machine_names_is_found_beside_it(
    tmp_path: Path, train: str, val: str, more: str
) -> None:
    yolo(tmp_path, train, val, more)
    if train.endswith(".txt"):
        text(tmp_path / "train.txt", "/c/s/train/images/a.png\n")
        text(tmp_path / "val.txt", "\\c\\s\\valid\\images\\a.png\n")
    tables = read(tmp_path)
    assert (rows(tables), rows(tables, "validation")) == ({"train/images/a.png": 1}, {"valid/images/a.png": 1})
    assert set(tables.splits) == {"train", "validation"}


def test_two_yolo_entries_are_not_guessed_to_be_one_folder(tmp_path: Path) -> None:
    text(tmp_path / "data.yaml", "train: /c/train/images\nval: /c/val/images\nnames: [x]\n")
    picture(tmp_path / "images/a.png")
    text(tmp_path / "labels/a.txt", LINE)
    with pytest.raises(DataError, match=rf"/c/train/images is not there\. Looked in {tmp_path} and for the ends"):
        read(tmp_path)


def test_a_test_entry_is_not_guessed_to_be_what_is_trained_on(tmp_path: Path) -> None:
    text(tmp_path / "data.yaml", "train: images/train\nval: images/val\ntest: /c/test/images\nnames: [x]\n")
    for split in ("train", "val"):
        picture(tmp_path / f"images/{split}/a.png")
        text(tmp_path / f"labels/{split}/a.txt", LINE)
    assert set(read(tmp_path).splits) == {"train", "validation"}


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("Images/a.png", "Labels/a.txt"),
        ("images/sub/a.png", "LABELS/Sub/A.txt"),
        ("images/Ü 1.png", f"labels/{quote('Ü 1')}.txt"),
        ("images/Ü.png", unicodedata.normalize("NFD", "labels/Ü.txt")),
        ("images/a.png", "labels/a.png.txt"),
        ("images/a.b.png", "labels/a.b.txt"),
        (os.fsdecode(b"images/\xe4.png"), os.fsdecode(b"labels/\xe4.txt")),
    ],
)
def test_yolo_labels_are_found_however_their_names_are_written(tmp_path: Path, image: str, label: str) -> None:
    picture(tmp_path / image)
    picture(tmp_path / image.partition("/")[0] / "other.png")
    text(tmp_path / label, LINE)
    text(tmp_path / "data.yaml", f"train: {image.partition('/')[0]}\nnames: [x]\n")
    tables = read(tmp_path)
    assert list(rows(tables).values()) == [1]
    assert codes(tables.findings) == {"image-without-annotation": 1}


def test_labels_of_another_folder_are_never_taken(tmp_path: Path) -> None:
    picture(tmp_path / "images/x/a.png")
    picture(tmp_path / "images/y/a.png")
    text(tmp_path / "labels/x/a.txt", LINE)
    text(tmp_path / "data.yaml", "train: images\nnames: [x]\n")
    assert rows(read(tmp_path)) == {"images/x/a.png": 1}


def test_of_pictures_called_alike_one_has_the_labels_and_the_rest_is_named(tmp_path: Path) -> None:
    for name in ("001.bmp", "001.png", "002.bmp", "003.bmp"):
        picture(tmp_path / "images" / name)
        text(tmp_path / f"labels/{Path(name).stem}.txt", LINE)
    text(tmp_path / "data.yaml", "train: images\nnames: [x]\n")
    tables = read(tmp_path)
    assert rows(tables) == {f"images/00{n}.bmp": 1 for n in (1, 2, 3)}
    assert [finding.where for finding in tables.findings if finding.code == "several-pictures"] == [("images/001.png",)]


# --- Pascal VOC -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pictures", "annotations", "kept"),
    [
        (["r0.jpg", "r0.png"], {"r0": "r0.png"}, ["r0.png"]),
        (["r0.jpg", "r0.png"], {"r0": "C:\\x\\r0.PNG"}, ["r0.png"]),
        (["r0.jpg", "r0.bmp", "r0.png"], {"r0": "r0.bmp"}, ["r0.bmp"]),
        (["r0.jpg"], {"r0": "r0.png"}, ["r0.jpg"]),
        (["a.jpg", "b.jpg"], {"a": "b.jpg", "b": "b.jpg"}, ["a.jpg", "b.jpg"]),
        (["b.jpg"], {"a": "b.jpg", "b": "b.jpg"}, ["b.jpg"]),
        (["c.jpg", "d.jpg"], {"a": "x/c.jpg", "b": "y/c.jpg", "d": "d.jpg"}, ["d.jpg"]),
        (["Ü.jpg"], {"%C3%9C": "%C3%9C.jpg"}, ["Ü.jpg"]),
        (["IMG.JPG"], {"img": "img.jpg"}, ["IMG.JPG"]),
    ],
)
def test_a_voc_annotation_is_of_the_picture_that_it_names(
    tmp_path: Path, pictures: list[str], annotations: Mapping[str, str], kept: list[str]
) -> None:
    for name in pictures:
        picture(tmp_path / "JPEGImages" / name)
    for stem, name in annotations.items():
        text(tmp_path / f"Annotations/{stem}.xml", xml(name))
    tables = read(tmp_path)
    assert sorted(rows(tables)) == sorted(f"JPEGImages/{name}" for name in kept)
    assert len(tables.splits["train"]) == len(kept)
    rest = {name for name in pictures if Path(name).stem in annotations and name not in kept}
    named = {place for finding in tables.findings if finding.code == "several-pictures" for place in finding.where}
    assert named == {f"JPEGImages/{name}" for name in rest}


def test_voc_annotations_in_sub_folders_go_with_the_pictures_of_theirs(tmp_path: Path) -> None:
    for folder, box in (("x", (1, 1, 9, 9)), ("y", (2, 2, 9, 9))):
        picture(tmp_path / f"JPEGImages/{folder}/0.jpg")
        text(tmp_path / f"Annotations/{folder}/0.xml", xml("0.jpg", box))
    assert {row["origin"]: row["objects"]["bbox"][0][0] for row in read(tmp_path).splits["train"]} == {
        "JPEGImages/x/0.jpg": 0,
        "JPEGImages/y/0.jpg": 1,
    }


def test_two_years_of_one_devkit_are_read_together(tmp_path: Path) -> None:
    for year, names in (("VOC2007", ["0", "1"]), ("VOC2012", ["0", "2008_1"])):
        home = tmp_path / "VOCdevkit" / year
        for name in names:
            picture(home / f"JPEGImages/{name}.jpg")
            text(home / f"Annotations/{name}.xml", xml(f"{name}.jpg"))
        text(home / "ImageSets/Main/train.txt", f"{names[0]}\n")
        text(home / "ImageSets/Main/val.txt", f"{names[1]}\n")
    for root in (tmp_path, tmp_path / "VOCdevkit"):
        tables = read(root)
        assert sorted(rows(tables)) == ["VOC2007/JPEGImages/0.jpg", "VOC2012/JPEGImages/0.jpg"]
        assert sorted(rows(tables, "validation")) == ["VOC2007/JPEGImages/1.jpg", "VOC2012/JPEGImages/2008_1.jpg"]


# --- units ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("box", [[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], [0.5, 0.5, 0.01, 0.01], [0.25, 0.25, 0.5, 0.75]])
def test_coco_boxes_in_shares_are_an_error(tmp_path: Path, box: list[float]) -> None:
    picture(tmp_path / "a.png")
    text(tmp_path / "annotations.json", coco(["a.png"], box))
    _, findings = audit_detection(read(tmp_path))
    (finding,) = [finding for finding in findings if finding.code == "boxes-in-shares"]
    assert finding.level == "error"
    assert "--set task_options.box_unit=shares" in finding.message


def test_boxes_of_a_pixel_among_larger_ones_are_no_shares(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    content = json.loads(coco(["a.png"], [0, 0, 1, 1]))
    content["annotations"].append({**content["annotations"][0], "id": 9, "bbox": [3, 3, 9, 9]})
    text(tmp_path / "annotations.json", json.dumps(content))
    assert "boxes-in-shares" not in codes(audit_detection(read(tmp_path))[1])


def test_voc_corners_in_shares_are_an_error(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    text(tmp_path / "a.xml", xml("a.png", (0.1, 0.2, 0.5, 0.6)))
    assert codes(read(tmp_path).findings)["boxes-in-shares"] == 1


@pytest.mark.parametrize(
    ("lines", "code", "likely"),
    [
        ("0 32 32 20 20\n0 16 40 9 9\n", "boxes-not-in-shares", r"pixels \(x and y of the centre, width, height\)"),
        (
            "0 40 40 60 60\n0 1 20 64 60\n",
            "boxes-not-in-shares",
            r"pixels \(two corners.*_unit=pixels .*boxes=corners$",
        ),
        (
            "0 1 1 60 60\n0 20 20 10 10\n",
            "boxes-not-in-shares",
            "pixels .x and y of the top left.*boxes=top-left$",
        ),
        ("0 9000 900 90 90\n", "boxes-not-in-shares", "no shares"),
        ("0 900 900 90 90\n", "boxes-not-in-shares", "permille.*box_unit=permille$"),
        ("0 2000 0.5 0.1 0.1\n0 0.5 0.5 0.1 0.1\n", "boxes-not-in-shares", "1 of 2 boxes"),
        ("0 0.3 0.3 0.9 0.9\n0 0.1 0.1 0.8 0.8\n" * 3, "boxes-look-like-corners", "6 boxes"),
        ("0 0 0 0.5 0.5\n0 0.1 0.1 0.7 0.6\n0 0.05 0.2 0.6 0.2\n" * 2, "boxes-look-like-top-left", "6 boxes"),
        (LINE * 9 + "0 3 0.5 0.1 0.1\n", None, ""),
        (LINE, None, ""),
    ],
)
def test_yolo_numbers_in_another_unit_are_named(tmp_path: Path, lines: str, code: str | None, likely: str) -> None:
    import re

    yolo(tmp_path, "train/images", "valid/images", lines=lines)
    doubts = [finding for finding in read(tmp_path).findings if finding.code.startswith("boxes-")]
    assert [finding.code for finding in doubts] == ([code] if code else [])
    assert not code or re.search(likely, doubts[0].where[0])


def test_percent_are_told_from_pixels_where_pictures_are_larger(tmp_path: Path) -> None:
    yolo(tmp_path, "train/images", "valid/images", lines="0 50 50 90 90\n")
    for split in ("train", "valid"):
        picture(tmp_path / split / "images/a.png", size=(400, 300))
    assert "percent" in read(tmp_path).findings[0].where[0]
