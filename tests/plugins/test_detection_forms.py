"""Forms of boxes that many people have: labelme, tables with a row a box; and those that are named with what to export."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graftwork.errors import DataError
from graftwork.interfaces import DataRequest, Tables
from graftwork_detection.read import read_detection


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(path)


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def read(root: Path, name: str = "", **options: Any) -> Tables:
    return read_detection(DataRequest(str(root / name), **options))


def boxes(tables: Tables, split: str = "train") -> dict[str, list[Any]]:
    return {
        row["origin"]: [
            (tables.names[label], *(round(value, 3) for value in box))
            for box, label in zip(row["objects"]["bbox"], row["objects"]["category"], strict=True)
        ]
        for row in tables.splits[split]
    }


def codes(tables: Tables) -> dict[str, int]:
    return {finding.code: finding.count for finding in tables.findings}


# --- labelme --------------------------------------------------------------------------------------------------------------


def shape(kind: str | None, points: list[Any], label: str = "x") -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind} if kind else {"label": label, "points": points}


def labelme(path: str, *shapes: dict[str, Any]) -> str:
    data = base64.b64encode(b"0" * 30).decode()
    return json.dumps(
        {"version": "5", "shapes": shapes, "imagePath": path, "imageData": data, "imageHeight": 40, "imageWidth": 60}
    )


@pytest.mark.parametrize(
    ("one", "box"),
    [
        (shape("rectangle", [[5, 6], [15, 26]]), ("x", 5, 6, 10, 20)),
        (shape("rectangle", [[15, 26], [5, 6]]), ("x", 5, 6, 10, 20)),
        (shape("rectangle", [[5, 6], [15, 6], [15, 26], [5, 26]]), ("x", 5, 6, 10, 20)),
        (shape("polygon", [[5, 6], [15, 8], [9, 26]]), ("x", 5, 6, 10, 20)),
        (shape(None, [[5, 6], [15, 8], [9, 26]]), ("x", 5, 6, 10, 20)),
        (shape("circle", [[20, 20], [20, 30]]), ("x", 10, 10, 20, 20)),
        (shape("mask", [[5, 6], [15, 26]]), ("x", 5, 6, 10, 20)),
        (shape("point", [[5, 6]]), None),
        (shape("line", [[5, 6], [7, 8]]), None),
    ],
)
def test_shapes_become_boxes(tmp_path: Path, one: dict[str, Any], box: Any) -> None:
    picture(tmp_path / "a.jpg")
    text(tmp_path / "a.json", labelme("a.jpg", one))
    if box is None:
        with pytest.raises(DataError, match="name no class"):
            read(tmp_path)
        text(tmp_path / "a.json", labelme("a.jpg", one, shape("rectangle", [[1, 1], [2, 2]])))
        assert codes(read(tmp_path)) == {"malformed-box": 1}
    else:
        assert boxes(read(tmp_path)) == {"a.jpg": [box]}


RECTANGLE = shape("rectangle", [[5, 6], [15, 26]])
BOX = [("x", 5, 6, 10, 20)]


@pytest.mark.parametrize(
    ("files", "kept"),
    [
        ({"a.jpg": None, "a.json": "a.jpg"}, {"train": ["a.jpg"]}),
        ({"images/a.jpg": None, "annotations/a.json": "../images/a.jpg"}, {"train": ["images/a.jpg"]}),
        ({"images/a.jpg": None, "json/a.json": "..\\images\\a.jpg"}, {"train": ["images/a.jpg"]}),
        ({"images/a.jpg": None, "labels/a.json": "C:\\Users\\x\\a.jpg"}, {"train": ["images/a.jpg"]}),
        (
            {"train/a.jpg": None, "train/a.json": "a.jpg", "val/a.jpg": None, "val/a.json": "a.jpg"},
            {"train": ["train/a.jpg"], "validation": ["val/a.jpg"]},
        ),
        (
            {"images/train/a.jpg": None, "images/val/a.jpg": None, "j/train/a.json": "a.jpg", "j/val/a.json": "a.jpg"},
            {"train": ["images/train/a.jpg"], "validation": ["images/val/a.jpg"]},
        ),
        (
            {"images/x/a.jpg": None, "images/y/a.jpg": None, "j/a.json": "a.jpg"},
            {},  # which of the two is meant is not said
        ),
        ({"a.jpg": None, "a.png": None, "a.json": "a.png"}, {"train": ["a.png"]}),
        ({"new.jpg": None, "new.json": "old.jpg"}, {"train": ["new.jpg"]}),
        ({"b.jpg": None, "a.json": "b.jpg", "b.json": "b.jpg"}, {"train": ["b.jpg"]}),
        (
            {"c.jpg": None, "a.json": "x/c.jpg", "b.json": "y/c.jpg", "d.jpg": None, "d.json": "d.jpg"},
            {"train": ["d.jpg"]},
        ),
    ],
)
def test_labelme_files_go_with_their_pictures(
    tmp_path: Path, files: dict[str, Any], kept: dict[str, list[str]]
) -> None:
    for name, path in files.items():
        if path is None:
            picture(tmp_path / name)
        else:
            text(tmp_path / name, labelme(path, RECTANGLE))
    if not kept:
        with pytest.raises(
            DataError, match=r"annotation-without-image j/a\.json \(fits images/x/a\.jpg, images/y/a\.jpg"
        ):
            read(tmp_path)
        return
    tables = read(tmp_path)
    assert {split: boxes(tables, split) for split in tables.splits} == {
        split: dict.fromkeys(names, BOX) for split, names in kept.items()
    }


def test_a_damaged_labelme_file_is_named_and_one_alone_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.jpg")
        text(tmp_path / f"{name}.json", labelme(f"{name}.jpg", RECTANGLE))
    text(tmp_path / "c.json", '{"shapes": [')
    tables = read(tmp_path)
    assert boxes(tables) == {"a.jpg": BOX, "b.jpg": BOX}
    assert codes(tables) == {"unreadable-annotation": 1}
    with pytest.raises(DataError, match=rf"of one picture\. Give its folder: {tmp_path}"):
        read(tmp_path, "a.json")


# --- tables ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("filename,width,height,class,xmin,ymin,xmax,ymax", "a.jpg,60,40,x,5,6,15,26"),
        ("image_id,label,x_min,y_min,x_max,y_max", "a.jpg,x,5,6,15,26"),
        ("Image,ClassName,X1,Y1,X2,Y2", "a.jpg,x,5.0,6.0,15.0,26.0"),
        ("img_path,left,top,right,bottom,category", "/srv/a.jpg,5,6,15,26,x"),
        ("file_name,x,y,w,h,class_name", "a.jpg,5,6,10,20,x"),
        (
            "image_name,bbox_x,bbox_y,bbox_width,bbox_height,image_width,image_height,label_name",
            "a.jpg,5,6,10,20,60,40,x",
        ),
        ("image_id,width,height,bbox,source", 'a,60,40,"[5.0, 6.0, 10.0, 20.0]",x'),
        ("filename, class, xmin, ymin, xmax, ymax", "a.jpg, x, 5, 6, 15, 26"),
        ("filename;class;xmin;ymin;xmax;ymax", "a.jpg;x;5;6;15;26"),
    ],
)
def test_tables_with_a_row_a_box_are_read_under_many_spellings(tmp_path: Path, header: str, row: str) -> None:
    picture(tmp_path / "a.jpg")
    text(tmp_path / "boxes.csv", f"{header}\n{row}\n{row.replace('6', '7')}\n")
    columns = {"label": "source"} if "source" in header else {}
    for name in ("", "boxes.csv"):
        tables = read(tmp_path, name, columns=columns)
        assert boxes(tables)["a.jpg"][0] == BOX[0]
        assert len(boxes(tables)["a.jpg"]) == 2


def test_roboflows_folders_a_split_are_read(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        for name in ("a.jpg", "b.jpg"):
            picture(tmp_path / split / name)
        rows = f"a.jpg,60,40,{split},5,6,15,26\nb.jpg,60,40,,,,,\n"
        text(tmp_path / split / "_annotations.csv", f"filename,width,height,class,xmin,ymin,xmax,ymax\n{rows}")
    tables = read(tmp_path)
    assert tables.names == ("train", "valid")
    assert boxes(tables) == {"train/a.jpg": [("train", 5, 6, 10, 20)], "train/b.jpg": []}
    assert boxes(tables, "validation")["valid/a.jpg"] == [("valid", 5, 6, 10, 20)]


def test_tensorflows_tables_beside_folders_of_pictures_are_read(tmp_path: Path) -> None:
    for split in ("train", "test"):
        picture(tmp_path / "images" / split / "a.jpg")
        text(tmp_path / f"data/{split}_labels.csv", "filename,class,xmin,ymin,xmax,ymax\na.jpg,x,5,6,15,26\n")
    tables = read(tmp_path)
    assert (boxes(tables), boxes(tables, "test")) == ({"images/train/a.jpg": BOX}, {"images/test/a.jpg": BOX})


def test_openimages_shares_become_pixels(tmp_path: Path) -> None:
    picture(tmp_path / "train/0a.jpg")
    header = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsGroupOf"
    text(
        tmp_path / "train-annotations-bbox.csv",
        f"{header}\n0a,x,/m/01,1,0.25,0.75,0.5,1,0,1\n0a,x,/m/02,1,0,1,0,1,0,0\n",
    )
    tables = read(tmp_path)
    assert boxes(tables) == {"train/0a.jpg": [("/m/01", 15, 20, 30, 20), ("/m/02", 0, 0, 60, 40)]}
    assert codes(tables)["crowd-objects"] == 1


def test_rows_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    rows = ["a.jpg,x,5,6,15,26", "a.jpg,,5,6,15,26", "a.jpg,x,5,6,,26", "a.jpg,x,,,,", "b.jpg,x,5,6,15,26"]
    text(tmp_path / "boxes.csv", "filename,class,xmin,ymin,xmax,ymax\n" + "\n".join(rows) + "\n")
    tables = read(tmp_path)
    assert boxes(tables) == {"a.jpg": BOX}
    found = {
        code: count for code, count in codes(tables).items() if code.startswith(("object", "malformed", "annotation"))
    }
    assert found == {"object-without-class": 1, "malformed-box": 2, "annotation-without-image": 1}


def test_a_table_of_boxes_without_class_is_refused_with_a_way_out(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    text(tmp_path / "boxes.csv", "filename,what,xmin,ymin,xmax,ymax\na.jpg,x,5,6,15,26\n")
    with pytest.raises(DataError, match=r"no column for the class; its columns: filename, what, .*--column label=NAME"):
        read(tmp_path)
    assert boxes(read(tmp_path, columns={"label": "what"})) == {"a.jpg": BOX}


# --- named ----------------------------------------------------------------------------------------------------------------

VIA_REGION = {"shape_attributes": {"name": "rect", "x": 1}, "region_attributes": {"type": "x"}}
CVAT = '<?xml version="1.0"?><annotations><image id="0" name="a.jpg"><box label="x" xtl="1"/></image></annotations>'


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("annotations.xml", CVAT, "CVAT.*export 'COCO 1.0' or 'PASCAL VOC"),
        ("labelTxt/a.txt", "imagesource:G\ngsd:0.1\n1 1 9 1 9 9 1 9 plane 0\n", "DOTA"),
        ("labelTxt/a.txt", "1.0 1 9 1 9 9 1 9 small-vehicle 1\n", "DOTA"),
        ("via.json", {"_via_settings": {}, "_via_img_metadata": {"a1": {"regions": []}}}, "VGG.*COCO format"),
        ("via.json", {"a.jpg123": {"filename": "a.jpg", "regions": [VIA_REGION]}}, "VGG.*COCO format"),
        ("via.csv", "#filename,file_size,region_shape_attributes,region_attributes\na.jpg,1,{},{}\n", "VGG"),
        ("export.json", [{"id": 1, "data": {"image": "a"}, "annotations": [{"result": []}]}], "Label Studio"),
        ("export.json", [{"image": "a", "label": [{"rectanglelabels": ["x"]}]}], "Label Studio"),
        ("ann/a.jpg.json", {"size": {"height": 1}, "objects": [{"classTitle": "x"}]}, "Supervisely"),
        ("meta.json", {"classes": [{"title": "x", "shape": "rectangle"}], "tags": []}, "Supervisely"),
        ("a.json", [{"image": "a.jpg", "annotations": [{"label": "x", "coordinates": {}}]}], "CreateML"),
        ("a.json", [{"name": "a", "labels": [{"box2d": {}}]}], "BDD100K"),
        ("a.json", {"annotation": {"object": []}}, "Pascal VOC written as JSON"),
        ("a.json", {"items": [], "categories": {}}, "Datumaro"),
        ("a.json", [{"image_id": 1, "category_id": 2, "bbox": [1, 1, 1, 1]}], "whole COCO file"),
        ("boxes.csv", "a.jpg,1,2,3,4,cat\n", "first line: image,xmin,ymin,xmax,ymax,label"),
        ("label_2/a.txt", "Car 0.0 0 -1.5 1 2 3 4 1.5 1.6 3.2 1 1 9 0.1\n", "KITTI"),
        ("labels/a.txt", "0 0.5 0.5 0.1 0.1\n", "YOLO labels without names.*classes.txt"),
        ("x.tfrecord", "x", "TensorFlow records"),
    ],
)
def test_other_tools_annotations_are_named_with_what_to_export(
    tmp_path: Path, name: str, content: Any, told: str
) -> None:
    picture(tmp_path / "images/a.jpg")
    text(tmp_path / name, content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=f"holds no annotations that are known here.*{told}"):
        read(tmp_path)


def test_a_json_file_of_another_tool_is_named_too(tmp_path: Path) -> None:
    text(tmp_path / "export.json", json.dumps([{"id": 1, "data": {}, "annotations": []}]))
    with pytest.raises(DataError, match=r"no COCO file.*Label Studio's own JSON; export COCO"):
        read(tmp_path, "export.json")


def test_a_known_form_further_down_is_pointed_to_and_read_when_given(tmp_path: Path) -> None:
    for part in ("one", "two"):
        picture(tmp_path / part / "set/images/a.jpg")
        content = {
            "images": [{"id": 1, "file_name": "a.jpg"}],
            "annotations": [{"image_id": 1, "category_id": 1, "bbox": [5, 6, 10, 20]}],
            "categories": [{"id": 1, "name": "x"}],
        }
        text(tmp_path / part / "set/annotations.json", json.dumps(content))
    with pytest.raises(DataError, match="Give one of its folders: one/set/ holds COCO, two/set/ holds COCO"):
        read(tmp_path)
    assert boxes(read(tmp_path, "one/set")) == {"images/a.jpg": BOX}
