"""Texts as people export and join them: splits without labels, headers among rows, what cannot be seen, files of lines."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from graftwork.data.audit import similar_names
from graftwork.errors import DataError, UsageError
from graftwork.interfaces import DataRequest, Finding, Tables
from graftwork_text.audit import audit_texts
from graftwork_text.inputs import read_inputs
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


UNSEEN = ["\u200b", "\ufeff", "\u00a0", "\u2060", "\u200e", "\u00ad", " \u200b "]


@pytest.mark.parametrize("sign", UNSEEN)
def test_what_cannot_be_seen_makes_no_other_column_and_no_other_class(sign: str, tmp_path: Path) -> None:
    rows = [f"words {n},{sign if n % 3 else ''}{'pos' if n % 2 else 'neg'}{sign if n % 4 else ''}" for n in range(12)]
    lines(tmp_path / "a.csv", f"\ufeff{sign}text,label{sign}", *rows)
    tables, _ = read(tmp_path / "a.csv")
    assert tables.names == ("neg", "pos") and len(tables.splits["train"]) == 12
    cells = [{f"text{sign}": f"words {n}", "label": sign if n < 2 else f"a{sign}"} for n in range(6)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(cell) + "\n" for cell in cells))
    tables, found = read(tmp_path / "a.jsonl")
    assert tables.names == ("a",) and found["missing-label"].count == 2


@pytest.mark.parametrize("sign", UNSEEN[:-1])
def test_classes_that_only_differ_within_by_what_cannot_be_seen_are_told(sign: str) -> None:
    [found] = similar_names(("ab", f"a{sign}b", "cd"))
    assert found.count == 1


@pytest.mark.parametrize(
    ("kind", "names"),
    [("csv", "text,label"), ("csv", "id,Text,LABEL"), ("tsv", "text\tlabel"), ("jsonl", "text,label")],
)
def test_headers_among_the_rows_are_left_out_and_told(kind: str, names: str, tmp_path: Path) -> None:
    mark = "\t" if kind == "tsv" else ","
    header = names.split(mark)
    rows = [[*(["7"] * (len(header) - 2)), f"words {n}", str(n % 2)] for n in range(6)]
    file, whole = tmp_path / f"a.{kind}", [*rows[:3], header, *rows[3:], header]
    if kind == "jsonl":
        file.write_text("".join(json.dumps(dict(zip(header, row, strict=True))) + "\n" for row in whole))
    else:
        lines(file, names, *map(mark.join, whole))
    tables, found = read(file)
    assert tables.names == ("0", "1") and len(tables.splits["train"]) == 6
    assert (
        found["repeated-header"].where == (f"a.{kind} row 4", f"a.{kind} row 8") and found["repeated-header"].count == 2
    )


def test_a_text_that_is_called_like_its_column_is_kept(tmp_path: Path) -> None:
    lines(tmp_path / "a.csv", "text,label", "text,0", "more,label", "words,1")
    tables, found = read(tmp_path / "a.csv")
    assert tables.splits["train"]["text"][:] == ["text", "more", "words"] and "repeated-header" not in found
    lines(tmp_path / "new.csv", "text,label", "text,label", "more,0")
    assert read_inputs([str(tmp_path / "new.csv")])["text"][:] == ["text", "more"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nan", "text-like-missing"), ("#NAME?", "text-like-missing"), (" #N/A", "text-like-missing"),
        ("None", "text-like-missing"), ("#DIV/0!", "text-like-missing"), ("b'a good film'", "printed-value"),
        ("['a good film', 'x']", "printed-value"), ('["tokens", "of", "it"]', "printed-value"), ('b"it\'s"', "printed-value"),
        ("no nan here", None), ("[sic] a good film", None), ("none of it", None), ("['", None), ("[1, 2]", None),
    ],
)  # fmt: skip
def test_texts_that_are_none_or_were_printed_are_told(text: str, code: str | None, tmp_path: Path) -> None:
    cells = [{"text": text if n == 3 else f"words {n}", "label": str(n % 2)} for n in range(8)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(cell) + "\n" for cell in cells))
    findings = {one.code for one in audit_texts(read(tmp_path / "a.jsonl")[0], "single")[1]}
    assert findings & {"text-like-missing", "printed-value"} == ({code} if code else set())


@pytest.mark.parametrize("labels", ["single", "multi"])
def test_lists_among_plain_labels_are_refused(labels: str, tmp_path: Path) -> None:
    cells = [{"text": f"words {n}", "label": ["pos"] if n % 2 else "neg"} for n in range(6)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(cell) + "\n" for cell in cells))
    with pytest.raises(DataError, match=r'holds lists in some rows \(such as \["pos"\]\) and plain values'):
        read(tmp_path / "a.jsonl", labels)


def follow(error: DataError) -> Path:
    """Do what a refusal says; what is to be given then."""
    told = re.search(
        r"(?:Part them|If a file is a class and a line a text): (.+), then give ([^ ]+?)(?:\. If not|$)", str(error)
    )
    assert told is not None, error
    command = told[1].replace("python -c", f"{sys.executable} -c")
    subprocess.run(command, shell=True, check=True, capture_output=True)
    return Path(told[2].strip("'"))


@pytest.mark.parametrize("names", [("train", "test"), ("train", "validation", "test"), ("training", "dev")])
def test_splits_in_one_file_are_none_of_them_lost(names: tuple[str, ...], tmp_path: Path) -> None:
    rows = [{"text": f"wörds {n}", "label": str(n % 2)} for n in range(4)]
    (tmp_path / "my.json").write_text(json.dumps({"version": 1, **dict.fromkeys(names, rows)}))
    with pytest.raises(DataError, match="holds several splits") as raised:
        read(tmp_path / "my.json")
    assert len(read(follow(raised.value))[0].splits) == len(names)


def test_files_whose_lines_are_texts_are_made_a_table(tmp_path: Path) -> None:
    (tmp_path / "rt").mkdir()
    (tmp_path / "rt" / "pos.txt").write_text('a good film\nit is "nice"\n')
    (tmp_path / "rt" / "neg.txt").write_text("a bad film\n")
    with pytest.raises(DataError, match=r"holds 2 texts \(neg.txt, pos.txt\) but no class folders") as raised:
        read(tmp_path / "rt")
    tables, _ = read(follow(raised.value))
    assert tables.splits["train"]["text"][:] == ["a bad film", "a good film", 'it is "nice"'] and tables.names == (
        "neg",
        "pos",
    )


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("https://example.org/a.csv", "Download it first (curl -LO)"), ("s3://bucket/a.csv", "Download it first"),
        ("gs://bucket/a", "Download it first"), ("stanfordnlp/imdb", "hub: hf:stanfordnlp/imdb"),
    ],
)  # fmt: skip
def test_what_lies_elsewhere_is_pointed_to(source: str, told: str) -> None:
    with pytest.raises((DataError, UsageError), match=re.escape(told)):
        read_texts(DataRequest(source), "single")


@pytest.mark.parametrize("label", ["3%", "$4.50", "2/5"])
def test_labels_that_are_no_plain_numbers_are_shown(label: str, tmp_path: Path) -> None:
    lines(tmp_path / "a.csv", "text,label", f"words,{label}", f"others,{label}")
    with pytest.raises(DataError, match=re.escape(f"such as {label!r}")):
        read(tmp_path / "a.csv", "number")


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_what_an_annotator_rejected_is_left_out(kind: str, tmp_path: Path) -> None:
    answers = ["accept", "reject", "accept", "ignore", "accept", "accept"]
    cells = [{"text": f"words {n}", "label": str(n // 3), "answer": answer} for n, answer in enumerate(answers)]
    file = tmp_path / f"a.{kind}"
    if kind == "csv":
        lines(file, "text,label,answer", *(",".join(cell.values()) for cell in cells))
    else:
        file.write_text("".join(json.dumps(cell) + "\n" for cell in cells))
    tables, found = read(file)
    assert tables.splits["train"]["text"][:] == ["words 0", "words 2", "words 4", "words 5"]
    assert found["rejected-row"].where == (f"train: a.{kind} row 2 (reject)", f"train: a.{kind} row 4 (ignore)")
    file.write_text(file.read_text().replace("reject", "yes"))  # somebody's answers, and nobody's judgement
    assert len(read(file)[0].splits["train"]) == 6
    assert read(file, label="answer")[0].names == ("accept", "ignore", "yes")
