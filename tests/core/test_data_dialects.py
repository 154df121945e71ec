"""Tables as people have them: how they are written is found out or said, no row vanishes, and refusals have a way out."""

from __future__ import annotations

import csv
import json
import operator
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from graftwork.config.forms import parse_form
from graftwork.data import orderly, sniff, streamed, tables
from graftwork.data.columns import encode_labels, map_columns
from graftwork.data.folders import read_class_folders
from graftwork.data.sources import existing_path
from graftwork.data.tables import column_names, find_tables, read_tables, written_as
from graftwork.errors import DataError, UsageError

TEXTS = [
    "a good film",
    "a bad one, really",
    'she said "no, thanks"',
    "one\nor two lines",
    "Straße, naïve café",
    "plain",
]
LABELS = ["pos", "neg", "neg", "pos", "pos", "neg"]


def read(path: Path, **options: Any) -> tuple[Dataset, list[str]]:
    with written_as(parse_form(options)):
        files, found = find_tables(path)
        splits, more = read_tables(path, files)
    return splits["train"], [finding.code for finding in (*found, *more) if finding.level == "warning"]


def written(
    delimiter: str = ",", quote: str = '"', double: str = '""', end: str = "\n", header: str = "text,label"
) -> str:
    lines = [header.replace(",", delimiter)]
    for text, label in zip(TEXTS, LABELS, strict=True):
        cell = (
            quote + text.replace(quote, double) + quote
            if any(sign in text for sign in (delimiter, '"', "\n"))
            else text
        )
        lines.append(cell + delimiter + label)
    return end.join(lines) + end


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (written(), {}),
        (written(";"), {}),
        (written("|"), {}),
        (written("\t"), {}),
        (written(":"), {"delimiter": ":"}),
        ("sep=;\n" + written(";"), {}),
        ("sep=|\r\n" + written("|", end="\r\n"), {}),
        (written(end="\r\n"), {}),
        (written(double='\\"'), {}),
        (written(";", double='\\"', end="\r\n"), {}),
        (written("|", quote="'"), {"quote": "'"}),
        ("\n\n" + written(), {}),
        (written(header='text," label "'), {}),
        ("text;label, as given\n" + written(";").split("\n", 1)[1], {"header": "yes"}),
        (
            "text,label,,\n" + "".join(line + "\n" for line in written().split("\n")[1:-1]).replace("\n", "\n"),
            {"ragged": "skip"},
        ),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_table_reads_the_same_however_it_is_written(
    tmp_path: Path, content: str, options: dict[str, Any], encoding: str
) -> None:
    if "label,," in content:
        content = content.replace("pos\n", "pos,,\n").replace("neg\n", "neg,,\n")
    (tmp_path / "a.csv").write_bytes(content.encode(encoding))
    rows, warnings = read(tmp_path / "a.csv", **options)
    assert rows["text"][:] == TEXTS
    assert rows[rows.column_names[1]][:] == LABELS
    assert warnings == (["guessed-encoding"] if encoding == "cp1252" else [])


