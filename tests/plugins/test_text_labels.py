"""Labels as people write them: several in a cell, in columns of 0 and 1, numbers with commas, and what is no label."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset

from graftwork.classification.forms import printed_parts
from graftwork.errors import DataError
from graftwork.interfaces import DataRequest, Tables
from graftwork_text.audit import align_texts, audit_texts
from graftwork_text.read import read_texts

WANTED = [[0], [0, 1], [], [1, 2], [2], [0, 2]]
NAMES = ("billing", "quality", "shipping")


def read(labels: str, values: list[Any], options: dict[str, Any] | None = None, **columns: Any) -> Tables:
    texts = [f"text number {number} of all" for number in range(len(values))]
    data = {"text": texts, **columns} if columns else {"text": texts, "label": values}
    request = DataRequest("sample:x", options=options or {}, samples=lambda _: {"train": Dataset.from_dict(data)})
    return read_texts(request, labels)


def codes(tables: Tables) -> list[str]:
    return [finding.code for finding in tables.findings]


def sets() -> list[list[str]]:
    return [[NAMES[label] for label in labels] for labels in WANTED]


def bits() -> list[list[int]]:
    return [[int(place in labels) for place in range(len(NAMES))] for labels in WANTED]


def numpy_like(names: list[str]) -> str:
    return "[" + " ".join(map(repr, names)) + "]"


@pytest.mark.parametrize(
    ("values", "code"),
    [
        (sets(), None),
        ([str(names) for names in sets()], "labels-are-printed-lists"),
        ([str(tuple(names)) for names in sets()], "labels-are-printed-lists"),
        ([str(names).replace("'", '"') for names in sets()], "labels-are-printed-lists"),
        ([numpy_like(names) for names in sets()], "labels-are-printed-lists"),
        (["[" + ", ".join(names) + "]" for names in sets()], "labels-are-printed-lists"),
        (["{" + ", ".join(map(repr, names)) + "}" for names in sets()], "labels-are-printed-lists"),
        (["|".join(names) for names in sets()], None),
        ([" | ".join(names) for names in sets()], None),
        ([";".join(names) for names in sets()], "guessed-label-separator"),
        (["; ".join(names) for names in sets()], "guessed-label-separator"),
        ([", ".join(names) for names in sets()], "guessed-label-separator"),
    ],
)
def test_several_labels_are_read_in_every_form(values: list[Any], code: str | None) -> None:
    tables = read("multi", values)
    assert (tables.names, tables.splits["train"]["label"][:]) == (NAMES, WANTED)
    assert codes(tables) == ([code] if code else [])


@pytest.mark.parametrize(
    "values",
    [
        bits(),
        [[float(bit) for bit in row] for row in bits()],
        [[bool(bit) for bit in row] for row in bits()],
        [str(row) for row in bits()],
        [str(row).replace(",", "") for row in bits()],
        [" ".join(map(str, row)) for row in bits()],
        [",".join(map(str, row)) for row in bits()],
        ["|".join(map(str, row)) for row in bits()],
    ],
)
def test_vectors_of_0_and_1_name_their_places(values: list[Any]) -> None:
    tables = read("multi", values)
    assert (tables.names, tables.splits["train"]["label"][:]) == (("0", "1", "2"), WANTED)
    assert "labels-are-vectors" in codes(tables)


def test_lists_of_class_numbers_are_no_vectors() -> None:
    assert read("multi", [[0, 1], [1], [0]]).splits["train"]["label"][:] == [[0, 1], [1], [0]]
    assert read("multi", [[0, 3], [1, 2], [0, 1]]).names == ("0", "1", "2", "3")


def test_where_no_text_is_found_the_columns_are_named_as_they_are() -> None:
    def named(text: str) -> Tables:
        rows = Dataset.from_dict({"id": [7, 8], text: ["a", "b"], "toxic": [0, 1], "threat": [0, 1]})
        return read_texts(DataRequest("sample:x", samples=lambda _: {"train": rows}), "multi")

    with pytest.raises(DataError, match=r"its columns: id, remark, toxic, threat\. Say"):
        named("remark")
    for text in ("comment_text", "Comment Text", "reviewText", "post"):
        assert named(text).names == ("threat", "toxic")


@pytest.mark.parametrize("labels", ["single", "multi", "number"])
@pytest.mark.parametrize(
    ("values", "what"),
    [
        (["{'name': 'neg', 'id': 0}", "{'name': 'pos', 'id': 1}"], r"objects \(name, id\).*--column label=label.name"),
        (['{"name": "neg"}', None, '{"id": 1}'], r"objects \(name, id\)"),
        ([[[0, 5]], []], "lists of lists, such as spans"),
        (['[[0, 5, "X"]]', "[]"], "lists of lists"),
        (["[(0, 5, 'X')]"] * 2, "lists of lists"),
        ([[{"start": 0}], [{"start": 5}]], "lists of objects"),
        (["[{'name': 'neg'}]"] * 2, "lists of objects"),
    ],
)
def test_objects_and_spans_are_no_labels(labels: str, values: list[Any], what: str) -> None:
    with pytest.raises(DataError, match=what):
        read(labels, values)


@pytest.mark.parametrize(
    "labels",
    [
        [{"name": "pos"}, {"name": "neg"}],
        ["{'name': 'pos'}", "{'name': 'neg', 'id': 0}"],
        ['{"name": "pos"}', '{"name": "neg"}'],
    ],
)
def test_the_way_out_of_objects_works(labels: list[Any]) -> None:
    rows = Dataset.from_dict({"text": ["a", "b"], "label": labels})
    asked = DataRequest("sample:x", columns={"label": "label.name"}, samples=lambda _: {"train": rows})
    tables = read_texts(asked, "single")
    assert [tables.names[label] for label in tables.splits["train"]["label"][:]] == ["pos", "neg"]
    assert tables.columns["label"] == "label.name"


def test_columns_of_0_and_1_are_a_class_each() -> None:
    columns = {name: [str(row[place]) for row in bits()] for place, name in enumerate(NAMES)}
    tables = read("multi", WANTED, toxic_score=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], **columns)
    assert (tables.names, tables.splits["train"]["label"][:]) == (NAMES, WANTED)
    assert codes(tables) == ["labels-from-columns", "unused-columns"]
    with pytest.raises(DataError, match=r"3 columns of 0 and 1 \(billing, .*--set task_options.labels=multi"):
        read("single", WANTED, **columns)


def test_a_name_with_a_comma_is_not_torn_but_named() -> None:
    tables = read("multi", ["Food, Drinks", "Sports", "Food, Drinks", "Cars"])
    assert tables.names == ("Cars", "Food, Drinks", "Sports")
    assert codes(tables) == ["labels-not-parted"]
    tables = read("multi", ["a, b", "c"], {"label_separator": ","})
    assert tables.names == ("a", "b", "c")


SKIES = [
    "haze primary",
    "clear",
    "clear primary water",
    "haze",
    "primary water",
    "cloudy",
    "cloudy primary",
    "clear water",
]


def test_labels_parted_by_blanks_are_parted_with_a_warning_unless_a_separator_is_given() -> None:
    tables = read("multi", SKIES)
    assert tables.names == ("clear", "cloudy", "haze", "primary", "water")
    assert codes(tables) == ["guessed-label-separator"]
    assert codes(read("multi", SKIES, {"label_separator": " "})) == []
    assert set(read("multi", SKIES, {"label_separator": "#"}).names) == set(SKIES)
    for names in (["New York", "Los Angeles", "Paris"], ["red car", "blue car", "red bus", "blue bus"]):
        assert set(read("multi", names * 2).names) == set(names)


@pytest.mark.parametrize("form", ["{}.5", "{}", "1e-{}", "-{},25", "{}.0e3"])
def test_numbers_of_one_row_each_are_told_to_be_numbers(form: str) -> None:
    tables = read("single", [form.format(number) for number in range(10, 26)])
    assert "labels-look-like-numbers" in codes(tables)
    assert "labels-look-like-numbers" not in codes(read("single", [form.format(number) for number in range(4)] * 4))


def test_classes_that_look_like_several_are_told_where_one_is_wanted() -> None:
    for values in ([str(names) for names in sets()], [";".join(names) for names in sets()]):
        assert "labels-look-like-several" in codes(read("single", values))
    assert codes(read("single", ["Food, Drinks", "Sports", "Food; Wine", "Cars"])) == []


def test_printed_lists_keep_what_is_in_quotes() -> None:
    assert printed_parts("""["it's, so", 'a "b"']""") == ["it's, so", 'a "b"']
    assert printed_parts("[None, nan, 3]") == ["3"]
    assert printed_parts("set()") == printed_parts("[]") == []


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        (["0", "1,5", "2,25"], [0.0, 1.5, 2.25]),
        (["-0,5", "3", "1e1"], [-0.5, 3.0, 10.0]),
        (["1,234", "0,5"], [1.234, 0.5]),
        (["1,234.5", "12.5", "7"], [1234.5, 12.5, 7.0]),
        (["1,234,567", "500", "-2,000"], [1234567.0, 500.0, -2000.0]),
        (["1.234,5", "12,5", "2.000"], [1234.5, 12.5, 2000.0]),
        (["1 234,5", "12,5", "0"], [1234.5, 12.5, 0.0]),
        (["1\u202f234.5", "1\u202f234\u202f567"], [1234.5, 1234567.0]),
        (["1'234.50", "12.5"], [1234.5, 12.5]),
        (["1 234", "12"], [1234.0, 12.0]),
        ([1.5, None, 2.0], [1.5, 2.0]),
    ],
)
def test_decimal_commas_are_read(values: list[Any], numbers: list[float]) -> None:
    assert read("number", values).splits["train"]["label"][:] == numbers


@pytest.mark.parametrize(
    "values",
    [
        ["1,234", "2,500"],
        ["1.5", "2,5"],
        ["1,234.5", "1.234,5"],
        ["1.5", "1,2,3"],
        ["1 234", "1.500"],
        ["12.5", "1,23,456"],
    ],
)
def test_commas_that_may_part_thousands_are_refused(values: list[str]) -> None:
    with pytest.raises(DataError, match="with a point"):
        read("number", values)


@pytest.mark.parametrize("name", ["nan", "None", "NULL", "N/A", "NA", "<NA>", "\\N"])
def test_a_class_called_like_a_missing_value_is_kept_and_told(name: str) -> None:
    tables = read("single", ["pos", "neg", name] * 6)
    assert name in tables.names
    found = {finding.code: finding for finding in audit_texts(tables, "single")[1]}
    assert found["class-like-missing"].where == (f"{name} (6 rows)",)


def test_a_model_knows_its_classes_in_any_spelling_of_them() -> None:
    for model, data in (
        (["0", "1"], ["0.0", "1.0"]),
        (["1.0", "0.0"], ["0", "1"]),
        (["cafe\u0301", "x"], ["caf\u00e9", "x"]),
    ):
        aligned = align_texts(read("single", data * 6), {"classes": model}, "single")
        wanted = [0, 1] * 6 if model[0] != "1.0" else [1, 0] * 6
        assert aligned.splits["train"]["label"][:] == wanted
