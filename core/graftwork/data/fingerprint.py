"""A fingerprint of data: equal for equal data, wherever it lies and in whatever order its rows stand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftwork.interfaces.data import Tables

if TYPE_CHECKING:
    from datasets import Dataset

_CHUNK = 10_000  # rows

CONTENT = "content"
"""A column that a plugin's audit may add: the hex digest of each row's input, where that lies in a file."""


def fingerprint(tables: Tables) -> str:
    """SHA-256 (64 hex digits) over class names and, by split, every row's content; `origin` plays no part."""
    return combine({split: row_digests(rows) for split, rows in tables.splits.items()}, tables.names)


def combine(digests: Mapping[str, Sequence[str] | NDArray[np.bytes_]], names: Sequence[str] = ()) -> str:
    """SHA-256 over class names and the row digests of each split, in any order within the split."""
    total = hashlib.sha256(json.dumps(list(names)).encode())
    for split in sorted(digests):
        rows = np.asarray(digests[split], dtype=np.bytes_)
        order = np.argsort(rows)
        total.update(f"\n{split} {len(rows)}\n".encode())
        for start in range(0, len(rows), _CHUNK):
            total.update((b"\n" if start else b"") + b"\n".join(rows[order[start : start + _CHUNK]].tolist()))
    return total.hexdigest()


def row_digests(rows: Dataset) -> NDArray[np.bytes_]:
    """A digest of every row, `origin` left out; where `content` stands for its files, pictures are not read again.

    Returns:
        [rows], 64 hex digits each, as bytes: a million rows take 64 MB.
    """
    from datasets import Image

    columns = sorted(name for name in rows.column_names if name != "origin")
    if CONTENT in columns:
        usual = (CONTENT, "label", "group")  # this order is that of fingerprints made before there were others
        others = [name for name in columns if name not in usual and not isinstance(rows.features[name], Image)]
        columns = [*(name for name in usual if name in columns), *others]
    digests = np.empty(len(rows), dtype="S64")
    row = 0
    for batch in rows.select_columns(columns).iter(batch_size=_rows_at_a_time(rows)):
        for values in zip(*(batch[name] for name in columns), strict=True):
            digests[row] = hashlib.sha256(json.dumps(values, default=_plain, sort_keys=True).encode()).hexdigest()
            row += 1
    return digests


def _rows_at_a_time(rows: Dataset) -> int:
    """About 16 MB of rows, at most a thousand."""
    each = rows.data.nbytes / max(1, len(rows.data))
    return int(min(1000, max(1, (1 << 24) // max(1, each))))


def _plain(value: Any) -> str:
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else str(value)
