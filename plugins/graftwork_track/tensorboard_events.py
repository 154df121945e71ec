"""Writes a run for TensorBoard: curves, hyper-parameters, the plan as text, in `tensorboard/` of the run directory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.console import format_plan
from graftwork.interfaces import EpochRecord, FitRecord, Observer, Spec, StepRecord
from graftwork_track.names import EPOCH, LOSS, RATE, SPEED, due, flat, loss_of, missing, numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.utils.tensorboard import SummaryWriter

FLUSH_SECONDS = 10
"""What a killed process may lose at most, unless it is told again after a resume."""


def build(spec: Spec) -> TensorBoardObserver:
    """The observer.

    Raises:
        UsageError: tensorboard is not installed.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401 (here, so that a run without it does not start)
    except ImportError as error:
        raise missing("tensorboard", "track", error) from None
    return TensorBoardObserver(spec.options["every"])


class TensorBoardObserver(Observer):
    """Curves over optimizer steps, those of epochs too, so that they lie over one another.

    Args:
        every: steps from one point to the next; reading a loss waits for the device.
    """

    name = "tensorboard"

    def __init__(self, every: int) -> None:
        self.every = every
        self._writer: SummaryWriter | None = None
        self._session_end: Any = None
        self._step = 0

    def fit_start(self, record: FitRecord) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        folder = Path(record.folder) / "tensorboard"
        again = _wait_for_a_later_name(folder)
        # Readers drop what an earlier process wrote of this step or later ones: the run tells them again.
        purge = (record.done_steps + 1 if record.done_steps else 0) if again else None
        self._writer = SummaryWriter(str(folder), purge_step=purge, flush_secs=FLUSH_SECONDS)
        self._step = record.done_steps
        shown = {f"validation/{record.primary_metric}": 0.0}  # only the name counts: it is read from the curve
        told = hparams(flat(record.settings), shown)  # type: ignore[no-untyped-call]
        experiment, session_start, self._session_end = told
        if not record.done_steps:
            for summary in (experiment, session_start):
                self._add_summary(summary)
            self._writer.add_text("plan", _as_code(format_plan(record.plan)))
            self._writer.flush()

    def step_end(self, record: StepRecord) -> None:
        self._step = record.step
        if due(record.step, self.every):
            self._add({LOSS: record.loss(), RATE: record.lr})

    def epoch_end(self, record: EpochRecord) -> None:
        own = {EPOCH: record.epoch, SPEED: record.samples_per_second, **loss_of(record)}
        self._add({**own, **numbers("validation", record.val)})
        self._flush()

    def checkpoint(self, path: str, step: int) -> None:
        self._flush()

    def run_end(self, summary: Mapping[str, Any]) -> None:
        self._add(numbers("test", summary["test"]))
        self._add_summary(self._session_end)
        self._close()

    def failure(self, message: str) -> None:
        self._close()

    def _add(self, values: Mapping[str, float]) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, self._step)

    def _add_summary(self, summary: Any) -> None:
        """Hyper-parameters; the public way would put them into a run of their own."""
        if self._writer is not None:
            self._writer._get_file_writer().add_summary(summary)  # type: ignore[no-untyped-call]

    def _flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _wait_for_a_later_name(folder: Path) -> bool:
    """Whether there are files of earlier processes; if so, a new one's name will come after theirs.

    Readers take files in the order of their names, which begin with the second in which they were made; in the wrong order
    they would keep what is to be dropped.
    """
    seconds = [int(path.name.split(".")[3]) for path in folder.glob("events.out.tfevents.*")]
    if seconds and 0 < (wait := max(seconds) + 1 - time.time()) <= 1:
        time.sleep(wait + 0.01)
    return bool(seconds)


def _as_code(text: str) -> str:
    """Text as Markdown that keeps its columns."""
    return "".join(f"    {line}\n" for line in text.splitlines())
