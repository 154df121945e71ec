"""CSV, TSV, JSON lines and Parquet: what is read, how columns and labels are understood, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from graftwork.data.columns import add_column, encode_labels, map_columns
from graftwork.data.tables import find_tables, read_tables
from graftwork.errors import DataError, UsageError

GUESSES = {"text": ("sentence", "review"), "label": ("category", "class")}


def read_one(path: Path) -> tuple[Dataset, list[str]]:
    files, found = find_tables(path)
    splits, more = read_tables(path, files)
    return splits["train"], [finding.code for finding in (*found, *more)]


def test_csv_columns_are_text_so_that_nothing_is_guessed(tmp_path: Path) -> None:
    file = tmp_path / "all.csv"
    file.write_text('\ufefftext,label\n"a, ""b""\nnext line",01\nnull,NA\n,\n', encoding="utf-8")
    rows, _ = read_one(file)
    assert rows["text"][:] == ['a, "b"\nnext line', "null", ""]
    assert rows["label"][:] == ["01", "NA", ""]
    assert rows["origin"][:] == ["all.csv row 1", "all.csv row 2", "all.csv row 3"]


@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs", "Cc"])), st.integers(0, 9)), min_size=1, max_size=20
    )
)
def test_what_a_csv_writer_wrote_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, int]]
) -> None:
    file = tmp_path_factory.mktemp("csv") / "x.csv"
    texts = [text for text, _ in pairs]
    arrow_csv.write_csv(pa.table({"text": texts, "label": [str(label) for _, label in pairs]}), file)
    assert read_one(file)[0]["text"][:] == texts


def test_quotes_in_tab_separated_text_stay_where_they_are_text(tmp_path: Path) -> None:
    file = tmp_path / "sst.tsv"
    file.write_text('text\tlabel\n"good" film\t1\nan unclosed " quote\t0\n')
    assert read_one(file)[0]["text"][:] == ['"good" film', 'an unclosed " quote']
    file.write_text('text\tlabel\n"she said ""no""\tand left"\t1\nplain\t0\n')
    assert read_one(file)[0]["text"][:] == ['she said "no"\tand left', "plain"]
    file.write_text('text\tlabel\n"she said ""no"""\t1\nplain\t0\n')
    assert read_one(file)[0]["text"][:] == ['she said "no"', "plain"]


def test_semicolons_are_understood_and_said(tmp_path: Path) -> None:
    file = tmp_path / "excel.csv"
    file.write_text("text;label\na;1\n")
    rows, codes = read_one(file)
    assert rows["text"][:] == ["a"]
    assert codes == ["unusual-delimiter"]


def test_json_lines_and_parquet_keep_their_types(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in (("x", 1), ("y", 0)))
    )
    assert read_one(tmp_path / "a.jsonl")[0]["label"][:] == [1, 0]
    parquet.write_table(pa.table({"text": ["x"], "label": [2]}), tmp_path / "b.parquet")
    assert read_one(tmp_path / "b.parquet")[0]["label"][:] == [2]


@pytest.mark.parametrize("folder", ["", "data"])
def test_a_folder_of_tables_gives_splits_by_file_name(tmp_path: Path, folder: str) -> None:
    home = tmp_path / folder
    home.mkdir(exist_ok=True)
    for name in ("train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001", "test-00000-of-00001"):
        parquet.write_table(pa.table({"text": [name], "label": [0]}), home / f"{name}.parquet")
    files, _ = find_tables(tmp_path)
    splits, _ = read_tables(tmp_path, files)
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 2, "validation": 1, "test": 1}
    assert splits["train"]["origin"][1] == f"{folder + '/' if folder else ''}train-00001-of-00002.parquet row 1"


def test_tables_in_split_folders_and_tables_named_after_no_split(tmp_path: Path) -> None:
    for name in ("train/0000.csv", "test/0000.csv", "sample_submission.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text,label\na,b\n")
    files, findings = find_tables(tmp_path)
    assert sorted(files) == ["test", "train"]
    assert findings[0].where == ("sample_submission.csv",)


