"""Observers watch a run; they change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class StepRecord:
    """One optimizer step.

    Args:
        step: from 1, over the whole run.
        phase: index of the plan's phase.
        epoch: from 1, over the whole run.
        rows: row numbers of the whole batch, in order.
        loss: a callable, since reading the loss waits for the device.
        lr: learning rate of a group with multiplier 1.
    """

    step: int
    phase: int
    epoch: int
    rows: Sequence[int]
    loss: Any
    lr: float


@dataclass(frozen=True)
class EpochRecord:
    """One epoch, as it is written to metrics.jsonl.

    Args:
        epoch: from 1, over the whole run.
        phase: the phase's name.
        train_loss: mean over the epoch's rows.
        val: validation metrics by name.
        seconds: wall time, evaluation included.
        samples_per_second: training rows a second, evaluation excluded.
    """

    epoch: int
    phase: str
    train_loss: float
    val: dict[str, float]
    seconds: float
    samples_per_second: float


@dataclass(frozen=True)
class FitRecord:
    """What is about to be fitted: total steps and epochs, the batch size, the device and the plan as plain data."""

    steps: int
    epochs: int
    batch_size: int
    device: str
    precision: str
    primary_metric: str
    done_steps: int = 0
    plan: dict[str, Any] = field(default_factory=dict)


class Observer:
    """Override what is of interest. An observer that raises is switched off with a warning; training goes on."""

    name = "observer"

    def fit_start(self, record: FitRecord) -> None:
        """Before the first step (or the first after a resume)."""

    def step_end(self, record: StepRecord) -> None:
        """After every optimizer step."""

    def evaluation_start(self, rows: int) -> None:
        """Before an evaluation over so many rows."""

    def epoch_end(self, record: EpochRecord) -> None:
        """After an epoch and its evaluation."""

    def checkpoint(self, path: str, step: int) -> None:
        """After a checkpoint is safely on disk."""

    def fit_end(self, reason: str) -> None:
        """After the last step: `finished`, `early stop`, `budget`."""

    def failure(self, message: str) -> None:
        """The run stops because of an error."""