def test_a_header_may_break_lines_lack_names_or_give_one_twice(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('"When","What did you think?\n(in your words)",,Mood,Mood,\n1,fine,,good,x,\n2,bad,,"bad",y,\n')
    rows, warnings = read(file)
    assert rows.column_names[:-1] == ["When", "What did you think? (in your words)", "3", "Mood (4)", "Mood (5)", "6"]
    assert warnings == ["columns-of-one-name"]
    assert column_names(file) == rows.column_names[:-1]
    mapped, _ = map_columns({"train": rows}, {"text": (), "label": ()}, {"text": "2", "label": "4"}, None, "f")
    assert mapped["train"]["label"][:] == ["good", "bad"]
    said = {"text": "What did you think?\n(in your words)", "label": "4"}
    assert map_columns({"train": rows}, {"text": (), "label": ()}, said, None, "f")[0]["train"]["text"][0] == "fine"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_two_columns_of_one_name_are_told_and_a_number_picks_one(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a.{suffix}"
    file.write_text("text,label,label\na,1,x\nb,0,y\n")
    if suffix == "parquet":
        columns = [pa.array(["a", "b"]), pa.array([1, 0]), pa.array(["x", "y"])]
        parquet.write_table(pa.Table.from_arrays(columns, ["text", "label", "label"]), file)
    guesses = {"text": (), "label": ()}
    with pytest.raises(DataError, match=r"text, label \(2\), label \(3\). 2 and 3 have one name: .*--column label=2"):
        map_columns({"train": read(file)[0]}, guesses, {}, None, "f")
    mapped, _ = map_columns({"train": read(file)[0]}, guesses, {"label": "3"}, None, "f")
    assert mapped["train"]["label"][:] == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "label", "wanted"),
    [
        ("origin", "label", ("origin", "label")),
        ("text", "origin", ("text", "origin")),
        ("label", "text", ("label", "text")),
        ("3", "1", ("origin", "text")),
        ("content", "group", ("content", "group")),
    ],
)
def test_what_the_user_says_of_columns_wins_over_other_columns_of_that_name(
    tmp_path: Path, text: str, label: str, wanted: tuple[str, str]
) -> None:
    file = tmp_path / "a.csv"
    names = ["text", "label", "origin", "other", "group", "content"]
    lines = [",".join(f"{name} {row}" for name in names) for row in range(3)]
    file.write_text("\n".join([",".join(names), *lines]))
    mapped, _ = map_columns(
        {"train": read(file)[0]}, {"text": (), "label": ()}, {"text": text, "label": label}, "other", "f"
    )
    assert [mapped["train"][name][:] for name in ("text", "label", "group", "origin")] == [
        *([f"{name} {row}" for row in range(3)] for name in (*wanted, "other")),
        [f"a.csv row {row}" for row in (1, 2, 3)],
    ]


def test_names_of_rows_are_no_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label,group\na,1,x\nb,0,y\n")
    rows, _ = read(tmp_path / "a.csv")
    for columns, group in (({"text": "origin"}, None), ({}, "origin")):
        with pytest.raises(DataError, match=r"has no column 'origin' \(--.*; its columns: text, label, group$"):
            map_columns({"train": rows}, {"text": (), "label": ()}, columns, group, "f")


def test_a_table_without_header_says_the_way_out_and_it_works(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("the first of all texts is a long one,pos\nanother,neg\n")
    guesses = {"text": (), "label": ()}
    with pytest.raises(DataError, match=r"--set data_options.header=no, and columns by their number"):
        map_columns({"train": read(file)[0]}, guesses, {}, None, "f")
    rows, _ = read(file, header=False)
    with pytest.raises(DataError, match=r"--column text=NUMBER$"):
        map_columns({"train": rows}, guesses, {}, None, "f")
    mapped, _ = map_columns({"train": rows}, guesses, {"text": "1", "label": "2"}, None, "f")
    assert mapped["train"]["label"][:] == ["pos", "neg"]


FILMS = ["good film,1", "bad film,0", "odd film,1", "dull film,0"] * 3


@pytest.mark.parametrize(
    "stray",
    [
        ['"great film,1', "poor film,0", '"bad, really",0'],  # the next quote closes it, and text follows
        ['"great film,1', "poor film,0"],  # never closed
        ['"great film,1', '"bad, really",0', '"poor film,0', '"fine, fine",1'],
        ['"great film,1', "poor film,0", '"two\nlines",1'],
        ['"" great film,1', '5" screen,0', 'the "best" one,1'],
    ],
)
def test_a_stray_quote_swallows_no_row(tmp_path: Path, stray: list[str]) -> None:
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *FILMS, *stray, *FILMS]) + "\n")
    rows, warnings = read(tmp_path / "a.csv")
    assert len(rows) == 2 * len(FILMS) + len(stray)
    assert rows["label"][:] == [line[-1] for line in (*FILMS, *stray, *FILMS)]
    assert set(warnings) <= {"stray-quote"}


