"""Boxes as tools write them that keep to a form by and large: read, or refused with a way out that is followed here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graftwork.errors import DataError
from graftwork.interfaces import DataRequest, Tables
from graftwork_detection.audit import audit_detection
from graftwork_detection.read import read_detection

BOX = [5.0, 6.0, 20.0, 10.0]


def pictures(root: Path, count: int = 4, suffix: str = ".png") -> None:
    root.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        values = np.random.default_rng(n).integers(0, 256, (48, 64, 3), np.uint8)
        Image.fromarray(values).save(root / f"{n}{suffix}")


def coco(root: Path, box: Any = BOX, images: Any = None, categories: Any = None) -> None:
    named = [{"id": n, "file_name": f"{n}.png"} for n in range(4)]
    boxes = box if isinstance(box, list) and isinstance(box[0], list) else [box] * 4
    objects = [{"id": n, "image_id": n, "category_id": 1, "bbox": one} for n, one in enumerate(boxes)]
    content = {"images": images or named, "annotations": objects, "categories": categories or [{"id": 1, "name": "a"}]}
    (root / "train.json").write_text(json.dumps(content))


def read(root: Path, **options: Any) -> Tables:
    return read_detection(DataRequest(str(root), options=options))


def boxes(tables: Tables, split: str = "train") -> list[list[float]]:
    return [[round(value, 3) for box in row["objects"]["bbox"] for value in box] for row in tables.splits[split]]


@pytest.mark.parametrize(
    "box",
    [
        {"x": 5, "y": 6, "width": 20, "height": 10},
        {"left": 5, "top": 6, "width": 20, "height": 10},
        {"xmin": 5, "ymin": 6, "xmax": 25, "ymax": 16},
        {"x": "5", "y": "6", "width": "20", "height": "10.0"},
        ["5", " 6 ", "2e1", "10.0"],
    ],
)
def test_coco_boxes_with_names_or_as_text(box: Any, tmp_path: Path) -> None:
    pictures(tmp_path)
    coco(tmp_path, box)
    assert boxes(read(tmp_path)) == [BOX] * 4


@pytest.mark.parametrize("key", ["path", "coco_url", "file_name"])
def test_coco_pictures_are_found_by_name_path_or_address(key: str, tmp_path: Path) -> None:
    pictures(tmp_path)
    before = {"file_name": "", "path": "C:\\x\\", "coco_url": "http://images.cocodataset.org/train2017/"}[key]
    coco(tmp_path, images=[{"id": n, key: f"{before}{n}.png"} for n in range(4)])
    assert boxes(read(tmp_path)) == [BOX] * 4


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"categories": {"1": "a"}}, '"name": "cat"'),
        ({"images": {"1": {"file_name": "0.png"}}}, '"file_name": "a.jpg"'),
    ],
)
def test_coco_parts_that_are_no_lists_are_shown_as_they_should_be(change: Any, hint: str, tmp_path: Path) -> None:
    pictures(tmp_path)
    coco(tmp_path, **change)
    with pytest.raises(DataError, match=hint):
        read(tmp_path)


def test_a_few_boxes_in_shares_among_pixels_are_a_warning(tmp_path: Path) -> None:
    pictures(tmp_path)
    coco(tmp_path, [BOX, [0.1, 0.1, 0.3, 0.3], BOX, [0.2, 0.4, 0.5, 0.5]])
    _, findings = audit_detection(read(tmp_path))
    (found,) = [finding for finding in findings if finding.code == "boxes-like-shares"]
    assert (found.level, found.count) == ("warning", 2)


@pytest.mark.parametrize("many", [True, False])
@pytest.mark.parametrize("as_lines", [True, False])
def test_rows_in_json_are_told_to_be_called_so(many: bool, as_lines: bool, tmp_path: Path) -> None:
    pictures(tmp_path)
    objects = {"bbox": [BOX], "category": ["a"]} if many else [{"bbox": BOX, "category": "a"}]
    rows = [{"image": f"{n}.png", "objects": objects} for n in range(4)]
    file = tmp_path / "train.json"
    file.write_text("\n".join(map(json.dumps, rows)) if as_lines else json.dumps(rows))
    with pytest.raises(DataError, match=r"call it .jsonl in place of .json"):
        read(tmp_path)
    file.rename(file.with_suffix(".jsonl"))
    assert boxes(read(tmp_path)) == [BOX] * 4


def test_a_table_of_automl_is_read_with_the_line_and_the_option_that_are_told(tmp_path: Path) -> None:
    pictures(tmp_path)
    lines = "".join(f"UNASSIGNED,gs://bucket/{n}.png,a,0.125,0.25,,,0.5,0.75,,\n" for n in range(4))
    (tmp_path / "data.csv").write_text(lines)
    with pytest.raises(DataError, match=r"add a first line: set,image") as caught:
        read(tmp_path)
    (tmp_path / "data.csv").write_text(str(caught.value).rpartition("first line: ")[2] + "\n" + lines)
    assert "boxes-in-shares" in {finding.code for finding in audit_detection(read(tmp_path))[1]}
    assert boxes(read(tmp_path, box_unit="shares")) == [[8, 12, 24, 24]] * 4


# --- VOC ------------------------------------------------------------------------------------------------------------------


def voc(root: Path, before: str = "", inside: str = "") -> None:
    pictures(root / "JPEGImages", suffix=".jpg")
    (root / "Annotations").mkdir()
    box = inside or "<bndbox><xmin>6</xmin><ymin>7</ymin><xmax>25</xmax><ymax>16</ymax></bndbox>"
    for n in range(4):
        text = f"{before}<annotation><filename>{n}.jpg</filename><object><name>a</name>{box}</object></annotation>"
        (root / f"Annotations/{n}.xml").write_text(text)


@pytest.mark.parametrize(
    ("lists", "wanted"),
    [
        ({"cat_train": "0  1\n1 -1\n2 -1\n", "cat_val": "3 1\n"}, {"train": 3, "validation": 1}),
        ({"cat_train": "0\n1\n", "dog_train": "2\n", "dog_test": "3\n"}, {"train": 3, "test": 1}),
        ({"train": "0\n1\n2\n", "val": "3\n", "cat_train": "0 1\n"}, {"train": 3, "validation": 1}),
        ({"trainval": "0\n1\n2\n", "cat_val": "3 1\n"}, {"train": 3}),
    ],
)
def test_voc_lists_of_classes_are_the_splits_where_there_are_no_others(
    lists: dict[str, str], wanted: dict[str, int], tmp_path: Path
) -> None:
    voc(tmp_path)
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    for name, content in lists.items():
        (tmp_path / f"ImageSets/Main/{name}.txt").write_text(content)
    assert {split: len(rows) for split, rows in read(tmp_path).splits.items()} == wanted


def test_a_document_type_that_declares_nothing_is_read(tmp_path: Path) -> None:
    voc(tmp_path, "<?xml version='1.0'?><!DOCTYPE annotation>")
    assert boxes(read(tmp_path)) == [BOX] * 4


def test_a_document_type_from_elsewhere_is_not(tmp_path: Path) -> None:
    voc(tmp_path, '<!DOCTYPE annotation SYSTEM "a.dtd">')
    with pytest.raises(DataError, match=r"declares a document type"):
        read(tmp_path)


def test_oriented_boxes_are_named(tmp_path: Path) -> None:
    voc(tmp_path, inside="<robndbox><cx>20</cx><cy>20</cy><w>9</w><h>9</h><angle>0.4</angle></robndbox>")
    with pytest.raises(DataError, match=r"oriented XML"):
        read(tmp_path)
