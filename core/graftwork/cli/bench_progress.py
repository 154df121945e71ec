"""Shows on stderr how a benchmark goes on: a live table on a terminal, a line a cell elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

from graftwork.bench.folder import CellRecord
from graftwork.bench.jobs import Job
from graftwork.console import clean, duration


class BenchProgress:
    """What runs, what failed, and how long the rest will take.

    Time left is reckoned from cells like those that are left: of the same data, backbone and strategy where one has
    finished, else of the same data and backbone, else of all.

    Args:
        stream: where to write; stderr when None.
        clock: seconds, monotonic.
    """

    def __init__(self, stream: TextIO | None = None, clock: Any = time.monotonic) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock
        self._live: Any = None
        self._left: list[Job] = []
        self._running: dict[str, tuple[Job, int, float]] = {}
        self._took: list[tuple[Job, float]] = []
        self._total = self._done = self._failed = 0

    def begin(self, waiting: Sequence[Job], done: int, total: int) -> None:
        self._left, self._done, self._total = list(waiting), done, total
        if self._stream.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(file=self._stream), auto_refresh=False, transient=True)
            self._live.start()
        elif done:
            self._line(f"{done} of {total} cells have their result")

    def started(self, job: Job, slot: int) -> None:
        self._left.remove(job)
        self._running[job.name] = (job, slot, self._clock())

    def ended(self, job: Job, record: CellRecord) -> None:
        _, _, began = self._running.pop(job.name)
        if record.state == "failed":
            self._failed += 1
            self._line(f"{job.name} failed: {record.error}")
            return
        self._took.append((job, self._clock() - began))
        self._done += 1
        self._line(f"{self._done}/{self._total} {job.name}: {duration(record.seconds)}{self._in_words()}")

    def _in_words(self) -> str:
        left = self.seconds_left()
        return f", {duration(left)} left" if left is not None and (self._left or self._running) else ""

    def seconds_left(self) -> float | None:
        """Seconds until all have ended; None before the first has."""
        if not self._took:
            return None
        slots = max(1, len(self._running))
        now: float = self._clock()
        begun = sum(max(0.0, self._expected(job) - (now - began)) for job, _, began in self._running.values())
        return (begun + sum(self._expected(job) for job in self._left)) / slots

    def _expected(self, job: Job) -> float:
        def mean(like: list[float]) -> float:
            return sum(like) / len(like)

        alike = [seconds for other, seconds in self._took if _kind(other) == _kind(job)]
        near = [seconds for other, seconds in self._took if other.group == job.group]
        return mean(alike or near or [seconds for _, seconds in self._took])

    def tick(self) -> None:
        if self._live is not None:
            self._live.update(self._table(), refresh=True)

    def _table(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        left = self.seconds_left()
        failed = f", {self._failed} failed" if self._failed else ""
        time_left = f", {duration(left)} left" if left is not None else ""
        table = Table(box=None, pad_edge=False, title=f"{self._done} of {self._total} cells{failed}{time_left}")
        table.title_justify = "left"
        for title in ("worker", "cell", "for"):
            table.add_column(title)
        for job, slot, began in sorted(self._running.values(), key=lambda item: item[1]):
            table.add_row(str(slot), Text(clean(job.name)), duration(self._clock() - began))
        return table

    def _line(self, text: str) -> None:
        text = clean(text)
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            self._stream.write(f"{text}\n")
            self._stream.flush()

    def end(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def _kind(job: Job) -> tuple[str, Any]:
    return job.group, job.settings.get("strategy")
