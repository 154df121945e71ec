"""Writes down what a few training steps spend their time on: torch's profiler, as an observer. Changes no number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from graftwork.interfaces import FitRecord, Observer, StepRecord
from graftwork.log import say

WARM_UP = 5
"""Steps that pass first: kernels are chosen and memory is taken in them."""

STEPS = 5
"""Steps that are recorded."""

ROWS = 30
"""Lines of the table."""


class ProfileObserver(Observer):
    """Records a few steps after the first ones, and leaves `trace.json.gz` and `operators.txt`.

    The trace opens in chrome://tracing or ui.perfetto.dev; loading the batches of these steps is part of it. The table
    holds the operators that take the most time themselves.

    Args:
        folder: made when there is something to write.
    """

    name = "profile"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: Path | None = None
        self._first = 0
        self._recorded = 0
        self._on_device = False
        self._profiler: Any = None

    def fit_start(self, record: FitRecord) -> None:
        left = record.steps - record.done_steps
        self._first = record.done_steps + min(WARM_UP, max(1, left - STEPS))
        self._on_device = record.device.startswith("cuda")

    def step_end(self, record: StepRecord) -> None:
        if self._profiler is not None:
            self._recorded += 1
            if self._recorded == STEPS:
                self._finish()
        elif record.step == self._first:
            kinds = [torch.profiler.ProfilerActivity.CPU]
            if self._on_device:
                kinds.append(torch.profiler.ProfilerActivity.CUDA)
            self._profiler = torch.profiler.profile(activities=kinds)
            self._profiler.start()

    def evaluation_start(self, rows: int) -> None:
        self._finish()

    def fit_end(self, reason: str) -> None:
        self._finish()
        if self.written is None:
            say("profile: the run was too short, nothing was recorded")
        else:
            say(f"profile: {self._recorded} steps in {self.written}, see operators.txt and trace.json.gz")

    def failure(self, message: str) -> None:
        if self._profiler is not None:
            self._profiler.stop()
            self._profiler = None

    def _finish(self) -> None:
        """Write what was recorded since the start, if there is any."""
        if self._profiler is None:
            return
        profiler, self._profiler = self._profiler, None
        profiler.stop()
        if not self._recorded:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(self.folder / "trace.json.gz"))
        order = "self_device_time_total" if self._on_device else "self_cpu_time_total"
        table = profiler.key_averages().table(sort_by=order, row_limit=ROWS)
        (self.folder / "operators.txt").write_bytes(f"{self._recorded} steps\n{table}\n".encode())
        self.written = self.folder
