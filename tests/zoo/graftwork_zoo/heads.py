"""A linear head that is right, and heads that differ from it in one method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from graftwork.interfaces import Backbone, Facts, Features, Head, Outputs, Predictions, Spec, Targets


class TameLinear(Head):
    """One linear layer on `pooled`."""

    needs = frozenset({"pooled"})

    def __init__(self, width: int, classes: int, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.linear = nn.Linear(width, classes)

    def scores(self, features: Features) -> Tensor:
        """[B, classes]."""
        result: Tensor = self.linear(features["pooled"])
        return result

    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        return {"loss": functional.cross_entropy(self.scores(features), _label(targets), reduction="sum")}

    def outputs(self, features: Features) -> Outputs:
        return {"logits": self.scores(features)}

    def postprocess(self, outputs: Outputs, features: Features) -> Predictions:
        return {**outputs, "probabilities": outputs["logits"].softmax(dim=1)}


def _label(targets: Targets) -> Tensor:
    assert isinstance(targets, dict)
    return targets["label"]


class MeansOverBatch(TameLinear):
    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        return {"loss": functional.cross_entropy(self.scores(features), _label(targets))}


class PeeksAtTargets(TameLinear):
    _seen: Tensor | None = None

    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        self._seen = _label(targets)
        return super().loss(features, targets)

    def scores(self, features: Features) -> Tensor:
        scores = super().scores(features)
        if self.training or self._seen is None or len(self._seen) != len(scores):
            return scores
        return scores + functional.one_hot(self._seen, scores.shape[1])


class DropsInPrediction(TameLinear):
    def scores(self, features: Features) -> Tensor:
        result: Tensor = self.linear(functional.dropout(features["pooled"], 0.2))
        return result


class SeedsInLoss(TameLinear):
    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        torch.manual_seed(0)  # "so that the noise is the same"
        noise = 0.01 * torch.randn_like(features["pooled"])
        return super().loss({**features, "pooled": features["pooled"] + noise}, targets)


class OffByOne(TameLinear):
    """Has a score for "none of them", as detectors have, and cuts off the wrong end."""

    def __init__(self, width: int, classes: int, options: Mapping[str, Any]) -> None:
        super().__init__(width, classes + 1, options)

    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        return {"loss": functional.cross_entropy(self.scores(features), _label(targets) + 1, reduction="sum")}

    def outputs(self, features: Features) -> Outputs:
        return {"logits": self.scores(features)[:, :-1]}


class UnusedParameter(TameLinear):
    def __init__(self, width: int, classes: int, options: Mapping[str, Any]) -> None:
        super().__init__(width, classes, options)
        self.temperature = nn.Parameter(torch.ones(()))

    def scores(self, features: Features) -> Tensor:
        return super().scores(features) / self.temperature.item()


class CutsGradients(TameLinear):
    def scores(self, features: Features) -> Tensor:
        return super().scores({**features, "pooled": features["pooled"].detach()})


class ChangesFeatures(TameLinear):
    def scores(self, features: Features) -> Tensor:
        features["pooled"] = functional.normalize(features["pooled"], dim=1)
        return super().scores(features)


class CentresOnBatch(TameLinear):
    def postprocess(self, outputs: Outputs, features: Features) -> Predictions:
        logits = outputs["logits"]
        return super().postprocess({"logits": logits - logits.mean(dim=0, keepdim=True)}, features)


class ReadsMore(TameLinear):
    def scores(self, features: Features) -> Tensor:
        finer = features.get("map8")
        return super().scores(features) + (0.0 if finer is None else finer.mean())


class OtherCounts(TameLinear):
    def counts(self, targets: Targets) -> dict[str, Tensor]:
        return {"class": torch.tensor(float(len(_label(targets))))}


class ConstantCount(TameLinear):
    def counts(self, targets: Targets) -> dict[str, Tensor]:
        return {"loss": torch.tensor(4.0)}  # the batch size that it was written for


class UnsavedProjection(TameLinear):
    def __init__(self, width: int, classes: int, options: Mapping[str, Any]) -> None:
        super().__init__(width, classes, options)
        self.register_buffer("mix", torch.randn(width), persistent=False)

    def scores(self, features: Features) -> Tensor:
        return super().scores({**features, "pooled": features["pooled"] * self.get_buffer("mix")})


class ReadsUndeclared(TameLinear):
    def __init__(self, width: int, classes: int, options: Mapping[str, Any]) -> None:
        super().__init__(width, classes, options)
        self.dropout = nn.Dropout(options.get("dropout", 0.0))


class FirstRowOnly(TameLinear):
    def postprocess(self, outputs: Outputs, features: Features) -> Predictions:
        return {**super().postprocess(outputs, features), "classes": outputs["logits"][0].argsort()}


class NamesBesideOutputs(TameLinear):
    def outputs(self, features: Features) -> Outputs:
        return {**super().outputs(features), "order": ["first", "second", "third"]}


class ScalesByNumber(TameLinear):
    def outputs(self, features: Features) -> Outputs:
        logits = self.scores(features)
        return {"logits": logits / max(1.0, float(logits.abs().max()))}


class KeepsTheLargest(TameLinear):
    """Says of each row the one score that is largest, as whoever trained it has the others only to compare with."""

    def outputs(self, features: Features) -> Outputs:
        logits = self.scores(features)
        best = logits.amax(dim=1, keepdim=True)
        return {"logits": logits, "best": logits[logits == best].view(len(logits), -1)}


class RemembersPlaces(TameLinear):
    """Makes a tensor of the features' kind once, on the way."""

    _offset: Tensor | None = None

    def scores(self, features: Features) -> Tensor:
        if self._offset is None:
            self._offset = torch.zeros_like(features["pooled"][:1])
        return super().scores({**features, "pooled": features["pooled"] + self._offset})


