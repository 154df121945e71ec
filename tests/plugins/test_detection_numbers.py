"""Boxes whose numbers are written or meant otherwise than their form has it; and ids of classes and pictures, there and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from graftwork.errors import DataError
from graftwork.interfaces import DataRequest, Finding, Inputs, Tables
from graftwork_detection.audit import audit_detection, facts_of
from graftwork_detection.decode import as_arrays, decode_objects
from graftwork_detection.inputs import read_pictures
from graftwork_detection.read import read_detection

WIDTH, HEIGHT = 80, 40
BOXES = [(2 + 8 * n, 4 + 2 * n, 14, 10) for n in range(8)]
"""Of eight pictures, x, y, width, height; the class of each is its number's parity."""


def picture(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT), seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def read(root: Path, **options: Any) -> Tables:
    return read_detection(DataRequest(str(root), **options))


def boxes(tables: Tables, split: str = "train") -> list[tuple[str, tuple[int, ...]]]:
    return [
        (tables.names[label], tuple(map(round, box)))
        for row in tables.splits[split]
        for box, label in zip(row["objects"]["bbox"], row["objects"]["category"], strict=True)
    ]


def audited(tables: Tables) -> tuple[Tables, dict[str, Finding]]:
    tables, findings = audit_detection(tables)
    return tables, {finding.code: finding for finding in (*tables.findings, *findings)}


# --- YOLO -----------------------------------------------------------------------------------------------------------------


def shares(n: int, label: Any = None) -> str:
    x, y, w, h = BOXES[n]
    numbers = ((x + w / 2) / WIDTH, (y + h / 2) / HEIGHT, w / WIDTH, h / HEIGHT)
    return " ".join([str(n % 2 if label is None else label), *(f"{number:.6f}" for number in numbers)])


def yolo(root: Path, line: Callable[[int], str], names: str = "[a, b]") -> Path:
    for n in range(8):
        picture(root / f"images/{n}.png", seed=n)
        text(root / f"labels/{n}.txt", line(n) + "\n")
    text(root / "data.yaml", f"train: images\nval: images\nnames: {names}\n")
    return root


TRUTH = [("ab"[n % 2], box) for n, box in enumerate(BOXES)]


@pytest.mark.parametrize(
    ("line", "names", "told"),
    [
        (lambda n: shares(n).replace(" ", ","), "[a, b]", "commas-in-lines"),
        (lambda n: shares(n).replace(" ", ", "), "[a, b]", "commas-in-lines"),
        (lambda n: shares(n).replace(" ", ";"), "[a, b]", "commas-in-lines"),
        (lambda n: shares(n).replace(".", ","), "[a, b]", "commas-in-lines"),
        (lambda n: shares(n).replace(".", ",").replace(" ", ";"), "[a, b]", "commas-in-lines"),
        (lambda n: shares(n, "ab"[n % 2]), "[a, b]", "names-in-lines"),
        (lambda n: shares(n, n % 2 + 1), "{1: a, 2: b}", None),
        (lambda n: shares(n, n % 2 * 7), "{0: a, 7: b}", None),
        (shares, "{a: 0, b: 1}", None),
        (shares, "a, b", None),
        (
            lambda n: f"{shares(n)} {BOXES[n][0] / 80 + 0.1} {BOXES[n][1] / 40 + 0.1} 0 0",
            "[a, b]",
            "keypoints-not-used",
        ),
        (lambda n: f"{shares(n)} {BOXES[n][0] / 80 + 0.1} {BOXES[n][1] / 40 + 0.1} 2", "[a, b]", "keypoints-not-used"),
    ],
)
def test_yolo_lines_are_read_however_they_are_written(
    line: Callable[[int], str], names: str, told: str | None, tmp_path: Path
) -> None:
    tables = read(yolo(tmp_path, line, names))
    assert boxes(tables) == TRUTH
    assert [finding.code for finding in tables.findings] == ([told] if told else [])


def test_names_of_several_words_and_unknown_ones(tmp_path: Path) -> None:
    names = ["traffic light", "truck 2"]
    tables = read(yolo(tmp_path, lambda n: shares(n, names[n % 2] if n else "moon"), "[traffic light, truck 2]"))
    assert boxes(tables) == [(names[n % 2], box) for n, box in enumerate(BOXES)][1:]
    assert {finding.code: finding.where[0] for finding in tables.findings}["unknown-class"].endswith("(class moon)")


def test_class_numbers_from_one_are_an_error_with_ways_out(tmp_path: Path) -> None:
    yolo(tmp_path, lambda n: shares(n, n % 2 + 1))
    (finding,) = [finding for finding in read(tmp_path).findings if finding.level == "error"]
    assert finding.code == "classes-from-one" and "data.yaml `names: {1: cat, 2: dog}`" in finding.message
    (tmp_path / "data.yaml").unlink()
    text(tmp_path / "classes.txt", "unused\na\nb\n")
    assert boxes(read(tmp_path)) == TRUTH


