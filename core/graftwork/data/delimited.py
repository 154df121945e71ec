"""CSV and TSV files as rows of text cells: read by pyarrow where it can, by us where a file is written otherwise.

A file is read in blocks of whole records, each of which pyarrow is given as memory of its own (see `arrow.native`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.config.forms import TableForm
from graftwork.data.arrow import dataset_of, native
from graftwork.data.choosing import unique_names
from graftwork.data.orderly import texts_between
from graftwork.data.records import Record, Structure, examine, fitted
from graftwork.data.sniff import Written, understand
from graftwork.data.streamed import Scan, mapped, scan
from graftwork.errors import DataError
from graftwork.files.text import UTF8
from graftwork.interfaces.data import Finding

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

BLOCK = 1 << 20
"""Characters of a block; records stay whole."""

_ROWS = 10_000


def read_delimited(file: Path, form: TableForm, large: bool) -> tuple[Dataset, list[Finding]]:
    """A file's rows, every column as text, and what is odd about it.

    Args:
        form: what the user says of it.
        large: whether it is unpacked into the cache and mapped from there, in place of being held in memory.

    Raises:
        DataError: rows are of several widths, a quote is never closed, or the encoding cannot be told; names the line.
    """
    import pyarrow as pa

    found = scan(file)
    written, findings = understand(file, found, form)
    if written.cuts:
        try:
            return _read(file, form, large, found, written, findings)
        except pa.ArrowInvalid:  # its quotes only look as if they were in order
            written, findings = understand(file, found, form, quick=False)
    return _read(file, form, large, found, written, findings)


def _read(
    file: Path, form: TableForm, large: bool, found: Scan, written: Written, findings: list[Finding]
) -> tuple[Dataset, list[Finding]]:
    import pyarrow as pa

    structure = written.structure
    names, renamed = _named(file, written.names)
    if structure is not None:
        _refuse(file, written, structure, form)
    by_us = written.encoding != UTF8 or written.dialect.escape or written.dialect.blanks
    by_us = by_us or bool(
        structure and (structure.counts["literal"] or structure.trimmed or structure.counts["ragged"])
    )
    try:
        rows = _rows(file, written, names, bool(by_us), large, found.sha256)
    except pa.ArrowInvalid:
        if structure is not None or written.cuts:
            raise
        structure = examine(written.records(file), written.dialect, len(names))
        _refuse(file, written, structure, form)
        rows = _rows(file, written, names, True, large, found.sha256)
    if structure is not None and len(rows) != structure.rows:
        what = f"has {structure.rows:,} rows by its quotes, of which {len(rows):,} were read"
        raise DataError(what, where=str(file), hint="Say how it is written with --set data_options.quote=none")
    return rows, [*findings, *renamed, *(_oddities(file, structure) if structure else [])]


def _rows(file: Path, written: Written, names: Sequence[str], by_us: bool, large: bool, sha256: str) -> Dataset:
    import pyarrow as pa

    schema = pa.schema([(name, pa.string()) for name in names])

    def tables(size: int) -> Iterator[pa.Table]:
        if by_us:
            yield from _ours(written.records(file), written, schema)
        else:
            for block in _blocks(file, written, size):
                yield _parsed(block, written, schema)

    if not large:
        parts = list(tables(-1))
        return dataset_of(pa.concat_tables(parts) if parts else schema.empty_table())
    dialect = written.dialect
    key = f"{sha256} csv {dialect.delimiter!r} {dialect.quote or False!r}"
    if by_us or written.start != 1:
        key += f" {dialect} {written.encoding} {written.start} {'ours' if by_us else ''}"
    return mapped(file, key, schema, lambda: (batch for table in tables(BLOCK) for batch in table.to_batches()))


def _blocks(file: Path, written: Written, size: int) -> Iterator[str]:
    """The text of whole records, about so many characters at a time; all of them where the size is negative."""
    if written.simple or size < 0:
        with file.open(encoding=written.encoding) as text:
            for _ in islice(text, written.start):
                pass
            while lines := text.readlines(size):
                yield "".join(lines)
        return
    if written.cuts:
        yield from texts_between(file, written.cuts, written.start)
        return
    assert written.structure is not None  # else every line is a record
    at = written.start + 1
    with file.open(encoding=written.encoding) as text:
        for _ in islice(text, written.start):
            pass
        for cut in written.structure.cuts:
            yield "".join(islice(text, cut - at))
            at = cut
        yield "".join(text)


def _parsed(block: str, written: Written, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    if not block.strip("\n"):
        return schema.empty_table()
    data = block.encode()
    parse = csv.ParseOptions(
        delimiter=written.dialect.delimiter,
        quote_char=written.dialect.quote or False,
        newlines_in_values=bool(written.dialect.quote),
        ignore_empty_lines=True,
    )
    # A row must fit into a block; only without threads does an error name its row.
    read = csv.ReadOptions(column_names=schema.names, block_size=max(len(data) + 1, 1 << 20), use_threads=False)
    convert = csv.ConvertOptions(column_types=dict.fromkeys(schema.names, pa.string()), strings_can_be_null=False)
    return csv.read_csv(native(data), read_options=read, parse_options=parse, convert_options=convert)


def _ours(records: Iterator[Record], written: Written, schema: pa.Schema) -> Iterator[pa.Table]:
    """Rows that are as wide as the header, some thousand at a time."""
    import pyarrow as pa

    dialect, width = written.dialect, len(schema.names)
    while True:
        rows = []
        some = list(islice(records, _ROWS))
        for record in some:
            cells = dialect.plain(record.text) if record.literal else dialect.cells(record.text)
            cells = fitted(cells, width) or []
            if cells:
                rows.append(cells)
        if rows:
            columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
            yield pa.Table.from_arrays(columns, schema=schema)
        if not some:
            return


def _named(file: Path, cells: Sequence[str]) -> tuple[tuple[str, ...], list[Finding]]:
    """Column names from the header's cells."""
    named, twice = unique_names(cells)
    if not twice:
        return named, []
    told = ", ".join(name for name, cell in zip(named, cells, strict=True) if " ".join(cell.split()) in twice)
    message = f"{file.name} has several columns of one name, which have their number behind it here: {told}"
    return named, [Finding("columns-of-one-name", "warning", message, tuple(twice), len(twice))]


