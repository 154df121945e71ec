"""Headers among rows: tables that were written one behind another (`cat a.csv b.csv`), each with its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyarrow import compute

from graftwork.data.arrow import column_of
from graftwork.data.splits import row_keys
from graftwork.interfaces.data import Finding

if TYPE_CHECKING:
    from datasets import Dataset

_SHOWN = 5


def without_headers(rows: Dataset, chosen: Mapping[str, str]) -> tuple[Dataset, list[Finding]]:
    """Without rows whose cells are the names of their columns.

    Args:
        rows: with the source's columns.
        chosen: canonical column to the source's; where it has no `label`, a row may be called like its column by chance.
    """
    if "label" not in chosen or len(chosen) < 2:
        return rows, []
    same = None
    for name in chosen.values():
        column = column_of(rows, name)
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            return rows, []
        equal = compute.fill_null(compute.equal(column, pa.scalar(name, column.type)), False)
        same = equal if same is None else compute.and_(same, equal)
        if not compute.any(same).as_py():
            return rows, []
    assert same is not None
    found = np.asarray(same.to_numpy(), dtype=bool)
    keys = row_keys(rows)
    told = tuple(keys[row] for row in np.flatnonzero(found)[:_SHOWN].tolist())
    count = int(found.sum())
    message = f"rows that repeat the header, as of tables written one behind another, left out: {count:,}"
    return rows.select(np.flatnonzero(~found)), [Finding("repeated-header", "warning", message, told, count)]
