"""Two strategies that are right, one of two phases and one with an adapter; and others that differ in one method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from graftwork import UsageError
from graftwork.interfaces import Batch, Model, OpenTeacher, Phase, Plan, PlanContext, Spec, Strategy, stage_groups


class TameTwoPhases(Strategy):
    """The head first, then everything."""

    def plan(self, model: Model, context: PlanContext) -> Plan:
        if context.epochs < 2:
            raise UsageError("it has two phases and needs at least 2 epochs")
        first, second = self.shares(context.epochs)
        stages = len(model.backbone.stages())
        return Plan(
            "two-phases",
            (self.phase("head", model, context, first, stages), self.phase("all", model, context, second, 0)),
        )

    def shares(self, epochs: int) -> tuple[int, int]:
        """Epochs of the phases."""
        return epochs // 2, epochs - epochs // 2

    def phase(self, name: str, model: Model, context: PlanContext, epochs: int, frozen: int) -> Phase:
        groups = stage_groups(model, frozen, context.weight_decay)
        return Phase(name, epochs, frozen, groups, context.lr, context.schedule, context.warmup)


class TrainsTheFrozen(TameTwoPhases):
    def phase(self, name: str, model: Model, context: PlanContext, epochs: int, frozen: int) -> Phase:
        found = super().phase(name, model, context, epochs, frozen)
        return replace(found, groups=stage_groups(model, 0, context.weight_decay))


class LosesAnEpoch(TameTwoPhases):
    def shares(self, epochs: int) -> tuple[int, int]:
        return epochs // 2, epochs // 2


class ChangesWeights(TameTwoPhases):
    def plan(self, model: Model, context: PlanContext) -> Plan:
        for parameter in model.head.parameters():
            nn.init.zeros_(parameter)
        return super().plan(model, context)


class FreezesItself(TameTwoPhases):
    def plan(self, model: Model, context: PlanContext) -> Plan:
        model.freeze(1)
        return super().plan(model, context)


class OwnRate(TameTwoPhases):
    def phase(self, name: str, model: Model, context: PlanContext, epochs: int, frozen: int) -> Phase:
        return replace(super().phase(name, model, context, epochs, frozen), lr=3e-4)


class DecaysAnyway(TameTwoPhases):
    def phase(self, name: str, model: Model, context: PlanContext, epochs: int, frozen: int) -> Phase:
        found = super().phase(name, model, context, epochs, frozen)
        return replace(found, groups=tuple(replace(group, weight_decay=0.05) for group in found.groups))


class GroupAtRest(TameTwoPhases):
    def phase(self, name: str, model: Model, context: PlanContext, epochs: int, frozen: int) -> Phase:
        found = super().phase(name, model, context, epochs, frozen)
        return replace(found, groups=(replace(found.groups[0], lr_multiplier=0.0), *found.groups[1:]))


class PlansAnew(TameTwoPhases):
    _planned = 0

    def plan(self, model: Model, context: PlanContext) -> Plan:
        self._planned += 1
        return super().plan(model, replace(context, warmup=context.warmup / self._planned))


class Scaled(nn.Module):
    """A linear layer with a scale on each input: the adapter."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear
        self.scale = nn.Parameter(torch.ones(linear.in_features))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.linear(x * self.scale)
        return result

    def merged(self) -> nn.Linear:
        """The layer alone, which does the same."""
        with torch.no_grad():
            self.linear.weight.mul_(self.scale)
        return self.linear


class TameAdapter(TameTwoPhases):
    """Scales what the head's linear layer sees; merged at the end."""

    def prepare(self, model: Model, batch: Batch, open: OpenTeacher) -> None:
        head: Any = model.head
        head.linear = Scaled(head.linear)

    def finish(self, model: Model) -> Mapping[str, bytes]:
        head: Any = model.head
        head.linear = head.linear.merged()
        return {"adapter.txt": b"merged"}


class NeverUndone(TameAdapter):
    def finish(self, model: Model) -> Mapping[str, bytes]:
        return {}


class NotMerged(TameAdapter):
    def finish(self, model: Model) -> Mapping[str, bytes]:
        head: Any = model.head
        head.linear = head.linear.linear
        return {}


class FilesElsewhere(TameAdapter):
    def finish(self, model: Model) -> Mapping[str, bytes]:
        return {"../adapter.txt": super().finish(model)["adapter.txt"]}


class UnseededAdapter(TameAdapter):
    def prepare(self, model: Model, batch: Batch, open: OpenTeacher) -> None:
        super().prepare(model, batch, open)
        head: Any = model.head
        generator = torch.Generator()
        generator.seed()
        nn.init.normal_(head.linear.scale, mean=1.0, std=0.02, generator=generator)


ALL: Mapping[str, type[Strategy]] = {
    "tame-two-phases": TameTwoPhases,
    "tame-adapter": TameAdapter,
    "trains-the-frozen": TrainsTheFrozen,
    "loses-an-epoch": LosesAnEpoch,
    "changes-weights": ChangesWeights,
    "freezes-itself": FreezesItself,
    "own-rate": OwnRate,
    "decays-anyway": DecaysAnyway,
    "group-at-rest": GroupAtRest,
    "plans-anew": PlansAnew,
    "never-undone": NeverUndone,
    "not-merged": NotMerged,
    "files-elsewhere": FilesElsewhere,
    "unseeded-adapter": UnseededAdapter,
}


def build(spec: Spec) -> Strategy:
    return ALL[spec.name]()
