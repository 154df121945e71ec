"""Tables as people have them: how they are written is found out or said, no row vanishes, and refusals have a way out."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from graftwork.config.forms import parse_form
from graftwork.data import sniff
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
    assert rows.column_names[:-1] == ["When", "What did you think? (in your words)", "3", "4", "5", "6"]
    assert warnings == ["columns-of-one-name"]
    assert column_names(file) == rows.column_names[:-1]
    mapped, _ = map_columns({"train": rows}, {"text": (), "label": ()}, {"text": "2", "label": "4"}, None, "f")
    assert mapped["train"]["label"][:] == ["good", "bad"]


def test_a_table_without_header_says_the_way_out_and_it_works(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("the first of all texts is a long one,pos\nanother,neg\n")
    guesses = {"text": (), "label": ()}
    with pytest.raises(DataError, match=r"--set data_options.header=no, and columns by their number"):
        map_columns({"train": read(file)[0]}, guesses, {}, None, "f")
    rows, _ = read(file, header=False)
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
    (tmp_path / "a.csv").write_bytes(DEADLY["open.csv"])
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


DEADLY = {
    "ragged.csv": b"text,label\na,b,c\n" + b"a,b\n" * 2000,
    "open.csv": b'"When","What\n' + b"1,2\n" * 100,
    "lines.jsonl": b'{"text": "a"}\n' * 100 + b"{broken\n",
    "cut.parquet": b"PAR1 cut",
    "pages.parquet": b"",
}


def damaged_parquet(folder: Path) -> bytes:
    """A file whose end is whole, so that it is opened, and whose pages are not."""
    rows = 20_000
    parquet.write_table(
        pa.table({"text": [f"text {row}" for row in range(rows)], "label": ["a"] * rows}), folder / "whole"
    )
    data = bytearray((folder / "whole").read_bytes())
    data[100 : len(data) // 2] = b"x" * (len(data) // 2 - 100)
    return bytes(data)


def exit_codes(file: Path, times: int) -> list[int]:
    command = [sys.executable, "-m", "graftwork", "inspect", "--task", "text-classification", "--data", str(file)]
    return [subprocess.run(command, check=False, capture_output=True).returncode for _ in range(times)]


def test_a_refusal_keeps_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "open.csv").write_bytes(DEADLY["open.csv"])
    assert exit_codes(tmp_path / "open.csv", 1) == [3]


@pytest.mark.acceptance
@pytest.mark.parametrize("name", DEADLY)
def test_a_refusal_keeps_its_exit_code_however_often_it_is_tried(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(DEADLY[name] or damaged_parquet(tmp_path))
    assert exit_codes(tmp_path / name, 40) == [3] * 40


def test_pyarrow_is_never_given_a_python_object_to_read_from() -> None:
    """Its reader threads would let go of it while the interpreter ends, which aborts the process."""
    home = Path(__file__).parents[2]
    sources = [*home.glob("core/graftwork/data/*.py"), *home.glob("plugins/graftwork_text/*.py")]
    assert [file.name for file in sources if "BytesIO" in file.read_text(encoding="utf-8")] == []
