"""Annotations of boxes and masks in the encodings that Windows writes: read, or refused by name with what helps."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graftwork.errors import DataError, GraftworkError
from graftwork.interfaces import DataRequest, Tables
from graftwork_detection.read import read_detection
from graftwork_segmentation.read import read_segmentation

ENCODINGS = {
    "utf-8": "utf-8",
    "utf-8 with a mark": "utf-8-sig",
    "PowerShell's >": "utf-16",
    "big endian": "utf-16-be",
    "little endian without a mark": "utf-16-le",
    "utf-32": "utf-32",
}
NAME = "Käfer"


def text(path: Path, content: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.replace("\n", "\r\n").encode(encoding))


def picture(path: Path, values: Any = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((40, 60, 3), np.uint8) if values is None else values).save(path)


def coco() -> str:
    images = [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}]
    outline = [[10, 10, 30, 10, 30, 20, 10, 20]]
    objects = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 10], "segmentation": outline}]
    content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": NAME}]}
    return json.dumps(content, ensure_ascii=False, indent=1)


def labelme() -> str:
    shape = {"label": NAME, "shape_type": "rectangle", "points": [[10, 10], [30, 20]]}
    return json.dumps({"version": "5", "imagePath": "a.png", "shapes": [shape]}, ensure_ascii=False, indent=1)


def xml(said: str = ' encoding="utf-8"') -> str:
    box = "<xmin>11</xmin><ymin>11</ymin><xmax>30</xmax><ymax>20</ymax>"
    found = f"<object><name>{NAME}</name><bndbox>{box}</bndbox></object>"
    return f'<?xml version="1.0"{said}?>\n<annotation><filename>a.png</filename>\n{found}</annotation>\n'


YAML = f"train: .\nval: .\nnames:\n  0: {NAME}\n"
LINE = "0 0.3333333333 0.375 0.3333333333 0.25\n"


def boxes(tables: Tables) -> list[tuple[str, list[int]]]:
    return [
        (tables.names[label], list(map(round, box)))
        for row in tables.splits["train"]
        for box, label in zip(row["objects"]["bbox"], row["objects"]["category"], strict=True)
    ]


FILES: dict[str, list[tuple[str, str]]] = {
    "COCO": [("train.json", coco())],
    "labelme": [("a.json", labelme())],
    "VOC": [("a.xml", xml())],
    "VOC that says nothing": [("a.xml", xml(""))],
    "VOC of .NET": [("a.xml", xml(' encoding="utf-16"'))],
    "YOLO": [("data.yaml", YAML), ("a.txt", LINE)],
    "Darknet": [("classes.txt", f"{NAME}\n"), ("a.txt", LINE)],
    "lists of Darknet": [("classes.txt", f"{NAME}\n"), ("a.txt", LINE), ("train.txt", "a.png\n")],
    "table": [("boxes.csv", f"filename,class,xmin,ymin,xmax,ymax\na.png,{NAME},10,10,30,20\n")],
}


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS.keys())
@pytest.mark.parametrize("form", FILES)
def test_boxes_are_read_in_whatever_encoding(form: str, encoding: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    for name, content in FILES[form]:
        text(tmp_path / name, content, encoding)
    assert boxes(read_detection(DataRequest(str(tmp_path)))) == [(NAME, [10, 10, 20, 10])]


@pytest.mark.parametrize(("said", "encoding"), [("GBK", "gbk"), ("ISO-8859-1", "latin-1"), ("windows-1252", "cp1252")])
def test_xml_is_read_in_the_encoding_that_it_says(said: str, encoding: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    name = "甲虫" if said == "GBK" else NAME
    text(tmp_path / "a.xml", xml(f' encoding="{said}"').replace(NAME, name), encoding)
    assert boxes(read_detection(DataRequest(str(tmp_path)))) == [(name, [10, 10, 20, 10])]


@pytest.mark.parametrize("form", ["COCO", "YOLO", "Darknet", "lists of Darknet"])
def test_what_is_in_no_unicode_is_refused_with_a_command_that_helps(form: str, tmp_path: Path) -> None:
    home = tmp_path / "my data"
    picture(home / "Käfer.png")
    for name, content in FILES[form]:
        text(
            home / name.replace("a.", "Käfer.", 1) if name == "a.txt" else home / name,
            content.replace("a.png", "Käfer.png"),
            "cp1252",
        )
    for _ in range(3):
        try:
            tables = read_detection(DataRequest(str(home)))
            break
        except GraftworkError as error:
            assert "UTF-8" in str(error) and error.hint is not None
            command = error.hint.split(": ", 1)[1].split(" (for ")[0]
            subprocess.run(command, shell=True, check=True)
    assert boxes(tables) == [(NAME, [10, 10, 20, 10])]


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS.keys())
@pytest.mark.parametrize("form", ["COCO", "labelme", "classes.txt", "labels.yaml", "label_colors.txt", "train.txt"])
def test_masks_are_read_in_whatever_encoding(form: str, encoding: str, tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    values = np.zeros((40, 60), np.uint8)
    values[10:20, 10:30] = 1
    contents: dict[str, tuple[str, Callable[[], str]]] = {
        "COCO": ("images/train.json", coco),
        "labelme": ("images/a.json", labelme),
        "classes.txt": ("classes.txt", lambda: f"background\n{NAME}\n"),
        "labels.yaml": ("labels.yaml", lambda: f"0: background\n1: {NAME}\n"),
        "label_colors.txt": ("label_colors.txt", lambda: f"0 0 0 background\n1 1 1 {NAME}\n"),
        "train.txt": ("train.txt", lambda: "a\n"),
    }
    name, content = contents[form]
    text(tmp_path / name, content(), encoding)
    if form not in ("COCO", "labelme"):
        coloured = np.repeat(values[..., None], 3, axis=2)
        coloured[0, 0] = [1, 1, 1] if form == "label_colors.txt" else 0
        picture(tmp_path / "masks/a.png", coloured if form == "label_colors.txt" else values)
    tables = read_segmentation(DataRequest(str(tmp_path)))
    assert len(tables.splits["train"]) == 1
    assert NAME in tables.names or form == "train.txt"


def test_a_list_of_classes_beside_masks_that_is_in_no_unicode_is_refused_by_name(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    picture(tmp_path / "masks/a.png", np.eye(40, 60, dtype=np.uint8))
    text(tmp_path / "classes.txt", f"background\n{NAME}\n", "cp1252")
    with pytest.raises(DataError, match=r"iconv -f WINDOWS-1252"):
        read_segmentation(DataRequest(str(tmp_path)))