def test_a_single_table_of_any_name_is_train_and_a_folder_without_tables_is_empty(tmp_path: Path) -> None:
    assert find_tables(tmp_path) == ({}, [])
    (tmp_path / "birds.csv").write_text("a\n1\n")
    assert list(find_tables(tmp_path)[0]) == ["train"]
    (tmp_path / "more.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=r"holds 2 tables \(birds.csv, more.csv\), none named after a split"):
        find_tables(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"text,label\n", "has no rows"),
        ("a.csv", b"text,label\na,b,c\n", "line 2 has 3 columns, the header 2"),
        ("a.csv", "text,label\nя,б\n".encode("cp1251"), "is not UTF-8 text .line 2 has the byte 0xff"),
        ("a.jsonl", b"{broken\n", "cannot be read"),
        ("a.parquet", b"PAR1 no", "cannot be read"),
    ],
)
def test_damaged_tables_are_refused_in_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_one(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_usual_column_names_are_guessed_and_other_columns_named() -> None:
    rows = Dataset.from_dict({"Review": ["a"], "category": ["x"], "id": [1], "origin": ["f row 1"]})
    mapped, findings = map_columns({"train": rows, "test": rows}, GUESSES, {}, None, "f")
    assert sorted(mapped["train"].column_names) == ["label", "origin", "text"]
    assert {finding.code: finding.message for finding in findings} == {
        "guessed-columns": "columns were taken by their usual names: text=Review, label=category",
        "unused-columns": "unused columns: id",
    }


def test_given_columns_win_over_guesses_and_a_group_is_kept_as_text() -> None:
    rows = Dataset.from_dict({"text": ["a"], "sentence": ["b"], "stars": [5], "label": [0], "patient": [7]})
    mapped, findings = map_columns({"train": rows}, GUESSES, {"text": "sentence", "label": "stars"}, "patient", "f")
    assert mapped["train"][0] == {"text": "b", "label": 5, "group": "7"}
    assert findings[0].where == ("text", "label")


def test_a_row_without_a_group_is_a_group_of_its_own() -> None:
    rows = Dataset.from_dict(
        {"text": ["a", "b", "c"], "label": [0, 1, 0], "patient": ["p", None, ""], "origin": ["1", "2", "3"]}
    )
    mapped, _ = map_columns({"train": rows}, GUESSES, {}, "patient", "f")
    assert mapped["train"]["group"][:] == ["p", None, None]


def test_a_column_is_added_to_a_selection_without_copying_it() -> None:
    rows = Dataset.from_dict({"a": list(range(10))}).select([7, 2, 5])
    more = add_column(add_column(rows, "b", ["x", "y", "z"]), "a", [70, 20, 50])
    assert more[:] == {"b": ["x", "y", "z"], "a": [70, 20, 50]}
    assert len(more.data) == 10
    in_a_row = Dataset.from_dict({"a": list(range(10))}).select([9, 4, 5, 6]).select([1, 2, 3])
    assert add_column(in_a_row, "b", ["x", "y", "z"])[:] == {"a": [4, 5, 6], "b": ["x", "y", "z"]}
    twice = Dataset.from_dict({"a": [0, 1]}).select([1, 1, 0])
    assert add_column(twice, "b", [1, 2, 3])["b"][:] == [1, 2, 3]


@pytest.mark.parametrize(
    ("columns", "group_by", "error", "message"),
    [
        (
            {"label": "klass"},
            None,
            DataError,
            r"no column 'klass' \(--column label=klass\); its columns: text, category",
        ),
        ({}, "patient", DataError, r"no column 'patient' \(--group-by\)"),
        ({"lable": "category"}, None, UsageError, "Did you mean label?"),
        (
            {"text": "category"},
            None,
            DataError,
            r"no column for 'label'; its columns: text, category. Say which with --column",
        ),
    ],
)
def test_missing_columns_list_those_that_are_there(
    columns: dict[str, str], group_by: str | None, error: type[Exception], message: str
) -> None:
    rows = Dataset.from_dict({"text": ["a"], "category": ["x"], "origin": ["f"]})
    with pytest.raises(error, match=message):
        map_columns({"train": rows}, GUESSES, columns, group_by, "f")


def encode(**splits: list[object]) -> tuple[dict[str, list[int]], tuple[str, ...], list[str]]:
    tables = {split: Dataset.from_dict({"label": values}) for split, values in splits.items()}
    encoded, names, findings = encode_labels(tables, "f")
    return {split: rows["label"][:] for split, rows in encoded.items()}, names, [finding.code for finding in findings]


def test_text_labels_become_indices_of_sorted_names_over_all_splits() -> None:
    assert encode(train=["b", "a"], test=["c"]) == ({"train": [1, 0], "test": [2]}, ("a", "b", "c"), [])


def test_whole_numbers_are_sorted_as_numbers_and_named_by_their_digits() -> None:
    assert encode(train=[10, 9, 2])[1] == ("2", "9", "10")
    assert encode(train=["10", "9", "2"])[:2] == ({"train": [2, 1, 0]}, ("2", "9", "10"))
    assert encode(train=[1.0, 0.0])[1] == ("0", "1")


def test_rows_without_a_label_are_left_out_and_counted() -> None:
    assert encode(train=["a", None, " ", "b"]) == ({"train": [0, 1]}, ("a", "b"), ["missing-label"])
    with pytest.raises(DataError, match="no row has a label"):
        encode(train=[None, None])


def test_declared_class_names_are_kept_in_their_order_and_minus_one_means_no_label() -> None:
    features = Features({"label": ClassLabel(names=["zebra", "ant"])})
    train = Dataset.from_dict({"label": [0, 1]}, features=features)
    test = Dataset.from_dict({"label": [-1, -1]}, features=features)
    encoded, names, findings = encode_labels({"train": train, "test": test}, "f")
    assert names == ("zebra", "ant")
    assert list(encoded) == ["train"]
    assert encoded["train"].features["label"] == Value("int64")
    assert findings[0].count == 2
    other = Dataset.from_dict({"label": [0]}, features=Features({"label": ClassLabel(names=["ant", "zebra"])}))
    with pytest.raises(DataError, match="different class names"):
        encode_labels({"train": train, "test": other}, "f")
