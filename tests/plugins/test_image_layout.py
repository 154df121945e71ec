"""Pictures as people keep them: parts of a set, lists, columns of splits, cells of base64. Every way out is followed."""

from __future__ import annotations

import base64
import csv
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from graftwork.errors import DataError
from graftwork.interfaces import DataRequest, Tables
from graftwork_images.audit import audit_images
from graftwork_images.read import read_images


def put(*files: Path) -> None:
    for number, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number * 7 % 256, number // 36, 0)).save(file, "PNG")


def table(file: Path, header: str, rows: list[tuple[object, ...]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header.split(","), *rows])
    return file


def read(path: Path, **options: object) -> Tables:
    return read_images(DataRequest(str(path), options=options))


def codes(tables: Tables) -> dict[str, str]:
    return {finding.code: finding.message for finding in tables.findings}


def sizes(tables: Tables) -> dict[str, int]:
    return {split: len(rows) for split, rows in tables.splits.items()}


def followed(message: str) -> Path:
    """The data after the command of a message was run."""
    found = re.search(r": (\(echo.*|for f.*|mkdir.*), then --data (\S+|'[^']*')$", message)
    assert found, message
    subprocess.run(["sh", "-c", found[1]], check=True)
    return Path(shlex.split(found[2])[0])


@pytest.mark.parametrize(
    "parts",
    [("fold_0", "fold_1"), ("Fold1", "Fold2", "Fold3"), ("part-1", "part-2"), ("batch 1", "batch 2"), ("cv0", "cv1")],
)
@pytest.mark.parametrize("root", ["data", "my data"])
def test_parts_of_a_set_are_no_classes(parts: tuple[str, ...], root: str, tmp_path: Path) -> None:
    put(*(tmp_path / root / part / label / f"{n}.png" for part in parts for label in ("disc", "a b") for n in range(3)))
    tables = read(tmp_path / root)
    assert {finding.code: finding.level for finding in tables.findings}["classes-in-folders"] == "error"
    merged = read(followed(codes(tables)["classes-in-folders"]))
    assert merged.names == ("a b", "disc") and sizes(merged) == {"train": 6 * len(parts)}


def test_classes_with_the_same_folders_are_told_and_others_are_not(tmp_path: Path) -> None:
    put(
        *(
            tmp_path / "x" / c / day / f"{n}.png"
            for c in ("cat", "dog")
            for day in ("monday", "sunday")
            for n in range(2)
        )
    )
    tables = read(tmp_path / "x")
    assert tables.names == ("cat", "dog")
    assert read(followed(codes(tables)["same-folders-in-classes"])).names == ("monday", "sunday")
    put(
        *(tmp_path / "y" / c / inner / "0.png" for c, inner in (("cat", "a"), ("cat", "b"), ("dog", "a"), ("dog", "c")))
    )
    put(*(tmp_path / "z" / c / "images" / "0.png" for c in ("cat", "dog")))
    assert not codes(read(tmp_path / "y")) and not codes(read(tmp_path / "z"))


@pytest.mark.parametrize(
    "form", ["{file} {label}", "{file}\t{label}\r", "{file},{label}", "{file}; {label} ", "{file}   {label}"]
)
@pytest.mark.parametrize("lists", [("labels.txt",), ("train.txt", "val.txt")])
def test_lists_of_pictures_and_labels_are_told_with_a_way_out(
    form: str, lists: tuple[str, ...], tmp_path: Path
) -> None:
    root = tmp_path / "data"
    put(*(root / "images" / f"a b {n}.png" for n in range(12)))
    for place, name in enumerate(lists):
        rows = [form.format(file=f"images/a b {n}.png", label=n % 3) for n in range(12) if n % len(lists) == place]
        (root / name).write_text("\n".join(rows) + "\n")
    tables = read(followed(codes(read(root))["classes-in-lists"]))
    assert tables.names == ("0", "1", "2") and sum(sizes(tables).values()) == 12 and len(tables.splits) == len(lists)
    assert all(Path(cell["path"]).is_file() for rows in tables.splits.values() for cell in rows["image"][:])


def test_other_texts_are_no_lists(tmp_path: Path) -> None:
    put(*(tmp_path / "images" / f"{n}.png" for n in range(6)))
    (tmp_path / "README.txt").write_text("Pictures of discs.\nSee a.png too.\nThey are round.\n")
    (tmp_path / "names.txt").write_text("".join(f"images/{n}.png\n" for n in range(6)))
    assert "classes-in-lists" not in codes(read(tmp_path))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("split", ("train", "val", "test")),
        ("Set", ("Train", "Valid", "TEST")),
        ("subset", ("training", "validation", "testing")),
        ("data_split", ("train", "dev")),
        ("partition", ("train ", "test")),
    ],
)
def test_a_column_of_splits_parts_the_rows(column: str, values: tuple[str, ...], tmp_path: Path) -> None:
    put(*(tmp_path / "images" / f"{n}.png" for n in range(30)))
    rows = [(f"images/{n}.png", "ab"[n % 2], values[n % 7 % len(values)]) for n in range(30)]
    tables = read(table(tmp_path / "data.csv", f"image,label,{column}", rows))
    assert "splits-from-column" in codes(tables) and len(tables.splits) == len(values)
    assert sum(sizes(tables).values()) == 30
    row = tables.splits["train"][3]
    number = int(row["origin"].split()[-1]) - 1
    assert row["image"]["path"].endswith(f"images/{number}.png") and tables.names[row["label"]] == "ab"[number % 2]