def _refuse(file: Path, written: Written, found: Structure, form: TableForm) -> None:
    """Raise for what would lose rows."""
    where = str(file)
    if found.open is not None:
        what = f"cannot be read (the quote that is opened in line {found.open} is never closed)"
        hint = "Remove it there, or have quotes read as text with --set data_options.quote=none"
        raise DataError(what, where=where, hint=hint)
    count = found.counts["ragged"]
    if not count or (form.ragged == "skip" and found.rows):
        return
    line, width = found.lines["ragged"][0]
    more = f", and so have {count - 1:,} lines more" if count > 1 else ""
    mark = written.dialect.delimiter
    torn = found.counts["junk"] and any(number == line for number, _ in found.lines["junk"])
    reason = "; it has a quote within quotes that is not doubled" if torn else ""
    what = f"cannot be read (line {line} has {width} columns, the header {found.width}{reason}{more})"
    hint = (
        f"Put the cell that holds {mark!r} in quotes, say how the file is written with --set data_options.delimiter, quote "
        "or header, or leave such rows out with --set data_options.ragged=skip"
    )
    raise DataError(what, where=where, hint=hint)


def _oddities(file: Path, found: Structure) -> list[Finding]:
    findings = []
    if found.trimmed:
        message = f"{file.name} has rows with empty cells behind those of the header, which were cut: {found.trimmed:,}"
        findings.append(Finding("empty-cells-cut", "note", message, (file.name,), found.trimmed))
    for code, kind, level, message in (
        ("ragged-rows", "ragged", "warning", "rows of more or fewer columns than the header, left out"),
        (
            "stray-quote",
            "literal",
            "warning",
            "lines with a quote that is never closed, read as text so that it swallows no rows",
        ),
        (
            "stray-quote",
            "junk",
            "warning",
            "rows with text behind a closed quote; was a quote within quotes not doubled?",
        ),
        (
            "lines-within-quotes",
            "swallows",
            "warning",
            "rows whose quotes hold several lines that look like rows; if they are, --set data_options.quote=none",
        ),
    ):
        if count := found.counts[kind]:
            text = f"{file.name} has {message}: {count:,}"
            findings.append(Finding(code, level, text, found.where(kind), count))  # type: ignore[arg-type]
    return findings


def delimited_names(file: Path, form: TableForm) -> list[str]:
    """The columns of a CSV or TSV file."""
    return list(_named(file, understand(file, scan(file), form)[0].names)[0])