@settings(deadline=None, max_examples=200)
@given(st.text(st.sampled_from('ab,"\n'), max_size=40), st.integers(1, 7))
def test_what_is_tidy_needs_no_second_look(tmp_path_factory: pytest.TempPathFactory, text: str, size: int) -> None:
    file = tmp_path_factory.mktemp("tidy") / "a.csv"
    file.write_text(text)
    cell = r'(?:"(?:[^"\n]|"")*"|[^",\n]*)'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sniff, "TIDY_BLOCK", size)
        assert sniff.is_tidy(file, ",") == bool(re.fullmatch(rf"(?:{cell}(?:,{cell})*(?:\n|$))*", text))


def test_a_header_whose_quote_is_never_closed_is_refused_and_the_way_out_works(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'"When","What\n' + b"1,2\n" * 100)
    with pytest.raises(DataError, match=r"opened in the header, line 1, is never closed.*data_options.quote=none"):
        read(tmp_path / "a.csv")
    assert len(read(tmp_path / "a.csv", quote="none")[0]) == 100


def test_a_pair_of_quotes_around_rows_is_named(tmp_path: Path) -> None:
    swapped = [",".join(reversed(line.split(","))) for line in FILMS]
    (tmp_path / "a.csv").write_text("\n".join(["label,text", *swapped, '1,"great', "0,poor", '1,fine"', *swapped]))
    assert read(tmp_path / "a.csv")[1] == ["lines-within-quotes"]
    rows, warnings = read(tmp_path / "a.csv", quote="none")
    assert (len(rows), warnings) == (27, [])


@pytest.mark.parametrize(("suffix", "mark"), [("tsv", "\t"), ("csv", ","), ("csv", ";"), ("csv", "|"), ("csv", "\t")])
def test_a_ragged_row_is_named_by_its_line_and_can_be_left_out(tmp_path: Path, suffix: str, mark: str) -> None:
    lines = ["text,label", *FILMS, 'a "raw" quote,1', "one,too,many", '"another raw quote,0', *FILMS]
    if mark == ",":
        lines = [line for line in lines if not line.startswith('"')]
    (tmp_path / f"a.{suffix}").write_text("\n".join(lines).replace(",", mark) + "\n")
    with pytest.raises(DataError, match=r"line 15 has 3 columns, the header 2.*data_options.ragged=skip"):
        read(tmp_path / f"a.{suffix}")
    rows, warnings = read(tmp_path / f"a.{suffix}", ragged="skip")
    assert len(rows) == len(lines) - 2
    assert "ragged-rows" in warnings


def test_blanks_after_commas_belong_to_no_cell(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('filename, square, disc\na.jpg, 1, 0\nb.jpg, 0, "1, or 2"\nc.jpg, , \n')
    rows, _ = read(tmp_path / "a.csv")
    assert rows[:3] == {
        "filename": ["a.jpg", "b.jpg", "c.jpg"], "square": ["1", "0", ""], "disc": ["0", "1, or 2", ""],
        "origin": ["a.csv row 1", "a.csv row 2", "a.csv row 3"],
    }  # fmt: skip
    (tmp_path / "b.csv").write_text("text,label\n kept as it is,1\nplain,0\n")
    assert read(tmp_path / "b.csv")[0]["text"][:] == [" kept as it is", "plain"]


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "gb18030", "shift_jis", "cp1250"])
def test_an_encoding_that_cannot_be_told_is_asked_for(tmp_path: Path, encoding: str) -> None:
    text = {"gb18030": "这是一个很好的电影", "shift_jis": "とても良い映画です", "cp1250": "příliš žluťoučký kůň"}.get(
        encoding, "очень хороший фильм"
    )
    (tmp_path / "a.csv").write_bytes(f"text,label\n{text},a\n".encode(encoding))
    with pytest.raises(DataError, match=r"not UTF-8 text \(line 2 has the byte 0x.*data_options.encoding=NAME"):
        read(tmp_path / "a.csv")
    assert read(tmp_path / "a.csv", encoding=encoding)[0]["text"][:] == [text]


