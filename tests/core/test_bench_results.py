"""The tidy table: a row a cell, failed ones too, and the same from a folder and from Parquet."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
from bench_toys import Toy, write_result_set

from graftwork.bench.results import COLUMNS, collect, read_results, write_results
from graftwork.errors import UsageError


def test_every_cell_is_a_row_in_the_suites_order(tmp_path: Path) -> None:
    cells = [
        Toy(0.7, strategy="full", seed=1),
        Toy(strategy="probe", state="failed", error="one class"),
        Toy(strategy="lp", state="running"),
        Toy(strategy="scratch", state="missing"),
    ]
    rows = collect(write_result_set(tmp_path, cells))
    assert [row["folder"] for row in rows] == [cell.folder for cell in cells]
    assert [row["state"] for row in rows] == ["finished", "failed", "running", "missing"]
    assert [row["error"] for row in rows] == [None, "one class", None, None]
    assert [row["score"] for row in rows] == [0.7, None, None, None]
    first = rows[0]
    assert list(first)[: len(COLUMNS)] == list(COLUMNS)
    assert list(first)[len(COLUMNS) :] == ["test.accuracy", "test.macro_f1", "val.accuracy"]
    assert all(list(row) == list(first) for row in rows)
    assert (first["seed"], first["metric"], first["scored_on"], first["val_score"]) == (1, "accuracy", "test", 0.5)
    assert (first["seconds"], first["cpu_seconds"], first["fit_seconds"]) == (10.0, 9.0, 8.0)
    assert (first["parameters_trained"], first["parameters_total"], first["attempts"]) == (1000, 1000, 1)
    assert json.loads(first["settings"])["strategy"] == "full" and json.loads(first["versions"]) == {"torch": "2.9"}


def test_the_suites_chance_counts_before_the_tasks(tmp_path: Path) -> None:
    rows = collect(write_result_set(tmp_path, [Toy(), Toy(seed=1, chance=0.1, reference=0.9)]))
    assert [row["chance"] for row in rows] == [0.25, 0.1]
    assert [row["reference"] for row in rows] == [None, 0.9]


def test_without_a_test_split_validation_counts_and_the_row_says_so(tmp_path: Path) -> None:
    (row,) = collect(write_result_set(tmp_path, [Toy(0.9, val=0.6, tested=False)]))
    assert (row["score"], row["scored_on"]) == (0.6, "validation")


@pytest.mark.parametrize("score", [None, math.nan, math.inf])
def test_a_cell_without_a_finite_score_counts_as_failed(tmp_path: Path, score: float | None) -> None:
    (row,) = collect(write_result_set(tmp_path, [Toy(score)]))
    assert row["state"] == "failed" and row["error"] == "it has no finite accuracy"


@pytest.mark.parametrize("name", ["summary.json", "config.yaml"])
def test_a_result_that_cannot_be_read_is_a_failure_with_its_cause(tmp_path: Path, name: str) -> None:
    cells = [Toy(), Toy(seed=1)]
    write_result_set(tmp_path, cells)
    (tmp_path / "cells" / cells[0].folder / name).write_text("{")
    rows = collect(tmp_path)
    assert rows[0]["state"] == "failed" and "cannot be read" in rows[0]["error"]
    assert rows[1]["state"] == "finished"


@pytest.mark.parametrize("text", ['{"version": 1}', '{"version": 1, "suite": "x", "cells": [{"folder": "f"}]}'])
def test_a_header_without_its_cells_is_one_clear_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "bench.json").write_text(text)
    with pytest.raises(UsageError, match=r"bench\.json does not say which cells there are"):
        collect(tmp_path)


def test_csv_and_parquet_hold_the_same_table(tmp_path: Path) -> None:
    rows = collect(
        write_result_set(tmp_path, [Toy(0.1 + 0.2, data='a,"b"\nc'), Toy(seed=1, state="failed", error="x")])
    )
    write_results(rows, tmp_path)
    assert read_results(tmp_path / "results.parquet") == rows == read_results(tmp_path)
    with (tmp_path / "results.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [line["data"] for line in table] == ['a,"b"\nc', "shoes"]
    assert float(table[0]["score"]) == 0.1 + 0.2 and table[1]["score"] == ""


def test_no_cell_at_all_is_an_empty_table(tmp_path: Path) -> None:
    write_results(collect(write_result_set(tmp_path, [])), tmp_path)
    assert read_results(tmp_path / "results.parquet") == []


@pytest.mark.parametrize("name", ["nowhere", "folder", "file.csv", "file.parquet", "other.parquet"])
def test_what_is_no_result_set_is_one_clear_line(tmp_path: Path, name: str) -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    (tmp_path / "folder").mkdir()
    (tmp_path / "file.csv").write_text("a,b\n")
    (tmp_path / "file.parquet").write_text("no parquet")
    parquet.write_table(arrow.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(UsageError, match=name):
        read_results(tmp_path / name)
