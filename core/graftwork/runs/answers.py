"""Predictions as a table for a spreadsheet: what stood in the input's rows, and beside it what was predicted."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from graftwork.errors import RunFailed, UsageError
from graftwork.interfaces.inputs import BESIDE

TABLES = {".csv": ",", ".tsv": "\t"}
"""Suffixes of files that predictions are written to as a table, with what parts their cells."""

_NO_TABLES = (".json", ".jsonl", ".ndjson", ".parquet", ".xlsx", ".xls", ".ods", ".txt", ".gz", ".zip", ".html", ".md")


def place_of(target: Path | None) -> tuple[Path | None, Path]:
    """The table that predictions are written to, None where none is wanted, and the folder for their files.

    Raises:
        UsageError: a table of another kind is wanted.
    """
    if target is None:
        return None, Path("predictions")
    suffix = target.suffix.lower()
    if suffix in TABLES:
        return target, target.with_suffix("")
    if suffix in _NO_TABLES and not target.is_dir():
        hint = "--out FILE.csv writes a table; --json > FILE.json, JSON"
        raise UsageError(f"--out writes tables as {' or '.join(TABLES)}, not as {suffix}", where=str(target), hint=hint)
    return None, target


def write_table(predictions: Iterable[Mapping[str, Any]], path: Path) -> Iterator[Mapping[str, Any]]:
    """Write predictions as a table once all are there; hands each on as it comes, without its row's own cells.

    A row of a table keeps its columns, in their order; other inputs have the one column `input`. A predicted column whose name
    is taken is called `predicted_NAME`. Lists and mappings become JSON text.

    Args:
        path: `.csv` or `.tsv`, UTF-8; written over.

    Raises:
        RunFailed: it cannot be written.
    """
    cells: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    for prediction in predictions:
        own = prediction.get(BESIDE)
        told = {name: value for name, value in prediction.items() if name != BESIDE}
        cells.append({"input": told["input"]} if own is None else json.loads(own))
        said.append({name: value for name, value in told.items() if name != "input"})
        yield told
    own_names = list(dict.fromkeys(name for row in cells for name in row))
    new_names = {
        name: f"predicted_{name}" if name in own_names else name
        for name in dict.fromkeys(n for row in said for n in row)
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=TABLES[path.suffix.lower()], lineterminator="\n")
            writer.writerow([*own_names, *new_names.values()])
            for own_cells, new_cells in zip(cells, said, strict=True):
                row = [own_cells.get(name) for name in own_names] + [new_cells.get(name) for name in new_names]
                writer.writerow([_cell(value) for value in row])
    except OSError as error:
        raise RunFailed(f"cannot be written ({error.strerror or error})", where=str(path)) from None


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else value
