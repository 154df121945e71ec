"""graftwork's checks of a new domain, and what tables have that others have not: words, empty cells, other columns."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from graftwork import DataError
from graftwork.interfaces import Backbone, DataRequest, Spec, Tables
from graftwork.testing import (
    BackboneConformance,
    DatasetConformance,
    HeadConformance,
    PluginConformance,
    TaskConformance,
)
from graftwork_tables.backbone import build
from graftwork_tables.task import TableClassification


class TestBackbone(BackboneConformance):
    def build(self) -> Backbone:
        return build(Spec("hashed-mlp", {"buckets": 64, "width": 8, "depth": 2}))

    def inputs(self) -> dict[str, Tensor]:
        drawn = torch.Generator().manual_seed(0)
        columns = torch.randint(0, 64, (3, 5), generator=drawn)
        return {"columns": columns, "values": torch.randn(3, 5, generator=drawn)}


class TestHead(HeadConformance):
    head = "table-linear"


class TestTask(TaskConformance):
    task = "table-classification"


class TestWine(DatasetConformance):
    dataset = "wine"


class TestBreastCancer(DatasetConformance):
    dataset = "breast-cancer"


class TestPackage(PluginConformance):
    plugin = "graftwork-tables"


ROWS = [
    {"size": "1.5", "colour": "red", "kind": "apple"},
    {"size": " 2 ", "colour": "", "kind": "apple"},
    {"size": "", "colour": "yellow", "kind": "banana"},
    {"size": "7", "colour": "green", "kind": "banana"},
]


def written(path: Path, rows: list[dict[str, str]]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def read(path: str, **columns: str) -> Tables:
    return TableClassification().read(DataRequest(path, columns))


def test_numbers_words_and_empty_cells_are_read_as_what_they_are(tmp_path: Path) -> None:
    tables = read(written(tmp_path / "fruit.csv", ROWS), label="kind")
    rows = tables.splits["train"]
    assert rows["row"][:] == [
        {"size": 1.5, "colour": "red"},
        {"size": 2.0, "colour": None},
        {"size": None, "colour": "yellow"},
        {"size": 7.0, "colour": "green"},
    ]
    assert tables.names == ("apple", "banana") and rows["label"][:] == [0, 0, 1, 1]
    _, findings = TableClassification().audit(tables)
    assert ("empty-cells", 2) in [(finding.code, finding.count) for finding in findings]


def examples_of(tables: Tables) -> tuple[Any, Any]:
    task = TableClassification()
    facts = task.facts(tables)
    return task.examples(tables.splits["train"], build(SMALL).input, facts, True), facts


SMALL = Spec("hashed-mlp", {"buckets": 4096, "width": 8, "depth": 1})


def test_a_number_is_scaled_by_its_column_and_a_word_is_a_column_of_its_own(tmp_path: Path) -> None:
    examples, facts = examples_of(read(written(tmp_path / "fruit.csv", ROWS), label="kind"))
    batch = examples.collate([0, 1, 2, 3], [0, 1, 2, 3])
    sizes = batch.inputs["values"][:, 0]
    assert facts["columns"]["colour"] is None
    assert sizes[2] == 0 and sizes.sum().abs() < 1e-6  # the empty cell is the average
    assert batch.inputs["values"][:, 1].tolist() == [1, 0, 1, 1]
    colours = batch.inputs["columns"][:, 1].tolist()
    assert len(set(colours)) == 4
    assert len(set(batch.inputs["columns"][:, 0].tolist())) == 1


def test_the_order_of_columns_makes_no_difference(tmp_path: Path) -> None:
    turned = [dict(reversed(row.items())) for row in ROWS]
    net = build(SMALL).eval()
    found = []
    for name, rows in (("a.csv", ROWS), ("b.csv", turned)):
        examples, _ = examples_of(read(written(tmp_path / name, rows), label="kind"))
        found.append(net(examples.collate([0, 1], [0, 1]).inputs)["pooled"])
    assert torch.allclose(found[0], found[1], atol=1e-6)


def test_rows_to_predict_need_the_columns_that_the_model_read(tmp_path: Path) -> None:
    _, facts = examples_of(read(written(tmp_path / "fruit.csv", ROWS), label="kind"))
    task = TableClassification()
    more = written(tmp_path / "more.csv", [{"colour": "blue", "shop": "3", "size": "4"}])
    assert task.read_inputs([more], facts)["row"][:] == [{"size": 4.0, "colour": "blue"}]
    with pytest.raises(DataError, match="no column 'size' of numbers"):
        task.read_inputs([written(tmp_path / "less.csv", [{"colour": "blue"}])], facts)
    with pytest.raises(DataError, match="no column 'size' of numbers"):
        task.read_inputs([written(tmp_path / "words.csv", [{"colour": "blue", "size": "large"}])], facts)


def test_labelled_rows_for_a_trained_model_are_numbered_as_it_numbers_them(tmp_path: Path) -> None:
    task = TableClassification()
    _, facts = examples_of(read(written(tmp_path / "fruit.csv", ROWS), label="kind"))
    bananas = read(written(tmp_path / "bananas.csv", ROWS[2:]), label="kind")
    assert task.align(bananas, facts).splits["train"]["label"][:] == [1, 1]
    other = [{**row, "kind": "cherry"} for row in ROWS]
    with pytest.raises(DataError, match="does not know: cherry"):
        task.align(read(written(tmp_path / "other.csv", other), label="kind"), facts)
    odd = [{"size": "large", "colour": row["colour"], "kind": row["kind"]} for row in ROWS]
    with pytest.raises(DataError, match="words for numbers: size"):
        task.align(read(written(tmp_path / "odd.csv", odd), label="kind"), facts)


def test_no_label_column_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column for 'label'"):
        read(written(tmp_path / "fruit.csv", ROWS))
