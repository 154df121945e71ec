"""Gradual unfreezing: the head first, then one more stage a phase, from the last to the first."""

from __future__ import annotations

from graftwork.errors import UsageError
from graftwork.interfaces import Model, Phase, Plan, PlanContext, Spec, Strategy, stage_groups


class Gradual(Strategy):
    """Howard and Ruder 2018, "Universal Language Model Fine-tuning" (ULMFiT).

    Where we differ: with fewer epochs than stages + 1, several stages thaw at once, so that the last phase always trains
    everything; epochs that are left over go to the last phase.
    """

    def plan(self, model: Model, context: PlanContext) -> Plan:
        if context.epochs < 2:
            raise UsageError("gradual needs at least 2 epochs", hint="Pass --epochs 2 or more, or use full")
        stages = len(model.backbone.stages())
        count = min(stages + 1, context.epochs)
        phases = []
        for index in range(count):
            frozen = stages - round(index * stages / (count - 1))
            phases.append(
                Phase(
                    name="head" if index == 0 else f"from-stage-{frozen}",
                    epochs=1 if index < count - 1 else context.epochs - (count - 1),
                    frozen_stages=frozen,
                    groups=stage_groups(model, frozen, context.weight_decay),
                    lr=context.lr,
                    schedule="constant" if index < count - 1 else context.schedule,
                    warmup=context.warmup,
                    reason="the head alone" if index == 0 else f"stages {frozen} to {stages - 1} adapt",
                )
            )
        return Plan("gradual", tuple(phases))


def build(spec: Spec) -> Strategy:
    """The strategy `gradual`."""
    return Gradual()
