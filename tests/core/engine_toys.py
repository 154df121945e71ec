"""A tiny backbone, head and metrics, written as a third party would: real objects for the engine's tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graftwork.engine.batches import FitData
from graftwork.engine.checkpoint import CheckpointStore
from graftwork.engine.fit import Fit, Fitting
from graftwork.engine.observers import Observers
from graftwork.engine.resumable import Progress
from graftwork.engine.settings import FitSettings
from graftwork.interfaces import (
    Backbone,
    Batch,
    Examples,
    Features,
    Head,
    Metrics,
    Model,
    Observer,
    Outputs,
    PlanContext,
    Predictions,
    State,
    Strategy,
    Targets,
)
from graftwork.log import heard
from graftwork.machine.device import Device
from graftwork.testing.fits import no_teacher

WIDTH, CLASSES = 6, 3


@dataclass(frozen=True)
class NumbersInput:
    """What the toy wants to see: so many numbers a row."""

    width: int = WIDTH

    def to_json(self) -> dict[str, Any]:
        return {"width": self.width}


class Stage(nn.Module):
    """Linear, BatchNorm where wanted, tanh."""

    def __init__(self, norm: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.norm: nn.Module = nn.BatchNorm1d(WIDTH) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.norm(self.linear(x)))


class ToyBackbone(Backbone):
    """So many stages of six numbers. A `limit` makes the first stage run out of memory on more rows than that."""

    def __init__(self, stages: int = 4, norm: bool = False, limit: int | None = None) -> None:
        super().__init__()
        self.input = NumbersInput()
        self.provides = {"pooled": WIDTH}
        self.blocks = nn.ModuleList(Stage(norm) for _ in range(stages))
        self.limit = limit
        self.seen: list[int] = []

    def stages(self) -> Sequence[nn.Module]:
        return list(self.blocks)

    def begin(self, inputs: Mapping[str, Tensor]) -> State:
        return {"x": inputs["numbers"]}

    def advance(self, index: int, state: State, needs: frozenset[str]) -> State:
        x = self.blocks[index](state["x"])
        # After the last stage: by then every BatchNorm has moved, which a retry must undo.
        if index == len(self.blocks) - 1 and self.training and self.limit is not None:
            self.seen.append(len(x))
            if len(x) > self.limit:
                raise torch.OutOfMemoryError(f"tried to allocate {len(x)} rows")
        return {"x": x}

    def finish(self, state: State, needs: frozenset[str]) -> Features:
        return {"pooled": state["x"]}


class ToyHead(Head):
    """Cross-entropy with a weight for each class, and a second loss part with a divisor of its own."""

    needs = frozenset({"pooled"})

    def __init__(self, weights: Sequence[float] = (1.0,) * CLASSES, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, CLASSES)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("weights", torch.tensor(weights), persistent=False)

    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        assert isinstance(targets, dict)
        logits = self.outputs(features)["logits"]
        weights = self.get_buffer("weights")
        cross = nn.functional.cross_entropy(logits, targets["label"], weight=weights, reduction="sum")
        return {"class": cross, "size": 0.01 * logits.square().sum()}

    def counts(self, targets: Targets) -> dict[str, Tensor]:
        assert isinstance(targets, dict)
        label = targets["label"]
        return {"class": self.get_buffer("weights")[label].sum(), "size": torch.tensor(float(len(label)))}

    def outputs(self, features: Features) -> Outputs:
        return {"logits": self.linear(self.dropout(features["pooled"]))}

    def postprocess(self, outputs: Outputs, features: Features) -> Predictions:
        return dict(outputs)


class ToyExamples(Examples):
    """Rows drawn from a seed; the class is where the first numbers point. `log` notes which rows are read."""

    def __init__(self, rows: int, seed: int = 0, noise: float = 0.0, log: list[Any] | None = None) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.numbers = torch.randn(rows, WIDTH, generator=generator)
        self.labels = self.numbers[:, :CLASSES].argmax(dim=1)
        self.noise = noise
        self.log = log

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, row: int) -> Tensor:
        if self.log is not None:
            self.log.append(row)
        return self.numbers[row] + self.noise * torch.randn(WIDTH)

    def collate(self, rows: Sequence[int], examples: Sequence[Any]) -> Batch:
        numbers = torch.stack(list(examples)) + self.noise * torch.rand(())
        index = torch.tensor(rows)
        return Batch(index, {"numbers": numbers}, {"label": self.labels[index]})


class Accuracy(Metrics):
    """Share of rows with the right class."""

    def __init__(self) -> None:
        self.right = self.rows = 0

    def update(self, predictions: Predictions, batch: Batch) -> None:
        assert isinstance(predictions, dict) and isinstance(batch.targets, dict)
        self.right += int((predictions["logits"].argmax(dim=1) == batch.targets["label"]).sum())
        self.rows += len(batch)

    def compute(self) -> dict[str, float]:
        return {"accuracy": self.right / self.rows}


SETTINGS = FitSettings(
    batch_units=None,
    bucketing=True,
    batch_size=8, optimizer="adamw", momentum=0.9, grad_clip=1.0, ema=0.0, patience=0, budget=None, balanced=False,
    seed=0, workers=0, micro_batch=None, checkpoint_seconds=1e9, checkpoint_steps=None,
)  # fmt: skip
CONTEXT = PlanContext(epochs=4, lr=0.01, weight_decay=0.1, schedule="cosine", warmup=0.0, rows=32, steps_per_epoch=4)


def toy_model(stages: int = 4, norm: bool = False, limit: int | None = None, seed: int = 0, **head: Any) -> Model:
    """A model with weights that follow from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Model(ToyBackbone(stages, norm, limit), ToyHead(**head))


