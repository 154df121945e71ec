"""Pictures of more than 8 bits through every task on pictures: one range, in the facts, in what a model sees."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graftwork.catalogue import load_catalogue
from graftwork.data.splits import complete
from graftwork.interfaces import DataRequest, ImageInput, Spec, Tables
from graftwork.models.build import Builder

COUNT = 12


def deep(number: int) -> bytes:
    """12 bits in a file of 16: levels 400 to 1900, the upper half brighter."""
    values = np.random.default_rng(number).integers(400, 1900, (64, 64)).astype(np.uint16)
    values[:8, :8] = 1000
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def plain(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (64, 64), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def classes(root: Path, encode: Callable[[int], bytes]) -> None:
    for number in range(COUNT):
        (root / "ab"[number % 2]).mkdir(exist_ok=True)
        (root / "ab"[number % 2] / f"{number}.png").write_bytes(encode(number))


def boxes(root: Path, encode: Callable[[int], bytes]) -> None:
    (root / "images").mkdir()
    for number in range(COUNT):
        (root / "images" / f"{number}.png").write_bytes(encode(number))
    images = [{"id": n, "file_name": f"images/{n}.png", "width": 64, "height": 64} for n in range(COUNT)]
    boxes = [
        {"id": n, "image_id": n, "category_id": 1 + n % 2, "bbox": [4, 4, 30, 30 + n], "iscrowd": 0}
        for n in range(COUNT)
    ]
    names = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    (root / "coco.json").write_text(json.dumps({"images": images, "annotations": boxes, "categories": names}))


def masks(root: Path, encode: Callable[[int], bytes]) -> None:
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    for number in range(COUNT):
        (root / "images" / f"{number}.png").write_bytes(encode(number))
        mask = np.zeros((64, 64), np.uint8)
        mask[number : 30 + number] = 1
        Image.fromarray(mask).save(root / "masks" / f"{number}.png")
    (root / "labels.yaml").write_text("0: a\n1: b\n")


TASKS = {"image-classification": classes, "detection": boxes, "segmentation": masks}


def read(task: str, root: Path, encode: Callable[[int], bytes]) -> tuple[object, Tables, dict[str, object]]:
    root.mkdir()
    TASKS[task](root, encode)
    catalogue = load_catalogue()
    built = Builder(catalogue).plugins.build("tasks", task, Spec(task, catalogue.task(task).complete({})))
    request = DataRequest(str(root), {}, None, catalogue.task(task).complete({}))
    tables = built.read(request)
    splits, _ = complete(tables.splits, built.strata, 0, None)
    tables, found = built.audit(Tables(splits, tables.findings, tables.names))
    assert not [finding.message for finding in found if finding.level == "error"]
    return built, tables, built.facts(tables)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_on_pictures_keeps_one_range_and_sees_by_it(tmp_path: Path, task: str) -> None:
    built, tables, facts = read(task, tmp_path / "deep", deep)
    low, high = facts["pixel_range"]["integer"]
    assert 400 <= low < 420 and 1880 < high < 1900
    for train in (True, False):
        examples = built.examples(tables.splits["train"], ImageInput(64, 64), facts, train)
        batch = examples.collate([0, 1, 2], [examples.load(row) for row in range(3)])
        pixels = batch.inputs["pixels"].float()
        assert len(pixels.unique()) > 100
    as_before = {name: value for name, value in facts.items() if name != "pixel_range"}
    examples = built.examples(tables.splits["train"], ImageInput(64, 64), as_before, False)
    inputs = examples.collate([0], [examples.load(0)]).inputs
    size = 64 if task == "image-classification" else int(inputs["size"][0, 0])
    assert len(inputs["pixels"][0, :, :size, :size].unique()) <= 8, "an older model's own rule, a picture"


@pytest.mark.parametrize("task", TASKS)
def test_pictures_of_8_bits_add_no_fact_and_no_column(tmp_path: Path, task: str) -> None:
    _, tables, facts = read(task, tmp_path / "plain", plain)
    assert set(facts) == {"classes", "train_counts"}
    assert not [name for name in tables.splits["train"].column_names if name.startswith("pixel")]


@pytest.mark.parametrize("task", TASKS)
def test_pictures_under_other_names_are_told_by_every_task(tmp_path: Path, task: str) -> None:
    root = tmp_path / "data"
    root.mkdir()
    TASKS[task](root, plain)
    folder = root / ("a" if task == "image-classification" else "images")
    (folder / "upload").write_bytes(plain(99))
    (folder / "scan.dcm").write_bytes(b"\0" * 128 + b"DICM")
    (folder / "notes.txt").write_text("no picture")
    if task == "detection":  # which takes a picture by the name that its annotation gives
        (root / "images" / "0.png").rename(root / "images" / "0.dat")
        (root / "coco.json").write_text((root / "coco.json").read_text().replace("images/0.png", "images/0.dat"))
    catalogue = load_catalogue()
    built = Builder(catalogue).plugins.build("tasks", task, Spec(task, catalogue.task(task).complete({})))
    tables = built.read(DataRequest(str(root), {}, None, catalogue.task(task).complete({})))
    assert len(tables.splits["train"]) == COUNT
    found = [finding for finding in tables.findings if finding.code == "picture-not-used"]
    assert [(one.level, Path(one.where[0]).name, one.count) for one in found] == [
        ("warning", "upload", 1),
        ("warning", "scan.dcm", 1),
    ]