ROWS = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps(ROWS)),
        ("a.json", json.dumps(ROWS, indent=2)),
        ("a.json", "\n".join(map(json.dumps, ROWS))),
        ("a.json", "\ufeff" + json.dumps(ROWS, ensure_ascii=False)),
        ("a.json", json.dumps({"version": 1, "data": ROWS})),
        ("a.json", json.dumps({"text": TEXTS, "label": LABELS})),
        ("a.json", json.dumps({"text": dict(enumerate(TEXTS)), "label": dict(enumerate(LABELS))})),
        ("a.json", json.dumps({"columns": ["text", "label"], "index": [0], "data": [[*row.values()] for row in ROWS]})),
        ("a.jsonl", json.dumps(ROWS)),
        ("a.jsonl", " \n" + json.dumps(ROWS, indent=1)),
    ],
)
def test_json_reads_the_same_in_every_form(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    rows, _ = read(tmp_path / name)
    assert (rows["text"][:], rows["label"][:]) == (TEXTS, LABELS)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([1, "1", 0, None], ["1", "1", "0", None]),
        ([True, "true", "false"], ["true", "true", "false"]),
        ([1, True, 2.5], ["1", "true", "2.5"]),
        ([["a", 1], ["b"]], [["a", "1"], ["b"]]),
        ([["a"], "b", None], ['["a"]', "b", None]),
        ([{"id": 1}, {"id": "x"}], [{"id": "1"}, {"id": "x"}]),
        ([[[0, 5, "X"]], []], [[["0", "5", "X"]], []]),
    ],
)
@pytest.mark.parametrize("form", ["lines", "array", "large"])
def test_json_values_of_several_kinds_become_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: list[Any], told: list[Any], form: str
) -> None:
    rows = [{"text": "a", "value": value} for value in values]
    file = tmp_path / ("a.json" if form == "array" else "a.jsonl")
    file.write_text(json.dumps(rows) if form == "array" else "\n".join(map(json.dumps, rows)))
    if form == "large":
        monkeypatch.setattr(tables, "STREAMED_FROM", 0)
        monkeypatch.setattr(streamed, "BLOCK", 1)
        monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))
    found, warnings = read(file)
    assert found["value"][:] == told
    assert warnings == ["mixed-kinds"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"text": "fine", "label": 1}\n{"text": "cut \\ud83d", "label": 0}\n'),
        ("a.jsonl", '{"text": "fine", "label": 1}\n{"text": "\\ude00 cut", "label": "0"}\n'),
        ("a.jsonl", '{"text": "fine", "label": 1, "more": ["a"]}\n{"text": "b", "label": 0, "more": ["\\ud83d"]}\n'),
        ("a.json", '[{"text": "fine", "label": 1}, {"text": "cut \\ud83d", "label": 0}]'),
        ("a.json", '{"data": [{"text": "fine", "label": 1}, {"text": "cut \\ud83d", "label": 0}]}'),
        ("a.json", '{"text": ["fine", "cut \\ud83d"], "label": [1, 0]}'),
    ],
)
def test_half_of_a_letter_in_json_is_named_by_its_row(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=r"surrogate.* row 2") as caught:
        read(tmp_path / name)
    assert caught.value.hint is not None and "emoji" in caught.value.hint
    whole = content.replace("\\ud83d", "").replace("\\ude00", "")  # the way out, followed
    (tmp_path / name).write_text(whole)
    assert len(read(tmp_path / name)[0]) == 2