@pytest.mark.parametrize(
    ("column", "values", "code"),
    [
        ("split", ("train", "holdout"), "split-column-not-used"),
        ("split", ("train", ""), "split-column-not-used"),
        ("split", ("a", "b"), "unused-columns"),
        ("split", ("train", "train"), "unused-columns"),
        ("fold", ("0", "1"), "unused-columns"),
        ("weather", ("train", "test"), "unused-columns"),
    ],
)
def test_a_column_that_does_not_say_splits_is_told(
    column: str, values: tuple[str, ...], code: str, tmp_path: Path
) -> None:
    put(*(tmp_path / "images" / f"{n}.png" for n in range(4)))
    rows = [(f"images/{n}.png", "ab"[n % 2], values[n // 2]) for n in range(4)]
    tables = read(table(tmp_path / "data.csv", f"image,label,{column}", rows))
    assert sizes(tables) == {"train": 4} and code in codes(tables)


def test_a_column_of_splits_that_means_something_else_stays(tmp_path: Path) -> None:
    put(*(tmp_path / "images" / f"{n}.png" for n in range(4)))
    file = table(
        tmp_path / "data.csv", "image,split", [(f"images/{n}.png", ("train", "test")[n % 2]) for n in range(4)]
    )
    tables = read_images(DataRequest(str(file), {"label": "split"}))
    assert sizes(tables) == {"train": 4} and tables.names == ("test", "train")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("before", ["", "data:image/png;base64,"])
def test_cells_of_base64_are_pictures(form: str, before: str, tmp_path: Path) -> None:
    rows: list[tuple[object, ...]] = []
    for number in range(4):
        Image.new("RGB", (8, 8), (number * 60, 0, 0)).save(tmp_path / "one", form)
        rows.append((before + base64.b64encode((tmp_path / "one").read_bytes()).decode(), "ab"[number % 2]))
    tables, found = audit_images(read(table(tmp_path / "data.csv", "image,label", rows)), "single")
    assert sizes(tables) == {"train": 4}
    assert not {finding.code for finding in found} & {"missing-file", "not-an-image", "unreadable-image"}


def test_addresses_are_refused_and_found_once_they_are_downloaded(tmp_path: Path) -> None:
    rows: list[tuple[object, ...]] = [(f"https://host/x/{n}.png?size=1", "ab"[n % 2]) for n in range(4)]
    file = table(tmp_path / "data.csv", "image,label", rows)
    with pytest.raises(DataError, match=r"holds addresses.*wget -P images"):
        read(file)
    put(*(tmp_path / "images" / f"{n}.png" for n in range(4)))
    assert all(Path(cell["path"]).is_file() for cell in read(file).splits["train"]["image"][:])


def test_numbers_that_lost_their_zeros_lead_to_their_files(tmp_path: Path) -> None:
    put(*(tmp_path / "pics" / f"{n:05}.png" for n in range(12)))
    file = table(tmp_path / "data.csv", "image,label", [(n, "ab"[n % 2]) for n in range(12)])
    tables = read(file)
    assert [Path(cell["path"]).stem for cell in tables.splits["train"]["image"][:]] == [f"{n:05}" for n in range(12)]
    put(tmp_path / "pics" / "3.png", tmp_path / "pics" / "007.png")
    paths = [Path(cell["path"]) for cell in read(file).splits["train"]["image"][:]]
    assert paths[3].name == "3.png" and not paths[7].is_file()  # its own name; of 007 and 00007 neither


@pytest.mark.parametrize(
    ("train", "test"), [("train", "Testing set"), ("Training", "test images"), ("train", "test_2")]
)
def test_folders_that_speak_of_splits_beside_splits_are_renamed(train: str, test: str, tmp_path: Path) -> None:
    root = tmp_path / "my data"
    put(*(root / split / label / f"{n}.png" for split in (train, test) for label in "ab" for n in range(2)))
    with pytest.raises(DataError) as caught:
        read(root)
    found = re.search(r"(mv .*?)\. Rename", str(caught.value))
    assert found
    subprocess.run(["sh", "-c", found[1]], check=True)
    assert sizes(read(root)) == {"train": 4, "test": 4}


@pytest.mark.parametrize("names", [("train", "test"), ("Training", "Validation", "Testing"), ("train", "val")])
def test_splits_within_classes_are_told_and_turned_around(names: tuple[str, ...], tmp_path: Path) -> None:
    put(*(tmp_path / "x" / label / split / f"{n}.png" for label in ("cat", "dog") for split in names for n in range(3)))
    tables = read(followed(codes(read(tmp_path / "x"))["splits-in-classes"]))
    assert tables.names == ("cat", "dog") and list(sizes(tables).values()) == [6] * len(names)


@pytest.mark.parametrize("name", ["labels.json", "labels.xlsx", "Annotations.MAT", "y.npy"])
def test_files_that_may_hold_labels_are_told(name: str, tmp_path: Path) -> None:
    put(*(tmp_path / "images" / f"{n}.png" for n in range(6)))
    (tmp_path / name).write_text(json.dumps({f"{n}.png": "ab"[n % 2] for n in range(6)}))
    assert name in codes(read(tmp_path))["labels-not-read"]
    table(tmp_path / "labels.csv", "image,label", [(f"{n}.png", "ab"[n % 2]) for n in range(6)])
    assert read(tmp_path / "labels.csv").names == ("a", "b")


@pytest.mark.parametrize("name", ["a.mp4", "a.NPY", "data.h5", "train.tfrecord", "x.mat", "train-images-idx3-ubyte"])
def test_files_that_hold_pictures_are_told_where_there_are_no_others(name: str, tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        (tmp_path / label / name).write_bytes(bytes(100))
    with pytest.raises(DataError, match=r"holds no image.*write a PNG a picture"):
        read(tmp_path)
