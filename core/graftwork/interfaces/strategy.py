"""Strategies turn a model into a plan; the engine runs any plan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from graftwork.interfaces.batch import Batch
from graftwork.interfaces.model import Model
from graftwork.interfaces.stream import Stream
from graftwork.interfaces.teacher import OpenTeacher
from graftwork.interfaces.term import Term


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate.

    Args:
        name: unique in the plan; the same name in two phases means the same parameters.
        parameters: names as `model.named_parameters()` gives them; at least one.
        lr_multiplier: times the phase's learning rate.
        weight_decay: of these parameters; decoupled for AdamW.
    """

    name: str
    parameters: tuple[str, ...]
    lr_multiplier: float = 1.0
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Solver:
    """A head that is solved in closed form, or by a method of its own, instead of stepped.

    Args:
        options: what the head is told; plain data.
    """

    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs with the same trainable parameters.

    Args:
        name: shown in the plan and in metrics.jsonl.
        epochs: at least 1.
        frozen_stages: the first so many stages are frozen: no gradients, eval mode, bit-identical at the end.
        frozen_statistics: whether BatchNorm keeps its running statistics in the other stages too; for phases that train
            little beside what stays (adapters, biases).
        groups: everything that is trained; parameters in no group get no gradient.
        lr: peak learning rate of a group with multiplier 1.
        schedule: `cosine` or `constant`, after the warm-up.
        warmup: share of the phase's steps in which the rate rises linearly from zero, 0 to 1.
        terms: what is added to the head's loss.
        reason: why this phase is as it is, one sentence.
        streams: where its batches come from; the first one's are an epoch, further ones go round beside it.
        head_loss: whether the head's loss is trained on. A phase without it is not evaluated and is no candidate for the best;
            a budget that ends in it ends the phase, not the run.
        evaluate_every: epochs from one evaluation to the next, where evaluating costs more than training; the phase's last
            epoch is always evaluated.
        solver: what `Head.solve` is asked for, in place of steps: one epoch, over training rows that are not augmented.
    """

    name: str
    epochs: int
    frozen_stages: int
    groups: tuple[Group, ...]
    lr: float
    schedule: str = "cosine"
    warmup: float = 0.0
    terms: tuple[Term, ...] = ()
    reason: str = ""
    frozen_statistics: bool = False
    streams: tuple[Stream, ...] = (Stream(),)
    head_loss: bool = True
    evaluate_every: int = 1
    solver: Solver | None = None


@dataclass(frozen=True)
class Plan:
    """What will be trained, when, and at which rates. Printed before training and kept as plan.json."""

    strategy: str
    phases: tuple[Phase, ...]

    @property
    def epochs(self) -> int:
        """Epochs of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    @property
    def terms(self) -> tuple[Term, ...]:
        """Terms of all phases, each once."""
        return tuple({id(term): term for phase in self.phases for term in phase.terms}.values())

    def describe(self, model: Model) -> dict[str, Any]:
        """The plan as plain data: parameter counts instead of parameter names."""
        sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
        stages = len(model.backbone.stages())
        return {
            "strategy": self.strategy,
            "epochs": self.epochs,
            "phases": [
                {
                    "name": phase.name,
                    "epochs": phase.epochs,
                    "frozen_stages": phase.frozen_stages,
                    "frozen_statistics": phase.frozen_statistics,
                    "stages": stages,
                    "lr": phase.lr,
                    "schedule": phase.schedule,
                    "warmup": phase.warmup,
                    "terms": [term.describe() for term in phase.terms],
                    "reason": phase.reason,
                    **_unusual(phase),
                    "groups": [
                        {
                            "name": group.name,
                            "lr": phase.lr * group.lr_multiplier,
                            "weight_decay": group.weight_decay,
                            "parameters": sum(sizes[name] for name in group.parameters),
                            "tensors": len(group.parameters),
                        }
                        for group in phase.groups
                    ],
                }
                for phase in self.phases
            ],
        }


