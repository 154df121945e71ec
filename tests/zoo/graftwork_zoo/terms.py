"""Strategies whose plans have terms: a penalty on weights, a spread of the batch, a centre that is learned; and others that
differ in one method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from graftwork.interfaces import Batch, Features, Group, Model, OpenTeacher, Phase, PlanContext, Spec, Strategy, Term
from graftwork_zoo.strategies import TameTwoPhases


class _Pull(Term):
    """Of the head's weights towards zero."""

    def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
        return {"pull": len(batch) * self.penalty(model)}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"pull": torch.tensor(float(len(batch)))}

    def penalty(self, model: Model) -> Tensor:
        return torch.stack([parameter.square().sum() for parameter in model.head.parameters()]).sum()


class _WithoutGradient(_Pull):
    def penalty(self, model: Model) -> Tensor:
        return super().penalty(model).detach()


class _OtherNames(_Pull):
    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"rows": super().counts(batch)["pull"]}


class _OncePerPiece(_Pull):
    def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
        return {"pull": self.penalty(model)}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"pull": torch.tensor(1.0)}


class _NamedAsTheHeads(_Pull):
    def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
        return {"loss": super().loss(model, batch, features)["pull"]}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": super().counts(batch)["pull"]}


class _CountsWhatItSaw(_Pull):
    _saw: int | None = None

    def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
        self._saw = len(batch)
        return super().loss(model, batch, features)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"pull": torch.tensor(float(self._saw or len(batch)))}


class _StartsAtZero(_Pull):
    def start(self, model: Model) -> None:
        for parameter in model.head.parameters():
            parameter.zero_()


class _KeepsTheModel(_Pull):
    def start(self, model: Model) -> None:
        self.head = model.head


class _MeanOfRows(_Pull):
    def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
        return {"pull": self.penalty(model)}


class TamePull(TameTwoPhases):
    """Two phases with a penalty."""

    pull: ClassVar[type[Term]] = _Pull

    def phase(self, name: str, model: Model, context: PlanContext, epochs: int, frozen: int) -> Phase:
        return replace(super().phase(name, model, context, epochs, frozen), terms=(self.pull(),))


class PullsNothing(TamePull):
    pull = _WithoutGradient


class OtherNames(TamePull):
    pull = _OtherNames


class OncePerPiece(TamePull):
    pull = _OncePerPiece


class NamedAsTheHeads(TamePull):
    pull = _NamedAsTheHeads


class CountsWhatItSaw(TamePull):
    pull = _CountsWhatItSaw


class StartsAtZero(TamePull):
    pull = _StartsAtZero


class KeepsTheModel(TamePull):
    pull = _KeepsTheModel


class MeanOfRows(TamePull):
    pull = _MeanOfRows


class _Spread(Term):
    """Of the batch's features, which no row has alone."""

    needs = frozenset({"pooled"})
    couples_rows = True

    def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
        vectors = features["pooled"]
        head: Any = model.head  # in the first phase nothing else trains
        scores = head.linear(vectors)
        return {"spread": len(batch) * (scores - scores.mean(dim=0)).square().sum(dim=1).mean()}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"spread": torch.tensor(float(len(batch)))}


class _SpreadInSilence(_Spread):
    couples_rows = False


class TameSpread(TameTwoPhases):
    """Two phases with a penalty, in which rows are told apart."""

    spread: ClassVar[type[Term]] = _Spread

    def phase(self, name: str, model: Model, context: PlanContext, epochs: int, frozen: int) -> Phase:
        return replace(super().phase(name, model, context, epochs, frozen), terms=(self.spread(), _Pull()))


class CouplesInSilence(TameSpread):
    spread = _SpreadInSilence


class _Centre(Term):
    """Rows towards a centre that is learned, the more so the farther they lay in the steps before."""

    needs = frozenset({"map8"})

    def __init__(self, centre: Tensor) -> None:
        super().__init__()
        self.centre = nn.Parameter(centre)
        self.register_buffer("distance", torch.zeros(()))

    def start(self, model: Model) -> None:
        self.get_buffer("distance").zero_()

    def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
        apart = (features["map8"].mean(dim=(2, 3)) - self.centre).square().sum()
        return {"centre": apart * (1.0 + self.get_buffer("distance"))}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"centre": torch.tensor(float(len(batch)))}

    def after(self, sums: Mapping[str, Tensor], counts: Mapping[str, Tensor]) -> None:
        self.get_buffer("distance").lerp_(sums["centre"] / counts["centre"], 0.5)


