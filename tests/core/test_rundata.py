"""The data of a run: label budgets that are nested, and refused where a row has not one class."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from graftwork.catalogue import load_catalogue
from graftwork.config import override_layer
from graftwork.config.check import resolve_and_check
from graftwork.errors import UsageError
from graftwork.models.build import Builder
from graftwork.runs.data import RunData, read_data

CATALOGUE = load_catalogue()
DIGITS = {"task": "image-classification", "data": "sample:digits"}


def read(**settings: Any) -> RunData:
    config = resolve_and_check([override_layer(settings)], CATALOGUE).config
    builder = Builder(CATALOGUE)
    return read_data(config, builder)


def origins(data: RunData) -> set[str]:
    return set(data.tables.splits["train"]["origin"][:])


def test_ten_rows_a_class_are_ten_of_each_and_among_fifty_and_all() -> None:
    ten, fifty, everything = (read(**DIGITS, limit_train=limit) for limit in ("10/class", "50/class", None))
    assert Counter(ten.tables.splits["train"]["label"][:]) == dict.fromkeys(range(10), 10)
    assert ten.facts["train_counts"] == [10] * 10
    assert origins(ten) < origins(fifty) < origins(everything)
    assert all(
        len(ten.tables.splits[split]) == len(everything.tables.splits[split]) for split in ("validation", "test")
    )


def test_rows_of_a_smaller_number_are_among_those_of_a_larger_one_and_of_as_many_a_class() -> None:
    hundred, two_hundred = (read(**DIGITS, limit_train=limit) for limit in (100, 200))
    assert origins(hundred) < origins(two_hundred)
    assert origins(hundred) == origins(read(**DIGITS, limit_train="10/class"))


def test_classes_that_have_fewer_rows_are_named_in_a_warning() -> None:
    data = read(**DIGITS, limit_train="98/class")
    (found,) = [finding for finding in data.findings if finding.code == "fewer-rows-than-limit"]
    assert (found.level, found.count, found.where) == ("warning", 1, ("8: 97",))


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("detection", {}),
        ("segmentation", {}),
        ("text-classification", {"labels": "multi"}),
        ("text-classification", {"labels": "number"}),
    ],
)
def test_rows_a_class_are_refused_before_data_is_read_where_a_row_has_not_one_class(
    task: str, options: dict[str, str]
) -> None:
    with pytest.raises(
        UsageError, match=f"limit_train 10/class .* in {task} a row has not one class.*--limit-train 100"
    ):
        read(task=task, data="nowhere", limit_train="10/class", task_options=options)