@pytest.mark.parametrize(
    ("line", "code", "option"),
    [
        (lambda b: (b[0] / 80, b[1] / 40, (b[0] + b[2]) / 80, (b[1] + b[3]) / 40), "corners", "corners"),
        (lambda b: (b[0] / 80, b[1] / 40, b[2] / 80, b[3] / 40), "top-left", "top-left"),
    ],
)
def test_yolo_boxes_of_another_meaning_are_an_error_whose_option_reads_them(
    line: Callable[[Any], Any], code: str, option: str, tmp_path: Path
) -> None:
    large = [(2 * n, 22, 60, 14) for n in range(8)]
    yolo(tmp_path, lambda n: " ".join(map(str, (0, *line(large[n])))))
    (finding,) = [finding for finding in read(tmp_path).findings if finding.level == "error"]
    assert finding.code == f"boxes-look-like-{code}" and f"--set task_options.boxes={option}" in finding.message
    tables = read(tmp_path, options={"boxes": option})
    assert boxes(tables) == [("a", box) for box in large]
    assert not [finding for finding in tables.findings if finding.level == "error"]


# --- COCO -----------------------------------------------------------------------------------------------------------------


def coco(root: Path, box: Callable[[Any], Any] = list, size: Any = (WIDTH, HEIGHT), suffix: str = ".png") -> Path:
    for n in range(8):
        picture(root / f"images/{n}.png", seed=n)
    content = {
        "images": [{"id": 10 + n, "file_name": f"{n}{suffix}", "width": size[0], "height": size[1]} for n in range(8)],
        "annotations": [
            {"id": n, "image_id": 10 + n, "category_id": 5 + 4 * (n % 2), "bbox": box(one)}
            for n, one in enumerate(BOXES)
        ],
        "categories": [{"id": 5, "name": "a"}, {"id": 9, "name": "b"}],
    }
    text(root / "annotations.json", json.dumps(content))
    return root


def test_coco_corners_are_an_error_whose_option_reads_them(tmp_path: Path) -> None:
    coco(tmp_path, lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])
    _, found = audited(read(tmp_path))
    assert found["boxes-look-like-corners"].level == "error"
    tables, found = audited(read(tmp_path, options={"boxes": "corners"}))
    assert (boxes(tables), "boxes-look-like-corners" in found) == (TRUTH, False)


@pytest.mark.parametrize(
    ("size", "scale", "told"),
    [
        ((160, 80), 2, "boxes-scaled"),  # pictures were made half as large
        ((20, 10), 0.25, "boxes-scaled"),
        ((121, 60), 1.5, "boxes-scaled"),  # but for rounding
        ((160, 80), 1, "size-disagrees"),  # sizes are wrong, boxes are of the files
        ((40, 20), 1, "size-disagrees"),
        ((90, 40), 1, "size-disagrees"),
        ((320, 320), 4, "boxes-of-other-size"),  # stretched or cut: not known which
    ],
)
def test_boxes_of_pictures_that_were_resized_go_with_them(
    size: tuple[int, int], scale: float, told: str, tmp_path: Path
) -> None:
    tables, found = audited(read(coco(tmp_path, lambda b: [scale * value for value in b], size)))
    codes = {"boxes-scaled", "size-disagrees", "boxes-of-other-size"} & set(found)
    assert codes == ({told, "size-disagrees"} if told == "boxes-of-other-size" else {told})
    if told != "boxes-of-other-size":
        off = [
            abs(a - b)
            for (_, one), (_, two) in zip(boxes(tables), TRUTH, strict=True)
            for a, b in zip(one, two, strict=True)
        ]
        assert max(off) <= 1
    else:
        assert found[told].level == "error"


def test_pictures_under_another_suffix_are_taken_where_they_are_the_only_ones(tmp_path: Path) -> None:
    coco(tmp_path, suffix=".jpg")
    tables = read(tmp_path)
    assert boxes(tables) == TRUTH
    assert {finding.code: finding.count for finding in tables.findings} == {"other-suffix": 8}
    picture(tmp_path / "images/0.bmp")
    assert "fits images/0.bmp, images/0.png" in str(
        {finding.code: finding.where for finding in read(tmp_path).findings}["annotation-without-image"]
    )


# --- ids, there and back --------------------------------------------------------------------------------------------------


def test_predictions_have_the_datas_own_category_ids(tmp_path: Path) -> None:
    facts = facts_of(audited(read(coco(tmp_path)))[0])
    assert (facts["classes"], facts["category_ids"]) == (["a", "b"], [5, 9])
    found = [{"boxes": torch.tensor([[0.0, 0, 4, 4]]), "labels": torch.tensor([1]), "scores": torch.tensor([0.5])}]
    (row,) = decode_objects(found, facts)
    assert row["objects"] == [{"category": "b", "category_id": 9, "bbox": [0, 0, 4, 4], "score": 0.5}]
    assert as_arrays(row["objects"], facts["classes"])[2].tolist() == [1]
    del facts["category_ids"]  # a model of an earlier version
    assert decode_objects(found, facts)[0]["objects"][0]["category_id"] == 1


def test_pictures_of_a_coco_file_are_read_with_their_ids(tmp_path: Path) -> None:
    coco(tmp_path)
    for given in ("annotations.json", "."):
        rows = read_pictures([str(tmp_path / given)], {})
        assert [Path(cell["path"]).name for cell in rows["image"][:]] == [f"{n}.png" for n in range(8)]
        assert rows["image_id"][:] == list(range(10, 18))
    assert "image_id" not in read_pictures([str(tmp_path / "images")], {}).column_names
    refused: list[DataError] = []
    (tmp_path / "images/3.png").unlink()
    rows = read_pictures(Inputs((str(tmp_path / "annotations.json"),), refuse=refused.append), {})
    assert rows["image_id"][:] == [10, 11, 12, 14, 15, 16, 17]
    assert "image 3.png is not there" in str(refused[0])
