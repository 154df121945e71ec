"""The domain-free checks and the fingerprint, each on data with that fault and on data without."""

from __future__ import annotations

import time

import numpy as np
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwork.data.audit import (
    check_classes,
    check_duplicates,
    check_groups,
    check_near_duplicates,
    near_pairs,
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
    assert found["duplicate-with-other-label"].where == ("train: train3 (y) = test: test1 (x)",)
    assert found["duplicate-within-split"].where == ("train: train1 (x) = train: train2 (x)",)
    assert check_duplicates({"train": ["a"]}, {"train": [0]}, {"train": ["o"]}, ["x"]) == []


def test_groups_that_are_torn_between_splits_are_named() -> None:
    found = check_groups({"train": ["anna", "anna", "ben"], "test": ["ben", "carl"]})
    assert found[0].where == ("ben (train, test)",)
    assert check_groups({"train": ["anna"], "test": ["ben"]}) == check_groups({}) == []


HASHES = st.lists(st.integers(0, 2**64 - 1), max_size=30)


@settings(deadline=None)
@given(
    HASHES, HASHES, st.integers(0, 12), st.lists(st.tuples(st.integers(0, 29), st.integers(0, 2**64 - 1)), max_size=5)
)
def test_near_pairs_are_all_pairs_within_the_distance(
    first: list[int], second: list[int], distance: int, planted: list[tuple[int, int]]
) -> None:
    second = second + [first[n % len(first)] ^ (noise & (noise >> 7) & (noise >> 13)) for n, noise in planted if first]
    a, b = near_pairs(np.array(first, dtype=np.uint64), np.array(second, dtype=np.uint64), distance)
    expected = {
        (i, j)
        for i, x in enumerate(first)
        for j, y in enumerate(second)
        if (x ^ y).bit_count() <= distance and all(6 <= z.bit_count() <= 58 for z in (x, y))
    }
    assert len(a) == len(expected)
    assert set(zip(a.tolist(), b.tolist(), strict=True)) == expected


def test_near_duplicates_need_a_close_hash_and_a_like_view_and_another_content() -> None:
    generator = np.random.default_rng(0)
    view = generator.integers(0, 256, (4, 256), dtype=np.uint8)
    hashes = np.array([0x0F0F0F0F0F0F0F0F, 0x00FF00FF00FF00FF, 0x3333333333333333, 0x5555AAAA5555AAAA], dtype=np.uint64)
    found = check_near_duplicates(
        {"train": hashes, "test": hashes ^ np.uint64(3)},
        {
            "train": view,
            "test": np.concatenate([view[:2], generator.integers(0, 256, (1, 256), dtype=np.uint8), view[3:]]),
        },
        {"train": ["a", "b", "c", "d"], "test": ["a", "e", "f", "g"]},
        {"train": ["t0", "t1", "t2", "t3"], "test": ["v0", "v1", "v2", "v3"]},
    )
    assert set(found[0].where) == {"train: t1 ~ test: v1", "train: t3 ~ test: v3"}
    assert "2 of 4 test rows like a train row" in found[0].message


def test_sixty_thousand_hashes_are_compared_in_seconds() -> None:
    generator = np.random.default_rng(0)
    first = generator.integers(0, 2**64, 50_000, dtype=np.uint64)
    second = np.concatenate([generator.integers(0, 2**64, 9_990, dtype=np.uint64), first[:10] ^ np.uint64(7)])
    start = time.perf_counter()
    a, b = near_pairs(first, second, 10)
    assert time.perf_counter() - start < 30
    assert {(n, 9_990 + n) for n in range(10)} <= set(zip(a.tolist(), b.tolist(), strict=True))


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
