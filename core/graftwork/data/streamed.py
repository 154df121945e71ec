"""Tables that are too large to hold in memory: read block by block into an Arrow file, which is then mapped.

The file lies in the cache under a hash of the table's bytes and is written once. Memory holds a few blocks at a time.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.cache.room import cache_folder, touch, write_once
from graftwork.data.arrow import native
from graftwork.data.kinds import Shape, fitted_lines, shape_of
from graftwork.errors import DataError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

BLOCK = 1 << 20
"""Bytes of whole lines read at a time."""

_VERSION = 2  # of what is written; another number makes cached files be written anew


@dataclass(frozen=True)
class Scan:
    """What one pass over a file's bytes tells.

    Args:
        sha256: hex digest of the whole file.
        quotes: whether there is a double quote.
        escapes: whether there is a backslash before one.
        nulls: whether there is a NUL.
        bad: where it ceases to be UTF-8, about; None where it does not.
    """

    sha256: str
    quotes: bool
    escapes: bool
    nulls: bool
    bad: int | None


def scan(file: Path) -> Scan:
    """One pass over the bytes."""
    digest = hashlib.sha256()
    decoder = codecs.getincrementaldecoder("utf-8")()
    quotes = escapes = nulls = False
    bad: int | None = None
    place, last = 0, b""
    with file.open("rb") as bytes_:
        while chunk := bytes_.read(1 << 20):
            digest.update(chunk)
            if bad is None and (not chunk.isascii() or decoder.getstate()[0]):
                bad = None if _decodes(decoder, chunk) else place
            quotes = quotes or b'"' in chunk
            escapes = escapes or b'\\"' in last + chunk
            nulls = nulls or b"\0" in chunk
            place, last = place + len(chunk), chunk[-1:]
    if bad is None and not _decodes(decoder, b"", final=True):
        bad = place
    return Scan(digest.hexdigest(), quotes, escapes, nulls, bad)


def _decodes(decoder: codecs.IncrementalDecoder, chunk: bytes, final: bool = False) -> bool:
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError:
        return False
    return True


def stream_jsonl(file: Path) -> tuple[Dataset, list[str]]:
    """A JSON lines file's rows, and the places where kinds of values are mixed.

    A column's type is the one that fits all of its values, as for a small file.
    """
    import pyarrow as pa

    shape = None
    try:
        schema = _schema(file, None)
    except pa.ArrowInvalid as error:
        with file.open("rb") as lines:
            shape = shape_of(lines)
        if shape is None:
            raise
        try:
            schema = _schema(file, shape)
        except pa.ArrowInvalid:
            raise error from None

    def batches() -> Iterator[pa.RecordBatch]:
        for _, table in _tables(file, schema, shape):
            yield from table.select(schema.names).cast(schema).to_batches()

    return mapped(file, f"{scan(file).sha256} jsonl", schema, batches), list(shape.mixed()) if shape else []


def _schema(file: Path, shape: Shape | None) -> pa.Schema:
    import pyarrow as pa

    schema = pa.schema([])
    for first, table in _tables(file, None, shape):
        try:
            schema = pa.unify_schemas([schema, table.schema], promote_options="permissive")
        except pa.ArrowException as error:
            raise pa.ArrowInvalid(f"{error}, in rows {first + 1} to {first + table.num_rows}") from None
    return schema


def read_mixed_lines(lines: bytes) -> tuple[pa.Table, list[str]]:
    """A table from JSON lines, and the places where kinds of values are mixed, which are text then."""
    import pyarrow as pa

    try:
        return read_json_lines(lines), []
    except pa.ArrowInvalid as error:
        rows = lines.split(b"\n")
        shape = shape_of(rows)
        if shape is None:
            raise
        try:
            return read_json_lines(fitted_lines(rows, shape)), list(shape.mixed())
        except pa.ArrowInvalid:
            raise error from None


def read_json_lines(lines: bytes, first: int = 0, schema: pa.Schema | None = None) -> pa.Table:
    """A table from JSON lines; `first` rows came before, for the row (from 1) that an error names."""
    import pyarrow as pa
    from pyarrow import json

    def read(schema: pa.Schema | None) -> pa.Table:
        return json.read_json(
            native(lines),
            read_options=json.ReadOptions(use_threads=False, block_size=max(len(lines) + 1, 1 << 20)),
            parse_options=json.ParseOptions(explicit_schema=schema),
        )

    try:
        table = read(schema)
        # JSON knows no times: what pyarrow takes for one is text.
        texts = pa.schema([field.with_type(_without_times(field.type)) for field in table.schema])
        return table if texts == table.schema else read(texts)
    except pa.ArrowInvalid as error:
        told = re.sub(r"in row (\d+)", lambda match: f"in row {int(match[1]) + first + 1}", str(error))
        raise pa.ArrowInvalid(told) from None


def _tables(file: Path, schema: pa.Schema | None, shape: Shape | None) -> Iterator[tuple[int, pa.Table]]:
    first = 0
    with file.open("rb") as source:
        while lines := source.readlines(BLOCK):
            block = b"".join(lines) if shape is None else fitted_lines(lines, shape)
            if block.strip():
                table = read_json_lines(block, first, schema)
                yield first, table
                first += table.num_rows


def _without_times(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_without_times(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_without_times(field.type)) for field in kind])
    return kind


def mapped(file: Path, key: str, schema: pa.Schema, batches: Callable[[], Iterable[pa.RecordBatch]]) -> Dataset:
    """The Arrow file of a key, written if it is not there, mapped into memory."""
    import pyarrow as pa
    from datasets import Dataset

    name = hashlib.sha256(f"{_VERSION} {key}".encode()).hexdigest()

    def write(path: Path) -> None:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            for batch in batches():
                writer.write_batch(batch)

    try:
        target = cache_folder("tables") / f"{name}.arrow"
        if target.is_file():
            touch(target)
        else:
            write_once(target, write)
    except UsageError as error:
        what = f"cannot be unpacked into the cache: {error.where} {error.what}"
        raise DataError(what, where=str(file), hint=error.hint) from None
    except OSError as error:
        hint = "Free space there, or set GRAFTWORK_CACHE to another folder"
        raise DataError(f"cannot be unpacked into the cache ({error})", where=str(file), hint=hint) from None
    return Dataset.from_file(str(target))
