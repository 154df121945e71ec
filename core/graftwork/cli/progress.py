"""Shows a run's progress: a bar on a terminal, lines like all others elsewhere. Reads the loss at most twice a second."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from graftwork.console import duration, number
from graftwork.interfaces.observer import EpochRecord, FitRecord, Observer, StepRecord
from graftwork.log import say

BAR_SECONDS = 0.5
LINE_SECONDS = 5.0


class ProgressObserver(Observer):
    """Loss, validation metric, rows a second and time left.

    Reading a loss waits for the device, so it is done only when something is about to be shown.

    Args:
        stream: where the bar is drawn; stderr when None.
        clock: seconds, monotonic.
    """

    name = "progress"

    def __init__(self, stream: TextIO | None = None, clock: Any = time.monotonic) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock
        self._bar: Any = None
        self._task: Any = None
        self._fit: FitRecord | None = None
        self._metric = ""
        self._started = self._shown = 0.0
        self._rows = self._rows_shown = 0
        self._steps = self._step = 0
        self._pause_started = 0.0
        self._interval = BAR_SECONDS if self._stream.isatty() else LINE_SECONDS

    def fit_start(self, record: FitRecord) -> None:
        self.close()
        self._fit = record
        self._steps = self._rows = self._rows_shown = 0
        self._step = record.done_steps
        self._pause_started = 0.0
        self._started = self._shown = self._clock()
        if self._stream.isatty():
            self._open_bar(record)
        else:
            at = f", {record.done_steps} done" if record.done_steps else ""
            self._line(
                f"training {record.epochs} epochs, {record.steps} steps{at}, {record.device}, {record.precision}"
            )

    def _open_bar(self, record: FitRecord) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.completed}/{task.total}", markup=False),
            TextColumn("{task.fields[facts]}", markup=False),
            console=Console(file=self._stream),
            auto_refresh=False,  # no thread beside the training loop: drawn when something is new
            transient=True,
            redirect_stdout=False,
        )
        self._task = self._bar.add_task("training", total=record.steps, completed=record.done_steps, facts="")
        self._bar.start()

    def step_end(self, record: StepRecord) -> None:
        if self._pause_started:
            self._end_pause()
        self._steps, self._step = self._steps + 1, record.step
        self._rows += len(record.rows)
        now = self._clock()
        if now - self._shown < self._interval:
            return
        rate = (self._rows - self._rows_shown) / max(now - self._shown, 1e-9)
        self._shown, self._rows_shown = now, self._rows
        facts = [f"loss {number(float(record.loss()))}", *([self._metric] if self._metric else [])]
        facts.append(f"{rate:,.0f} rows/s")
        if self._fit is not None:
            left = max(self._fit.steps - record.step, 0) * (now - self._started) / self._steps
            facts.append(f"{duration(left)} left")
        self._show(f"epoch {record.epoch}", record.step, ", ".join(facts))

    def _show(self, title: str, step: int, facts: str) -> None:
        if self._bar is not None:
            self._bar.update(self._task, description=title, completed=step, facts=facts)
            self._bar.refresh()
        else:
            total = f"/{self._fit.steps}" if self._fit is not None else ""
            self._line(f"{title}, step {step}{total}: {facts}")

    def evaluation_start(self, rows: int) -> None:
        self._pause_started = self._clock()
        if self._bar is not None:
            self._bar.update(self._task, description=f"evaluating {rows:,} rows", completed=self._step)
            self._bar.refresh()

    def _end_pause(self) -> None:
        """Evaluation does not count as training time in rows a second."""
        self._shown += self._clock() - self._pause_started
        self._pause_started = 0.0

    def epoch_end(self, record: EpochRecord) -> None:
        if self._pause_started:
            self._end_pause()
        primary = self._fit.primary_metric if self._fit is not None else ""
        if primary in record.val:
            self._metric = f"{primary} {number(float(record.val[primary]))}"
        names = sorted(record.val, key=lambda name: name != primary)[:3]
        metrics = ", ".join(f"{name} {number(float(record.val[name]))}" for name in names)
        total = f"/{self._fit.epochs}" if self._fit is not None else ""
        self._line(
            f"epoch {record.epoch}{total} ({record.phase}): loss {number(record.train_loss)}"
            f"{', val ' + metrics if metrics else ''}, {record.samples_per_second:,.0f} rows/s, {duration(record.seconds)}"
        )

    def fit_end(self, reason: str) -> None:
        self.close()
        if reason != "finished":
            self._line(f"training ended: {reason}")

    def failure(self, message: str) -> None:
        self.close()

    def _line(self, text: str) -> None:
        say(text)  # on a terminal rich prints it above the bar, since it stands in for stderr while there is one

    def close(self) -> None:
        """Give the terminal back; also after an interrupt, and twice does no harm."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
