"""Strategies that train on pairs, or beside rows without labels, or solve the head first; and others that draw pairs wrongly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from graftwork import UsageError
from graftwork.interfaces import (
    Batch,
    Features,
    Items,
    Model,
    Phase,
    Plan,
    PlanContext,
    Solver,
    Spec,
    Strategy,
    Stream,
    Term,
)
from graftwork_zoo.strategies import TameTwoPhases


class _Pairs(Items):
    """Two rows: each row once, and one that is drawn."""

    unit = 2

    def count(self, rows: int) -> int:
        return rows

    def item(self, number: int, strata: Sequence[int], generator: torch.Generator) -> tuple[int, ...]:
        return number, int(torch.randint(len(strata), (), generator=generator))


class _Torn(_Pairs):
    def item(self, number: int, strata: Sequence[int], generator: torch.Generator) -> tuple[int, ...]:
        first, second = super().item(number, strata, generator)
        return (first,) if strata[first] == strata[second] else (first, second)


class _OnePastTheLast(_Pairs):
    def item(self, number: int, strata: Sequence[int], generator: torch.Generator) -> tuple[int, ...]:
        first, second = super().item(number, strata, generator)
        return first + 1, second


class _DrawsAtLarge(_Pairs):
    def item(self, number: int, strata: Sequence[int], generator: torch.Generator) -> tuple[int, ...]:
        return number, int(torch.randint(len(strata), ()))


class _DrawsInTurn(_Pairs):
    _last = 0

    def item(self, number: int, strata: Sequence[int], generator: torch.Generator) -> tuple[int, ...]:
        self._last, before = number, self._last
        return number, before


class _Contrast(Term):
    """Pairs of one class come together, others go apart up to a distance of 1 (Hadsell et al. 2006)."""

    stream = "pairs"
    needs = frozenset({"pooled"})

    def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
        assert isinstance(batch.targets, dict)
        left, right = features["pooled"].unflatten(0, (-1, 2)).unbind(1)
        same = batch.targets["label"].unflatten(0, (-1, 2))
        distance = ((left - right).square().sum(1) + 1e-6).sqrt()
        apart = (1.0 - distance).clamp(min=0.0)
        return {"contrast": torch.where(same[:, 0] == same[:, 1], distance, apart).square().sum()}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"contrast": torch.tensor(len(batch) / batch.unit)}


class TamePairs(TameTwoPhases):
    """The backbone on pairs, without the head; then everything."""

    items: ClassVar[type[Items]] = _Pairs

    def plan(self, model: Model, context: PlanContext) -> Plan:
        if context.epochs < 2:
            raise UsageError("it has two phases and needs at least 2 epochs")
        first, second = self.shares(context.epochs)
        whole = self.phase("all", model, context, second, 0)
        pairs = replace(
            whole,
            name="pairs",
            epochs=first,
            groups=tuple(group for group in whole.groups if not group.name.startswith("head")),
            streams=(Stream("pairs", items=self.items(), batch_size=3),),
            terms=(_Contrast(),),
            head_loss=False,
        )
        return Plan("pairs", (pairs, whole))


class TearsPairs(TamePairs):
    items = _Torn


class PairsOnePastTheLast(TamePairs):
    items = _OnePastTheLast


class DrawsPairsAtLarge(TamePairs):
    items = _DrawsAtLarge


class DrawsPairsInTurn(TamePairs):
    items = _DrawsInTurn


class _Small(Term):
    """Features of rows without labels stay small."""

    stream = "unlabelled"
    needs = frozenset({"pooled"})

    def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
        return {"size": 0.01 * features["pooled"].square().sum()}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"size": torch.tensor(float(len(batch)))}


class _ReadsLabels(_Small):
    def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
        assert isinstance(batch.targets, dict)
        known = batch.targets["label"] >= 0
        return {"size": 0.01 * features["pooled"][known].square().sum()}


class TameBeside(TameTwoPhases):
    """Two phases, rows without labels beside the labelled ones where the backbone can learn from them."""

    term: ClassVar[type[Term]] = _Small

    def phase(self, name: str, model: Model, context: PlanContext, epochs: int, frozen: int) -> Phase:
        found = super().phase(name, model, context, epochs, frozen)
        if frozen:
            return found
        streams = (Stream(), Stream("unlabelled", "unlabelled", batch_size=6))
        return replace(found, streams=streams, terms=(self.term(),))


class ReadsLabelsOfNone(TameBeside):
    term = _ReadsLabels


class TameSolvesFirst(TameTwoPhases):
    """The head solved on the frozen backbone, then everything."""

    solving = 1

    def plan(self, model: Model, context: PlanContext) -> Plan:
        if context.epochs < 2:
            raise UsageError("it has two phases and needs at least 2 epochs")
        stages = len(model.backbone.stages())
        solved = Phase("solve", self.solving, stages, (), 0.0, solver=Solver({"ridge": 0.1}))
        return Plan("solves-first", (solved, self.phase("all", model, context, context.epochs - self.solving, 0)))


class SolvesForTwoEpochs(TameSolvesFirst):
    solving = 2


ALL: Mapping[str, type[Strategy]] = {
    "tame-pairs": TamePairs,
    "tame-beside": TameBeside,
    "tame-solves-first": TameSolvesFirst,
    "reads-labels-of-none": ReadsLabelsOfNone,
    "solves-for-two-epochs": SolvesForTwoEpochs,
    "tears-pairs": TearsPairs,
    "pairs-one-past-the-last": PairsOnePastTheLast,
    "draws-pairs-at-large": DrawsPairsAtLarge,
    "draws-pairs-in-turn": DrawsPairsInTurn,
}


def build(spec: Spec) -> Strategy:
    return ALL[spec.name]()
