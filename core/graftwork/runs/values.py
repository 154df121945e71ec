"""A run as values: what was assembled, what was planned for this machine, what came out of the fit. None is patched later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graftwork.config import Resolved, RunConfig
from graftwork.engine.fit import Fitting
from graftwork.engine.resumable import Progress
from graftwork.interfaces import Model, Spec, Strategy, Task
from graftwork.models.build import Builder, Starting
from graftwork.runs.data import RunData


@dataclass(frozen=True)
class Assembled:
    """A task with its data, and a model with its starting weights: what a run is made of, on any machine.

    Args:
        resolved: the configuration.
        builder: of everything that it names.
        data: read, audited and split by the task.
        backbone, head: what the model was built from.
        model: on the CPU.
        starting: where its weights came from.
        chance: what guessing scores in the primary metric.
    """

    resolved: Resolved
    builder: Builder
    data: RunData
    backbone: Spec
    head: Spec
    model: Model
    starting: Starting
    chance: float

    @property
    def config(self) -> RunConfig:
        return self.resolved.config

    @property
    def task(self) -> Task:
        return self.data.task


@dataclass(frozen=True)
class Planned:
    """A run with nothing open: what to train, when, from what, and where.

    Args:
        assembled: with its model on the device, as the strategy has prepared it.
        resolved: with what the machine was asked, and what a trial has decided.
        strategy: whose plan it is.
        fitting: what the engine gets.
        described: the plan as plain data, for plan.json.
    """

    assembled: Assembled
    resolved: Resolved
    strategy: Strategy
    fitting: Fitting
    described: Mapping[str, Any]


@dataclass(frozen=True)
class Fitted:
    """What a fit came to; the model of its `planned` holds the best weights."""

    planned: Planned
    progress: Progress
