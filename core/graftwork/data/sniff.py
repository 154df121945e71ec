"""How a CSV or TSV file is written: its encoding, delimiter, quotes and header, from its content and what the user says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from graftwork.config.forms import TableForm
from graftwork.data.encodings import encoding_of
from graftwork.data.orderly import cuts_of
from graftwork.data.records import Dialect, Known, Record, Structure, examine, learn, records_of
from graftwork.data.streamed import Scan
from graftwork.errors import DataError
from graftwork.files.text import UTF8
from graftwork.interfaces.data import Finding

TIDY_BLOCK = 1 << 20
"""Bytes looked at at a time."""

_SAMPLE = 1 << 18  # characters
_RECORDS = 200
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[;,|\t ]*', re.IGNORECASE)


@dataclass(frozen=True)
class Written:
    """How a file is written.

    Args:
        encoding: Python's name of it.
        dialect: of its records.
        start: lines before the first row: empty ones, `sep=;`, the header.
        names: of its columns.
        known: what its rows look like.
        structure: of all its rows, where quotes made it necessary to look; None where nothing can be hidden in quotes.
        simple: whether quotes hold no line breaks and stand only around cells, so that every line is a record.
        cuts: bytes at which whole records begin, where quotes hold line breaks but stand only around cells.
    """

    encoding: str
    dialect: Dialect
    start: int
    names: tuple[str, ...]
    known: Known
    structure: Structure | None
    simple: bool
    cuts: tuple[int, ...] = ()

    def records(self, file: Path) -> Iterator[Record]:
        """All rows."""
        return records_of(islice(lines_of(file, self.encoding), self.start, None), self.dialect, self.known, self.start)


def lines_of(file: Path, encoding: str) -> Iterator[str]:
    """A file's lines without their ends."""
    with file.open(encoding=encoding) as text:
        for line in text:
            yield line[:-1] if line.endswith("\n") else line


def understand(file: Path, found: Scan, form: TableForm, quick: bool = True) -> tuple[Written, list[Finding]]:
    """Find out how a file is written.

    Args:
        quick: whether a file whose quotes look in order need not be looked at record by record.

    Raises:
        DataError: its encoding cannot be told, or it holds nothing.
    """
    encoding, findings = encoding_of(file, found, form)
    sample, whole = _sample(file, encoding)
    skip, delimiter = _separator_line(sample)
    usual = "\t" if file.suffix.lower() == ".tsv" else ","
    given = form.delimiter
    if form.inherited and given is not None and given not in "\n".join(sample[:1]):
        given = None
    delimiter = given or delimiter or _delimiter(sample[skip:], usual, whole)
    quotes = found.quotes if encoding == UTF8 else True
    dialect = Dialect(delimiter, '"' if form.quote is None else form.quote)
    if _has_blanks(sample[skip:], dialect):
        dialect = replace(dialect, blanks=True)
    tidy = not quotes or (dialect.quote == '"' and encoding == UTF8 and not found.nulls and is_tidy(file, delimiter))
    shape = _Shape(file, encoding, sample, whole, skip, form.header is not False)
    cuts: tuple[int, ...] | None = None
    plain = (
        encoding == UTF8
        and not (found.nulls or found.escapes)
        and dialect in (Dialect(","), Dialect(";"), Dialect("|"))
    )
    if quick and plain and not tidy and not shape.is_open(dialect):
        cuts = cuts_of(file, dialect, shape.header(dialect)[2])
    if not quotes and form.quote is None:
        dialect = replace(dialect, quote="")
    elif not tidy and form.quote is None and cuts is None:
        dialect = _choose_quotes(dialect, shape, found)
    start, names, known = shape.header(dialect, strict=True)
    written = Written(encoding, dialect, start, names, known, None, tidy or not dialect.quote)
    if cuts is not None:
        written = replace(written, cuts=cuts)
    elif not tidy and dialect.quote:
        written = replace(written, structure=shape.structure(dialect))
    if delimiter != usual:
        message = f"{file.name} separates its columns by {delimiter!r}, not by {usual!r}"
        findings.append(Finding("unusual-delimiter", "note", message, (file.name,)))
    if dialect.escape:
        message = f"{file.name} writes a backslash before quotes that are text"
        findings.append(Finding("backslash-escapes", "note", message, (file.name,)))
    return written, findings


def is_tidy(file: Path, delimiter: str) -> bool:
    """Whether every quote stands where a cell begins or ends, or is doubled within one, and no line break within quotes."""
    before_open, after_close = np.zeros(256, bool), np.zeros(256, bool)
    before_open[[ord(delimiter), 10, 34]] = after_close[[ord(delimiter), 10, 13, 34]] = True
    inside, last, first = 0, 10, True
    with file.open("rb") as stream:
        while chunk := stream.read(TIDY_BLOCK):
            chunk = chunk.removeprefix(b"\xef\xbb\xbf") if first else chunk
            data = np.frombuffer(bytes([last]) + chunk, np.uint8)
            quotes = np.flatnonzero(data[1:] == 34) + 1
            odd = (np.arange(len(quotes)) + inside) & 1 == 0  # those that open, or are the second of two within quotes
            if not before_open[data[quotes[odd] - 1]].all():
                return False
            # What follows a quote that closes; that of the last byte is looked at with the next chunk.
            closing = quotes[~odd]
            if not first and last == 34 and not inside:
                closing = np.concatenate([[0], closing])
            if not after_close[data[closing[closing < len(data) - 1] + 1]].all():
                return False
            breaks = np.flatnonzero(data[1:] == 10) + 1
            if ((np.searchsorted(quotes, breaks) + inside) & 1).any():
                return False
            inside, last, first = (inside + len(quotes)) & 1, int(data[-1]), False
    return not inside