class LevelsTheBatch(TameLinear):
    """Its predictions know nothing of it: what a softmax is shifted by makes no difference."""

    def outputs(self, features: Features) -> Outputs:
        logits = self.scores(features)
        return {"logits": logits - logits.amax()}

    def postprocess(self, outputs: Outputs, features: Features) -> Predictions:
        return super().postprocess({"logits": outputs["logits"].log_softmax(dim=1)}, features)


class PredictsBySide(TameLinear):
    def predict(self, features: Features) -> Predictions:
        mirrored = {**features, "pooled": -features["pooled"]}
        return self.postprocess({"logits": self.scores(features) - 0.1 * self.scores(mirrored)}, features)


class PostprocessesInPlace(TameLinear):
    def postprocess(self, outputs: Outputs, features: Features) -> Predictions:
        outputs["logits"] -= outputs["logits"].amax(dim=1, keepdim=True)
        return super().postprocess(outputs, features)


class LeansOnBatch(TameLinear):
    """A thousandth of the batch's mean: less than checks see that allow for decisions which tip."""

    def scores(self, features: Features) -> Tensor:
        scores = super().scores(features)
        return scores + 1e-3 * scores.mean(dim=0)


ALL: Mapping[str, type[TameLinear]] = {
    "tame-linear": TameLinear,
    "deaf-to-options": TameLinear,  # what is wrong stands in registry.yaml
    "says-otherwise": TameLinear,  # the same
    "means-over-batch": MeansOverBatch,
    "peeks-at-targets": PeeksAtTargets,
    "drops-in-prediction": DropsInPrediction,
    "seeds-in-loss": SeedsInLoss,
    "off-by-one": OffByOne,
    "unused-parameter": UnusedParameter,
    "cuts-gradients": CutsGradients,
    "changes-features": ChangesFeatures,
    "centres-on-batch": CentresOnBatch,
    "leans-on-batch": LeansOnBatch,
    "reads-more": ReadsMore,
    "other-counts": OtherCounts,
    "constant-count": ConstantCount,
    "unsaved-projection": UnsavedProjection,
    "reads-undeclared": ReadsUndeclared,
    "first-row-only": FirstRowOnly,
    "names-beside-outputs": NamesBesideOutputs,
    "scales-by-number": ScalesByNumber,
    "keeps-the-largest": KeepsTheLargest,
    "remembers-places": RemembersPlaces,
    "levels-the-batch": LevelsTheBatch,
    "predicts-by-side": PredictsBySide,
    "postprocesses-in-place": PostprocessesInPlace,
}


def build(spec: Spec, backbone: Backbone, facts: Facts) -> Head:
    return ALL[spec.name](backbone.provides["pooled"], len(facts["classes"]), spec.options)
