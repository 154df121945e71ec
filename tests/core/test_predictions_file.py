"""What is kept of predictions: one file of all rows, however they come."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyarrow import parquet

from graftwork.runs import predict as inference
from graftwork.runs.directory import PREDICTIONS


def test_predictions_of_many_rows_become_one_table_in_the_order_of_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "_LINES", 2)
    lines = inference._Lines()
    for row in (4, 2, 0, 3, 1):  # a table of every two: columns without a value, and of whole numbers, among them
        lines.add({"row": row, "score": 1 if row > 3 else row / 3, "note": None if row % 4 == 0 else {"of": [row]}})
    inference._write_tables(tmp_path / "predictions" / "test", lines.tables(), {})
    found = parquet.read_table(tmp_path / PREDICTIONS / "test.parquet").to_pylist()
    assert [line["row"] for line in found] == [0, 1, 2, 3, 4]
    assert [line["score"] for line in found] == [0, 1 / 3, 2 / 3, 1, 1]
    assert [line["note"] for line in found] == [None, '{"of": [1]}', '{"of": [2]}', '{"of": [3]}', None]