class _Shape:
    """A file's first lines under one dialect or another."""

    def __init__(self, file: Path, encoding: str, sample: Sequence[str], whole: bool, skip: int, header: bool) -> None:
        self.file, self.encoding, self.sample, self.whole = file, encoding, sample, whole
        self.skip, self.has_header = skip, header
        self._structures: dict[Dialect, Structure] = {}

    def header(self, dialect: Dialect, strict: bool = False) -> tuple[int, tuple[str, ...], Known]:
        """Lines before the first row, the columns' names, and what rows look like; where `strict`, a header has an end."""
        found = _records(self.sample[self.skip :], dialect, self.whole)
        if not found:
            raise DataError("holds no line with text", where=str(self.file))
        first = found[0]
        if strict and first.open:
            what = f"cannot be read (the quote that is opened in the header, line {self.skip + first.line}, is never closed)"
            hint = "Close it there, or have quotes read as text with --set data_options.quote=none"
            raise DataError(what, where=str(self.file), hint=hint)
        cells = dialect.cells(first.text)
        if not self.has_header:
            names = tuple(str(number) for number in range(1, len(cells) + 1))
            return self.skip, names, learn(found, dialect, len(cells))
        start = self.skip + first.line + first.text.count("\n")
        return start, tuple(cells), learn(found[1:], dialect, len(cells))

    def is_open(self, dialect: Dialect) -> bool:
        """Whether a quote in the header is never closed."""
        found = _records(self.sample[self.skip :], dialect, self.whole)
        return bool(found) and found[0].open and dialect.delimiter != "\t"

    def structure(self, dialect: Dialect) -> Structure:
        """What all rows are like; looked at once, since it takes a second for some 20 MB."""
        if dialect not in self._structures:
            start, names, known = self.header(dialect)
            lines = islice(lines_of(self.file, self.encoding), start, None)
            self._structures[dialect] = examine(records_of(lines, dialect, known, start), dialect, len(names))
        return self._structures[dialect]


def _choose_quotes(dialect: Dialect, shape: _Shape, found: Scan) -> Dialect:
    """Whether quotes are a writer's, text, or a writer's who escapes those that are text."""
    bare = replace(dialect, quote="")
    if shape.is_open(dialect):
        return dialect
    quoted = shape.structure(dialect)
    if not quoted.faults and dialect.delimiter != "\t":
        return dialect
    plain = shape.structure(bare)
    if dialect.delimiter == "\t":  # GLUE and SST write quotes as text
        if plain.wrapped and not plain.torn:
            return dialect
        if not plain.counts["ragged"]:
            return bare
        if not quoted.faults:
            return dialect
    if quoted.faults and (found.escapes or shape.encoding != UTF8):
        escaped = replace(dialect, escape="\\")
        if not shape.structure(escaped).faults:
            return escaped
    if dialect.delimiter == "\t":
        return dialect if quoted.faults < plain.faults else bare
    # Nobody wrote these quotes around cells, and without them every line is a row.
    odd = quoted.counts["ragged"] or quoted.open is not None or (quoted.counts["junk"] and quoted.several)
    return bare if odd and not plain.wrapped and not plain.counts["ragged"] else dialect


def _sample(file: Path, encoding: str) -> tuple[list[str], bool]:
    """The first lines, and whether these are all."""
    lines, size = [], 0
    for line in lines_of(file, encoding):
        lines.append(line)
        size += len(line)
        if size > _SAMPLE:
            return lines, False
    return lines, True


def _records(lines: Sequence[str], dialect: Dialect, whole: bool) -> list[Record]:
    found = list(islice(records_of(lines, dialect), _RECORDS))
    return found if whole or len(found) < 2 or found[-1].line + found[-1].text.count("\n") < len(lines) else found[:-1]


def _separator_line(sample: Sequence[str]) -> tuple[int, str | None]:
    """Excel's `sep=;` before the header: lines to skip, and the delimiter that it names."""
    found = _SEPARATOR_LINE.fullmatch(sample[0]) if sample and len(sample) > 1 else None
    return (1, found[1]) if found else (0, None)


def _delimiter(sample: Sequence[str], usual: str, whole: bool) -> str:
    """The usual one where rows keep to it; another one that they do keep to; the first in the header where none fits."""
    header = next((line for line in sample if line), "")
    usual = usual if usual in header else next((other for other in "\t;," if other in header), usual)
    shares = {mark: _share(sample, mark, whole) for mark in (usual, *",\t;|")}
    if shares[usual] == 1:
        return usual
    fitting = [mark for mark, share in shares.items() if share == 1]
    if fitting:
        return str(fitting[0])
    best: str = max(shares, key=lambda mark: shares[mark])
    return best if usual not in header and shares[best] >= 0.8 else usual


def _share(sample: Sequence[str], mark: str, whole: bool) -> float:
    """The share of records that are as wide as the header, where that is two cells or more."""
    best = 0.0
    for quote in ('"', ""):
        found = _records(sample, Dialect(mark, quote), whole)
        if len(found) > 1 and found[0].width > 1:
            best = max(best, sum(record.width == found[0].width for record in found) / len(found))
    return best


def _has_blanks(sample: Sequence[str], dialect: Dialect) -> bool:
    """Whether every delimiter is followed by a blank, in the header and in all rows."""
    lines = [line for line in sample if line][:_RECORDS]
    blank = dialect.delimiter + " "
    header = lines[0].count(dialect.delimiter) if lines else 0
    if dialect.delimiter == " " or not header or lines[0].count(blank) < header:
        return False
    found = _records(lines, replace(dialect, blanks=True), True)[1:]
    return all(record.text.count(blank) + record.text.count(dialect.delimiter * 2) >= header for record in found)
