"""Columns of a data set as Arrow holds them, read without a Python object for every row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, Features
    from datasets.table import Table

_ROWS = 10_000


class Texts(Sequence[str]):
    """A column as text, made row by row as it is asked for."""

    def __init__(self, column: pa.ChunkedArray | pa.Array) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return list(map(str, self._column.take(np.arange(len(self))[row]).to_pylist()))
        return str(self._column[row].as_py())

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _ROWS):
            yield from map(str, self._column.slice(start, _ROWS).to_pylist())


class Numbers(Sequence[str]):
    """The text of 0, 1, 2, ..."""

    def __init__(self, count: int) -> None:
        self._numbers = range(count)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        return list(map(str, self._numbers[row])) if isinstance(row, slice) else str(self._numbers[row])


def release_unused() -> None:
    """Give back what Arrow keeps of memory that it has freed: nothing else can use it."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def native(data: bytes) -> pa.BufferReader:
    """Bytes to read from in memory that is Arrow's own.

    Never give pyarrow a Python object to read from: after an error its reader threads may hold the last reference to it, and
    one that lets go of it while the interpreter ends aborts the process, so that the exit code is lost.
    """
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    sink.write(data)
    return pa.BufferReader(sink.getvalue())


def dataset_of(table: pa.Table | Table, features: Features | None = None, like: Dataset | None = None) -> Dataset:
    """A table in memory as rows.

    Args:
        features: of its columns; those that its types mean when None.
        like: rows whose description and split it takes over.
    """
    from datasets import Dataset, DatasetInfo, Features
    from datasets.fingerprint import generate_random_fingerprint

    info = DatasetInfo() if like is None else like.info.copy()
    info.features = Features.from_arrow_schema(table.schema) if features is None else features
    # Named at random: left to itself the library hashes a copy of all values, and nothing of ours goes by that name.
    name = generate_random_fingerprint()
    split = None if like is None else like.split
    return Dataset(table.cast(info.features.arrow_schema), info=info, split=split, fingerprint=name)


def column_of(rows: Dataset, name: str) -> pa.ChunkedArray:
    """A column of the chosen rows; only what was chosen is copied, so this is for short values."""
    column = rows.data.column(name)
    return column if rows._indices is None else column.take(rows._indices.column(0))


def distinct_values(column: pa.ChunkedArray) -> tuple[list[Any], NDArray[np.int64]]:
    """Distinct values in order of appearance (None among them), and which of them every row has."""
    import pyarrow as pa
    from pyarrow import compute

    if pa.types.is_nested(column.type):  # lists are no labels, but their text may be
        values = column.to_pylist()
        first: dict[str, int] = {}
        places = np.array([first.setdefault(str(value), len(first)) for value in values], dtype=np.int64)
        kept = dict(zip(places.tolist(), values, strict=True))
        return [kept[place] for place in range(len(first))], places
    distinct = column.unique()
    indices = compute.index_in(column, value_set=distinct)
    return distinct.to_pylist(), np.asarray(indices.to_numpy(), dtype=np.int64)
