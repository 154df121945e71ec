"""Reading boxes: every layout that tools write gives the same rows, and what is damaged is named with its file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from datasets import Image as ImageFeature
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from graftwork.errors import DataError, UsageError
from graftwork.interfaces import DataRequest, Tables
from graftwork_detection.read import read_detection
from graftwork_detection.voc import from_corners

WIDTH, HEIGHT = 60, 40
"""Pixels of every picture here."""

TRUTH = {
    "train": {"a.jpg": [("cat", (10, 5, 20, 10)), ("dog", (0, 0, 60, 40))], "b.jpg": []},
    "validation": {"c.jpg": [("dog", (30, 20, 6, 8))]},
}
"""The same data in every layout: boxes are x, y, width, height."""

CLASSES = ["cat", "dog"]


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([seed, len(path.name), path.name.encode()[0]]).integers(0, 256, (4, 6, 3))
    Image.fromarray(pixels.astype(np.uint8)).resize(size).save(path)


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def coco_of(images: Mapping[str, list[Any]], prefix: str = "") -> dict[str, Any]:
    """COCO's form; ids have gaps, as COCO's own have."""
    numbered = {name: 100 + 7 * number for number, name in enumerate(images)}
    objects = [(numbered[name], label, box) for name, found in images.items() for label, box in found]
    return {
        "images": [
            {"id": key, "file_name": prefix + name, "width": WIDTH, "height": HEIGHT} for name, key in numbered.items()
        ],
        "annotations": [
            {"id": n, "image_id": image, "category_id": {"cat": 3, "dog": 17}[label], "bbox": list(box), "iscrowd": 0}
            for n, (image, label, box) in enumerate(objects)
        ],
        "categories": [{"id": 17, "name": "dog"}, {"id": 3, "name": "cat"}],
    }


def voc_of(objects: list[Any], name: str = "x.jpg", extra: str = "") -> str:
    told = "".join(
        f"<object><name>{label}</name><difficult>0</difficult><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin>"
        f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
        for label, (x, y, w, h) in objects
    )
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}</filename>{size}{told}{extra}</annotation>"


def yolo_of(objects: list[Any]) -> str:
    lines = [
        f"{CLASSES.index(label)} {(x + w / 2) / WIDTH} {(y + h / 2) / HEIGHT} {w / WIDTH} {h / HEIGHT}\n"
        for label, (x, y, w, h) in objects
    ]
    return "".join(lines)


# --- layouts --------------------------------------------------------------------------------------------------------------


def coco_own(root: Path) -> None:
    for split, folder in (("train", "train2017"), ("validation", "val2017")):
        text(root / f"annotations/instances_{folder}.json", json.dumps(coco_of(TRUTH[split])))
        text(root / f"annotations/captions_{folder}.json", json.dumps({"images": [], "annotations": []}))
        for name in TRUTH[split]:
            picture(root / folder / name)


def coco_shared_images(root: Path) -> None:
    for split in TRUTH:
        text(root / f"annotations/{split}.json", json.dumps(coco_of(TRUTH[split])))
        for name in TRUTH[split]:
            picture(root / "images" / name)


def coco_paths(root: Path) -> None:
    for split, prefix in (("train", "../../data/media/"), ("validation", "C:\\data\\")):
        text(root / f"{split}.json", json.dumps(coco_of(TRUTH[split], prefix)))
        for name in TRUTH[split]:
            picture(root / "images" / split / name)


def coco_roboflow(root: Path) -> None:
    for split, folder in (("train", "train"), ("validation", "valid")):
        content = coco_of(TRUTH[split])
        content["categories"] = [
            {"id": 0, "name": "pets", "supercategory": "none"},
            *({**category, "supercategory": "pets"} for category in content["categories"]),
        ]
        text(root / folder / "_annotations.coco.json", json.dumps(content))
        for name in TRUTH[split]:
            picture(root / folder / name)
    text(root / "README.roboflow.txt", "exported")


def coco_label_studio(root: Path) -> None:
    for split, folder in (("train", "training"), ("validation", "dev")):
        text(root / folder / "annotations.json", json.dumps(coco_of(TRUTH[split], "images/")))
        for name in TRUTH[split]:
            picture(root / folder / "images" / name)


def voc_own(root: Path) -> None:
    home = root / "VOCdevkit" / "VOC2012"
    for split, name in (("train", "train"), ("validation", "val")):
        text(home / f"ImageSets/Main/{name}.txt", "".join(f"{Path(file).stem}\n" for file in TRUTH[split]))
        text(home / f"ImageSets/Main/cat_{name}.txt", "".join(f"{Path(file).stem}  1\n" for file in TRUTH[split]))
        for file, objects in TRUTH[split].items():
            text(home / f"Annotations/{Path(file).stem}.xml", voc_of(objects, file))
            picture(home / "JPEGImages" / file)
    text(home / "ImageSets/Main/trainval.txt", "a\nb\nc\n")


def voc_split_folders(root: Path) -> None:
    for split, folder in (("train", "train"), ("validation", "valid")):
        for file, objects in TRUTH[split].items():
            text(root / folder / f"{Path(file).stem}.xml", voc_of(objects, file))
            picture(root / folder / file)


def voc_split_subfolders(root: Path) -> None:
    for split in TRUTH:
        for file, objects in TRUTH[split].items():
            text(root / split / "annotations" / f"{Path(file).stem}.xml", voc_of(objects, file))
            picture(root / split / "images" / file)


def yolo_own(root: Path) -> None:
    text(root / "data.yaml", "path: /not/here\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n")
    for split, folder in (("train", "train"), ("validation", "val")):
        for file, objects in TRUTH[split].items():
            text(root / f"labels/{folder}/{Path(file).stem}.txt", yolo_of(objects))
            picture(root / f"images/{folder}" / file)


def yolo_roboflow(root: Path) -> None:
    content = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 2\nnames: ['cat', 'dog']\n"
    text(root / "data.yaml", content)
    for split, folder in (("train", "train"), ("validation", "valid")):
        for file, objects in TRUTH[split].items():
            text(root / folder / "labels" / f"{Path(file).stem}.txt", yolo_of(objects))
            picture(root / folder / "images" / file)


def yolo_lists(root: Path) -> None:
    text(root / "pets.yaml", "train: [first.txt, images/more]\nval: second.txt\nnames: [cat, dog]\n")
    text(root / "first.txt", "./images/a.jpg\n")
    text(root / "second.txt", "images/c.jpg\n")
    for file, where in (("a.jpg", "images"), ("b.jpg", "images/more"), ("c.jpg", "images")):
        objects = {**TRUTH["train"], **TRUTH["validation"]}[file]
        text(root / where.replace("images", "labels") / f"{Path(file).stem}.txt", yolo_of(objects))
        picture(root / where / file)


def yolo_darknet(root: Path) -> None:
    text(root / "obj.names", "cat\ndog\n")
    text(root / "obj.data", "classes = 2\nnames = data/obj.names\n")
    for split, name in (("train", "train"), ("validation", "valid")):
        text(root / f"{name}.txt", "".join(f"data/obj_{name}_data/{file}\n" for file in TRUTH[split]))
        for file, objects in TRUTH[split].items():
            text(root / f"obj_{name}_data" / f"{Path(file).stem}.txt", yolo_of(objects))
            picture(root / f"obj_{name}_data" / file)


def yolo_class_list_in_folders(root: Path) -> None:
    text(root / "classes.txt", "cat\ndog\n")
    text(root / "notes.json", json.dumps({"categories": [{"id": 0, "name": "cat"}], "info": {}}))
    for split, folder in (("train", "train"), ("validation", "val")):
        for file, objects in TRUTH[split].items():
            text(root / "labels" / folder / f"{Path(file).stem}.txt", yolo_of(objects))
            picture(root / "images" / folder / file)


def table_jsonl(root: Path) -> None:
    for split in TRUTH:
        lines = [
            {
                "file_name": file,
                "objects": {"bbox": [box for _, box in found], "categories": [name for name, _ in found]},
            }
            for file, found in TRUTH[split].items()
        ]
        text(root / split / "metadata.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        for file in TRUTH[split]:
            picture(root / split / file)


LAYOUTS: list[Callable[[Path], None]] = [
    coco_own,
    coco_shared_images,
    coco_paths,
    coco_roboflow,
    coco_label_studio,
    voc_own,
    voc_split_folders,
    voc_split_subfolders,
    yolo_own,
    yolo_roboflow,
    yolo_lists,
    yolo_darknet,
    yolo_class_list_in_folders,
    table_jsonl,
]


def read(root: Path, **options: Any) -> Tables:
    return read_detection(DataRequest(str(root), **options))


def contents(tables: Tables) -> dict[str, dict[str, list[Any]]]:
    """Objects by split and picture name, with class names, in whole pixels."""
    return {
        split: {
            Path(row["image"]["path"]).name: [
                (tables.names[label], tuple(round(value, 6) for value in box))
                for box, label in zip(row["objects"]["bbox"], row["objects"]["category"], strict=True)
            ]
            for row in rows
        }
        for split, rows in tables.splits.items()
    }


def codes(tables: Tables) -> dict[str, int]:
    return {finding.code: finding.count for finding in tables.findings}


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_every_layout_gives_the_same_rows(layout: Callable[[Path], None], tmp_path: Path) -> None:
    layout(tmp_path)
    tables = read(tmp_path)
    assert tables.names == ("cat", "dog")
    assert contents(tables) == TRUTH
    unfit = {"annotation-without-image", "image-without-annotation", "unknown-class", "malformed-box", "malformed-line"}
    assert not unfit & set(codes(tables))
    for rows in tables.splits.values():
        assert set(rows.column_names) == {"image", "objects", "origin", "width", "height"}
        assert all(Path(row["image"]["path"]).is_file() for row in rows)
        assert not any(crowd for row in rows for crowd in row["objects"]["crowd"])


def test_one_coco_file_is_read_with_its_neighbours_left_aside(tmp_path: Path) -> None:
    coco_own(tmp_path)
    tables = read(tmp_path / "annotations" / "instances_train2017.json")
    assert contents(tables) == {"train": TRUTH["train"]}
    assert tables.splits["train"]["origin"][0] == "train2017/a.jpg"


def test_a_yolo_description_may_be_given_itself(tmp_path: Path) -> None:
    yolo_own(tmp_path)
    assert contents(read(tmp_path / "data.yaml")) == TRUTH


def test_two_forms_in_one_folder_are_not_guessed_between(tmp_path: Path) -> None:
    voc_own(tmp_path / "x")
    yolo_own(tmp_path / "x" / "VOCdevkit" / "VOC2012")
    with pytest.raises(
        DataError, match=r"Pascal VOC annotations \(Annotations/\*.xml\) and YOLO annotations \(data.yaml"
    ):
        read(tmp_path / "x")


def test_a_folder_without_annotations_says_what_is_there(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.png"):
        picture(tmp_path / "things" / name)
    with pytest.raises(DataError, match=r"no annotations .* found 2 \.jpg, 1 \.png.*Wanted COCO"):
        read(tmp_path)


def test_columns_of_a_form_without_columns_are_refused(tmp_path: Path) -> None:
    voc_own(tmp_path)
    with pytest.raises(DataError, match="no columns, so --column"):
        read(tmp_path, columns={"image": "file"})


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown kind of data source"):
        read_detection(DataRequest("coco:val2017"))


# --- COCO -----------------------------------------------------------------------------------------------------------------


def one_coco(root: Path, **changes: Any) -> Path:
    content = coco_of(TRUTH["train"])
    content.update(changes)
    text(root / "train.json", json.dumps(content))
    for name in TRUTH["train"]:
        picture(root / "images" / name)
    return root


def annotation(**changes: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 100, "category_id": 3, "bbox": [1, 2, 3, 4], **changes}


def test_crowds_are_kept_and_outlines_left_aside(tmp_path: Path) -> None:
    outline = [[1, 2, 4, 2, 4, 6]]
    found = [annotation(iscrowd=1, segmentation={"counts": [], "size": [1, 1]}), annotation(segmentation=outline)]
    tables = read(one_coco(tmp_path, annotations=found))
    assert tables.splits["train"][0]["objects"]["crowd"] == [True, False]
    assert codes(tables) == {"crowd-objects": 1, "segmentation-not-used": 1}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"category_id": 99}, "unknown-class"),
        ({"category_id": None}, "unknown-class"),
        ({"image_id": 5}, "unknown-image-id"),
        ({"bbox": [1, 2, 3]}, "malformed-box"),
        ({"bbox": None}, "malformed-box"),
        ({"bbox": [1, 2, 3, "x"]}, "malformed-box"),
        ({"bbox": [1, 2, 3, True]}, "malformed-box"),
        ({"bbox": [1, 2, 3, 4, 0.5]}, "malformed-box"),
    ],
)
def test_an_unusable_object_is_removed_and_named(change: dict[str, Any], code: str, tmp_path: Path) -> None:
    tables = read(one_coco(tmp_path, annotations=[annotation(), annotation(id=77, **change)]))
    assert codes(tables) == {code: 1}
    assert "annotation 77" in tables.findings[0].where[0]
    assert tables.splits["train"][0]["objects"]["bbox"] == [[1, 2, 3, 4]]


def test_numbers_that_no_float_holds_are_left_to_the_audit(tmp_path: Path) -> None:
    root = one_coco(tmp_path, annotations=[annotation(bbox=[float("nan"), float("inf"), 10**400, 4])])
    assert np.isinf(read(root).splits["train"][0]["objects"]["bbox"][0][2])


def test_an_image_that_is_listed_twice_is_one_row_with_the_objects_of_both(tmp_path: Path) -> None:
    images = [{"id": n, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT} for n in (1, 2)]
    found = [annotation(image_id=1), annotation(image_id=2, bbox=[9, 9, 9, 9])]
    tables = read(one_coco(tmp_path, images=images, annotations=found))
    assert contents(tables) == {"train": {"a.jpg": [("cat", (1, 2, 3, 4)), ("cat", (9, 9, 9, 9))]}}
    assert codes(tables) == {"image-listed-twice": 1, "image-without-annotation": 1}


def test_text_ids_are_read_as_numbers(tmp_path: Path) -> None:
    images = [{"id": "100", "file_name": "a.jpg"}, {"id": "x-7", "file_name": "b.jpg"}]
    found = [annotation(category_id="3"), annotation(image_id="x-7")]
    tables = read(one_coco(tmp_path, images=images, annotations=found))
    assert [len(row["objects"]["bbox"]) for row in tables.splits["train"]] == [1, 1]


def test_ids_that_files_give_to_other_classes_are_told_apart_by_name(tmp_path: Path) -> None:
    coco_own(tmp_path)
    other = coco_of(TRUTH["validation"])
    other["categories"] = [{"id": 17, "name": "cat"}, {"id": 3, "name": "dog"}]
    other["annotations"][0]["category_id"] = 3
    text(tmp_path / "annotations/instances_val2017.json", json.dumps(other))
    tables = read(tmp_path)
    assert (contents(tables), tables.names, tables.class_ids) == (TRUTH, ("cat", "dog"), (3, 17))
    assert codes(tables)["ids-of-several-classes"] == 2


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"categories": []}, ("3",)),
        ({"categories": [{"id": 3}, {"id": 9, "name": " "}]}, ("3", "9")),
        ({"annotations": [annotation(category_id="cat")]}, ("cat", "dog")),
        ({"annotations": [annotation(bbox=["1", "2.0", "3", "4"], iscrowd="0")]}, ("cat", "dog")),
        ({"annotations": [annotation(bbox=[0, 0, 0, 0], segmentation=[[1, 2, 4, 2, 4, 6]])]}, ("cat", "dog")),
    ],
)
def test_what_tools_leave_out_or_write_as_text_is_understood(
    changes: dict[str, Any], names: tuple[str, ...], tmp_path: Path
) -> None:
    tables = read(one_coco(tmp_path, **{"annotations": [annotation()], **changes}))
    assert tables.names == names
    objects = tables.splits["train"][0]["objects"]
    assert objects == {"bbox": [[1, 2, 3, 4]], "category": [0], "crowd": [False]}


def test_a_name_under_two_ids_is_one_class(tmp_path: Path) -> None:
    categories = [{"id": 3, "name": "cat"}, {"id": 17, "name": "dog"}, {"id": 40, "name": "cat"}]
    tables = read(one_coco(tmp_path, categories=categories, annotations=[annotation(category_id=40)]))
    assert tables.names == ("cat", "dog")
    assert tables.splits["train"][0]["objects"]["category"] == [0]
    assert codes(tables) == {"class-with-several-ids": 1}


def test_a_category_that_only_heads_others_is_no_class(tmp_path: Path) -> None:
    coco_roboflow(tmp_path)
    assert codes(read(tmp_path)) == {"unused-category": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"images": [', r"train\.json:1:13: is damaged JSON"),
        ('{"images": []', r"is damaged JSON"),
        ("[" * 200_000, r"train\.json: (cannot be read|is damaged)"),
        ('{"shapes": []}', "is JSON, but no COCO file: wanted images, annotations, categories; found shapes"),
        ("[1, 2]", "found a list"),
        ('{"images": {"a": 1}, "annotations": []}', "its 'images' are no list"),
        ('{"images": [{"id": 1}], "annotations": [{}]}', "annotation-without-image .*has no file_name"),
        ('{"images": [], "annotations": [{}], "categories": [7]}', "a category without an id.*Give each"),
        ('{"images": [], "annotations": [], "categories": []}', "no annotated image can be used"),
    ],
)
def test_a_damaged_coco_file_is_named(content: str, message: str, tmp_path: Path) -> None:
    text(tmp_path / "train.json", content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "train.json")


def test_one_id_for_two_images_is_refused(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": name} for name in ("a.jpg", "b.jpg")]
    with pytest.raises(DataError, match="two images have the id 1"):
        read(one_coco(tmp_path, images=images))


def test_a_file_without_annotations_is_no_split(tmp_path: Path) -> None:
    coco_own(tmp_path)
    text(tmp_path / "annotations/instances_test2017.json", json.dumps({"images": [], "categories": []}))
    tables = read(tmp_path)
    assert list(tables.splits) == ["train", "validation"]
    assert codes(tables)["unlabelled-split"] == 1


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 110)
    | st.floats()
    | st.sampled_from(["", "100", "a.jpg", "../x", "\x00"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "name"]), inner, max_size=2),
    max_leaves=6,
)
IMAGE_KEYS, OBJECT_KEYS = ["id", "file_name", "width"], ["image_id", "category_id", "bbox", "iscrowd"]


@given(st.sampled_from(["images", "annotations", "categories"]), st.data())
def test_whatever_stands_in_a_coco_file_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, part: str, data: st.DataObject
) -> None:
    root = tmp_path_factory.getbasetemp() / "hostile"
    if not root.is_dir():
        one_coco(root)
    content = coco_of(TRUTH["train"])
    keys = {"images": IMAGE_KEYS, "annotations": OBJECT_KEYS, "categories": ["id", "name"]}[part]
    change = data.draw(st.dictionaries(st.sampled_from(keys), VALUES, min_size=1))
    content[part][0] = data.draw(st.just({**content[part][0], **change}) | VALUES)
    text(root / "train.json", json.dumps(content))
    try:
        tables = read(root / "train.json")
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert all(len(row["objects"]["bbox"]) == len(row["objects"]["category"]) for row in tables.splits["train"])


# --- Pascal VOC -----------------------------------------------------------------------------------------------------------


def one_voc(root: Path, xml: str | bytes) -> Path:
    (root / "Annotations").mkdir()
    (root / "Annotations" / "a.xml").write_bytes(xml if isinstance(xml, bytes) else xml.encode())
    text(root / "Annotations" / "b.xml", voc_of([("cat", (1, 1, 5, 5))], "b.jpg"))
    for name in ("a.jpg", "b.jpg"):
        picture(root / "JPEGImages" / name)
    return root


def test_voc_corners_are_first_and_last_pixels_counted_from_one() -> None:
    assert from_corners(1, 1, 60, 40) == (0, 0, 60, 40)
    assert from_corners(11, 6, 30, 15) == (10, 5, 20, 10)
    assert from_corners(7, 7, 7, 9) == (6, 6, 0, 3)  # a click without a drag
    x, y, width, height = from_corners(30, 15, 11, 6)  # swapped corners
    assert (x + width, y + height, -width, -height) == (10, 5, 20, 10)


def test_difficult_objects_are_not_scored_and_zero_coordinates_told(tmp_path: Path) -> None:
    extra = (
        "<object><name> dog </name><difficult>1</difficult><bndbox><xmin>0</xmin><ymin>3.0</ymin><xmax>9</xmax>"
        "<ymax>12</ymax></bndbox><part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>"
    )
    tables = read(one_voc(tmp_path, voc_of([("cat", (1, 1, 5, 5))], extra=extra)))
    objects = tables.splits["train"][0]["objects"]
    assert objects["crowd"] == [False, True]
    assert objects["bbox"][1] == [0, 2, 9, 10]
    assert codes(tables) == {"difficult-objects": 1, "zero-coordinate": 1}


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><annotation><object><name>&b;</name>'
    "</object></annotation>"
)
OUTSIDE = (
    '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation><object><name>&a;</name></object></annotation>'
)


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        (BOMB, "declares a document type, which is refused"),
        (OUTSIDE, "declares a document type, which is refused"),
        (BOMB.encode("utf-16"), "declares a document type, which is refused"),
        ("<annotation><object>", "is damaged XML (no element found: line 1, column 20)"),
        ("", "is damaged XML"),
        ("<html></html>", "is XML, but no annotation (its root is <html>)"),
        (b"\xff\xfe\x00", "is damaged XML"),
        ('<?xml version="1.0" encoding="nonsense"?><annotation/>', "unknown encoding"),
    ],
)
def test_a_damaged_or_dangerous_xml_file_is_named_and_its_image_left_out(
    xml: str | bytes, reason: str, tmp_path: Path
) -> None:
    tables = read(one_voc(tmp_path, xml))
    (finding,) = tables.findings
    assert finding.code == "unreadable-annotation"
    assert finding.where[0].startswith("Annotations/a.xml: ")
    assert reason in finding.where[0]
    assert tables.splits["train"]["origin"][:] == ["JPEGImages/b.jpg"]


def test_objects_without_class_or_box_are_named(tmp_path: Path) -> None:
    extra = "<object><name/></object><object><name>cat</name><bndbox><xmin>one</xmin></bndbox></object>"
    extra += "<object><name>cat</name><robndbox><cx>3</cx></robndbox></object>"
    tables = read(one_voc(tmp_path, voc_of([], extra=extra)))
    assert codes(tables) == {"object-without-class": 1, "malformed-box": 2}


def test_lists_of_splits_name_what_is_missing(tmp_path: Path) -> None:
    voc_own(tmp_path)
    home = tmp_path / "VOCdevkit" / "VOC2012"
    text(home / "ImageSets/Main/train.txt", "a\nb\nb\nghost\n")
    text(home / "Annotations/stray.xml", voc_of([]))
    (home / "Annotations/a.xml").unlink()
    tables = read(tmp_path)
    assert codes(tables) == {"image-without-annotation": 2, "image-listed-twice": 1, "not-in-any-split": 1}
    assert tables.splits["train"]["origin"][:] == ["JPEGImages/b.jpg"]


def test_trainval_is_train_only_where_there_is_no_train(tmp_path: Path) -> None:
    voc_own(tmp_path)
    main = tmp_path / "VOCdevkit/VOC2012/ImageSets/Main"
    (main / "train.txt").unlink()
    with pytest.raises(DataError, match=r"trainval\.txt and val\.txt but no train"):
        read(tmp_path)
    (main / "val.txt").unlink()
    assert len(read(tmp_path).splits["train"]) == 3


# --- YOLO -----------------------------------------------------------------------------------------------------------------


def one_yolo(root: Path, lines: str, yaml: str = "train: images\nval: images\nnames: [cat, dog]\n") -> Path:
    text(root / "data.yaml", yaml)
    text(root / "labels" / "a.txt", lines)
    picture(root / "images" / "a.jpg")
    return root


def test_a_polygon_becomes_its_box(tmp_path: Path) -> None:
    tables = read(one_yolo(tmp_path, "1 0.25 0.5 0.5 0.25 0.75 0.75\n"))
    assert contents(tables)["train"] == {"a.jpg": [("dog", (15, 10, 30, 20))]}
    assert codes(tables) == {"polygon-as-box": 2}


def test_key_points_after_a_box_are_left_aside(tmp_path: Path) -> None:
    yaml = "train: images\nval: images\nkpt_shape: [2, 3]\nnames: [cat]\n"
    tables = read(one_yolo(tmp_path, "0 0.5 0.5 0.5 0.5 0.1 0.1 2 0.2 0.2 2\n", yaml))
    assert contents(tables)["train"] == {"a.jpg": [("cat", (15, 10, 30, 20))]}


def test_a_column_of_confidences_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels/a\.txt:2: has six columns.*predictions, not labels"):
        read(one_yolo(tmp_path, "0 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.5 0.5 0.9\n"))


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("2 0.5 0.5 0.5 0.5", "unknown-class"),
        ("-1 0.5 0.5 0.5 0.5", "unknown-class"),
        ("0.5 0.5 0.5 0.5 0.5", "unknown-class"),
        ("nan 0.5 0.5 0.5 0.5", "unknown-class"),
        ("0 0.5 0.5 0.5", "malformed-line"),
        ("cow 0.5 0.5 0.5 0.5", "unknown-class"),
        ("0 0.5 0.5 0.5 0.5 0.5 0.5 0.5", "malformed-line"),
    ],
)
def test_an_unusable_line_is_left_out_and_named(line: str, code: str, tmp_path: Path) -> None:
    tables = read(one_yolo(tmp_path, f"0 0.5 0.5 0.5 0.5\n{line}\n"))
    assert codes(tables) == {code: 2}  # the folder is both splits
    assert tables.findings[0].where[0].startswith("labels/a.txt:2 ")
    assert len(tables.splits["train"][0]["objects"]["bbox"]) == 1


def test_an_empty_file_is_an_image_without_objects_and_no_file_is_no_image(tmp_path: Path) -> None:
    root = one_yolo(tmp_path, "")
    picture(root / "images" / "b.jpg")
    text(root / "labels" / "c.txt", "0 0.5 0.5 0.5 0.5\n")
    tables = read(root)
    assert tables.splits["train"]["origin"][:] == ["images/a.jpg"]
    assert codes(tables) == {"image-without-annotation": 2, "annotation-without-image": 1}


def test_shares_are_of_the_upright_image(tmp_path: Path) -> None:
    root = one_yolo(tmp_path, "0 0.5 0.5 1 0.5\n")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (WIDTH, HEIGHT)).save(root / "images" / "a.jpg", exif=exif)
    row = read(root).splits["train"][0]
    assert (row["width"], row["height"]) == (HEIGHT, WIDTH)
    assert row["objects"]["bbox"] == [[0, 15, HEIGHT, 30]]


@given(st.lists(st.text("0123456789.-+einfa_ \t", max_size=40), max_size=6))
def test_whatever_stands_in_a_label_file_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    root = tmp_path_factory.getbasetemp() / "lines"
    if not root.is_dir():
        one_yolo(root, "")
    text(root / "labels" / "a.txt", "\n".join(lines))
    try:
        tables = read(root)
    except DataError as error:
        assert "six columns" in str(error)
    else:
        objects = tables.splits["train"][0]["objects"]
        told = sum(finding.count for finding in tables.findings if finding.code in ("malformed-line", "unknown-class"))
        assert len(objects["bbox"]) + told // 2 == sum(
            bool(line.strip()) for line in lines
        )  # the folder is both splits


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("names: [a]\ntrain: nowhere\n", "train: nowhere is not there"),
        ("names: [a]\nnc: 1\n", "names neither train, val nor test"),
        ("train: images\nval: images\n", "has no names of classes"),
        ("names: {0: a, b: 1}\ntrain: images\n", "no numbers of their own"),
        ("names: [a\ntrain: images\n", r"data\.yaml:2:.*is not valid YAML"),
    ],
)
def test_a_description_that_lacks_something_is_refused(yaml: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(one_yolo(tmp_path, "", yaml) / "data.yaml")


def test_names_that_yaml_reads_as_other_things_stay_names(tmp_path: Path) -> None:
    yaml = "train: images\nval: images\nnames: [no, 1, 007]\nnc: 4\n"
    tables = read(one_yolo(tmp_path, "0 0.5 0.5 0.5 0.5\n", yaml))
    assert tables.names == ("no", "1", "007")
    assert codes(tables) == {"class-count-disagrees": 1}


# --- columns of objects ---------------------------------------------------------------------------------------------------

JPEG = {"bytes": b"", "path": "x.jpg"}


def rows_of(objects: list[Any], feature: Any, **more: list[Any]) -> Dataset:
    features = {"image": ImageFeature(decode=False), "objects": feature}
    features |= {name: Value("string" if isinstance(values[0], str) else "int64") for name, values in more.items()}
    return Dataset.from_dict({"image": [JPEG] * len(objects), "objects": objects, **more}, features=Features(features))


def sampled(rows: Dataset, **options: Any) -> Tables:
    return read_detection(DataRequest("sample:x", samples=lambda name: {"train": rows}, **options))


BOX = List(List(Value("float32")))


def test_objects_as_lists_and_as_a_list_of_objects_are_the_same() -> None:
    lists = {"bbox": [[1, 2, 3, 4]], "category": [1]}
    each = [{"bbox": [1, 2, 3, 4], "category": 1}]
    label = ClassLabel(names=["cat", "dog"])
    first = sampled(rows_of([lists], {"bbox": BOX, "category": List(label)}))
    second = sampled(rows_of([each], List({"bbox": List(Value("float32")), "category": label})))
    assert first.splits["train"]["objects"][:] == second.splits["train"]["objects"][:]
    assert first.names == second.names == ("cat", "dog")


def test_numbers_without_names_and_texts_become_classes() -> None:
    numbers = [{"bboxes": [[1, 2, 3, 4]] * 2, "label": [10, 9]}]
    tables = sampled(rows_of(numbers, {"bboxes": BOX, "label": List(Value("int64"))}))
    assert tables.names == ("9", "10")
    assert tables.splits["train"][0]["objects"]["category"] == [1, 0]
    assert codes(tables)["unnamed-classes"] == 2
    texts = [{"bbox": [[1, 2, 3, 4]] * 2, "categories": ["dog", "cat"]}]
    assert sampled(rows_of(texts, {"bbox": BOX, "categories": List(Value("string"))})).names == ("cat", "dog")


def test_hub_rows_with_faults_are_named_and_sizes_groups_and_crowds_kept() -> None:
    feature = {"bbox": BOX, "category": List(Value("int64")), "iscrowd": List(Value("int64"))}
    objects = [
        {"bbox": [[1, 2, 3, 4], [1, 2, 3], [5, 5, 5, 5]], "category": [0, 1, None], "iscrowd": [1, 0, 0]},
        None,
    ]
    rows = rows_of(objects, feature, width=[60, 60], height=[40, 40], patient=["p", "q"])
    tables = sampled(rows, group_by="patient")
    (row,) = tables.splits["train"]
    assert (row["width"], row["height"], row["group"]) == (60, 40, "p")
    assert row["objects"]["crowd"] == [True]
    found = codes(tables)
    assert found["malformed-box"] == found["object-without-class"] == found["image-without-annotation"] == 1


def test_corners_are_taken_as_corners_where_it_is_said() -> None:
    objects = [{"bbox": [[10, 20, 30, 50]], "category": ["cat"]}]
    rows = rows_of(objects, {"bbox": BOX, "category": List(Value("string"))})
    assert sampled(rows, options={"boxes": "corners"}).splits["train"][0]["objects"]["bbox"] == [[10, 20, 20, 30]]


def test_columns_without_boxes_are_refused_with_what_is_there() -> None:
    rows = rows_of(
        [{"area": [1.0], "category": [1]}], {"area": List(Value("float32")), "category": List(Value("int64"))}
    )
    with pytest.raises(DataError, match="its objects have no bbox; their fields: area, category"):
        sampled(rows)
    rows = rows_of(["x"], Value("string"))
    with pytest.raises(DataError, match="wanted a list of boxes with their classes"):
        sampled(rows)


def test_parquet_with_images_inside_is_read(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").unlink()
    objects = [{"bbox": [[1, 2, 3, 4]], "category": [0]}]
    rows = rows_of(objects, {"bbox": BOX, "category": List(ClassLabel(names=["cat"]))})
    rows = rows.map(lambda _: {"image": {"bytes": data, "path": None}}, features=rows.features)
    rows.to_parquet(tmp_path / "train-00000-of-00001.parquet")
    tables = read(tmp_path)
    assert tables.names == ("cat",)
    assert tables.splits["train"][0]["image"]["bytes"] == data
