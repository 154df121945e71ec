"""The tidy table of a result set: a row a cell, with what it scored, what it cost, and everything that repeats it."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graftwork.bench.analysis import Row
from graftwork.bench.folder import BENCH, CellRecord, ResultSet
from graftwork.errors import GraftworkError, UsageError
from graftwork.files.atomic import write_file
from graftwork.files.yaml import read_yaml
from graftwork.runs.directory import CONFIG, SUMMARY

PARQUET = "results.parquet"
CSV = "results.csv"

COLUMNS = {
    "suite": str, "task": str, "data": str, "backbone": str, "strategy": str, "labels": str, "point": str, "seed": int,
    "state": str, "error": str, "metric": str, "scored_on": str, "score": float, "val_score": float, "chance": float,
    "reference": float, "seconds": float, "fit_seconds": float, "cpu_seconds": float, "peak_memory_bytes": int,
    "parameters_total": int, "parameters_trained": int, "epochs": int, "best_epoch": int, "train_rows": int,
    "validation_rows": int, "test_rows": int, "attempts": int, "threads": int, "device": str, "precision": str,
    "weights": str, "fingerprint": str, "settings": str, "versions": str, "folder": str,
}  # fmt: skip
"""Every table has these, in this order; behind them stand `test.NAME` and `val.NAME`, a column a metric."""


def collect(out: Path) -> list[Row]:
    """Read a result set's cells, those without a result too, in the suite's order.

    `state` is `finished`, `failed`, `running` (begun, and either running or cut off) or `missing`. `score` is the primary
    metric on the test split, or on validation where the data has no test split; `scored_on` says which. `settings` is the
    cell's whole configuration as JSON.

    Raises:
        UsageError: `out` is no result set.
    """
    result = ResultSet(out)
    header = result.header()
    if header is None:
        raise UsageError(f"{out} has no {BENCH}", hint="Give the folder that graft bench wrote")
    try:
        rows = [_row(result, str(header["suite"]), cell) for cell in header["cells"]]
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{BENCH} does not say which cells there are ({error!r})", where=str(out)) from None
    metrics = sorted({name for row in rows for name in row if name not in COLUMNS})
    return [{name: row.get(name) for name in (*COLUMNS, *metrics)} for row in rows]


def _row(result: ResultSet, suite: str, cell: Mapping[str, Any]) -> dict[str, Any]:
    folder = result.folder(cell["folder"])
    row: dict[str, Any] = {"suite": suite, **cell["axes"], "folder": cell["folder"]}
    row |= {"seed": int(row["seed"]), "chance": cell["chance"], "reference": cell["reference"]}
    record = CellRecord.read(folder)
    if record is None:
        return row | {"state": "missing"}
    row |= {"state": record.state, "error": record.error, "attempts": record.attempts, "threads": record.threads}
    if record.state != "finished":
        return row
    row |= {"seconds": record.seconds, "cpu_seconds": record.cpu_seconds}
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        row |= {"settings": json.dumps(read_yaml(folder / CONFIG)[0], ensure_ascii=False), **_facts(summary)}
    except (OSError, ValueError, KeyError, TypeError, GraftworkError) as error:
        return row | {"state": "failed", "error": f"its result cannot be read: {error}"}
    if row["chance"] is None:
        row["chance"] = summary.get("chance")
    if row["score"] is None or row["val_score"] is None:
        return row | {"state": "failed", "error": f"it has no finite {row['metric']}"}
    return row


def _facts(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What summary.json says, by column."""
    metric = str(summary["primary_metric"])
    tested = summary.get("test") or {}
    names = [
        "fit_seconds", "epochs", "best_epoch", "train_rows", "validation_rows", "test_rows", "peak_memory_bytes",
        "device", "precision", "weights",
    ]  # fmt: skip
    return {
        "metric": metric,
        "scored_on": "test" if tested else "validation",
        "score": _finite((tested or summary["val"]).get(metric)),
        "val_score": _finite(summary["val"].get(metric)),
        **{name: summary.get(name) for name in names},
        "parameters_total": summary["parameters"]["total"],
        "parameters_trained": summary["parameters"]["trained"],
        "fingerprint": summary["data"]["fingerprint"],
        "versions": json.dumps(summary.get("versions", {}), sort_keys=True),
        **{
            f"{split}.{name}": float(value)
            for split in ("test", "val")
            for name, value in (summary.get(split) or {}).items()
            if isinstance(value, int | float)
        },
    }


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def write_results(rows: Sequence[Row], out: Path) -> None:
    """Write the table as results.parquet and results.csv."""
    import pyarrow as arrow
    from pyarrow import csv, parquet

    kinds = {str: arrow.string(), int: arrow.int64(), float: arrow.float64()}
    names = list(rows[0]) if rows else list(COLUMNS)
    fields = [(name, kinds[COLUMNS.get(name, float)]) for name in names]
    table = arrow.Table.from_pylist([dict(row) for row in rows], schema=arrow.schema(fields))
    packed, plain = io.BytesIO(), io.BytesIO()
    parquet.write_table(table, packed)
    csv.write_csv(table, plain)
    write_file(out / PARQUET, packed.getvalue())
    write_file(out / CSV, plain.getvalue())


def read_results(path: Path) -> list[Row]:
    """A result set's table: of its folder, as far as it has come, or of its results.parquet.

    Raises:
        UsageError: there is none.
    """
    if path.is_dir():
        return collect(path)
    if path.suffix != ".parquet" or not path.is_file():
        raise UsageError(
            f"{path} is no result set", hint="Give the folder that graft bench wrote, or its results.parquet"
        )
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(path.absolute())
    except (OSError, arrow.ArrowException) as error:
        raise UsageError(f"cannot be read ({error})", where=str(path)) from None
    lacking = [name for name in COLUMNS if name not in table.column_names]
    if lacking:
        raise UsageError(f"has no column {lacking[0]}", where=str(path), hint="Give the table that graft bench wrote")
    rows: list[Row] = table.to_pylist()
    return rows
