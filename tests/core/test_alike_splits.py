"""Made splits of all four tasks: what is alike or grouped stays together, and names and order count for nothing."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from graftwork.catalogue import load_catalogue
from graftwork.config import override_layer
from graftwork.config.check import resolve_and_check
from graftwork.data.splits import Alike, complete
from graftwork.errors import DataError
from graftwork.models.build import Builder
from graftwork.runs.data import RunData, read_data

CATALOGUE = load_catalogue()
LEAKS = ("duplicate-across-splits", "near-duplicate-across-splits")
WORDS = ("river", "stone", "apple", "cloud", "train", "music", "paper", "green", "night", "coffee", "window", "garden")


def data_of(task: str, path: Path, **settings: Any) -> RunData:
    config = resolve_and_check([override_layer({"task": task, "data": str(path), **settings})], CATALOGUE).config
    return read_data(config, Builder(CATALOGUE))


def codes(data: RunData) -> set[str]:
    return {finding.code for finding in data.findings}


def pixels(seed: int) -> np.ndarray:
    small = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return np.asarray(small.resize((64, 48), Image.Resampling.BICUBIC))


def picture(seed: int, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels(seed)).save(buffer, kind, **options)
    return buffer.getvalue()


def put(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


Named = list[tuple[str, bytes, int]]
"""Name without suffix, content and number of files."""

COUNT = 24
COPIES = {0: "the same", 1: "the same", 2: "nearly the same", 3: "nearly the same", 4: "nearly the same", 5: "the same"}


def files(rename: Callable[[int], str]) -> Named:
    """Pictures, with copies and near copies under other names."""
    made = [(rename(number), picture(number), number) for number in range(COUNT)]
    for place, (number, how) in enumerate(COPIES.items()):
        content = picture(number) if how == "the same" else picture(number, "JPEG", quality=60)
        made.append((rename(COUNT + place), content, number))
    return made


def text_of(number: int) -> str:
    generator = np.random.default_rng(number)
    return " ".join(WORDS[place] for place in generator.integers(0, len(WORDS), 12))


def write_texts(root: Path, rename: Callable[[int], str]) -> Path:
    lines = [(text_of(number), number % 2) for number in range(60)]
    lines += [(text_of(number), number % 2) for number in range(8)]
    lines += [(text_of(number).upper() + "!", number % 2) for number in range(8, 16)]
    order = sorted(range(len(lines)), key=rename)
    file = root / f"{rename(0)}.csv"
    put(file, "text,label\n" + "".join(f"{lines[row][0]},{'ab'[lines[row][1]]}\n" for row in order))
    return file


def write_images(root: Path, named: Named) -> Path:
    for name, content, number in named:
        put(root / "photos" / "ab"[number % 2] / f"{name}.png", content)
    return root / "photos"


def write_boxes(root: Path, named: Named) -> Path:
    images, boxes = [], []
    for place, (name, content, number) in enumerate(sorted(named)):
        put(root / "images" / f"{name}.png", content)
        images.append({"id": place, "file_name": f"images/{name}.png", "width": 64, "height": 48})
        boxes.append({"id": place, "image_id": place, "category_id": number % 2, "bbox": [4, 4, 20, 20]})
    categories = [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}]
    put(root / "instances.json", json.dumps({"images": images, "annotations": boxes, "categories": categories}))
    return root


def write_masks(root: Path, named: Named) -> Path:
    for name, content, number in named:
        put(root / "images" / f"{name}.png", content)
        buffer = io.BytesIO()
        mask = np.zeros((48, 64), np.uint8)
        mask[:, 32:] = 1 + number % 2
        Image.fromarray(mask).save(buffer, "PNG")
        put(root / "masks" / f"{name}.png", buffer.getvalue())
    put(root / "labels.yaml", "0: none\n1: a\n2: b\n")
    return root


WRITERS = {"image-classification": write_images, "detection": write_boxes, "segmentation": write_masks}
TASKS = ("text-classification", *WRITERS)


@pytest.mark.parametrize("task", TASKS)
def test_made_splits_hold_no_duplicate_and_do_not_depend_on_names_or_order(task: str, tmp_path: Path) -> None:
    def write(folder: Path, rename: Callable[[int], str]) -> RunData:
        texts = task == "text-classification"
        return data_of(task, write_texts(folder, rename) if texts else WRITERS[task](folder, files(rename)))

    first = write(tmp_path / "one", lambda number: f"{number:03}")
    assert not codes(first) & set(LEAKS)
    assert "alike-rows-kept-together" in codes(first)
    other = write(tmp_path / "two" / "elsewhere", lambda number: f"{(number * 31) % 97:03} {number}")
    assert other.fingerprint == first.fingerprint
    for split, digests in first.digests.items():
        assert sorted(other.digests[split]) == sorted(digests), split


@pytest.mark.parametrize(
    ("group_by", "groups"),
    [
        ("folder", {f"p{number}" for number in range(6)}),
        (r"(p\d)", {f"p{number}" for number in range(6)}),
        (r"p(\d)/shot(\d)", {f"{number}/{shot}" for number in range(6) for shot in range(4)}),
        (r"shot\d", {f"shot{shot}" for shot in range(4)}),
    ],
)
@pytest.mark.parametrize("task", TASKS)
def test_files_are_grouped_by_their_folder_or_a_pattern(
    task: str, group_by: str, groups: set[str], tmp_path: Path
) -> None:
    names = [f"p{number}/shot{shot}" for number in range(6) for shot in range(4)]
    source = tmp_path
    if task == "text-classification":
        for number, name in enumerate(names):
            put(tmp_path / "ab"[number % 2] / f"{name}.txt", text_of(number))
    else:
        source = WRITERS[task](tmp_path, [(name, picture(number), number) for number, name in enumerate(names)])
    data = data_of(task, source, group_by=group_by)
    homes: dict[str, set[str]] = {}
    for split, made in data.tables.splits.items():
        for group in made["group"][:]:
            homes.setdefault(group, set()).add(split)
    assert set(homes) == groups
    assert all(len(splits) == 1 for splits in homes.values())


def rows_of(contents: list[str], labels: list[int]) -> Dataset:
    names = [f"row {number}" for number in range(len(contents))]
    return Dataset.from_dict({"text": contents, "label": labels, "origin": names})


def near(rows: Dataset) -> list[str]:
    """Alike are texts that begin with the same letter."""
    smallest: dict[str, str] = {}
    for text in rows["text"]:
        smallest[text[0]] = min(smallest.get(text[0], text), text)
    return [smallest[text[0]] for text in rows["text"]]


ALIKE = Alike(near, lambda rows: list(rows["text"]))


def made(contents: list[str], labels: list[int]) -> tuple[dict[str, Dataset], set[str]]:
    splits, findings = complete({"train": rows_of(contents, labels)}, lambda rows: list(rows["label"]), 0, None, ALIKE)
    assert sum(map(len, splits.values())) == len(contents)
    return splits, {finding.code for finding in findings}


def test_a_class_that_is_all_alike_is_parted_with_a_warning_and_the_others_are_kept_together() -> None:
    letters = [chr(97 + place) for place in range(20)]
    contents = [f"{letter}{copy}" for letter in letters for copy in range(3)] + [f"z{n}" for n in range(20)]
    splits, said = made(contents, [0] * 60 + [1] * 20)
    assert "alike-rows-parted" in said and "alike-rows-kept-together" in said
    assert all(set(rows["label"]) == {0, 1} for rows in splits.values())
    homes = [
        {text[0] for text, label in zip(rows["text"], rows["label"], strict=True) if not label}
        for rows in splits.values()
    ]
    assert sum(map(len, homes)) == 20


@pytest.mark.parametrize(
    "contents",
    [
        ["a"] * 30 + ["b"] * 30,  # two rows, thirty times each
        ["a"] * 59 + ["b"],
        [f"a{n}" for n in range(60)],  # one shot of a film
        ["a1", "a2", "b"] * 20,
        ["a", "b", "c"] * 20,
    ],
)
def test_splits_are_made_of_whatever_there_is_and_a_split_is_never_empty(contents: list[str]) -> None:
    splits, said = made(contents, [0, 1] * 30)
    assert all(len(rows) for rows in splits.values())
    homes = Counter(text for rows in splits.values() for text in set(rows["text"]))
    assert "alike-rows-parted" in said or max(homes.values()) == 1


UNREAD = Alike(
    lambda rows: ["" if text.startswith("!") else text for text in rows["text"]],
    lambda rows: ["!" if text.startswith("!") else text for text in rows["text"]],  # the same damage everywhere
)


def split_of(contents: list[str], labels: list[int], alike: Alike = UNREAD) -> dict[str, list[str]]:
    splits, _ = complete({"train": rows_of(contents, labels)}, lambda rows: list(rows["label"]), 0, None, alike)
    return {split: list(rows["text"]) for split, rows in splits.items()}


@pytest.mark.parametrize("damaged", [1, 5, 30, 200])
@pytest.mark.parametrize("in_one_class", [True, False])
def test_rows_that_cannot_be_read_change_no_made_split(damaged: int, in_one_class: bool) -> None:
    good, labels = [f"text {number}" for number in range(30)], [0, 1] * 15
    bad = [f"!{number}" for number in range(damaged)]
    of_bad = [0] * damaged if in_one_class else [number % 2 for number in range(damaged)]
    alone, beside = split_of(good, labels), split_of([*bad, *good], [*of_bad, *labels])
    assert {split: [text for text in texts if text[0] != "!"] for split, texts in beside.items()} == alone
    assert sum(text[0] == "!" for text in beside["train"]) == damaged


def test_where_too_little_can_be_read_that_is_said() -> None:
    with pytest.raises(DataError, match=r"from 2 rows that can be read; 8 cannot \(the first: row 0\)"):
        split_of([*(f"!{number}" for number in range(8)), "a", "b"], [0, 1] * 5)
    assert all(split_of([f"!{number}" for number in range(10)], [0, 1] * 5).values())  # the audit says that none can


def test_many_damaged_pictures_of_equal_bytes_leave_splits_to_the_good_ones(tmp_path: Path) -> None:
    for number in range(20):
        put(tmp_path / "ab"[number % 2] / f"{number}.png", picture(number))
    before = {
        split: sorted(rows["origin"]) for split, rows in data_of("image-classification", tmp_path).tables.splits.items()
    }
    for number, content in enumerate([b"", b"<html>", picture(0)[:200], bytes(900)] * 8):
        put(tmp_path / "ab"[number % 3 == 0] / f"bad{number}.png", content)
    data = data_of("image-classification", tmp_path)
    assert {split: sorted(rows["origin"]) for split, rows in data.tables.splits.items()} == before
    assert {"empty-file", "not-an-image", "unreadable-image"} <= codes(data)


def test_how_splits_are_stratified_is_told_only_where_they_are() -> None:
    def how(labels: list[int], firm: bool) -> str:
        rows = rows_of([f"text {number}" for number in range(len(labels))], labels)
        _, findings = complete({"train": rows}, lambda rows: list(rows["label"]), 0, None, ALIKE, firm)
        return findings[0].message

    assert how([0, 1] * 15, True).endswith("(seed 0, stratified by class)")
    assert how([0, 1] * 15, False).endswith("(seed 0, stratified by label)")
    assert how([0] * 30, False).endswith("(seed 0)")


def test_too_few_rows_are_still_refused() -> None:
    with pytest.raises(DataError, match="too few rows"):
        made(["a", "b"], [0, 1])
