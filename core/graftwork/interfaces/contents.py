"""What a row holds, as a digest: the same for the same content, wherever it lies and whatever it is called."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

BESIDE = frozenset({"origin", "group", "label"})
"""Columns that are usually no part of what a model is given."""

_ROWS = 100


def digests_of(rows: Dataset, columns: Sequence[str]) -> list[str]:
    """A hex digest of these columns for every row, 32 digits; of a picture's cell, of what its file holds.

    A row whose file cannot be read gives an empty text.
    """
    from datasets import Image

    chosen = sorted(columns)
    for name in chosen:
        if isinstance(rows.features[name], Image):
            rows = rows.cast_column(name, Image(decode=False))
    found: list[str] = []
    for batch in rows.select_columns(chosen).iter(batch_size=_ROWS) if chosen else ():
        for values in zip(*(batch[name] for name in chosen), strict=True):
            try:
                plain = json.dumps([_plain(value) for value in values], default=_other, sort_keys=True)
            except OSError:
                found.append("")
            else:
                found.append(hashlib.sha256(plain.encode()).hexdigest()[:32])
    return found or [""] * len(rows)


def _plain(value: Any) -> Any:
    """A picture's cell by its content: a path says where it lies, and not what it shows."""
    if isinstance(value, Mapping) and set(value) == {"bytes", "path"}:
        return Path(value["path"] or "").read_bytes() if value["bytes"] is None else value["bytes"]
    return value


def _other(value: Any) -> str:
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else str(value)
