"""Toy terms, written as a third party would, and strategies that train with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from engine_toys import WIDTH, toy_model
from torch import Tensor, nn

from graftwork.interfaces import Batch, Features, Group, Model, OpenTeacher, Plan, PlanContext, Spec, Strategy, Term
from graftwork.strategies import full


class Centre(Term):
    """Rows towards a centre that is learned; weighs less the farther rows lay in the steps before."""

    needs = frozenset({"pooled"})

    def __init__(self) -> None:
        super().__init__()
        self.centre = nn.Parameter(torch.randn(WIDTH))
        self.register_buffer("distance", torch.zeros(()))
        self.told: list[dict[str, float]] = []
        self.started: list[float] = []

    def start(self, model: Model) -> None:
        self.started.append(float(next(model.backbone.parameters()).sum()))
        self.get_buffer("distance").zero_()

    def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
        apart = (features["pooled"] - self.centre).square().sum()
        return {"centre": apart / (1.0 + self.get_buffer("distance"))}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"centre": torch.tensor(float(len(batch)))}

    def after(self, sums: Mapping[str, Tensor], counts: Mapping[str, Tensor]) -> None:
        self.told.append({name: float(value) / float(counts[name]) for name, value in sums.items()})
        # What is drawn here must be drawn again by a resumed run.
        self.get_buffer("distance").lerp_(sums["centre"] / counts["centre"] + torch.rand(()), 0.3)


class Spread(Term):
    """The variance of the batch's features."""

    needs = frozenset({"pooled"})
    couples_rows = True

    def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
        return {"spread": len(batch) * features["pooled"].var(dim=0, correction=0).sum()}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"spread": torch.tensor(float(len(batch)))}

    def describe(self) -> dict[str, Any]:
        return {"name": "spread"}


class Centred(Strategy):
    """Full fine-tuning with a centre."""

    def __init__(self) -> None:
        self.term: Centre | None = None

    def prepare(self, model: Model, batch: Batch, open: OpenTeacher) -> None:
        self.term = Centre()
        model.terms.append(self.term)

    def plan(self, model: Model, context: PlanContext) -> Plan:
        assert self.term is not None
        return with_terms(model, context, self.term, groups=(Group("centre", ("terms.0.centre",), 10.0),))


class With(Strategy):
    """Full fine-tuning with terms that learn nothing."""

    def __init__(self, *terms: Term) -> None:
        self.terms = terms

    def plan(self, model: Model, context: PlanContext) -> Plan:
        return with_terms(model, context, *self.terms)


def with_terms(model: Model, context: PlanContext, *terms: Term, groups: tuple[Group, ...] = ()) -> Plan:
    """The plan of full fine-tuning, with terms and their groups."""
    (phase,) = full.build(Spec("full")).plan(model, context).phases
    return Plan("with-terms", (replace(phase, groups=(*phase.groups, *groups), terms=terms),))


def model_with_squares() -> Model:
    """A toy whose backbone has a second feature."""
    model = toy_model()
    backbone: Any = model.backbone
    backbone.provides = {"pooled": 6, "squares": 6}
    backbone.finish = lambda state, needs: {
        name: state["x"] if name == "pooled" else state["x"].square() for name in sorted(needs)
    }
    return model
