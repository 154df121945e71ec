"""CSV whose quotes stand only around cells, but hold line breaks: known by numpy, and cut into blocks of whole records.

Most files that programs write are so. What is not is looked at record by record, which takes some five times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from graftwork.data.records import Dialect, Known

BLOCK = 1 << 20
"""Bytes looked at at a time."""

_LONGEST = 1 << 24
"""Bytes of a record; a file with a longer one is looked at record by record."""

_BREAK, _RETURN, _QUOTE = 10, 13, 34


def cuts_of(file: Path, dialect: Dialect, known: Known) -> tuple[int, ...] | None:
    """Bytes at which whole records begin, about a block from one to the next, 0 first; None where a closer look is needed.

    That is where quotes stand within cells, are not closed, or hold lines that may be rows of their own.
    """
    cuts = []
    with file.open("rb") as stream:
        for at, data in _blocks(stream.read):
            if at < 0 or not _in_place(data, dialect) or _may_swallow(data, dialect, known):
                return None
            cuts.append(at)
    return tuple(cuts)


def texts_between(file: Path, cuts: tuple[int, ...], start: int) -> Iterator[str]:
    """The text of each block, without the first `start` lines; line breaks as Python reads them."""
    with file.open("rb") as stream:
        for number, at in enumerate(cuts):
            size = cuts[number + 1] - at if number + 1 < len(cuts) else -1
            text = stream.read(size).decode("utf-8-sig" if number == 0 else "utf-8").replace("\r\n", "\n")
            lines = text.split("\n", start) if number == 0 else [text]
            yield lines[-1] if number or len(lines) > start else ""


def _blocks(read: Callable[[int], bytes]) -> Iterator[tuple[int, bytes]]:
    """Where a block of whole records begins, and the block; -1 where there is none to be found."""
    at, rest = 0, b""
    while chunk := read(BLOCK):
        data = rest + chunk
        array = np.frombuffer(data, np.uint8)
        quotes, breaks = np.flatnonzero(array == _QUOTE), np.flatnonzero(array == _BREAK)
        outer = breaks[np.searchsorted(quotes, breaks) & 1 == 0]
        if not len(outer):
            if len(data) > _LONGEST:
                yield -1, b""
                return
            rest = data
            continue
        end = int(outer[-1]) + 1
        yield at, data[:end]
        at, rest = at + end, data[end:]
    if rest:
        yield at, rest


def _in_place(data: bytes, dialect: Dialect) -> bool:
    """Whether quotes open where cells begin, close where they end, or are doubled; and no line ends otherwise than others."""
    array = np.frombuffer(data.removeprefix(b"\xef\xbb\xbf") + b"\n", np.uint8)
    returns = np.flatnonzero(array == _RETURN)
    if (array[returns + 1] != _BREAK).any():
        return False
    quotes = np.flatnonzero(array == _QUOTE)
    if len(quotes) % 2:
        return False
    opening, closing = quotes[0::2], quotes[1::2]
    before = array[opening - 1]  # -1 is the line break at the end
    after = array[closing + 1]
    mark = ord(dialect.delimiter)
    return bool(np.isin(before, [mark, _BREAK, _QUOTE]).all() and np.isin(after, [mark, _BREAK, _RETURN, _QUOTE]).all())


def _may_swallow(data: bytes, dialect: Dialect, known: Known) -> bool:
    """Whether a record of several lines looks like as many rows."""
    array = np.frombuffer(data, np.uint8)
    quotes, breaks = np.flatnonzero(array == _QUOTE), np.flatnonzero(array == _BREAK)
    inner = np.searchsorted(quotes, breaks) & 1 == 1
    edges = np.concatenate([[0], breaks + 1, [len(array)]])
    marks = np.diff(np.searchsorted(np.flatnonzero(array == ord(dialect.delimiter)), edges))
    first = np.concatenate([[0], np.flatnonzero(~inner) + 1])  # lines that begin a record
    first = first[first < len(marks)]
    lines = np.diff(np.concatenate([first, [len(marks)]]))
    least = np.minimum.reduceat(marks, first)
    maybe = (lines > 1) & (marks[first] == known.width - 1) & (least >= known.width - 1)
    for record in np.flatnonzero(maybe).tolist():
        begin, end = edges[first[record]], edges[first[record] + lines[record]]
        text = data[begin:end].decode().replace("\r\n", "\n").removesuffix("\n")
        if known.are_rows(text.split("\n"), dialect):
            return True
    return False
