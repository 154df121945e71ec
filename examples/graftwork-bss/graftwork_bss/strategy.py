"""The strategy `bss`: everything trains, and directions of the features that hardly carry anything are shrunk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from graftwork.interfaces import (
    Batch,
    Features,
    Head,
    Model,
    Outputs,
    Phase,
    Plan,
    PlanContext,
    Predictions,
    Spec,
    Strategy,
    Targets,
    stage_groups,
)


class Shrinking(Head):
    """A head with one loss part more: eta times the squares of the k smallest singular values of the batch's features.

    Chen et al. 2019, "Catastrophic Forgetting Meets Negative Transfer: Batch Spectral Shrinkage for Safe Transfer Learning".
    Where we differ: a head that reads no `pooled` has its coarsest map or its tokens averaged. A step that is taken in
    micro-batches has the average over them.
    """

    def __init__(self, head: Head, eta: float, smallest: int) -> None:
        super().__init__()
        self.head, self.eta, self.smallest = head, eta, smallest
        self.needs, self.reads = head.needs, head.reads

    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        vectors = self.vectors(features).float()
        values = torch.linalg.svdvals(vectors)  # largest first
        shrunk = (
            values[max(1, len(values) - self.smallest) :].square().sum()
        )  # never the largest: a single row has no other
        return {**self.head.loss(features, targets), "bss": self.eta * shrunk * len(vectors)}

    def vectors(self, features: Features) -> Tensor:
        """[B, C]: what the spectrum is taken of."""
        if "pooled" in features:
            return features["pooled"]
        if "tokens" in features:
            mask = features["mask"].unsqueeze(-1)
            return (features["tokens"] * mask).sum(1) / mask.sum(1).clamp(min=1)
        return features[max((name for name in features if name.startswith("map")), key=lambda n: int(n[3:]))].mean(
            (2, 3)
        )

    def counts(self, targets: Targets) -> dict[str, Tensor]:
        return {**self.head.counts(targets), "bss": super().counts(targets)["loss"]}

    def outputs(self, features: Features) -> Outputs:
        return self.head.outputs(features)

    def postprocess(self, outputs: Outputs, features: Features) -> Predictions:
        return self.head.postprocess(outputs, features)


@dataclass(frozen=True)
class Bss(Strategy):
    """Full fine-tuning with batch spectral shrinkage."""

    eta: float
    smallest: int

    def prepare(self, model: Model, batch: Batch) -> None:
        model.head = Shrinking(model.head, self.eta, self.smallest)

    def finish(self, model: Model) -> Mapping[str, bytes]:
        assert isinstance(model.head, Shrinking)
        model.head = model.head.head
        return {}

    def plan(self, model: Model, context: PlanContext) -> Plan:
        groups = stage_groups(model, 0, context.weight_decay)
        reason = f"everything adapts; the {self.smallest} weakest directions of the features are shrunk by {self.eta:g}"
        rate = {"lr": context.lr, "schedule": context.schedule, "warmup": context.warmup}
        return Plan("bss", (Phase("bss", context.epochs, 0, groups, **rate, reason=reason),))  # type: ignore[arg-type]


def build(spec: Spec) -> Strategy:
    """The strategy `bss`."""
    return Bss(float(spec.options["eta"]), int(spec.options["smallest"]))
