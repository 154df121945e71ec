"""Every fault that annotations have in the wild, planted at known places in three forms: each is found and named, no more."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graftwork.interfaces import DataRequest, Finding, Tables
from graftwork.vision.scenes import NAMES, compose
from graftwork_detection.audit import audit_detection
from graftwork_detection.read import read_detection

SCENES = {"train": 80, "validation": 40, "test": 40}
NEW = "ten"
"""A class that only train has."""

Box = tuple[float, float, float, float]


@dataclass
class Thing:
    label: str
    box: Box
    ignored: bool = False


@dataclass
class Picture:
    """A picture, and all that its annotation will say; the flags make the annotation wrong."""

    name: str
    content: bytes
    size: tuple[int, int]
    things: list[Thing] = field(default_factory=list)
    declared: tuple[int, int] | None = None
    annotated: bool = True
    there: bool = True
    twice: bool = False
    raw: str | None = None  # an object as it is written, where it cannot be expressed otherwise
    damaged: bool = False

    @property
    def stem(self) -> str:
        return Path(self.name).stem


Data = dict[str, list[Picture]]
Planted = list[tuple[str, str]]
"""Code of the finding, and what it must name."""


def encoded(pixels: Any, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(buffer, kind, **options)
    return buffer.getvalue()


def clean_data() -> Data:
    """Scenes of digits, no fault."""
    made: Data = {}
    for split, count in SCENES.items():
        made[split] = []
        for number, scene in enumerate(compose(split, count)):
            height, width = scene.mask.shape
            things = [Thing(NAMES[label], box) for label, box in zip(scene.labels, scene.boxes, strict=True)]
            made[split].append(Picture(f"{split}{number:03}.png", encoded(scene.pixels), (width, height), things))
    return made


# --- planting -------------------------------------------------------------------------------------------------------------


class Untouched:
    """Pictures in which no fault was planted yet, in random order."""

    def __init__(self, data: Data, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._left: Data = {
            split: [pictures[n] for n in rng.permutation(len(pictures))] for split, pictures in data.items()
        }

    def take(self, split: str, least: int, size: tuple[int, int] | None = None) -> Picture:
        """A picture of the split with so many objects at least, and of that size; never the same twice."""
        for picture in self._left[split]:
            if len(picture.things) >= least and size in (None, picture.size):
                self._left[split].remove(picture)
                return picture
        raise AssertionError(f"no picture of {split} with {least} objects is left")


def plant_boxes(pictures: Untouched, form: str) -> Planted:
    nan = float("nan")
    changes: list[tuple[str, Callable[[Box, tuple[int, int]], Box]]] = [
        ("non-finite-box", lambda box, size: (nan, *box[1:])),
        ("inverted-box", lambda box, size: (box[0] + box[2], box[1], -box[2], box[3])),
        ("inverted-box", lambda box, size: (box[0], box[1] + box[3], box[2], -box[3])),
        ("zero-area-box", lambda box, size: (box[0], box[1], 0, box[3])),
        ("zero-area-box", lambda box, size: (box[0], box[1], 0, 0)),
        ("box-outside-image", lambda box, size: (size[0] + 20, box[1], box[2], box[3])),
        ("box-outside-image", lambda box, size: (box[0], -50, box[2], box[3])),
        ("box-partly-outside", lambda box, size: (size[0] - box[2] + 3, box[1], box[2], box[3])),
        ("box-partly-outside", lambda box, size: (-4, box[1], box[2], box[3])),
        ("box-size-outlier", lambda box, size: (box[0], box[1], 2, 2)),
    ]
    if form != "voc":  # whole pixels cannot say it
        changes.append(("tiny-box", lambda box, size: (box[0], 5, 0.75, 80)))
    planted: Planted = []
    for number, (code, change) in enumerate(changes):
        picture = pictures.take(("train", "validation", "test")[number % 3], 3)
        picture.things[0].box = change(picture.things[0].box, picture.size)
        planted.append((code, picture.stem))
    copies: list[tuple[str, Callable[[Thing], Thing]]] = [
        ("duplicate-box", lambda thing: Thing(thing.label, thing.box)),
        ("box-with-two-classes", lambda thing: Thing("1" if thing.label != "1" else "2", thing.box)),
        ("near-duplicate-box", lambda thing: Thing(thing.label, (*thing.box[:3], thing.box[3] - 1))),
    ]
    for code, copy in copies:
        picture = pictures.take("train", 2)
        tall = max(picture.things, key=lambda thing: thing.box[3])
        picture.things.append(copy(tall))
        planted.append((code, picture.stem))
    single = pictures.take("test", 1)
    single.things[:] = [Thing("4", (5, 5, 0, 8))]
    ignored = pictures.take("train", 2)
    ignored.things[0].ignored = True
    special = "difficult-objects" if form == "voc" else "crowd-objects"
    planted += [("zero-area-box", single.stem), ("lost-all-objects", single.stem)]
    return planted + ([(special, ignored.stem)] if form != "yolo" else [])


def plant_files(pictures: Untouched, form: str) -> Planted:
    """Pictures and annotations that do not belong together, or cannot be read."""
    planted: Planted = []

    def change(code: str, split: str = "train", least: int = 1, **values: Any) -> None:
        picture = pictures.take(split, least)
        for name, value in values.items():
            setattr(picture, name, value)
        planted.append((code, picture.stem))

    change("image-without-annotation", annotated=False)
    change("image-without-annotation", split="test", annotated=False)
    change("annotation-without-image", there=False)
    change("image-listed-twice", twice=True)
    whole = pictures.take("validation", 1)
    whole.content = whole.content[: len(whole.content) // 2]
    planted.append(("unreadable-image", whole.stem))
    change("empty-file", split="validation", content=b"")
    change("not-an-image", content=b"<html>404</html>")
    raws = {
        "coco": {"unknown-class": '{"category_id": 99}', "malformed-box": '{"bbox": [1, 2]}'},
        "voc": {
            "object-without-class": "<object><bndbox><xmin>1</xmin></bndbox></object>",
            "malformed-box": "<object><name>1</name></object>",
        },
        "yolo": {"unknown-class": "99 0.5 0.5 0.1 0.1", "malformed-line": "1 0.5 0.5"},
    }
    for code, raw in raws[form].items():
        change(code, raw=raw)
    if form == "coco":
        change("unknown-image-id", raw='{"image_id": 123456789}')
        planted[-1] = ("unknown-image-id", "123456789")
    else:
        change("unreadable-annotation", damaged=True)
    if form != "yolo":
        picture = pictures.take("train", 1)
        picture.declared = (picture.size[0] + 10, picture.size[1])
        planted.append(("size-disagrees", picture.stem))
        turned = pictures.take("train", 1, (128, 96))
        exif = Image.Exif()
        exif[0x0112] = 6
        turned.content = encoded(Image.open(io.BytesIO(turned.content)), "PNG", exif=exif)
        planted += [("boxes-turned", turned.stem), ("exif-rotated-image", turned.stem)]
    return planted


def plant_leaks(data: Data, pictures: Untouched) -> Planted:
    """The same picture in two splits, nearly the same one, and the same with other boxes."""
    seen, alike, other = pictures.take("train", 3), pictures.take("validation", 3), pictures.take("train", 3)
    twice = pictures.take("train", 1)

    def copy(of: Picture, name: str, content: bytes, things: list[Thing]) -> Picture:
        return Picture(name, content, of.size, [Thing(thing.label, thing.box) for thing in things])

    jpeg = encoded(Image.open(io.BytesIO(alike.content)), "JPEG", quality=92)
    data["test"].append(copy(seen, "leaked.png", seen.content, seen.things))
    data["test"].append(copy(alike, "alike.jpg", jpeg, alike.things))
    data["train"].append(copy(other, "again.png", other.content, other.things[1:]))
    data["train"].append(copy(twice, "twice.png", twice.content, twice.things))
    return [
        ("duplicate-across-splits", "leaked.png"),
        ("near-duplicate-across-splits", "alike.jpg"),
        ("duplicate-with-other-label", "again.png"),
        ("duplicate-within-split", "twice.png"),
    ]


def plant_new_class(pictures: Untouched) -> Planted:
    for thing in (thing for _ in range(2) for thing in pictures.take("train", 3).things):
        thing.label = NEW
    return [("label-in-one-split-only", f"{NEW} (only train: ")]


def plant_classes(data: Data) -> Planted:
    """Before all else: it changes many pictures."""
    nines = [(picture, thing) for picture in data["train"] for thing in picture.things if thing.label == "9"]
    for picture, thing in nines[3:]:
        picture.things.remove(thing)
    for picture in data["validation"]:
        picture.things = [thing for thing in picture.things if thing.label != "8"]
    return [
        ("few-objects", "9 ("),
        ("class-imbalance", "9"),
        ("class-missing-in-split", "8 (none in validation)"),
    ]


# --- writing --------------------------------------------------------------------------------------------------------------


def write_coco(root: Path, data: Data, names: list[str]) -> None:
    for split, pictures in data.items():
        images: list[dict[str, Any]] = []
        objects: list[dict[str, Any]] = []
        for picture in filter(lambda picture: picture.annotated, pictures):
            width, height = picture.declared or picture.size
            entry = {"file_name": picture.name, "width": width, "height": height}
            images += [{"id": len(images) + n, **entry} for n in range(2 if picture.twice else 1)]
            for thing in picture.things:
                told = {"image_id": images[-1]["id"], "category_id": 2 * names.index(thing.label), "bbox": thing.box}
                objects.append({"id": len(objects), "iscrowd": int(thing.ignored), "area": 1, **told})
            if picture.raw:
                usual = {"id": len(objects), "image_id": images[-1]["id"], "category_id": 0, "bbox": [1, 1, 9, 9]}
                objects.append({**usual, **json.loads(picture.raw)})
        categories = [{"id": 2 * number, "name": name} for number, name in enumerate(names)]
        content = {"images": images, "annotations": objects, "categories": categories}
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
        write_pictures(root / "images" / split, pictures)


def write_voc(root: Path, data: Data, names: list[str]) -> None:
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "Annotations").mkdir()
    for split, pictures in data.items():
        stems = [picture.stem for picture in pictures for _ in range(2 if picture.twice else 1)]
        name = {"validation": "val"}.get(split, split)
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text("\n".join(stems))
        for picture in filter(lambda picture: picture.annotated, pictures):
            told = "".join(map(voc_object, picture.things)) + (picture.raw or "")
            width, height = picture.declared or picture.size
            told = f"<annotation><size><width>{width}</width><height>{height}</height></size>{told}</annotation>"
            file = root / "Annotations" / f"{picture.stem}.xml"
            file.write_text(told[: len(told) // 2] if picture.damaged else told)
        write_pictures(root / "JPEGImages", pictures)


def voc_object(thing: Thing) -> str:
    x, y, w, h = thing.box
    xs, ys = (x + 1, x + w), (y + 1, y + h)
    if w < 0:
        xs = (x, x + w + 1)  # last pixel, first pixel
    if h < 0:
        ys = (y, y + h + 1)
    if w == 0:
        xs = (x + 1, x + 1)  # how tools write a click
    if h == 0:
        ys = (y + 1, y + 1)
    sides = (("xmin", xs[0]), ("ymin", ys[0]), ("xmax", xs[1]), ("ymax", ys[1]))
    corners = "".join(f"<{n}>{v}</{n}>" for n, v in sides)
    difficult = f"<difficult>{int(thing.ignored)}</difficult>"
    return f"<object><name>{thing.label}</name>{difficult}<bndbox>{corners}</bndbox></object>"


def write_yolo(root: Path, data: Data, names: list[str]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    listed = "".join(f"{split}: {split}.txt\n" for split in data)
    (root / "data.yaml").write_text(listed + f"nc: {len(names)}\nnames: {json.dumps(names)}\n")
    for split, pictures in data.items():
        files = [f"./images/{split}/{picture.name}" for picture in pictures for _ in range(2 if picture.twice else 1)]
        (root / f"{split}.txt").write_text("\n".join(files))
        (root / "labels" / split).mkdir(parents=True)
        for picture in filter(lambda picture: picture.annotated, pictures):
            (width, height), lines = picture.size, []
            for thing in picture.things:
                x, y, w, h = thing.box
                shares = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
                lines.append(f"{names.index(thing.label)} " + " ".join(f"{share:.6f}" for share in shares))
            told = "\n".join([*lines, picture.raw or ""]).encode()
            file = root / "labels" / split / f"{picture.stem}.txt"
            file.write_bytes(b"\xff\xfe\x00\xd8" if picture.damaged else told)
        write_pictures(root / "images" / split, pictures)


def write_pictures(folder: Path, pictures: list[Picture]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for picture in filter(lambda picture: picture.there, pictures):
        (folder / picture.name).write_bytes(picture.content)


WRITERS = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo}


def audited(root: Path) -> tuple[Tables, dict[str, Finding]]:
    tables = read_detection(DataRequest(str(root)))
    made, found = audit_detection(tables)
    findings = [*tables.findings, *found]
    assert len({finding.code for finding in findings}) == len(findings)
    return made, {finding.code: finding for finding in findings}


def every(tables: Tables) -> Iterator[tuple[str, dict[str, Any]]]:
    for rows in tables.splits.values():
        for row in rows:
            yield Path(row["origin"]).name, row


@pytest.fixture(scope="module")
def clean() -> Data:
    return clean_data()


@pytest.mark.parametrize("form", WRITERS)
def test_a_clean_data_set_gives_its_boxes_and_no_finding(form: str, clean: Data, tmp_path: Path) -> None:
    WRITERS[form](tmp_path, clean, list(NAMES))
    tables, findings = audited(tmp_path)
    empty = [picture for pictures in clean.values() for picture in pictures if not picture.things]
    assert set(findings) == {"empty-image"}
    assert findings["empty-image"].count == len(empty)
    truth = {picture.name: picture for pictures in clean.values() for picture in pictures}
    rows = dict(every(tables))
    assert set(rows) == set(truth)
    for name, row in rows.items():
        expected = [thing.box for thing in truth[name].things]
        assert np.allclose(np.reshape(row["objects"]["bbox"], (-1, 4)), np.reshape(expected, (-1, 4)), atol=1e-3)
        assert [tables.names[label] for label in row["objects"]["category"]] == [t.label for t in truth[name].things]


@pytest.mark.parametrize("form", WRITERS)
def test_every_planted_fault_is_found_and_named_and_nothing_else(form: str, tmp_path: Path) -> None:
    data = clean_data()
    planted = plant_classes(data)
    pictures = Untouched(data, seed=4)
    planted += (
        plant_leaks(data, pictures)
        + plant_new_class(pictures)
        + plant_boxes(pictures, form)
        + plant_files(pictures, form)
    )
    names = [*NAMES, NEW]
    if form != "voc":  # VOC names no class that no object has
        names.append("Ten")
        planted += [("empty-class", "Ten"), ("similar-class-names", "'ten' / 'Ten'")]
    WRITERS[form](tmp_path, data, names)
    tables, findings = audited(tmp_path)

    missed = [(code, name) for code, name in planted if not _is_named(findings.get(code), name)]
    assert not missed, (missed, findings)
    wanted = Counter(code for code, _ in planted)
    assert set(findings) - {"empty-image"} == set(wanted)
    counts = {code: findings[code].count for code in wanted if code != "class-imbalance"}
    assert counts == {code: count for code, count in wanted.items() if code != "class-imbalance"}
    assert len(planted) >= 36 and len(wanted) >= 30
    for _, row in every(tables):
        for x, y, w, h in row["objects"]["bbox"]:
            assert -1e-9 <= x < x + w <= row["width"] + 1e-9
            assert -1e-9 <= y < y + h <= row["height"] + 1e-9


def _is_named(finding: Finding | None, name: str) -> bool:
    return finding is not None and any(name in place for place in finding.where)


# --- the real data --------------------------------------------------------------------------------------------------------


def test_the_faults_of_bccd_that_were_verified_by_eye_are_named(shared_data: Path) -> None:
    if not (shared_data / "bccd").is_dir():
        pytest.skip("the blood cells are not there")
    tables, findings = audited(shared_data / "bccd")
    assert tables.names == ("Platelets", "RBC", "WBC")
    assert {split: len(rows) for split, rows in tables.splits.items()} == {"train": 205, "validation": 87, "test": 72}
    # Two clicks without a drag.
    assert findings["zero-area-box"].count == 2
    assert {place.split(":")[0][-9:-4] for place in findings["zero-area-box"].where} == {"00338", "00343"}
    # A platelet that is called a white cell, and two white cells that are called platelets.
    odd = {place.split(":")[0][-9:-4]: place for place in findings["box-size-outlier"].where}
    assert set(odd) == {"00113", "00133", "00135"}
    assert "WBC (256, 429, 32, 28)" in odd["00113"]
    # Red cells that were marked twice, the copy two pixels further.
    assert findings["near-duplicate-box"].count == 7
    # One smear photographed twice, a photo each in train and validation.
    assert findings["near-duplicate-across-splits"].count == 1
    assert findings["class-imbalance"].level == "warning"
    assert set(findings) == {
        "zero-area-box",
        "box-size-outlier",
        "near-duplicate-box",
        "near-duplicate-across-splits",
        "class-imbalance",
    }
