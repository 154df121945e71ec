"""Short fits for checks of strategies and observers: the engine's own loop, on few rows, in a folder of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from graftwork.data.seeds import INIT, derive
from graftwork.engine.batches import FitData
from graftwork.engine.checkpoint import CheckpointStore
from graftwork.engine.fit import Fit, Fitting
from graftwork.engine.observers import SWITCHED_OFF, Observers
from graftwork.engine.resumable import Progress
from graftwork.engine.settings import FitSettings
from graftwork.errors import UsageError
from graftwork.interfaces import Batch, Model, Observer, Plan, PlanContext, Strategy, Teacher
from graftwork.log import heard
from graftwork.machine.device import Device
from graftwork.runs.directory import CHECKPOINTS
from graftwork.testing.subjects import Subject, load

BATCH = 4


@dataclass(frozen=True)
class Fitted:
    """What a fit left.

    Args:
        said: lines for the user: warnings of observers that were switched off.
    """

    model: Model
    plan: Plan
    progress: Progress
    said: list[str]


def context(
    subject: Subject, epochs: int, lr: float = 1e-3, weight_decay: float = 0.01, schedule: str = "cosine"
) -> PlanContext:
    """What a strategy is told, of a fit on the few rows."""
    rows = len(subject.few["train"])
    return PlanContext(epochs, lr, weight_decay, schedule, 0.1, rows, -(-rows // BATCH))


def prepared(subject: Subject, strategy: Strategy, seed: int = 0) -> Model:
    """A model that the strategy has prepared, as a run has it done."""
    model = subject.model()
    batch = few_rows(subject, model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(INIT, seed, 2))
        strategy.prepare(model, batch, no_teacher)
    return model


def no_teacher(reference: str) -> Teacher:
    """What a strategy is given to open teachers with, where there is none."""
    raise UsageError(f"no run is here to teach, so {reference} is none")


def few_rows(subject: Subject, model: Model, train: bool = True) -> Batch:
    """Two training rows, which a strategy is shown; or as evaluation gets them."""
    return load(subject.examples("train", model.backbone.input, train), [0, 1])


def fit(
    subject: Subject,
    model: Model,
    plan: Plan,
    folder: Path,
    observers: Sequence[Observer] = (),
    watchers: Callable[[Observers], Observers] = lambda observers: observers,
    resume: bool = False,
) -> Fitted:
    """Train on the few rows, on the CPU.

    Args:
        folder: the run directory.
        watchers: may wrap what calls the observers.
        resume: go on from a checkpoint in the folder.
    """
    said: list[str] = []

    def hear(line: str) -> None:
        if line.endswith(SWITCHED_OFF):
            said.append(line)

    task, facts, input = subject.task, subject.facts, model.backbone.input
    split = "validation" if len(subject.few.get("validation", ())) else "train"
    data = FitData(
        train=subject.examples("train", input, True),
        validation=subject.examples(split, input, False),
        strata=lambda: task.strata(subject.few["train"]),
        metrics=lambda: task.metrics(facts, torch.device("cpu")),
        primary_metric=task.primary_metric,
        unlabelled=subject.examples("train", input, True),  # nobody reads their labels
    )
    settings = replace(
        FitSettings.of(subject.config, 0),
        batch_size=BATCH,
        batch_units=None,
        checkpoint_seconds=3600.0,
        checkpoint_steps=1,
    )
    called = watchers(Observers(observers))
    called.introduce(str(folder), subject.config.model_dump(mode="json"))
    device = Device("cpu", "fp32")
    fitting = Fitting(model, plan, data, settings, device)
    try:
        with heard(hear), called.told_of_failure():
            done = Fit(fitting, CheckpointStore(folder / CHECKPOINTS), called).run(resume)
    finally:
        device.close()
    return Fitted(model, plan, done, said)