def _unusual(phase: Phase) -> dict[str, Any]:
    """What few phases have, as plain data."""
    found: dict[str, Any] = {}
    if phase.streams != (Stream(),):
        found["streams"] = [
            {
                "name": stream.name,
                "split": stream.split,
                "items": type(stream.items).__name__ if stream.items else "rows",
                "batch_size": stream.batch_size,
            }
            for stream in phase.streams
        ]
    if not phase.head_loss:
        found["head_loss"] = False
    if phase.evaluate_every != 1:
        found["evaluate_every"] = phase.evaluate_every
    if phase.solver is not None:
        found["solver"] = dict(phase.solver.options)
    return found


@dataclass(frozen=True)
class PlanContext:
    """What the user (or a recipe) chose and a strategy must respect.

    Args:
        epochs: of all phases together.
        lr: peak learning rate.
        weight_decay: for weight matrices; biases, norms and other one-dimensional parameters get none.
        schedule, warmup: as in Phase.
        rows: training rows.
        steps_per_epoch: optimizer steps in an epoch.
    """

    epochs: int
    lr: float
    weight_decay: float
    schedule: str
    warmup: float
    rows: int
    steps_per_epoch: int


class Strategy(ABC):
    """A degree of fine-tuning."""

    def prepare(  # noqa: B027 (most strategies change nothing)
        self, model: Model, batch: Batch, open: OpenTeacher
    ) -> None:
        """Change the model before it is planned: inject adapters, for example. What is drawn here is seeded.

        Args:
            model: with its starting weights, on the CPU.
            batch: a few training rows, for a strategy that has to see what the model does.
            open: opens a trained run as a teacher, whose outputs then come with every batch of training rows.
        """

    def finish(self, model: Model) -> Mapping[str, bytes]:
        """Undo what `prepare` did, so that the model is its own backbone and head again: merge adapters, for example.

        Called once, with the best weights. The model must predict what it predicted before.

        Returns:
            Files to keep beside the model, by path in the run directory.
        """
        return {}

    @abstractmethod
    def plan(self, model: Model, context: PlanContext) -> Plan:
        """The phases.

        Raises:
            UsageError: the model or the context does not allow this strategy; says why and what would.
        """


@dataclass
class _Split:
    decay: list[str] = field(default_factory=list)
    plain: list[str] = field(default_factory=list)


def stage_groups(
    model: Model,
    frozen_stages: int,
    weight_decay: float,
    multipliers: Sequence[float] | None = None,
    head_multiplier: float = 1.0,
) -> tuple[Group, ...]:
    """Groups for the head and for every stage after the frozen ones.

    Each part gives one group with weight decay and one without (biases, norms and other one-dimensional parameters, as is
    usual since He et al. 2019, "Bag of Tricks"); parts without parameters give none.

    Args:
        model: the model to be trained.
        frozen_stages: stages left out.
        weight_decay: for parameters of two or more dimensions.
        multipliers: learning-rate multiplier of each stage, input to output; 1 for all when None.
        head_multiplier: of the head.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups: list[Group] = []
    stages = model.backbone.stages()
    parts: list[tuple[str, nn.Module, float]] = [
        (f"stage{index}", stage, multipliers[index] if multipliers is not None else 1.0)
        for index, stage in enumerate(stages)
        if index >= frozen_stages
    ]
    for part, module, multiplier in [*parts, ("head", model.head, head_multiplier)]:
        split = _Split()
        for parameter in module.parameters():
            (split.plain if parameter.ndim <= 1 else split.decay).append(names[id(parameter)])
        if split.decay:
            groups.append(Group(part, tuple(split.decay), multiplier, weight_decay))
        if split.plain:
            groups.append(Group(f"{part}/no-decay", tuple(split.plain), multiplier, 0.0))
    return tuple(groups)
