"""A fingerprint of data: equal for equal data, wherever it lies and in whatever order its rows stand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graftwork.interfaces.data import Tables

if TYPE_CHECKING:
    from datasets import Dataset

CONTENT = "content"
"""A column that a plugin's audit may add: the hex digest of each row's input, where that lies in a file."""


def fingerprint(tables: Tables) -> str:
    """SHA-256 (64 hex digits) over class names and, by split, every row's content; `origin` plays no part."""
    return combine({split: row_digests(rows) for split, rows in tables.splits.items()}, tables.names)


def combine(digests: Mapping[str, Sequence[str]], names: Sequence[str] = ()) -> str:
    """SHA-256 over class names and the row digests of each split, in any order within the split."""
    total = hashlib.sha256(json.dumps(list(names)).encode())
    for split in sorted(digests):
        total.update(f"\n{split} {len(digests[split])}\n".encode())
        total.update("\n".join(sorted(digests[split])).encode())
    return total.hexdigest()


def row_digests(rows: Dataset) -> list[str]:
    """A digest of every row: of its `content` column and label where there is one, else of all columns but `origin`."""
    if CONTENT in rows.column_names:
        columns = [name for name in (CONTENT, "label", "group") if name in rows.column_names]
    else:
        columns = sorted(name for name in rows.column_names if name != "origin")
    digests: list[str] = []
    for batch in rows.select_columns(columns).iter(batch_size=1000):
        for values in zip(*(batch[name] for name in columns), strict=True):
            digests.append(hashlib.sha256(json.dumps(values, default=_plain, sort_keys=True).encode()).hexdigest())
    return digests


def _plain(value: Any) -> str:
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else str(value)
