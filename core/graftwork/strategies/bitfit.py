"""BitFit: only biases and the head train."""

from __future__ import annotations

from graftwork.errors import UsageError
from graftwork.interfaces import Group, Model, Phase, Plan, PlanContext, Spec, Strategy, stage_groups


class BitFit(Strategy):
    """Ben Zaken, Goldberg, Ravfogel 2022, "BitFit: Simple Parameter-efficient Fine-tuning"; norms' biases included."""

    def plan(self, model: Model, context: PlanContext) -> Plan:
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        groups: list[Group] = []
        for index, stage in enumerate(model.backbone.stages()):
            mine = tuple(
                names[id(p)] for name, p in stage.named_parameters() if name.rpartition(".")[2].endswith("bias")
            )
            if mine:
                groups.append(Group(f"stage{index}/biases", mine))
        if not groups:
            raise UsageError("this backbone has no biases to train", hint="Use --strategy lora or partial:2")
        head = stage_groups(model, len(model.backbone.stages()), context.weight_decay)
        phase = Phase(
            name="bitfit",
            epochs=context.epochs,
            frozen_stages=0,
            groups=(*groups, *head),
            lr=context.lr,
            schedule=context.schedule,
            warmup=context.warmup,
            reason="biases adapt, weights are kept",
            frozen_statistics=True,
        )
        return Plan("bitfit", (phase,))


def build(spec: Spec) -> Strategy:
    """The strategy `bitfit`."""
    return BitFit()
