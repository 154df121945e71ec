"""L2-SP: everything trains, pulled towards where it started."""

from __future__ import annotations

from dataclasses import dataclass, replace

from graftwork.interfaces import Model, Plan, PlanContext, Spec, Strategy
from graftwork.strategies.full import Full
from graftwork.strategies.terms import StartingPoint


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
            terms=(StartingPoint(self.alpha, self.beta),),
            reason="everything adapts, pulled towards the starting weights",
        )
        return Plan("l2-sp", (pulled,))


def build(spec: Spec) -> Strategy:
    """The strategy `l2-sp`."""
    return L2Sp(float(spec.options["alpha"]), float(spec.options["beta"]))
