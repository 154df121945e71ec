"""Linear probe: the head alone, on a frozen backbone."""

from __future__ import annotations

from graftwork.interfaces import Model, Phase, Plan, PlanContext, Spec, Strategy, stage_groups


class LinearProbe(Strategy):
    """Trains the head; every stage is frozen (the usual measure of a representation, e.g. Kornblith et al. 2019)."""

    def plan(self, model: Model, context: PlanContext) -> Plan:
        stages = len(model.backbone.stages())
        phase = Phase(
            name="probe",
            epochs=context.epochs,
            frozen_stages=stages,
            groups=stage_groups(model, stages, context.weight_decay),
            lr=context.lr,
            schedule=context.schedule,
            warmup=context.warmup,
            reason="the backbone is frozen, so only the head can learn",
        )
        return Plan("linear-probe", (phase,))


def build(spec: Spec) -> Strategy:
    """The strategy `linear-probe`."""
    return LinearProbe()
