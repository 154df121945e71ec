"""Keeps steps.csv and epochs.csv in the run directory: for a spreadsheet, pandas, or `tail -f`."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graftwork.interfaces import EpochRecord, FitRecord, Observer, Spec, StepRecord
from graftwork_track.names import due


def build(spec: Spec) -> CsvObserver:
    """The observer; it opens its files when the run starts, and in the main process alone."""
    return CsvObserver(spec.options["every"])


class CsvObserver(Observer):
    """Writes a row for every so many steps, and one for every epoch.

    Args:
        every: steps from one row to the next; reading a loss waits for the device.
    """

    name = "csv"

    def __init__(self, every: int) -> None:
        self.every = every

    def fit_start(self, record: FitRecord) -> None:
        folder = Path(record.folder)
        self._phases = [phase["name"] for phase in record.plan["phases"]]
        self._steps = Table(folder / "steps.csv", "step", record.done_steps)
        self._epochs = Table(folder / "epochs.csv", "epoch", record.done_epochs)

    def step_end(self, record: StepRecord) -> None:
        if due(record.step, self.every):
            phase = self._phases[record.phase]
            row = {"step": record.step, "epoch": record.epoch, "phase": phase, "lr": record.lr, "loss": record.loss()}
            self._steps.append(row)

    def epoch_end(self, record: EpochRecord) -> None:
        told = record.to_json()
        val = {f"val_{name}": value for name, value in told.pop("val").items()}
        speed = {name: told.pop(name) for name in ("seconds", "samples_per_second")}
        self._epochs.append({**told, **val, **speed})


class Table:
    """A CSV file that grows row by row.

    It is opened anew for each row: so what is written outlives a killed process, and no file stays open.

    Args:
        path: of the file, which need not be there.
        key: the first column, which counts up from 1.
        done: rows after this number are dropped: a resumed run writes them again.

    Raises:
        ValueError: the file is there, and another program's.
    """

    def __init__(self, path: Path, key: str, done: int) -> None:
        self.path = path
        self.columns: list[str] = []
        if path.is_file():
            self._go_back(key, done)

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row. Columns that no row before had come last: metrics, where the first epochs were not evaluated."""
        new = [name for name in row if name not in self.columns]
        if new:
            self._write([[*self.columns, *new], *([*old, *[""] * len(new)] for old in self._rows()[1:])])
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self.columns, lineterminator="\n").writerow(row)

    def _rows(self) -> list[list[str]]:
        """The header and the whole rows of the file; a last line may have been torn."""
        if not self.path.is_file():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        return list(csv.reader(line for line in lines if line.endswith("\n")))

    def _write(self, rows: Sequence[Sequence[str]]) -> None:
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        with temporary.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
        temporary.replace(self.path)
        self.columns = list(rows[0])

    def _go_back(self, key: str, done: int) -> None:
        rows = self._rows()
        if self.path.stat().st_size and (not rows or rows[0][0] != key):
            raise ValueError(f"{self.path} is there, and not by this observer")
        if not rows:
            return
        kept = [row for row in rows[1:] if row[0].isdecimal() and int(row[0]) <= done]
        self._write([rows[0], *kept])
