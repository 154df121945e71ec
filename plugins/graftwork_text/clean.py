"""Text columns as valid text: bytes are decoded, what cannot be decoded is replaced and named. Nothing else is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from graftwork.data.columns import add_column
from graftwork.data.tables import without_progress_bars
from graftwork.errors import DataError
from graftwork.files.text import HEAD, UTF8, encoding_of_mark, wide_encoding

if TYPE_CHECKING:
    from datasets import Dataset

_BATCH = 1000


def decoded(data: bytes, encoding: str | None = None) -> tuple[str, bool]:
    """Bytes as text, and whether some could not be decoded.

    Args:
        encoding: of the bytes; None for UTF-8, or what their byte order mark says.
    """
    encoding = encoding or encoding_of_mark(data[:4]) or UTF8
    try:
        return data.decode(encoding), False
    except UnicodeDecodeError:
        return data.decode(UTF8, "replace"), True


def decoded_file(data: bytes) -> tuple[str, bool]:
    """The bytes of a file as text, and whether some could not be decoded: UTF-8, or what the mark or NUL bytes say."""
    return decoded(data, wide_encoding(data[:HEAD]))


def text_columns(rows: Dataset, where: str) -> tuple[Dataset, list[str]]:
    """The rows with `text` (and `text_pair`) as text without nulls, and the origins of rows with damaged bytes.

    A column that is so already is left where it lies, on disk or in memory.

    Raises:
        DataError: a column holds something else than text.
    """
    from datasets import Value

    damaged: list[str] = []
    for name in ("text", "text_pair"):
        if name not in rows.column_names:
            continue
        feature = rows.features[name]
        kind = feature.dtype if isinstance(feature, Value) else str(feature)
        if kind == "null":
            rows = add_column(rows, name, pa.nulls(len(rows), pa.string()))
        elif kind not in ("string", "large_string", "binary", "large_binary"):
            raise DataError(
                f"its column for {name!r} holds {kind}, not text",
                where=where,
                hint=f"Say which with --column {name}=NAME",
            )
        column = rows.data.column(name)
        if kind in ("binary", "large_binary") or not _is_valid(column):
            damaged += _damaged(rows, name)
        elif kind == "string" and not column.null_count:
            continue
        rows = _rewritten(rows, name)
    return rows, damaged


def _is_valid(column: pa.ChunkedArray) -> bool:
    """Whether the bytes of a text column are UTF-8, which Parquet files of other writers need not be."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _repaired(column: pa.ChunkedArray | pa.Array) -> list[tuple[str, bool]]:
    kind = pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary()
    raw = column if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type) else column.cast(kind)
    return [decoded(value or b"") for value in raw.to_pylist()]


def _damaged(rows: Dataset, name: str) -> list[str]:
    found: list[str] = []
    for batch in rows.select_columns([name, "origin"]).with_format("arrow").iter(batch_size=_BATCH):
        for (_, broken), origin in zip(_repaired(batch[name]), batch["origin"].to_pylist(), strict=True):
            found += [str(origin)] if broken else []
    return found


def _rewritten(rows: Dataset, name: str) -> Dataset:
    """The column as text without nulls; on disk where the rows are on disk."""
    from datasets import Features, Value

    features = Features({**rows.features, name: Value("string")})

    def rewrite(batch: Any) -> Any:
        texts = pa.array([text for text, _ in _repaired(batch[name])], pa.string())
        return batch.set_column(batch.column_names.index(name), name, texts)

    with without_progress_bars():
        done = rows.with_format("arrow").map(
            rewrite, batched=True, batch_size=_BATCH, features=features, keep_in_memory=not rows.cache_files
        )
    return done.with_format(None)
