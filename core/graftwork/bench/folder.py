"""The files of a result set: which cells it is made of, and how far each of them is. Light: no torch.

OUT/bench.json, suite.yaml    the cells in the suite's order, and the suite as it was
OUT/cells/FOLDER/             one run directory a cell, with cell.json (state, cause, cost) and output.txt beside the run's files
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from graftwork import __version__
from graftwork.bench.cell import Cell
from graftwork.bench.suite import Suite
from graftwork.errors import UsageError
from graftwork.files.atomic import write_file
from graftwork.runs.directory import SUMMARY, RunDirectory

BENCH = "bench.json"
SUITE = "suite.yaml"
CELLS = "cells"
CELL = "cell.json"
OUTPUT = "output.txt"
VERSION = 1

RunState = Literal["running", "finished", "failed"]


@dataclass(frozen=True)
class CellRecord:
    """What cell.json says.

    Args:
        state: `running` also where the process was killed and could not say so.
        error: cause of a failure, one line.
        attempts: how often it was begun; more than one where it was resumed or tried again.
        seconds: wall-clock time of the last attempt.
        cpu_seconds: processor time of the last attempt, its loader processes included.
        threads: that computed.
        worker: who ran it.
        settings: that the suite gave it.
    """

    state: RunState
    error: str | None = None
    attempts: int = 1
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    threads: int = 1
    worker: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> CellRecord | None:
        """The record of a cell's folder; None where it was not begun, or its record cannot be read."""
        try:
            value = json.loads((folder / CELL).read_text(encoding="utf-8"))
            return cls(**{name: value[name] for name in cls.__dataclass_fields__})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        """Write it, whole or not at all."""
        write_file(folder / CELL, (json.dumps({"version": VERSION, **asdict(self)}, indent=1) + "\n").encode())


class ResultSet:
    """The folder of one benchmark."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def folder(self, name: str) -> Path:
        """A cell's run directory."""
        return self.path / CELLS / name

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one benchmark; the lock ends with the process.

        Raises:
            UsageError: another process works in it.
            RunFailed: it cannot be created.
        """
        with RunDirectory(self.path).locked(resume=True):
            yield

    def header(self) -> dict[str, Any] | None:
        """The content of bench.json; None where there is none.

        Raises:
            UsageError: it cannot be read, or another version of graftwork wrote it.
        """
        path = self.path / BENCH
        if not path.is_file():
            return None
        try:
            header = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UsageError(f"is not readable JSON ({error})", where=str(path)) from None
        if not isinstance(header, dict) or header.get("version") != VERSION:
            raise UsageError(
                "was written by another version of graftwork", where=str(path), hint="Choose another --out"
            )
        return header

    def begin(self, suite: Suite, cells: Sequence[Cell], threads: int, resume: bool) -> int:
        """Write down what the result set is made of, or check that it is still made of the same.

        Args:
            suite: that the cells come from.
            cells: all of them.
            threads: that each cell computes with, where this is the beginning.
            resume: go on with what is there.

        Returns:
            Threads of a cell: those of the beginning, since other numbers round otherwise.

        Raises:
            UsageError: there is a result set and `resume` is false, or a cell that was begun has other settings now.
        """
        header = self.header()
        if header is not None:
            if not resume:
                hint = "Continue it with --resume, or choose another --out"
                raise UsageError("this directory holds a benchmark already", where=str(self.path), hint=hint)
            self._check_same(cells)
            threads = int(header.get("threads", threads))
        write_file(self.path / SUITE, suite.path.read_bytes())
        content = {
            "version": VERSION,
            "suite": suite.name,
            "summary": suite.summary,
            "graftwork": __version__,
            "threads": threads,
            "cells": [
                {"folder": cell.folder, "axes": cell.axes, "chance": cell.chance, "reference": cell.reference}
                for cell in cells
            ],
        }
        write_file(self.path / BENCH, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
        return threads

    def _check_same(self, cells: Sequence[Cell]) -> None:
        for cell in cells:
            record = CellRecord.read(self.folder(cell.folder))
            if record is None:
                continue
            before, now = dict(record.settings), plain(cell.settings)
            changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
            if changed:
                name = changed[0]
                raise UsageError(
                    f"{cell.folder} was begun with {name} {before.get(name)!r} and would now have {now.get(name)!r}",
                    where=str(self.path),
                    hint="Numbers of two suites do not belong into one table: choose another --out, or put the suite back",
                )

    def finished(self, name: str) -> bool:
        """Whether a cell has its result."""
        folder = self.folder(name)
        record = CellRecord.read(folder)
        return record is not None and record.state == "finished" and (folder / SUMMARY).is_file()

    def size(self, name: str) -> int:
        """Bytes of a cell's folder."""
        return sum(path.stat().st_size for path in self.folder(name).rglob("*") if path.is_file())

    def room(self) -> int:
        """Free bytes where the result set lies."""
        place = self.path.absolute()
        while not place.exists():
            place = place.parent
        return shutil.disk_usage(place).free


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON gives them back, so that those on disk and those of a suite can be compared."""
    result: dict[str, Any] = json.loads(json.dumps(settings, default=str))
    return result
