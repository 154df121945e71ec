"""The domain-free checks and the fingerprint, each on data with that fault and on data without."""

from __future__ import annotations

from datasets import Dataset

from graftwork.data.audit import (
    check_classes,
    check_duplicates,
    check_groups,
    similar_names,
)
from graftwork.data.fingerprint import combine, fingerprint
from graftwork.interfaces import Finding, Tables


def by_code(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.code: finding for finding in findings}


def test_even_classes_in_every_split_give_no_finding() -> None:
    assert check_classes({"train": [0, 1] * 10, "test": [0, 1]}, ["a", "b"]) == []


def test_one_class_only_is_an_error() -> None:
    found = check_classes({"train": [0] * 9}, ["cat"])
    assert [(finding.code, finding.level) for finding in found] == [("one-class-only", "error")]
    assert "'cat'" in found[0].message
    assert by_code(check_classes({"train": []}, []))["one-class-only"].level == "error"


def test_empty_small_lonely_and_missing_classes_are_named() -> None:
    labels = {"train": [0] * 8 + [1] * 2 + [2] * 5, "validation": [0, 2], "test": [0, 3, 1]}
    found = by_code(check_classes(labels, ["a", "b", "c", "d", "e"]))
    assert found["empty-class"].where == ("e",)
    assert found["few-rows"].where == ("b (2)",)
    assert found["label-in-one-split-only"].where == ("d (only test)",)
    assert found["class-missing-in-split"].count == 1


def test_imbalance_names_the_smallest_and_the_largest_class() -> None:
    note = by_code(check_classes({"train": [0] * 30 + [1] * 10}, ["big", "small"]))["class-imbalance"]
    assert (note.level, note.where) == ("note", ("small", "big"))
    assert "3.0 times" in note.message
    assert by_code(check_classes({"train": [0] * 50 + [1] * 5}, ["big", "small"]))["class-imbalance"].level == "warning"


def test_names_that_differ_by_case_white_space_or_unicode_form_are_alike() -> None:
    found = similar_names(["Cat", "cat", "dog", " dog", "caf\u00e9", "cafe\u0301", "bird"])
    assert found[0].count == 3
    assert found[0].where[0] == "'Cat' / 'cat'"
    assert similar_names(["cat", "dog"]) == []


def test_duplicates_are_told_apart_by_where_they_lie() -> None:
    contents = {"train": ["a", "b", "b", "c"], "test": ["a", "c", "d"]}
    labels = {"train": [0, 0, 0, 1], "test": [0, 0, 1]}
    origins = {split: [f"{split}{n}" for n in range(len(rows))] for split, rows in contents.items()}
    found = by_code(check_duplicates(contents, labels, origins, ["x", "y"]))
    assert found["duplicate-across-splits"].count == 2
    assert "2 of 3 test rows" in found["duplicate-across-splits"].message
    # Each is told once: what leaks is not told again for its labels.
    assert "1 of them with different labels" in found["duplicate-across-splits"].message
    assert "duplicate-with-other-label" not in found
    assert found["duplicate-within-split"].where == ("train: train1 (x) = train: train2 (x)",)
    torn = check_duplicates({"train": ["a", "a"]}, {"train": [0, 1]}, {"train": ["o", "p"]}, ["x", "y"])
    assert [(one.code, one.where) for one in torn] == [("duplicate-with-other-label", ("train: o (x) = train: p (y)",))]
    assert check_duplicates({"train": ["a"]}, {"train": [0]}, {"train": ["o"]}, ["x"]) == []


def test_groups_that_are_torn_between_splits_are_named() -> None:
    found = check_groups({"train": ["anna", "anna", "ben"], "test": ["ben", "carl"]})
    assert found[0].where == ("ben (train, test)",)
    assert check_groups({"train": ["anna", None], "test": ["ben", None]}) == check_groups({}) == []


def rows_of(texts: list[str], labels: list[int], place: str) -> Dataset:
    return Dataset.from_dict({"text": texts, "label": labels, "origin": [f"{place} {n}" for n in range(len(texts))]})


def test_the_fingerprint_is_of_content_wherever_it_lies_and_in_whatever_order() -> None:
    one = Tables({"train": rows_of(["a", "b"], [0, 1], "here")}, (), ("x", "y"))
    other = Tables({"train": rows_of(["b", "a"], [1, 0], "there")}, (), ("x", "y"))
    assert fingerprint(one) == fingerprint(other)
    assert len(fingerprint(one)) == 64


def test_the_fingerprint_changes_with_a_text_a_label_a_split_or_a_name() -> None:
    base = Tables({"train": rows_of(["a", "b"], [0, 1], "p")}, (), ("x", "y"))
    changed = [
        Tables({"train": rows_of(["a", "c"], [0, 1], "p")}, (), ("x", "y")),
        Tables({"train": rows_of(["a", "b"], [1, 0], "p")}, (), ("x", "y")),
        Tables({"test": rows_of(["a", "b"], [0, 1], "p")}, (), ("x", "y")),
        Tables({"train": rows_of(["a", "b"], [0, 1], "p")}, (), ("x", "z")),
        Tables({"train": rows_of(["a", "b", "b"], [0, 1, 1], "p")}, (), ("x", "y")),
    ]
    assert len({fingerprint(tables) for tables in [base, *changed]}) == 6
    assert combine({"a": ["1"], "b": []}) != combine({"a": [], "b": ["1"]})
