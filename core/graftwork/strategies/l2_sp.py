"""L2-SP: everything trains, pulled towards where it started."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from graftwork.interfaces import Model, Plan, PlanContext, Regulariser, Spec, Strategy
from graftwork.strategies.full import Full


class StartingPoint(Regulariser):
    """alpha/2 · ||w - w0||² over the backbone plus beta/2 · ||w||² over the head (Li, Grandvalet, Davoine 2018)."""

    def __init__(self, alpha: float, beta: float) -> None:
        self.alpha = alpha
        self.beta = beta
        self._start: dict[str, Tensor] = {}

    def start(self, model: Model) -> None:
        self._start = {name: value.detach().clone() for name, value in model.backbone.named_parameters()}

    def penalty(self, model: Model) -> Tensor:
        parameters = dict(model.backbone.named_parameters())
        distances = [
            (parameters[name] - start.to(parameters[name].device)).square().sum() for name, start in self._start.items()
        ]
        norms = [parameter.square().sum() for parameter in model.head.parameters()]
        return 0.5 * self.alpha * torch.stack(distances).sum() + 0.5 * self.beta * torch.stack(norms).sum()

    def describe(self) -> dict[str, Any]:
        return {"name": "l2-sp", "alpha": self.alpha, "beta": self.beta}


@dataclass(frozen=True)
class L2Sp(Strategy):
    """Full fine-tuning with the starting point as reference instead of the origin."""

    alpha: float
    beta: float

    def plan(self, model: Model, context: PlanContext) -> Plan:
        (phase,) = Full().plan(model, context).phases
        pulled = replace(
            phase,
            name="l2-sp",
            regulariser=StartingPoint(self.alpha, self.beta),
            reason="everything adapts, pulled towards the starting weights",
        )
        return Plan("l2-sp", (pulled,))


def build(spec: Spec) -> Strategy:
    """The strategy `l2-sp`."""
    return L2Sp(float(spec.options["alpha"]), float(spec.options["beta"]))
