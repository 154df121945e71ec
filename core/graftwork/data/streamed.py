"""Tables that are too large to hold in memory: read block by block into an Arrow file, which is then mapped.

The file lies in the cache under a hash of the table's bytes and is written once. Memory holds a few blocks at a time.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.cache.room import cache_folder, touch, write_once
from graftwork.errors import DataError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

BLOCKS = (1 << 20, 1 << 24, 1 << 28)
"""Bytes read at a time; a row must fit into a block, so that the next size is tried where one does not."""

_VERSION = 1  # of what is written; another number makes cached files be written anew


@dataclass(frozen=True)
class Scan:
    """What one pass over a file's bytes tells.

    Args:
        sha256: hex digest of the whole file.
        quotes: whether there is a double quote.
        returns: whether there is a carriage return.
        nulls: whether there is a NUL.
    """

    sha256: str
    quotes: bool
    returns: bool
    nulls: bool


def scan(file: Path) -> Scan:
    """One pass over the bytes.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
    """
    digest = hashlib.sha256()
    decoder = codecs.getincrementaldecoder("utf-8")()
    quotes = returns = nulls = False
    with file.open("rb") as bytes_:
        while chunk := bytes_.read(1 << 20):
            digest.update(chunk)
            if not chunk.isascii() or decoder.getstate()[0]:
                decoder.decode(chunk)
            quotes = quotes or b'"' in chunk
            returns = returns or b"\r" in chunk
            nulls = nulls or b"\0" in chunk
    decoder.decode(b"", final=True)
    return Scan(digest.hexdigest(), quotes, returns, nulls)


def stream_csv(file: Path, found: Scan, names: list[str], parse: Any) -> Dataset:
    """A CSV file's rows, every column as text.

    Args:
        file: UTF-8.
        found: of this file.
        names: its columns.
        parse: pyarrow's ParseOptions.

    Raises:
        DataError: a row is larger than the largest block, as everything behind a quote that is never closed is.
    """
    import pyarrow as pa
    from pyarrow import csv

    schema = pa.schema([(name, pa.string()) for name in names])
    convert = csv.ConvertOptions(column_types=schema, strings_can_be_null=False)

    def batches(size: int) -> Iterator[pa.RecordBatch]:
        with file.open("rb") if not found.returns else _Newlines(file) as source:
            read = csv.ReadOptions(block_size=size, use_threads=False)
            yield from csv.open_csv(source, read_options=read, parse_options=parse, convert_options=convert)

    key = f"{found.sha256} csv {parse.delimiter!r} {parse.quote_char!r}"
    for size in BLOCKS:
        try:
            return _mapped(file, key, schema, lambda size=size: batches(size))  # type: ignore[misc]
        except pa.ArrowInvalid as error:
            if "straddling" not in str(error):
                raise
    reason = "a quote that is never closed, or " if parse.quote_char else ""
    raise DataError(f"cannot be read (it has {reason}a row of more than {BLOCKS[-1]:,} bytes)", where=str(file))


def stream_jsonl(file: Path) -> Dataset:
    """A JSON lines file's rows; a column's type is the one that fits all of its values, as for a small file."""
    import pyarrow as pa

    schema = pa.schema([])
    for first, table in _tables(file, None):
        try:
            schema = _merged(schema, table.schema)
        except pa.ArrowException as error:
            raise pa.ArrowInvalid(f"{error}, in rows {first + 1} to {first + table.num_rows}") from None

    def batches() -> Iterator[pa.RecordBatch]:
        for _, table in _tables(file, schema):
            yield from table.select(schema.names).cast(schema).to_batches()

    return _mapped(file, f"{scan(file).sha256} jsonl", schema, batches)


def read_json_lines(lines: bytes, first: int = 0, schema: pa.Schema | None = None) -> pa.Table:
    """A table from JSON lines; `first` rows came before, for the row (from 1) that an error names."""
    import pyarrow as pa
    from pyarrow import json

    try:
        return json.read_json(
            io.BytesIO(lines),
            read_options=json.ReadOptions(use_threads=False, block_size=max(len(lines) + 1, 1 << 20)),
            parse_options=json.ParseOptions(explicit_schema=schema),
        )
    except pa.ArrowInvalid as error:
        told = re.sub(r"in row (\d+)", lambda match: f"in row {int(match[1]) + first + 1}", str(error))
        raise pa.ArrowInvalid(told) from None


def _tables(file: Path, schema: pa.Schema | None) -> Iterator[tuple[int, pa.Table]]:
    first = 0
    with file.open("rb") as source:
        while lines := source.readlines(BLOCKS[0]):
            block = b"".join(lines)
            if block.strip():
                table = read_json_lines(block, first, schema)
                yield first, table
                first += table.num_rows


def _merged(first: pa.Schema, second: pa.Schema) -> pa.Schema:
    """Both schemas' columns; a text that looks like a time in one block is text where it does not in another."""
    import pyarrow as pa

    def as_text(schema: pa.Schema, other: pa.Schema) -> pa.Schema:
        for position, field in enumerate(schema):
            beside = other.field(field.name).type if field.name in other.names else None
            if pa.types.is_timestamp(field.type) and beside == pa.string():
                schema = schema.set(position, field.with_type(pa.string()))
        return schema

    return pa.unify_schemas([as_text(first, second), as_text(second, first)], promote_options="permissive")


def _mapped(file: Path, key: str, schema: pa.Schema, batches: Callable[[], Iterable[pa.RecordBatch]]) -> Dataset:
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


class _Newlines(io.RawIOBase):
    """A UTF-8 file's bytes with every line end as one newline, as text mode reads it."""

    def __init__(self, file: Path) -> None:
        self._text = file.open(encoding="utf-8-sig")
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while (size < 0 or len(self._rest) < size) and (more := self._text.read(1 << 20)):
            self._rest += more.encode()
        size = len(self._rest) if size < 0 else size
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def close(self) -> None:
        self._text.close()
        super().close()
