"""Training from random weights: what a transfer has to beat."""

from __future__ import annotations

from dataclasses import replace

from graftwork.interfaces import Model, Plan, PlanContext, Spec, Strategy
from graftwork.strategies.full import Full


class Scratch(Strategy):
    """Trains everything from random weights; its recipe sets `weights: none`."""

    def plan(self, model: Model, context: PlanContext) -> Plan:
        (phase,) = Full().plan(model, context).phases
        return Plan("scratch", (replace(phase, name="scratch", reason="random weights: there is nothing to keep"),))


def build(spec: Spec) -> Strategy:
    """The strategy `scratch`."""
    return Scratch()
