"""Boxes in another unit than their form has: each is refused with the options that read it, which are followed here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graftwork.interfaces import DataRequest, Finding, Tables
from graftwork_detection.audit import audit_detection
from graftwork_detection.read import read_detection

SIZES = [(640, 480), (500, 800), (900, 600)]
BOXES = [(30.0 + 37 * n, 24.0 + 31 * n, 180.0 - 9 * n, 90.0 + 8 * n) for n in range(9)]
"""Of nine pictures of three sizes, x, y, width, height in pixels."""

Box = tuple[float, float, float, float]


def size_of(n: int) -> tuple[int, int]:
    return SIZES[n % 3]


def in_unit(unit: str, n: int) -> Box:
    width, height = size_of(n)
    whole = {"shares": 1, "percent": 100, "permille": 1000}.get(unit)
    scale = (1.0, 1.0) if whole is None else (whole / width, whole / height)
    x, y, w, h = BOXES[n]
    return x * scale[0], y * scale[1], w * scale[0], h * scale[1]


def arranged(way: str, box: Box) -> Box:
    x, y, w, h = box
    return {"corners": (x, y, x + w, y + h), "centre": (x + w / 2, y + h / 2, w, h)}.get(way, box)


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def pictures(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(9):
        tile = np.random.default_rng(n).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(tile).resize(size_of(n), Image.Resampling.NEAREST).save(folder / f"{n}.png", compress_level=1)


def coco(root: Path, numbers: Callable[[int], Box], declared: Callable[[int], dict[str, int]] = lambda n: {}) -> None:
    images = [{"id": n, "file_name": f"{n}.png", **declared(n)} for n in range(9)]
    objects = [{"id": n, "image_id": n, "category_id": 1, "bbox": list(numbers(n))} for n in range(9)]
    categories = [{"id": 1, "name": "a"}]
    text(root / "train.json", json.dumps({"images": images, "annotations": objects, "categories": categories}))


def sized_coco(root: Path, numbers: Callable[[int], Box]) -> None:
    coco(root, numbers, lambda n: dict(zip(("width", "height"), size_of(n), strict=True)))


def voc(root: Path, numbers: Callable[[int], Box]) -> None:
    for n in range(9):
        corners = zip(("xmin", "ymin", "xmax", "ymax"), numbers(n), strict=True)
        box = "".join(f"<{name}>{value}</{name}>" for name, value in corners)
        told = f"<filename>{n}.png</filename><object><name>a</name><bndbox>{box}</bndbox></object>"
        text(root / f"{n}.xml", f"<annotation>{told}</annotation>")


def table(root: Path, numbers: Callable[[int], Box], header: str = "filename,class,xmin,ymin,xmax,ymax") -> None:
    lines = [f"{n}.png,a,{','.join(map(str, numbers(n)))}" for n in range(9)]
    text(root / "boxes.csv", "\n".join([header, *lines]))


def sizes_table(root: Path, numbers: Callable[[int], Box]) -> None:
    table(root, numbers, "filename,class,x,y,w,h")


def lines(root: Path, numbers: Callable[[int], Box]) -> None:
    rows = [{"file_name": f"{n}.png", "objects": [{"bbox": numbers(n), "category": "a"}]} for n in range(9)]
    text(root / "train.jsonl", "\n".join(map(json.dumps, rows)))


def labelme(root: Path, numbers: Callable[[int], Box]) -> None:
    for n in range(9):
        x1, y1, x2, y2 = numbers(n)
        shape = {"label": "a", "shape_type": "rectangle", "points": [[x1, y1], [x2, y2]]}
        text(root / f"{n}.json", json.dumps({"imagePath": f"{n}.png", "shapes": [shape]}))


def yolo(root: Path, numbers: Callable[[int], Box]) -> None:
    text(root / "classes.txt", "a\n")
    for n in range(9):
        text(root / f"{n}.txt", f"0 {' '.join(map(str, numbers(n)))}\n")


def errors(tables: Tables) -> list[Finding]:
    _, findings = audit_detection(tables)
    return [finding for finding in (*tables.findings, *findings) if finding.level == "error"]


def boxes(tables: Tables) -> list[list[float]]:
    rows = audit_detection(tables)[0].splits["train"]
    return [[round(value, 3) for box in row["objects"]["bbox"] for value in box] for row in rows]


def followed(root: Path) -> tuple[Tables, dict[str, str], int]:
    """The data as it is read with what findings say to set, that, and how often something was said."""
    options: dict[str, str] = {}
    for said in range(4):
        tables = read_detection(DataRequest(str(root), options=options))
        found = errors(tables)
        if not found:
            return tables, options, said
        told = " ".join(where for finding in found for where in finding.where)
        sets = re.findall(r"--set task_options\.(\w+)=([\w-]+)", told)
        sets = sets or re.findall(r"--set task_options\.(\w+)=([\w-]+)", " ".join(one.message for one in found))
        assert sets and not set(sets) <= set(options.items()), found
        options |= dict(sets)
    raise AssertionError("what is said does not help")


FORMS = [
    (coco, "top-left", "shares", {"box_unit": "shares"}),
    (sized_coco, "top-left", "shares", {"box_unit": "shares"}),
    (coco, "corners", "shares", {"box_unit": "shares", "boxes": "corners"}),
    (sized_coco, "corners", "pixels", {"boxes": "corners"}),
    (voc, "corners", "shares", {"box_unit": "shares"}),
    (table, "corners", "shares", {"box_unit": "shares"}),
    (sizes_table, "top-left", "shares", {"box_unit": "shares"}),
    (lines, "top-left", "shares", {"box_unit": "shares"}),
    (lines, "corners", "shares", {"box_unit": "shares", "boxes": "corners"}),
    (labelme, "corners", "shares", {"box_unit": "shares"}),
    (yolo, "centre", "pixels", {"box_unit": "pixels"}),
    (yolo, "corners", "pixels", {"box_unit": "pixels", "boxes": "corners"}),
    (yolo, "top-left", "pixels", {"box_unit": "pixels"}),
    (yolo, "centre", "percent", {"box_unit": "percent"}),
    (yolo, "corners", "percent", {"box_unit": "percent", "boxes": "corners"}),
    (yolo, "centre", "permille", {"box_unit": "permille"}),
    (yolo, "corners", "shares", {"boxes": "corners"}),
    (yolo, "centre", "shares", {}),
    (sized_coco, "top-left", "pixels", {}),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    pictures(folder)
    return folder


@pytest.mark.parametrize(("form", "way", "unit", "options"), FORMS)
def test_boxes_in_another_unit_are_read_by_the_options_that_are_told(
    form: Any, way: str, unit: str, options: dict[str, str], home: Path, tmp_path: Path
) -> None:
    for file in home.iterdir():
        (tmp_path / file.name).hardlink_to(file)
    form(tmp_path, lambda n: arranged(way, in_unit(unit, n)))
    tables, said, _ = followed(tmp_path)
    assert {name: value for name, value in said.items() if name in options} == options
    if (form, way, unit) == (yolo, "top-left", "pixels"):
        return  # as centres they fit as well: which they are cannot be told, and is said
    assert boxes(tables) == list(map(list, BOXES))


@pytest.mark.parametrize(
    ("form", "way"), [(coco, "top-left"), (table, "corners"), (voc, "corners"), (lines, "top-left")]
)
@pytest.mark.parametrize("unit", ["percent", "permille"])
def test_any_form_is_read_in_parts_of_its_pictures(form: Any, way: str, unit: str, home: Path, tmp_path: Path) -> None:
    for file in home.iterdir():
        (tmp_path / file.name).hardlink_to(file)
    form(tmp_path, lambda n: arranged(way, in_unit(unit, n)))
    tables = read_detection(DataRequest(str(tmp_path), options={"box_unit": unit}))
    assert boxes(tables) == list(map(list, BOXES))


def test_percent_where_pixels_are_wanted_are_a_warning_that_says_how_to_read_them(tmp_path: Path) -> None:
    numbers = [arranged("top-left", (8.0 * n, 7.0 * n, 10.0 + n, 12.0 + n)) for n in range(11)]
    images = [{"id": n, "file_name": f"{n}.png", "width": 640, "height": 480} for n in range(11)]
    objects = [{"id": n, "image_id": n, "category_id": 1, "bbox": list(numbers[n])} for n in range(11)]
    content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "a"}]}
    text(tmp_path / "train.json", json.dumps(content))
    for n in range(11):
        Image.new("RGB", (640, 480), (n, n, n)).save(tmp_path / f"{n}.png")
    _, findings = audit_detection(read_detection(DataRequest(str(tmp_path))))
    (found,) = [finding for finding in findings if finding.code == "boxes-in-one-corner"]
    assert found.level == "warning" and "--set task_options.box_unit=percent" in found.where[0]
    tables = read_detection(DataRequest(str(tmp_path), options={"box_unit": "percent"}))
    assert "boxes-in-one-corner" not in {finding.code for finding in audit_detection(tables)[1]}
    assert tables.splits["train"][10]["objects"]["bbox"] == [pytest.approx([512, 336, 128, 105.6])]


def test_shares_of_a_picture_that_exif_turns_are_of_the_picture_as_it_was_annotated(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 100, 3), np.uint8)).save(
        tmp_path / "0.jpg", exif=exif
    )
    for width, height, wanted in ((100, 40, [16, 10, 8, 20]), (40, 100, [4, 40, 8, 20])):
        images = [{"id": 0, "file_name": "0.jpg", "width": width, "height": height}]
        box = [0.1, 0.4, 0.2, 0.2]
        objects = [{"id": 0, "image_id": 0, "category_id": 1, "bbox": box}]
        content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "a"}]}
        text(tmp_path / "train.json", json.dumps(content))
        tables, _ = audit_detection(read_detection(DataRequest(str(tmp_path), options={"box_unit": "shares"})))
        assert tables.splits["train"][0]["objects"]["bbox"] == [pytest.approx(wanted)]
