"""LP-FT: a linear probe, then full fine-tuning from the probed head."""

from __future__ import annotations

from dataclasses import dataclass

from graftwork.errors import UsageError
from graftwork.interfaces import Model, Phase, Plan, PlanContext, Spec, Strategy, stage_groups


@dataclass(frozen=True)
class LpFt(Strategy):
    """Kumar, Raghunathan, Jones, Ma, Liang 2022, "Fine-Tuning can Distort Pretrained Features".

    A random head sends large gradients into the backbone; a probed one does not. Where we differ: the probe's length is a
    share of the epochs instead of convergence.
    """

    probe_share: float
    probe_lr_factor: float

    def plan(self, model: Model, context: PlanContext) -> Plan:
        if context.epochs < 2:
            raise UsageError("lp-ft has two phases and needs at least 2 epochs", hint="Pass --epochs 2 or more")
        stages = len(model.backbone.stages())
        probe = min(max(round(self.probe_share * context.epochs), 1), context.epochs - 1)
        phases = (
            Phase(
                name="probe",
                epochs=probe,
                frozen_stages=stages,
                groups=stage_groups(model, stages, context.weight_decay),
                lr=context.lr * self.probe_lr_factor,
                schedule=context.schedule,
                warmup=context.warmup,
                reason="the head first, so that fine-tuning does not distort the features",
            ),
            Phase(
                name="fine-tune",
                epochs=context.epochs - probe,
                frozen_stages=0,
                groups=stage_groups(model, 0, context.weight_decay),
                lr=context.lr,
                schedule=context.schedule,
                warmup=context.warmup,
                reason="everything, from the probed head",
            ),
        )
        return Plan("lp-ft", phases)


def build(spec: Spec) -> Strategy:
    """The strategy `lp-ft`."""
    return LpFt(float(spec.options["probe_share"]), float(spec.options["probe_lr_factor"]))
