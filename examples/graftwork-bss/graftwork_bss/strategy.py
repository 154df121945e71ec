"""The strategy `bss`: everything trains, and directions of the features that hardly carry anything are shrunk."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graftwork.interfaces import Batch, Features, Model, Phase, Plan, PlanContext, Spec, Strategy, Term, stage_groups


class Shrinkage(Term):
    """eta times the squares of the k smallest singular values of the batch's features.

    Chen et al. 2019, "Catastrophic Forgetting Meets Negative Transfer: Batch Spectral Shrinkage for Safe Transfer Learning".
    Where we differ: of a backbone without `pooled` the tokens or the coarsest map are averaged. A batch that the user has
    split has the average over its pieces.
    """

    couples_rows = True

    def __init__(self, eta: float, smallest: int, feature: str) -> None:
        super().__init__()
        self.eta, self.smallest, self.feature = eta, smallest, feature
        self.needs = frozenset({feature})

    def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
        vectors = self.vectors(features).float()
        values = torch.linalg.svdvals(vectors)  # largest first
        # Never the largest: a single row has no other.
        shrunk = values[max(1, len(values) - self.smallest) :].square().sum()
        return {"bss": self.eta * shrunk * len(vectors)}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"bss": torch.tensor(float(len(batch)))}

    def vectors(self, features: Features) -> Tensor:
        """[B, C]: what the spectrum is taken of."""
        found = features[self.feature]
        if self.feature == "tokens":
            mask = features["mask"].unsqueeze(-1)
            return (found * mask).sum(1) / mask.sum(1).clamp(min=1)
        return found.mean((2, 3)) if found.ndim == 4 else found

    def describe(self) -> dict[str, Any]:
        return {"name": "bss", "eta": self.eta, "smallest": self.smallest}


def feature_of(provided: Collection[str]) -> str:
    """Of a backbone's features the one that comes nearest to a vector a row."""
    if "pooled" in provided or "tokens" in provided:
        return "pooled" if "pooled" in provided else "tokens"
    return max((name for name in provided if name.startswith("map")), key=lambda name: int(name[3:]))


@dataclass(frozen=True)
class Bss(Strategy):
    """Full fine-tuning with batch spectral shrinkage."""

    eta: float
    smallest: int

    def plan(self, model: Model, context: PlanContext) -> Plan:
        term = Shrinkage(self.eta, self.smallest, feature_of(model.backbone.provides))
        groups = stage_groups(model, 0, context.weight_decay)
        reason = f"everything adapts; the {self.smallest} weakest directions of the features are shrunk by {self.eta:g}"
        phase = Phase(
            "bss", context.epochs, 0, groups, context.lr, context.schedule, context.warmup, (term,), reason=reason
        )
        return Plan("bss", (phase,))


def build(spec: Spec) -> Strategy:
    """The strategy `bss`."""
    return Bss(float(spec.options["eta"]), int(spec.options["smallest"]))
