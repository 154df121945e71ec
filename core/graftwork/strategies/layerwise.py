"""Layer-wise learning rates: the earlier the stage, the smaller its rate."""

from __future__ import annotations

from dataclasses import dataclass

from graftwork.interfaces import Model, Phase, Plan, PlanContext, Spec, Strategy, stage_groups


@dataclass(frozen=True)
class Layerwise(Strategy):
    """Discriminative fine-tuning (Howard and Ruder 2018): stage i of n gets lr · decay^(n - i), the head lr."""

    decay: float

    def plan(self, model: Model, context: PlanContext) -> Plan:
        stages = len(model.backbone.stages())
        multipliers = [self.decay ** (stages - index) for index in range(stages)]
        phase = Phase(
            name="layerwise",
            epochs=context.epochs,
            frozen_stages=0,
            groups=stage_groups(model, 0, context.weight_decay, multipliers),
            lr=context.lr,
            schedule=context.schedule,
            warmup=context.warmup,
            reason=f"each stage learns {self.decay:g} times as fast as the one after it",
        )
        return Plan("layerwise", (phase,))


def build(spec: Spec) -> Strategy:
    """The strategy `layerwise`."""
    return Layerwise(float(spec.options["decay"]))
