"""Full fine-tuning: everything, one learning rate."""

from __future__ import annotations

from graftwork.interfaces import Model, Phase, Plan, PlanContext, Spec, Strategy, stage_groups


class Full(Strategy):
    """Trains every stage and the head at one learning rate."""

    def plan(self, model: Model, context: PlanContext) -> Plan:
        phase = Phase(
            name="full",
            epochs=context.epochs,
            frozen_stages=0,
            groups=stage_groups(model, 0, context.weight_decay),
            lr=context.lr,
            schedule=context.schedule,
            warmup=context.warmup,
            reason="every stage may adapt",
        )
        return Plan("full", (phase,))


def build(spec: Spec) -> Strategy:
    """The strategy `full`."""
    return Full()