class _Forgetful(_Centre):
    _distance = 0.0

    def start(self, model: Model) -> None:
        self._distance = 0.0

    def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
        return {"centre": super().loss(model, batch, features)["centre"] * (1.0 + self._distance)}

    def after(self, sums: Mapping[str, Tensor], counts: Mapping[str, Tensor]) -> None:
        self._distance = float(sums["centre"] / counts["centre"])


class _MovesInLoss(_Centre):
    def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
        found = super().loss(model, batch, features)
        self.get_buffer("distance").add_(0.1)
        return found


class _ReplacesFeatures(_Centre):
    def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
        features["map8"] = features["map8"] * 0.5
        return super().loss(model, batch, features)


class _GoesOn(_Centre):
    def start(self, model: Model) -> None:
        self.get_buffer("distance").add_(1.0)


class TameCentre(TameTwoPhases):
    """Two phases with a term that has a parameter, which is trained, and a buffer, which follows."""

    kind: ClassVar[type[_Centre]] = _Centre
    term: _Centre

    def prepare(self, model: Model, batch: Batch, open: OpenTeacher) -> None:
        self.term = self.kind(self.drawn(model.backbone.provides["map8"]))
        model.terms.append(self.term)

    def drawn(self, width: int) -> Tensor:
        """The centre at the start."""
        return torch.randn(width) * 0.1

    def phase(self, name: str, model: Model, context: PlanContext, epochs: int, frozen: int) -> Phase:
        found = super().phase(name, model, context, epochs, frozen)
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        centre = Group("centre", (names[id(self.term.centre)],))
        return replace(found, groups=(*found.groups, centre), terms=(self.term,))


class Forgetful(TameCentre):
    kind = _Forgetful


class MovesInLoss(TameCentre):
    kind = _MovesInLoss


class ReplacesFeatures(TameCentre):
    kind = _ReplacesFeatures


class GoesOn(TameCentre):
    kind = _GoesOn


class UnseededCentre(TameCentre):
    def drawn(self, width: int) -> Tensor:
        generator = torch.Generator()
        generator.seed()
        return torch.randn(width, generator=generator) * 0.1


class TrainsItLater(TameCentre):
    def phase(self, name: str, model: Model, context: PlanContext, epochs: int, frozen: int) -> Phase:
        found = super().phase(name, model, context, epochs, frozen)
        return found if name == "all" else replace(found, terms=())


class _InTheHead(_Pull):
    def penalty(self, model: Model) -> Tensor:
        head: Any = model.head
        found: Tensor = (head.linear.weight - head.centre).square().sum()
        return found


class CentreInTheHead(TamePull):
    pull = _InTheHead

    def prepare(self, model: Model, batch: Batch, open: OpenTeacher) -> None:
        head: Any = model.head
        head.centre = nn.Parameter(torch.zeros_like(head.linear.weight))


ALL: Mapping[str, type[Strategy]] = {
    "tame-pull": TamePull,
    "tame-spread": TameSpread,
    "tame-centre": TameCentre,
    "pulls-nothing": PullsNothing,
    "other-names": OtherNames,
    "once-per-piece": OncePerPiece,
    "named-as-the-heads": NamedAsTheHeads,
    "counts-what-it-saw": CountsWhatItSaw,
    "starts-at-zero": StartsAtZero,
    "keeps-the-model": KeepsTheModel,
    "mean-of-rows": MeanOfRows,
    "couples-in-silence": CouplesInSilence,
    "forgetful": Forgetful,
    "moves-in-loss": MovesInLoss,
    "replaces-features": ReplacesFeatures,
    "goes-on": GoesOn,
    "unseeded-centre": UnseededCentre,
    "trains-it-later": TrainsItLater,
    "centre-in-the-head": CentreInTheHead,
}


def build(spec: Spec) -> Strategy:
    return ALL[spec.name]()
