"""Partial fine-tuning: the last K stages and the head."""

from __future__ import annotations

from dataclasses import dataclass

from graftwork.errors import UsageError
from graftwork.interfaces import Model, Phase, Plan, PlanContext, Spec, Strategy, stage_groups


@dataclass(frozen=True)
class Partial(Strategy):
    """Trains the last `last` stages; earlier ones, which are the more general (Yosinski et al. 2014), stay frozen."""

    last: int

    def plan(self, model: Model, context: PlanContext) -> Plan:
        stages = len(model.backbone.stages())
        if self.last > stages:
            raise UsageError(
                f"partial:{self.last} wants more stages than the backbone's {stages}",
                hint=f"Use partial:1 to partial:{stages - 1}, or full",
            )
        frozen = stages - self.last
        phase = Phase(
            name=f"last-{self.last}",
            epochs=context.epochs,
            frozen_stages=frozen,
            groups=stage_groups(model, frozen, context.weight_decay),
            lr=context.lr,
            schedule=context.schedule,
            warmup=context.warmup,
            reason=f"the last {self.last} of {stages} stages adapt, the earlier ones are kept",
        )
        return Plan(f"partial:{self.last}", (phase,))


def build(spec: Spec) -> Strategy:
    """The strategy `partial:K`."""
    return Partial(int(spec.argument or 1))
