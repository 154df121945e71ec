"""Masks drawn from COCO's and labelme's outlines, and the exports of other tools that are named."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco
from numpy.typing import NDArray
from PIL import Image

from graftwork.errors import DataError
from graftwork.interfaces import DataRequest, Finding, Tables
from graftwork_segmentation.masks import decode_mask
from graftwork_segmentation.read import read_segmentation

WIDTH, HEIGHT = 24, 16
BOXES = {"square": (2, 3, 10, 9), "disc": (8, 5, 20, 15)}


def picture(seed: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def plant(root: Path, files: Mapping[str, bytes | str | Any]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, bytes | str):
            content = json.dumps(content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def inside(box: Sequence[int]) -> NDArray[np.uint8]:
    pixels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 1
    return pixels


def polygon(box: Sequence[int]) -> list[list[int]]:
    left, top, right, bottom = box
    return [[left, top, right, top, right, bottom, left, bottom]]


def packed(box: Sequence[int]) -> dict[str, Any]:
    found = coco.encode(np.asfortranarray(inside(box)))
    return {"size": list(found["size"]), "counts": found["counts"].decode()}


def runs(box: Sequence[int]) -> dict[str, Any]:
    flat = inside(box).T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    return {"size": [HEIGHT, WIDTH], "counts": np.diff([0, *edges, flat.size]).tolist()}


def coco_file(
    names: Sequence[str], outline: Any = polygon, ids: Mapping[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    ids = ids or {"square": 1, "disc": 2}
    images = [{"id": n, "file_name": name, "width": WIDTH, "height": HEIGHT} for n, name in enumerate(names)]
    objects = [
        {"id": 9 * n + m, "image_id": n, "category_id": ids[kind], "iscrowd": 0, "segmentation": outline(BOXES[kind])}
        for n in range(len(names))
        for m, kind in enumerate(BOXES)
    ]
    categories = [{"id": key, "name": name} for name, key in ids.items()]
    return {"images": images, "annotations": objects, "categories": categories, **more}


def read(root: Path, **options: Any) -> tuple[Tables, dict[str, Finding]]:
    tables = read_segmentation(DataRequest(str(root), options=options))
    return tables, {finding.code: finding for finding in tables.findings}


def expected(square: int, disc: int) -> NDArray[np.int64]:
    """The smaller square lies on the disc."""
    return np.where(inside(BOXES["square"]) > 0, square, np.where(inside(BOXES["disc"]) > 0, disc, 0))


def decoded(row: Mapping[str, Any]) -> NDArray[np.uint8]:
    return decode_mask(row["mask"], row["mask_map"], strict=True).numpy()


# --- COCO -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outline", [polygon, packed, runs], ids=["polygons", "packed runs", "runs"])
@pytest.mark.parametrize(
    "ids",
    [{"square": 1, "disc": 2}, {"square": 90, "disc": 3}, {"square": 0, "disc": 1}, {"square": "7", "disc": "a"}],
    ids=str,
)
def test_coco_outlines_are_drawn(tmp_path: Path, outline: Any, ids: Mapping[str, Any]) -> None:
    names = [f"{n}.jpg" for n in range(3)]
    plant(tmp_path, {f"images/{name}": picture(n) for n, name in enumerate(names)})
    plant(tmp_path, {"annotations/instances_train.json": coco_file(names, outline, ids)})
    tables, found = read(tmp_path)
    assert set(tables.names) == {"background", "square", "disc"}
    assert tables.names[0] == "background"
    assert found.keys() == {"outlines-drawn"}
    for row in tables.splits["train"]:
        assert np.array_equal(decoded(row), expected(tables.names.index("square"), tables.names.index("disc")))


PLACES: dict[str, tuple[str, str, str]] = {
    "COCO": ("{s}2017/{n}.jpg", "annotations/instances_{s}2017.json", "{n}.jpg"),
    "Roboflow": ("{s}/{n}.jpg", "{s}/_annotations.coco.json", "{n}.jpg"),
    "CVAT": ("images/{S}/{n}.jpg", "annotations/instances_{S}.json", "{n}.jpg"),
    "another machine": ("images/{s}/{n}.jpg", "{s}.json", "C:\\data\\{s}\\{n}.jpg"),
    "encoded": ("{s}/ü {n}.jpg", "{s}/coco.json", "%C3%BC%20{n}.jpg"),
}


@pytest.mark.parametrize("place", PLACES)
def test_coco_files_find_their_pictures_and_splits(tmp_path: Path, place: str) -> None:
    image, file, name = PLACES[place]
    for split in ("train", "val"):
        key = {"s": split, "S": split.title()}
        plant(tmp_path, {image.format(n=n, **key): picture(n) for n in range(3)})
        plant(tmp_path, {file.format(**key): coco_file([name.format(n=n, **key) for n in range(3)])})
    tables, _ = read(tmp_path)
    assert {split: len(rows) for split, rows in tables.splits.items()} == {"train": 3, "validation": 3}
    assert all(np.array_equal(decoded(row), expected(1, 2)) for rows in tables.splits.values() for row in rows)
    for split, rows in tables.splits.items():
        assert all(split[:3] in row["origin"].lower() for row in rows)


def test_two_names_never_fall_on_one_picture(tmp_path: Path) -> None:
    plant(tmp_path, {f"images/{n}.jpg": picture(n) for n in range(3)})
    names = ["images/0.jpg", "cam1/1.jpg", "cam2/1.jpg"]
    plant(tmp_path, {"train.json": coco_file(names)})
    tables, found = read(tmp_path)
    assert [row["origin"] for row in tables.splits["train"]] == ["images/0.jpg"]
    assert found["mask-without-image"].count == 2
    assert found["image-without-mask"].where == ("images/1.jpg", "images/2.jpg")


def test_objects_that_cannot_be_drawn_are_counted_and_boxes_alone_refused(tmp_path: Path) -> None:
    plant(tmp_path, {f"images/{n}.jpg": picture(n) for n in range(2)})
    content = coco_file(["0.jpg", "1.jpg"])
    content["annotations"][0]["segmentation"] = []
    content["annotations"][1]["segmentation"] = [[1, 2, 3]]
    plant(tmp_path, {"train.json": content})
    tables, found = read(tmp_path)
    assert found["object-without-outline"].count == 2
    assert decoded(tables.splits["train"][0]).max() == 0
    for entry in content["annotations"]:
        entry["segmentation"] = None
    plant(tmp_path, {"train.json": content})
    with pytest.raises(DataError, match=r"has 4 objects, and none with an outline .*--task detection"):
        read(tmp_path)


def test_a_label_map_beside_coco_files_counts_category_ids(tmp_path: Path) -> None:
    plant(tmp_path, {"images/0.jpg": picture(0), "train.json": coco_file(["0.jpg"])})
    plant(tmp_path, {"labels.yaml": "0: floor\n1: thing\n2: thing\n"})
    tables, _ = read(tmp_path)
    assert tables.names == ("floor", "thing")
    assert np.array_equal(decoded(tables.splits["train"][0]), expected(1, 1))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train.json": '{"images": ['}, r"train.json:1:\d+: is damaged JSON"),
        ({"train.json": coco_file(["0.jpg"], categories=[{"id": 1}])}, "has a category without id or name"),
        ({"train.json": coco_file(["0.jpg"]), "training.json": coco_file(["0.jpg"])}, "both mean train"),
        (
            {"a.json": coco_file(["0.jpg"]), "b.json": coco_file(["0.jpg"])},
            "several COCO files .*none named after a split",
        ),
        ({"train.json": coco_file(["9.jpg"])}, r"no annotated image is there \(the first: 9.jpg"),
    ],
)
def test_wrong_coco_files_are_refused_in_one_line(tmp_path: Path, files: Mapping[str, Any], message: str) -> None:
    plant(tmp_path, {"images/0.jpg": picture(0), **files})
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


# --- labelme ----------------------------------------------------------------------------------------------------------------


def labelme(shapes: Sequence[Mapping[str, Any]], image: str) -> dict[str, Any]:
    return {"version": "5.4", "shapes": list(shapes), "imagePath": image, "imageHeight": HEIGHT, "imageWidth": WIDTH}


def shape(label: str, kind: str, points: Any, **more: Any) -> dict[str, Any]:
    return {"label": label, "shape_type": kind, "points": points, **more}


def corners(box: Sequence[int]) -> list[list[int]]:
    return [[box[0], box[1]], [box[2], box[3]]]


def cut_out(box: Sequence[int]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.full((box[3] - box[1], box[2] - box[0]), 255, dtype=np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


KINDS: dict[str, Any] = {
    "polygon": lambda box: {"kind": "polygon", "points": np.reshape(polygon(box), (4, 2)).tolist()},
    "rectangle": lambda box: {"kind": "rectangle", "points": corners(box)},
    "rectangle, reversed": lambda box: {"kind": "rectangle", "points": corners(box)[::-1]},
    "rotation": lambda box: {"kind": "rotation", "points": np.reshape(polygon(box), (4, 2)).tolist()},
    "mask": lambda box: {"kind": "mask", "points": corners(box), "mask": cut_out(box)},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["{n}", "train/{n}", "images/{n}"])
def test_labelmes_shapes_are_drawn(tmp_path: Path, kind: str, place: str) -> None:
    for number in range(3):
        name = place.format(n=number)
        shapes = [shape(label, **KINDS[kind](box)) for label, box in BOXES.items()]
        shapes += [shape("point", "point", [[1, 1]])] if number == 2 else []
        plant(tmp_path, {f"{name}.jpg": picture(number), f"{name}.json": labelme(shapes, f"..\\x\\{number}.jpg")})
    tables, found = read(tmp_path)
    assert tables.names == ("background", "disc", "point", "square")
    assert found["object-without-outline"].count == 1
    assert all(np.array_equal(decoded(row), expected(3, 1)) for row in tables.splits["train"])


def test_labelmes_special_labels_are_background_and_void(tmp_path: Path) -> None:
    shapes = [
        shape("__ignore__", **KINDS["rectangle"](BOXES["square"])),
        shape("_background_", **KINDS["rectangle"]((0, 0, 2, 2))),
        shape("disc", **KINDS["polygon"](BOXES["disc"])),
    ]
    plant(tmp_path, {"a.jpg": picture(0), "a.json": labelme(shapes, "a.jpg"), "b.json": labelme(shapes, "gone.jpg")})
    tables, found = read(tmp_path)
    assert tables.names == ("background", "disc")
    assert np.array_equal(decoded(tables.splits["train"][0]), expected(255, 1))
    assert found["mask-without-image"].where == ("b.json",)


# --- exports that are named ---------------------------------------------------------------------------------------------------

FOREIGN: dict[str, tuple[dict[str, Any], str]] = {
    "CVAT XML": (
        {"annotations.xml": '<?xml version="1.0"?>\n<annotations><image id="0"/></annotations>'},
        "'Segmentation mask 1.1'",
    ),
    "Supervisely": (
        {"meta.json": {"classes": [{"title": "a", "shape": "bitmap"}]}, "ds/ann/0.jpg.json": {}},
        "Supervisely",
    ),
    "Supervisely, no meta": ({"ds/ann/0.jpg.json": {"objects": [{"bitmap": {"data": ""}}]}}, "Supervisely"),
    "VIA": ({"via_project.json": {"_via_img_metadata": {}}}, "VIA's JSON"),
    "VIA's regions": ({"via.json": {"0.jpg": {"regions": [{"shape_attributes": {}}]}}}, "VIA's JSON"),
    "VIA CSV": ({"via.csv": "filename,region_shape_attributes\n0.jpg,{}\n"}, "VIA's CSV"),
    "Label Studio": (
        {"project.json": [{"id": 1, "annotations": [], "data": {"image": "0.jpg"}}]},
        "Label Studio's JSON",
    ),
    "YOLO": ({"labels/0.txt": "0 0.1 0.1 0.9 0.1 0.9 0.9\n"}, "YOLO's text files"),
    "run lengths": ({"train.csv": "ImageId,EncodedPixels\n0.jpg,1 5\n"}, "run lengths"),
    "NumPy": ({"masks/0.npy": b"\x93NUMPY"}, r"NumPy arrays \(.npy\)"),
    "NIfTI": ({"labels/0.nii.gz": b"x"}, "NIfTI volumes"),
    "VOC boxes": ({"Annotations/0.xml": "<annotation><object/></annotation>"}, "--task detection"),
}


@pytest.mark.parametrize("tool", FOREIGN)
def test_exports_that_are_not_read_are_named(tmp_path: Path, tool: str) -> None:
    files, message = FOREIGN[tool]
    plant(tmp_path, {"images/0.jpg": picture(0), **files})
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)
