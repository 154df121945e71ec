"""Splits of texts without labels beside labelled ones: left out and told, never a class and never the end of the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from graftwork.errors import DataError
from graftwork.interfaces import DataRequest, Finding, Tables
from graftwork_text.read import read_texts

Write = Callable[[Path], object]


def lines(file: Path, header: str, *rows: str) -> None:
    file.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def labelled(file: Path) -> None:
    lines(file, "id,text,label", *(f"{n},words {n},{n % 2}" for n in range(6)))


def read(folder: Path, labels: str = "single", **columns: str) -> tuple[Tables, dict[str, Finding]]:
    tables = read_texts(DataRequest(str(folder), columns), labels)
    return tables, {finding.code: finding for finding in tables.findings}


UNLABELLED: dict[str, tuple[str, str, Write]] = {
    "kaggle": ("test.csv", "single", lambda file: lines(file, "id,text", "1,new", "2,newer")),
    "only texts": ("test.csv", "multi", lambda file: lines(file, "text", "new", "newer")),
    "numbers": ("validation.csv", "number", lambda file: lines(file, "text,id", "new,1")),
    "json": ("test.jsonl", "single", lambda file: file.write_text('{"text": "new"}\n')),
    "parquet": ("test.parquet", "single", lambda file: parquet.write_table(pa.table({"text": ["new"]}), file)),
    "-1": ("test.csv", "single", lambda file: lines(file, "text,label", "new,-1", "newer,-1")),
    "-1.0": ("test.csv", "number", lambda file: lines(file, "text,label", "new,-1.0", "newer,-1.0")),
    "-1 in JSON": (
        "test.jsonl",
        "single",
        lambda file: file.write_text(json.dumps({"text": "new", "label": -1}) + "\n"),
    ),
    "-1 and nothing": ("test.csv", "single", lambda file: lines(file, "text,label", "new,-1", "newer,")),
}


@pytest.mark.parametrize("case", sorted(UNLABELLED))
def test_a_split_without_labels_is_left_out_and_told(case: str, tmp_path: Path) -> None:
    name, labels, write = UNLABELLED[case]
    labelled(tmp_path / "train.csv")
    write(tmp_path / name)
    tables, found = read(tmp_path, labels)
    assert list(tables.splits) == ["train"] and len(tables.splits["train"]) == 6
    assert tables.names == (() if labels == "number" else ("0", "1"))
    assert found["unlabelled-split"].where == (name.split(".")[0],) and found["unlabelled-split"].level == "warning"


def test_a_split_that_lacks_the_columns_of_classes_is_left_out(tmp_path: Path) -> None:
    lines(tmp_path / "train.csv", "id,comment_text,toxic,threat", "a,words,1,1", "b,other words,0,1", "c,more,0,0")
    lines(tmp_path / "test.csv", "id,comment_text", "d,new")
    tables, found = read(tmp_path, "multi")
    assert list(tables.splits) == ["train"] and tables.names == ("threat", "toxic")
    assert found["unlabelled-split"].where == ("test",)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (("-1", "1"), ("-1", "-1")),
        (("bad", "good"), ("-1", "-1")),
        (("0", "1"), ("-1", "1")),
        (("-1", "-1"), ("-1", "-1")),
    ],
)
def test_minus_one_stays_a_class_where_it_is_one(train: tuple[str, str], test: tuple[str, str], tmp_path: Path) -> None:
    for split, labels in (("train", train), ("test", test)):
        lines(tmp_path / f"{split}.csv", "text,label", *(f"words {n},{label}" for n, label in enumerate(labels)))
    tables, found = read(tmp_path)
    assert set(tables.splits) == {"train", "test"} and "-1" in tables.names and "unlabelled-split" not in found


def test_a_label_column_that_is_named_may_be_missing_in_a_split(tmp_path: Path) -> None:
    lines(tmp_path / "train.csv", "text,mood", "words,1", "others,0")
    lines(tmp_path / "test.csv", "text", "new")
    assert list(read(tmp_path, label="mood")[0].splits) == ["train"]
    with pytest.raises(DataError, match="has no column 'gone'"):
        read(tmp_path, label="gone")


@pytest.mark.parametrize(
    ("header", "refused"),
    [("id,score", True), ("id,text,label,more", False), ("id,text", False), ("text,label,id", False)],
)
def test_texts_and_labels_in_tables_of_their_own_are_not_laid_under_one_another(
    header: str, refused: bool, tmp_path: Path
) -> None:
    labelled(tmp_path / "train.csv")
    width = header.count(",") + 1
    lines(tmp_path / "train_2.csv", header, *(",".join(f"{n}{place}" for place in range(width)) for n in range(3)))
    if not refused:
        assert len(read(tmp_path)[0].splits["train"]) >= 6
        return
    with pytest.raises(DataError, match=r"train.csv and train_2.csv are both called train.*Join them by 'id'"):
        read(tmp_path)
    assert len(read(tmp_path / "train.csv")[0].splits["train"]) == 6
