"""Making splits: nothing lost, nothing torn, every class in train, the same for the same seed."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwork.data.splits import FRACTIONS, assign, choose, choose_of_each, complete, limit, rename_splits
from graftwork.errors import DataError, UsageError

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=120)


def rows_of(labels: list[int], groups: list[str] | None = None) -> Dataset:
    columns: dict[str, list[object]] = {"label": list(labels), "origin": [f"file {n}" for n in range(len(labels))]}
    if groups is not None:
        columns["group"] = list(groups)
    return Dataset.from_dict(columns)


def strata(rows: Dataset) -> list[int]:
    return list(rows["label"])


def keys_of(labels: list[int]) -> list[str]:
    return [f"file {n}" for n in range(len(labels))]


@given(LABELS, st.integers(0, 5))
def test_every_row_goes_to_exactly_one_split_and_every_class_to_train(labels: list[int], seed: int) -> None:
    try:
        parts = assign(labels, FRACTIONS, seed, keys_of(labels))
    except DataError:
        assert max(Counter(labels).values()) < 3  # too few rows for three splits
        return
    assert sorted(row for rows in parts.values() for row in rows) == list(range(len(labels)))
    assert {labels[row] for row in parts["train"]} == set(labels)
    assert parts == assign(labels, FRACTIONS, seed, keys_of(labels))


@given(LABELS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(labels: list[int], shuffler: random.Random) -> None:
    keys = keys_of(labels)
    order = list(range(len(labels)))
    shuffler.shuffle(order)
    try:
        parts = assign(labels, FRACTIONS, 3, keys)
    except DataError:
        return
    mixed = assign([labels[n] for n in order], FRACTIONS, 3, [keys[n] for n in order])
    for split, rows in parts.items():
        assert {keys[row] for row in rows} == {keys[order[row]] for row in mixed[split]}


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 12)), min_size=1, max_size=100), st.integers(0, 5))
def test_groups_are_never_torn(pairs: list[tuple[int, int]], seed: int) -> None:
    labels = [label for label, _ in pairs]
    groups = [f"patient {group}" for _, group in pairs]
    try:
        parts = assign(labels, FRACTIONS, seed, keys_of(labels), groups)
    except DataError:
        return
    assert sorted(row for rows in parts.values() for row in rows) == list(range(len(labels)))
    homes = {split: {groups[row] for row in rows} for split, rows in parts.items()}
    assert sum(map(len, homes.values())) == len(set(groups))
    assert {labels[row] for row in parts["train"]} == set(labels)
    assert parts == assign(labels, FRACTIONS, seed, keys_of(labels), groups)


def test_shares_are_kept_class_by_class() -> None:
    labels = [0] * 1000 + [1] * 100 + [2] * 20
    parts = assign(labels, FRACTIONS, 0, keys_of(labels))
    counted = {split: Counter(labels[row] for row in rows) for split, rows in parts.items()}
    assert counted == {
        "train": {0: 700, 1: 70, 2: 14},
        "validation": {0: 150, 1: 15, 2: 3},
        "test": {0: 150, 1: 15, 2: 3},
    }


def test_shares_are_nearly_kept_with_groups() -> None:
    shuffler = random.Random(0)
    groups = [f"g{shuffler.randrange(60)}" for _ in range(1200)]
    labels = [shuffler.choice([0, 0, 0, 1, 2]) for _ in groups]
    parts = assign(labels, FRACTIONS, 0, keys_of(labels), groups)
    for split, share in FRACTIONS.items():
        for label in range(3):
            held = sum(labels[row] == label for row in parts[split]) / labels.count(label)
            assert held == pytest.approx(share, abs=0.05)


def test_another_seed_gives_another_split() -> None:
    labels = [0, 1] * 50
    assert assign(labels, FRACTIONS, 0, keys_of(labels)) != assign(labels, FRACTIONS, 1, keys_of(labels))


def test_no_splits_become_three_and_the_finding_says_so() -> None:
    made, findings = complete({"train": rows_of([0, 1] * 100)}, strata, seed=7)
    assert {split: len(rows) for split, rows in made.items()} == {"train": 140, "validation": 30, "test": 30}
    assert [finding.code for finding in findings] == ["splits-made"]
    assert "140 train, 30 validation, 30 test (seed 7, stratified by class)" in findings[0].message


def test_train_and_test_get_a_validation_split_from_train_alone() -> None:
    test = rows_of([0, 1] * 5)
    made, findings = complete({"test": test, "train": rows_of([0, 1] * 100)}, strata, seed=0)
    assert {split: len(rows) for split, rows in made.items()} == {"train": 170, "validation": 30, "test": 10}
    assert made["test"] is test
    assert "train and test" in findings[0].message


def test_train_and_validation_get_no_test_and_a_warning() -> None:
    made, findings = complete({"train": rows_of([0, 1]), "validation": rows_of([0, 1])}, strata, seed=0)
    assert list(made) == ["train", "validation"]
    assert [(finding.code, finding.level) for finding in findings] == [("no-test-split", "warning")]


def test_three_splits_are_left_alone() -> None:
    splits = {name: rows_of([0, 1]) for name in ("test", "train", "validation")}
    made, findings = complete(splits, strata, seed=0)
    assert list(made) == ["train", "validation", "test"]
    assert not findings


@pytest.mark.parametrize("names", [("test",), ("validation",), ("validation", "test"), ()])
def test_data_without_train_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="no train split"):
        complete({name: rows_of([0, 1]) for name in names}, strata, seed=0)


def test_a_class_with_one_row_goes_to_train_and_is_named() -> None:
    made, findings = complete({"train": rows_of([0] * 50 + [1] * 50 + [2])}, strata, seed=0)
    assert 2 in made["train"]["label"]
    finding = next(finding for finding in findings if finding.code == "class-not-in-every-split")
    assert finding.where == ("class index 2: 1 rows",)


def test_too_few_rows_or_groups_are_refused() -> None:
    with pytest.raises(DataError, match="too few rows"):
        complete({"train": rows_of([0, 1])}, strata, seed=0)
    with pytest.raises(DataError, match=r"too few groups \(2\)"):
        complete({"train": rows_of([0, 1] * 10, ["a", "b"] * 10)}, strata, 0, "group")


@pytest.mark.parametrize(
    ("strata_of", "firm", "sizes"),
    [
        ([n * 10 // 16 for n in range(16)], False, (12, 2, 2)),  # tenths of sixteen numbers
        ([n // 2 for n in range(10)], False, (6, 2, 2)),  # five rare classes of two masks each
        ([n // 2 for n in range(10)], True, (6, 2, 2)),
        (list(range(24)), False, (16, 4, 4)),  # a class of its own for every row
        ([0, 1, 2], False, (1, 1, 1)),
        ([0, 0, 1, 2, 3, 3], True, (4, 1, 1)),
        ([0, 0, 1, 1, 2], True, (3, 1, 1)),
    ],
)
@pytest.mark.parametrize("grouped", [False, True])
def test_classes_too_small_for_every_split_make_no_split_impossible(
    strata_of: list[int], firm: bool, sizes: tuple[int, int, int], grouped: bool
) -> None:
    keys = keys_of(strata_of)
    parts = assign(strata_of, FRACTIONS, 0, keys, keys if grouped else None, firm)
    assert tuple(map(len, parts.values())) == sizes
    assert sorted(row for rows in parts.values() for row in rows) == list(range(len(strata_of)))
    in_train = {strata_of[row] for row in parts["train"]}
    assert len(in_train) >= min(len(set(strata_of)), sizes[0])


@given(LABELS, st.integers(0, 3))
def test_three_rows_are_enough_where_strata_are_no_classes(labels: list[int], seed: int) -> None:
    if len(labels) < 3:
        return
    parts = assign(labels, FRACTIONS, seed, keys_of(labels), firm=False)
    assert all(parts.values()) and sum(map(len, parts.values())) == len(labels)


def test_forty_classes_of_one_row_are_still_refused() -> None:
    with pytest.raises(DataError, match="too few rows to make a validation and a test split from 40 rows"):
        assign(list(range(40)), FRACTIONS, 0, keys_of(list(range(40))))


def test_completing_by_group_keeps_groups_whole() -> None:
    groups = [f"g{n // 4}" for n in range(80)]
    made, findings = complete({"train": rows_of([0, 1] * 40, groups)}, strata, 0, "group")
    homes = [set(rows["group"]) for rows in made.values()]
    assert sum(map(len, homes)) == 20
    assert "20 groups kept whole" in findings[0].message


@given(LABELS, st.integers(1, 60), st.integers(0, 3))
def test_a_limit_is_as_equal_as_the_data_allow_and_nested(labels: list[int], count: int, seed: int) -> None:
    have = Counter(labels)
    if count < len(have) and count < len(labels):
        with pytest.raises(UsageError, match="fewer than"):
            choose(labels, count, seed, keys_of(labels))
        return
    rows = choose(labels, count, seed, keys_of(labels))
    assert len(set(rows)) == len(rows) == min(count, len(labels))
    got = Counter(labels[row] for row in rows)
    most = max(got.values())
    assert all(got[label] >= most - 1 or got[label] == have[label] for label in have)
    assert set(rows) <= set(choose(labels, count + 5, seed, keys_of(labels)))


@given(LABELS, st.integers(1, 20), st.integers(0, 3))
def test_rows_of_each_class_are_among_more_of_each_class(labels: list[int], count: int, seed: int) -> None:
    have, keys = Counter(labels), keys_of(labels)
    rows = choose_of_each(labels, count, seed, keys)
    assert rows == sorted(set(rows))
    assert Counter(labels[row] for row in rows) == {label: min(count, total) for label, total in have.items()}
    assert set(rows) <= set(choose_of_each(labels, count + 3, seed, keys))
    # As many of each class are what a limit of as many rows chooses, where every class has them.
    if all(total >= count for total in have.values()):
        assert rows == choose(labels, count * len(have), seed, keys)


def test_ten_of_each_class_are_told_with_the_classes_that_have_fewer() -> None:
    rows = rows_of([0] * 50 + [1] * 30 + [2] * 4)
    kept, findings = limit(rows, rows["label"], 10, seed=0, of_each_class=True, names=("cat", "dog", "emu"))
    assert Counter(kept["label"]) == {0: 10, 1: 10, 2: 4}
    assert "24 of 84 rows, 4 to 10 of each of 3 classes" in findings[0].message
    fewer = findings[1]
    assert (fewer.code, fewer.level, fewer.where, fewer.count) == ("fewer-rows-than-limit", "warning", ("emu: 4",), 1)
    assert "fewer than 10 training rows" in fewer.message


def test_a_budget_that_no_class_has_leaves_every_row_and_says_so() -> None:
    rows = rows_of([0] * 5 + [1] * 3)
    kept, findings = limit(rows, rows["label"], 10, seed=0, of_each_class=True)
    assert len(kept) == 8
    assert [finding.where for finding in findings] == [("class index 1: 3", "class index 0: 5")]


def test_a_budget_that_every_class_has_says_nothing_of_fewer_rows() -> None:
    rows = rows_of([0] * 50 + [1] * 10)
    assert [finding.code for finding in limit(rows, rows["label"], 10, 0, True)[1]] == ["limited-train"]


def test_eighty_rows_of_four_classes_are_twenty_of_each() -> None:
    rows = rows_of([0] * 500 + [1] * 100 + [2] * 30 + [3] * 20)
    kept, findings = limit(rows, rows["label"], 80, seed=0)
    assert Counter(kept["label"]) == {0: 20, 1: 20, 2: 20, 3: 20}
    assert "80 of 650 rows, 20 of each of 4 classes" in findings[0].message
    assert limit(rows, rows["label"], 10_000, seed=0) == (rows, [])


def test_upstream_split_names_are_understood_and_others_named() -> None:
    rows = rows_of([0, 1])
    renamed, findings = rename_splits({"dev": rows, "train": rows, "unsupervised": rows}, "hf:x")
    assert list(renamed) == ["train", "validation"]
    assert findings[0].where == ("unsupervised",)
    assert list(rename_splits({"everything": rows}, "hf:x")[0]) == ["train"]
    with pytest.raises(DataError, match="two splits that mean validation"):
        rename_splits({"dev": rows, "val": rows}, "hf:x")
    with pytest.raises(DataError, match="no split named"):
        rename_splits({"a": rows, "b": rows}, "hf:x")
