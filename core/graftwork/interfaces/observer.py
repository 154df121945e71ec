"""Observers watch a run; they change nothing.

What they are told is read-only: a record cannot be assigned to, and the mappings in it refuse to be written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class StepRecord:
    """One optimizer step.

    Args:
        step: from 1, over the whole run.
        phase: index of the plan's phase.
        epoch: from 1, over the whole run.
        rows: row numbers of the whole batch, in order.
        loss: a callable, since reading the loss waits for the device; it may be called later, and always gives the
            loss of this step.
        lr: learning rate of a group with multiplier 1.
    """

    step: int
    phase: int
    epoch: int
    rows: Sequence[int]
    loss: Callable[[], float]
    lr: float


@dataclass(frozen=True)
class EpochRecord:
    """One epoch, as it is written to metrics.jsonl.

    Args:
        epoch: from 1, over the whole run.
        phase: the phase's name.
        train_loss: mean over the epoch's rows; None where a head was solved.
        val: validation metrics by name; empty where the epoch was not evaluated.
        seconds: wall time, evaluation included.
        samples_per_second: training rows a second, evaluation excluded.
    """

    epoch: int
    phase: str
    train_loss: float | None
    val: Mapping[str, float]
    seconds: float
    samples_per_second: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "val", read_only(self.val))

    def to_json(self) -> dict[str, Any]:
        """A copy as plain data, the caller's own."""
        return {**vars(self), "val": plain(self.val)}


@dataclass(frozen=True)
class FitRecord:
    """What is about to be fitted.

    Args:
        steps, epochs: of the whole run.
        batch_size: rows an optimizer step.
        device, precision: where and how it is computed.
        primary_metric: the validation metric that chooses the best epoch; higher is better.
        done_steps, done_epochs: behind a run that is resumed. What an observer was told of later steps and epochs before
            the run was cut off will be told again, to the same bits.
        plan: as `Plan.describe` gives it.
        folder: the run directory; an observer may leave files of its own in it.
        settings: every setting of the run, resolved, by name, as in config.yaml.
    """

    steps: int
    epochs: int
    batch_size: int
    device: str
    precision: str
    primary_metric: str
    done_steps: int = 0
    done_epochs: int = 0
    plan: Mapping[str, Any] = field(default_factory=dict)
    folder: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "plan", read_only(self.plan))
        object.__setattr__(self, "settings", read_only(self.settings))

    @property
    def task(self) -> str:
        return str(self.settings.get("task", ""))

    @property
    def backbone(self) -> str:
        return str(self.settings.get("backbone", ""))

    @property
    def strategy(self) -> str:
        return str(self.settings.get("strategy", ""))

    @property
    def seed(self) -> int:
        return int(self.settings.get("seed", 0))

    def to_json(self) -> dict[str, Any]:
        """A copy as plain data, the caller's own."""
        return {**vars(self), "plan": plain(self.plan), "settings": plain(self.settings)}


class Observer:
    """Override what is of interest.

    An observer that raises anything, an interrupt excepted, is switched off with a warning; training goes on to the same
    bits. It is built in every process, and called in the main one only; the loop waits for it. What it needs is checked when
    it is built (`UsageError` for a library that is missing), connections are made in `fit_start`.

    Whatever is told of a step or an epoch is told before the checkpoint that contains it is written. So after a kill
    nothing is missing that a resumed run does not tell again.
    """

    name = "observer"

    def fit_start(self, record: FitRecord) -> None:
        """Before the first step (or the first after a resume)."""

    def step_end(self, record: StepRecord) -> None:
        """After every optimizer step."""

    def evaluation_start(self, rows: int) -> None:
        """Before an evaluation over so many rows."""

    def evaluation_end(self, values: Mapping[str, float]) -> None:
        """After an evaluation, with its metrics."""

    def epoch_end(self, record: EpochRecord) -> None:
        """After an epoch and its evaluation."""

    def checkpoint(self, path: str, step: int) -> None:
        """After a checkpoint is safely on disk."""

    def fit_end(self, reason: str) -> None:
        """After the last step: `finished`, `early stop`, `budget`."""

    def run_end(self, summary: Mapping[str, Any]) -> None:
        """After everything is on disk, with the content of summary.json: test metrics, versions and so on."""

    def failure(self, message: str) -> None:
        """A run that had started stops because of an error, or of the user (then the message is `interrupted`)."""


def read_only(value: Any) -> Any:
    """Plain data that cannot be written: mappings become read-only views of copies, sequences become tuples."""
    if isinstance(value, Mapping):
        return MappingProxyType({key: read_only(inner) for key, inner in value.items()})
    if isinstance(value, list | tuple):
        return tuple(read_only(inner) for inner in value)
    return value


def plain(value: Any) -> Any:
    """What `read_only` made, as new dicts and lists."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value
