"""Lines of a CSV or TSV file as its records: where quotes hold a record together, where they do not, and what its cells are.

pyarrow reads what is in order; this is for telling whether it is, for naming the line that is not, and for files that pyarrow
cannot read.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

_LONGEST = 1 << 28
"""Characters of a record; behind a quote that is never closed lies the rest of the file."""

CUT = 1 << 20
"""Characters from one place where a file may be cut to the next."""

_FEW = 100  # distinct values of a column that may be classes
_NUMBER = re.compile(r"[-+]?(\d+[.,]?\d*|[.,]\d+)")
_SHOWN = 5

csv.field_size_limit(_LONGEST)


@dataclass(frozen=True)
class Dialect:
    """How cells and records are told apart.

    Args:
        delimiter: between cells.
        quote: around a cell; "" where a quote is text.
        escape: before a quote, a delimiter or itself, where these are text; "" where nothing is.
        blanks: whether blanks after a delimiter are no part of a cell.
    """

    delimiter: str
    quote: str = '"'
    escape: str = ""
    blanks: bool = False

    @cached_property
    def _inside(self) -> re.Pattern[str]:
        quote, escape = re.escape(self.quote), re.escape(self.escape)
        inner = (
            rf"(?:[^{quote}{escape}]|{escape}.|{quote}{quote})*" if self.escape else rf"(?:[^{quote}]|{quote}{quote})*"
        )
        return re.compile(inner, re.DOTALL)

    @cached_property
    def _bare(self) -> re.Pattern[str]:
        mark, escape = re.escape(self.delimiter), re.escape(self.escape)
        return re.compile(rf"(?:[^{mark}{escape}]|{escape}.|{escape}$)*" if self.escape else rf"[^{mark}]*", re.DOTALL)

    def walk(self, line: str, inside: bool) -> tuple[int, bool, bool]:
        """Go through a line: its delimiters outside quotes, whether text follows a closed quote, whether one stays open.

        Args:
            inside: whether a quote is open where the line begins.
        """
        at, marks, junk = 0, 0, False
        while True:
            if not inside:
                if self.blanks:
                    at += len(line) - at - len(line[at:].lstrip(" "))
                if self.quote and line.startswith(self.quote, at):
                    inside, at = True, at + 1
            if inside:
                at = self._inside.match(line, at).end()  # type: ignore[union-attr]
                if at >= len(line):
                    return marks, junk, True
                inside, at = False, at + 1
                junk = junk or (at < len(line) and line[at] != self.delimiter)
            at = self._bare.match(line, at).end()  # type: ignore[union-attr]
            if at >= len(line):
                return marks, junk, False
            marks, at = marks + 1, at + 1

    def cells(self, text: str) -> list[str]:
        """A record's cells."""
        if self.escape:
            return _escaped_cells(text, self)
        if not self.quote or self.quote not in text:
            return self.plain(text)
        reader = csv.reader(
            [text],
            delimiter=self.delimiter,
            quotechar=self.quote,
            skipinitialspace=self.blanks,
        )
        return next(reader)

    def plain(self, line: str) -> list[str]:
        """A line's cells where quotes are text."""
        cells = line.split(self.delimiter)
        return [cells[0], *(cell.lstrip(" ") for cell in cells[1:])] if self.blanks else cells


@lru_cache(maxsize=8)
def _cell_of(delimiter: str, quote: str, escape: str) -> re.Pattern[str]:
    mark, quote, escape = map(re.escape, (delimiter, quote, escape))
    quoted = rf"{quote}((?:[^{quote}{escape}]|{escape}.|{quote}{quote})*){quote}" if quote else r"(?!)()"
    return re.compile(rf"(?:{quoted})?((?:[^{mark}{escape}]|{escape}.|{escape}$)*)({mark}|$)", re.DOTALL)


def _escaped_cells(text: str, dialect: Dialect) -> list[str]:
    """Only what needs it is escaped: a backslash before anything else is one (`C:\\new`). `\\N` alone is no value (MySQL)."""
    cell = _cell_of(dialect.delimiter, dialect.quote, dialect.escape)
    special = re.compile(
        re.escape(dialect.escape) + "([" + re.escape(dialect.quote + dialect.delimiter + dialect.escape) + "\n])"
    )
    cells, at = [], 0
    while True:
        found = cell.match(text, at)
        assert found is not None
        quoted, bare, end = found.groups()
        if quoted is None and bare == dialect.escape + "N":
            cells.append("")
        else:
            inner = "" if quoted is None else quoted.replace(dialect.quote * 2, dialect.quote)
            cells.append(special.sub(r"\1", inner) + special.sub(r"\1", bare))
        if not end:
            return cells
        at = found.end()


@dataclass(frozen=True)
class Record:
    """One record.

    Args:
        line: number of its first line, from 1.
        text: its lines.
        width: number of its cells.
        junk: whether text follows a closed quote.
        open: whether the last quote is never closed.
        literal: whether its quotes are text, since what they would hold together are records of their own.
        swallows: whether its lines look like records of their own, though its quotes are in order.
    """

    line: int
    text: str
    width: int
    junk: bool = False
    open: bool = False
    literal: bool = False
    swallows: bool = False