def test_json_files_in_a_folder_are_tables_only_where_they_hold_rows(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.json").write_text(json.dumps(ROWS))
    (tmp_path / "config.json").write_text(json.dumps({"name": "x"}))
    assert sorted(find_tables(tmp_path)[0]) == ["test", "train"]
    for content in ('{"a": 1}', "[1, 2]", "3", "[]", '{"images": [{}], "annotations": [{}, {}], "info": {}}'):
        (tmp_path / "b.json").write_text(content)
        with pytest.raises(DataError, match=r"holds no rows. Wanted an array of objects"):
            read(tmp_path / "b.json")


def test_dates_in_json_stay_text(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": "2024-01-01", "in": {"when": "2024-01-01T00:00:00Z"}}] * 2
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found, _ = read(tmp_path / "a.jsonl")
    assert found["label"][:] == ["2024-01-01"] * 2
    assert found["in"][0] == {"when": "2024-01-01T00:00:00Z"}


def test_views_in_parquet_and_saved_data_sets_are_read(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"text": pa.array(TEXTS, pa.string_view()), "label": LABELS}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet")[0]["text"][:] == TEXTS
    rows = Dataset.from_list(ROWS)
    rows.save_to_disk(str(tmp_path / "one"))
    assert read(tmp_path / "one")[0]["text"][:] == TEXTS
    DatasetDict({"train": rows, "test": rows, "extra": rows}).save_to_disk(str(tmp_path / "several"))
    files, findings = find_tables(tmp_path / "several")
    splits, _ = read_tables(tmp_path / "several", files)
    assert {split: len(part) for split, part in splits.items()} == {"train": len(ROWS), "test": len(ROWS)}
    assert [finding.where for finding in findings] == [("extra",)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimitr": ";"}, "data_options.delimitr is not an option. Did you mean delimiter"),
        ({"delimiter": ";;"}, "one character"),
        ({"encoding": "utf-99"}, "a name such as"),
        ({"header": "maybe"}, "yes or no"),
        ({"quote": "x"}, "double, single, or none"),
        ({"ragged": True}, "refuse or skip"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_form(options)


def test_what_was_said_of_a_run_gives_way_to_what_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(written())
    with written_as(parse_form({}, {"delimiter": "|", "encoding": "cp1252"})):
        rows = read_tables(tmp_path / "a.csv", {"train": [tmp_path / "a.csv"]})[0]["train"]
    assert rows["text"][:] == TEXTS


def classes(*columns: Any) -> tuple[list[Any], list[str]]:
    splits = {f"s{number}": Dataset(pa.table({"label": column})) for number, column in enumerate(columns)}
    encoded, names, findings = encode_labels(splits, "f")
    return [names[label] for rows in encoded.values() for label in rows["label"][:]], [one.code for one in findings]


@pytest.mark.parametrize(
    ("columns", "names", "codes"),
    [
        ((pa.array([0.0, float("nan"), 1.0, None]),), ["0", "1"], ["missing-label"]),
        ((pa.array([0.5, float("nan")]), pa.array([1.0])), ["0.5", "1"], ["missing-label"]),
        ((["1", "0"], ["1.0", "0.0"]), ["1", "0", "1", "0"], ["same-number-classes"]),
        ((["1", "1.0", "x"],), ["1", "1", "x"], ["same-number-classes"]),
        ((["1.0", "0.0"],), ["1.0", "0.0"], []),
        ((["01", "1"],), ["01", "1"], []),
        (([b"pos", b"neg", "caf\u00e9".encode("latin-1")],), ["pos", "neg", "caf\ufffd"], []),
        ((["caf\u00e9"], ["cafe\u0301"]), ["caf\u00e9"] * 2, []),
        (([" pos", "pos\t", "neg"],), ["pos", "pos", "neg"], []),
        (([1, 0], ["1", "0"]), ["1", "0", "1", "0"], []),
    ],
)
def test_one_class_has_one_name(columns: Any, names: list[str], codes: list[str]) -> None:
    assert classes(*columns) == (names, codes)


def test_objects_are_no_classes_and_their_fields_are(tmp_path: Path) -> None:
    rows = [{"text": f"t{number}", "label": {"name": name, "id": number}} for number, name in enumerate("abab")]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found, _ = read(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match=r"holds objects \(name, id\).*--column label=label.name"):
        map_columns({"train": found}, {"text": (), "label": ()}, {}, None, "f")
    mapped, _ = map_columns({"train": found}, {"text": (), "label": ()}, {"label": "label.name"}, None, "f")
    assert mapped["train"]["label"][:] == list("abab")
    with pytest.raises(DataError, match="its fields: name, id"):
        map_columns({"train": found}, {"text": (), "label": ()}, {"label": "label.nme"}, None, "f")


def test_class_folders_in_either_unicode_form_are_one_class(tmp_path: Path) -> None:
    for folder in ("train/citro\u00ebn", "train/m\u00fcller", "test/citroe\u0308n", "test/mu\u0308ller"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.txt").write_text(folder)
    assert read_class_folders(tmp_path, {".txt"}).classes == ("citro\u00ebn", "m\u00fcller")


def test_names_that_are_not_utf8_and_pipes_are_refused_in_one_line(tmp_path: Path) -> None:
    named = bytes(tmp_path) + b"/tr\xe4in"
    Path(named.decode(errors="surrogateescape")).mkdir()
    with pytest.raises(DataError, match=r"tr\\xe4in: has a name that is not UTF-8. Rename it"):
        existing_path(named.decode(errors="surrogateescape"))
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "data" / "a" / b"\xe4.txt".decode(errors="surrogateescape")).write_text("x")
    with pytest.raises(DataError, match=r"a/\\xe4.txt: has a name that is not UTF-8"):
        read_class_folders(tmp_path / "data", {".txt"})
    import os

    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match="is a pipe or a device, not a file"):
        existing_path(tmp_path / "pipe.csv")


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.csv", b"text,label\na,b\n"),
        ("quoted.csv", b'text,label\n"a\nc",b\n'),
        ("utf16.csv", "text,label\na,b\n".encode("utf-16")),
        ("a.jsonl", b'{"text": "a"}\n'),
        ("a.json", b'[{"text": "a"}]'),
        ("mixed.jsonl", b'{"text": "a"}\n{"text": 1}\n'),
        ("a.parquet", b""),
    ],
)
def test_pyarrow_is_never_given_a_python_object_to_read_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, large: bool
) -> None:
    """Its reader threads would let go of it while the interpreter ends, which aborts the process."""
    (tmp_path / name).write_bytes(content)
    if not content:
        parquet.write_table(pa.table({"text": ["a"]}), tmp_path / name)
    given: list[object] = []

    def watched(original: Any) -> Any:
        return lambda source, *rest, **more: (given.append(source), original(source, *rest, **more))[1]

    harmless = (str, Path, pa.Buffer, pa.BufferReader)  # the last are watched themselves
    readers = [
        "csv.read_csv",
        "csv.open_csv",
        "json.read_json",
        "json.open_json",
        "BufferReader",
        "py_buffer",
        "PythonFile",
    ]
    for reader in (*readers, "parquet.ParquetFile", "parquet.read_table", "parquet.read_schema"):
        monkeypatch.setattr(f"pyarrow.{reader}", watched(operator.attrgetter(reader)(pa)))
    monkeypatch.setattr(tables, "STREAMED_FROM", 0 if large else 1 << 30)
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))
    read(tmp_path / name)
    column_names(tmp_path / name)
    assert given or name == "utf16.csv"
    assert [source for source in given if not isinstance(source, harmless)] == []


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.tuples(st.text(st.sampled_from('ab,"\n'), max_size=8), st.sampled_from(["0", "1", "x\ny"])), min_size=1
    ),
    st.booleans(),
    st.integers(1, 40),
)
def test_quotes_that_hold_line_breaks_read_the_same_quickly_and_record_by_record(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], always: bool, block: int
) -> None:
    file = tmp_path_factory.mktemp("lines") / "a.csv"
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_ALL if always else csv.QUOTE_MINIMAL, lineterminator="\n")
        writer.writerows([("text", "label"), *rows])
    results = []
    for look in (orderly.cuts_of, lambda *_: None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sniff, "cuts_of", look)
            patch.setattr(orderly, "BLOCK", block)
            found, warnings = read(file)
            results.append((found[:], warnings))
    assert results[0] == results[1]