def toy_batch(rows: int = 2) -> Batch:
    """The first rows of ToyExamples."""
    with torch.random.fork_rng(devices=[]):
        examples = ToyExamples(max(rows, 2))
        return examples.collate(range(rows), [examples.load(row) for row in range(rows)])


@dataclass
class Fitted:
    """What a fit left: its progress, and what it said."""

    fit: Fit
    progress: Progress
    said: list[str] = field(default_factory=list)

    @property
    def model(self) -> Model:
        return self.fit.model


def prepare(
    model: Model,
    strategy: Strategy,
    folder: Path,
    *,
    context: PlanContext = CONTEXT,
    train: Examples | None = None,
    validation: Examples | None = None,
    unlabelled: Examples | None = None,
    metrics: Callable[[], Metrics] = Accuracy,
    observers: Sequence[Observer] = (),
    **changes: Any,
) -> Fit:
    """A fit that has not started."""
    rows = train or ToyExamples(32)
    strata = rows.labels.tolist if isinstance(rows, ToyExamples) else tuple
    data = FitData(rows, validation or ToyExamples(16, seed=1), strata, metrics, "accuracy", unlabelled)
    store = CheckpointStore(folder)
    watchers = Observers(observers)
    settings = replace(SETTINGS, **changes)
    strategy.prepare(model, toy_batch(), no_teacher)
    plan = strategy.plan(model, context)
    return Fit(Fitting(model, plan, data, settings, Device("cpu", "fp32")), store, watchers)


def run_fit(model: Model, strategy: Strategy, folder: Path, *, resume: bool = False, **options: Any) -> Fitted:
    """A fit from its start (or from its checkpoint) to its end."""
    said: list[str] = []
    fit = prepare(model, strategy, folder, **options)
    with heard(said.append):
        return Fitted(fit, fit.run(resume), said)


def copies(model: Model) -> dict[str, Tensor]:
    """The model's tensors, copied."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def largest_difference(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """Over all tensors of two models."""
    assert first.keys() == second.keys()
    return max(float((first[name].double() - second[name].double()).abs().max()) for name in first)