@dataclass(frozen=True)
class Known:
    """What rows look like: the values of columns that have few, or only numbers.

    Args:
        width: cells of a row.
        values: of each column; None where anything may stand, an empty set where any number may.
    """

    width: int
    values: Sequence[frozenset[str] | None]

    def are_rows(self, lines: Sequence[str], dialect: Dialect) -> bool:
        """Whether each line is a row by itself, the first one though its quote does not close."""
        if not self._is_plain(lines[0], dialect):
            return False
        last = len(lines) - 1
        for number, line in enumerate(lines[1:], 1):
            marks, _, open_ = dialect.walk(line, False)
            whole = (marks + 1 == self.width and not open_) or (open_ and number == last)
            if not whole and not self._is_plain(line, dialect):
                return False
        return True

    def _is_plain(self, line: str, dialect: Dialect) -> bool:
        cells = [cell.strip(f" {dialect.quote}") for cell in dialect.plain(line)]
        return len(cells) == self.width and any(
            values is not None and (cell in values if values else bool(_NUMBER.fullmatch(cell)))
            for cell, values in zip(cells, self.values, strict=True)
        )


def learn(records: Iterable[Record], dialect: Dialect, width: int) -> Known:
    """What rows look like, by records that are a line each."""
    rows = [dialect.cells(found.text) for found in records if found.width == width and "\n" not in found.text]
    values: list[frozenset[str] | None] = []
    for column in zip(*(row for row in rows if len(row) == width), strict=True):
        distinct = frozenset(cell.strip() for cell in column) - {""}
        numbers = distinct and all(_NUMBER.fullmatch(cell) for cell in distinct)
        few = 0 < len(distinct) <= min(_FEW, len(column) / 2)
        values.append(distinct if few else frozenset() if numbers else None)
    return Known(width, values or [None] * width)


def records_of(lines: Iterable[str], dialect: Dialect, known: Known | None = None, before: int = 0) -> Iterator[Record]:
    """The records; empty lines between them are none.

    Args:
        lines: without their ends.
        known: what rows look like; where it is given, a quote in disorder does not swallow lines that look so.
        before: lines that came before.
    """
    waiting: deque[str] = deque()
    rest = iter(lines)
    number = before

    def following() -> str | None:
        return waiting.popleft() if waiting else next(rest, None)

    while (line := following()) is not None:
        number += 1
        if not line:
            continue
        if not (dialect.quote and dialect.quote in line) and not dialect.escape:
            yield Record(number, line, line.count(dialect.delimiter) + 1)
            continue
        marks, junk, inside = dialect.walk(line, False)
        group, size = [line], len(line)
        while inside and size < _LONGEST and (more := following()) is not None:
            found, odd, inside = dialect.walk(more, True)
            group.append(more)
            marks, junk, size = marks + found, junk or odd, size + len(more)
        rows = len(group) > 1 and known is not None and known.are_rows(group, dialect)
        if known is not None and rows and (junk or inside or marks + 1 != known.width):
            waiting.extendleft(reversed(group[1:]))
            yield Record(number, line, known.width, literal=True)
            continue
        yield Record(number, "\n".join(group), marks + 1, junk, inside, False, rows)
        number += len(group) - 1


@dataclass
class Structure:
    """What all records of a file are like; lines are those that records begin in, the first few of them by number.

    Args:
        rows: records as wide as the header.
        wrapped: cells that begin and end with a quote, in lines taken for themselves; `torn`, those that hold another one.
        cuts: lines in which records begin, some million characters from one to the next.
    """

    width: int
    rows: int = 0
    several: int = 0
    wrapped: int = 0
    torn: int = 0
    trimmed: int = 0
    open: int | None = None
    cuts: list[int] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: {"ragged": 0, "junk": 0, "literal": 0, "swallows": 0})
    lines: dict[str, list[tuple[int, int]]] = field(
        default_factory=lambda: {"ragged": [], "junk": [], "literal": [], "swallows": []}
    )

    def add(self, kind: str, record: Record) -> None:
        self.counts[kind] += 1
        if len(self.lines[kind]) < _SHOWN:
            self.lines[kind].append((record.line, record.width))

    @property
    def faults(self) -> int:
        """Records that do not stand in this dialect as a writer would write them."""
        return self.counts["ragged"] + self.counts["junk"] + self.counts["literal"] + (self.open is not None)

    def where(self, kind: str) -> tuple[str, ...]:
        return tuple(f"line {line}" for line, _ in self.lines[kind])


def fitted(cells: list[str], width: int) -> list[str] | None:
    """A record's cells as many as the header has; empty ones more are cut, None where others differ."""
    if len(cells) > width and not any(cells[width:]):
        return cells[:width]
    return cells if len(cells) == width else None


def examine(records: Iterable[Record], dialect: Dialect, width: int) -> Structure:
    """Look at every record behind the header."""
    found, held = Structure(width), 0
    wrapped = re.compile(r'"(?:[^"]|"")*"')
    for record in records:
        if held >= CUT:
            found.cuts.append(record.line)
            held = 0
        held += len(record.text) + 1
        if record.open and found.open is None:
            found.open = record.line
        for kind in ("junk", "literal", "swallows"):
            if getattr(record, kind):
                found.add(kind, record)
        found.several += "\n" in record.text
        if not dialect.quote and '"' in record.text:
            cells = [cell for cell in record.text.split(dialect.delimiter) if '"' in cell]
            whole = sum(bool(wrapped.fullmatch(cell)) for cell in cells)
            found.wrapped, found.torn = found.wrapped + whole, found.torn + len(cells) - whole
        if record.width != width:
            if record.open or record.literal or fitted(dialect.cells(record.text), width) is None:
                found.add("ragged", record)
                continue
            found.trimmed += 1
        found.rows += 1
    return found
