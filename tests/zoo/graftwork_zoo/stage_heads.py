"""A head over several stages that is right, and one that reads a stage which it does not declare."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from graftwork.interfaces import Backbone, Facts, Features, Head, Spec
from graftwork_zoo.heads import TameLinear


class TameStages(TameLinear):
    """One linear layer on the summaries of the first and the third stage."""

    needs = frozenset({"stage1", "stage3"})

    def scores(self, features: Features) -> Tensor:
        result: Tensor = self.linear(torch.cat([features["stage1"], features["stage3"]], dim=1))
        return result


class ReadsAnotherStage(TameStages):
    def scores(self, features: Features) -> Tensor:
        middle = features.get("stage2")
        return super().scores(features) + (0.0 if middle is None else middle.mean(1, keepdim=True))


ALL: Mapping[str, type[TameStages]] = {"tame-stages": TameStages, "reads-another-stage": ReadsAnotherStage}


def build(spec: Spec, backbone: Backbone, facts: Facts) -> Head:
    return ALL[spec.name](backbone.summary_width(1) + backbone.summary_width(3), len(facts["classes"]), spec.options)
