"""Heads over `pooled`: linear, MLP and cosine. What their scores mean, `losses` knows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from graftwork.classification.losses import objective
from graftwork.errors import UsageError
from graftwork.interfaces import Backbone, Facts, Features, Head, Outputs, Predictions, Spec, Targets


class ClassificationHead(Head):
    """From features to scores. A subclass supplies `scores`.

    Args:
        options: of the head; its objective reads `label_smoothing`, `imbalance` and `focal_gamma`.
        facts: `labels` (what a label is), `classes`, `train_counts`; for several classes `train_rows`, for numbers `mean`
            and `std`; all as `labels.facts_of` gives them.
    """

    needs = frozenset({"pooled"})

    def __init__(self, options: Mapping[str, Any], facts: Facts) -> None:
        super().__init__()
        self.objective = objective(options, facts)

    @property
    def classes(self) -> int:
        """How many scores a row gets."""
        return self.objective.outputs

    @abstractmethod
    def scores(self, features: Features) -> Tensor:
        """[B, classes]."""

    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        """The objective's loss, summed over the rows."""
        return {"loss": self.objective.loss(self.outputs(features)["logits"], targets)}

    def counts(self, targets: Targets) -> dict[str, Tensor]:
        return {"loss": self.objective.count(targets)}

    def outputs(self, features: Features) -> Outputs:
        """`logits`, float32 [B, classes]: the scores."""
        # In float32 whatever the precision of the run: bf16 has three digits, too few for log-probabilities.
        return {"logits": self.scores(features).float()}

    def postprocess(self, outputs: Outputs, features: Features) -> Predictions:
        """What the objective makes of the scores; `logits` among it."""
        return self.objective.predict(outputs["logits"])


class LinearHead(ClassificationHead):
    """One linear layer. Option `dropout`, 0 to 1, on its input."""

    def __init__(self, width: int, options: Mapping[str, Any], facts: Facts) -> None:
        super().__init__(options, facts)
        self.dropout = nn.Dropout(float(options["dropout"]))
        self.linear = small_linear(width, self.classes)

    def scores(self, features: Features) -> Tensor:
        pooled = features["pooled"]
        result: Tensor = self.linear(self.dropout(pooled))
        return result


class MlpHead(ClassificationHead):
    """One hidden layer. Options `hidden`, its width, and `dropout`, 0 to 1, before the last layer."""

    def __init__(self, width: int, options: Mapping[str, Any], facts: Facts) -> None:
        super().__init__(options, facts)
        hidden = int(options["hidden"])
        self.hidden = nn.Linear(width, hidden)
        self.dropout = nn.Dropout(float(options["dropout"]))
        self.linear = small_linear(hidden, self.classes)

    def scores(self, features: Features) -> Tensor:
        pooled = features["pooled"]
        result: Tensor = self.linear(self.dropout(functional.gelu(self.hidden(pooled))))
        return result


class CosineHead(ClassificationHead):
    """Scaled cosine between features and one direction a class: lengths of features and of weights play no part.

    Source: Gidaris & Komodakis 2018, "Dynamic Few-Shot Visual Learning without Forgetting". The scale is learned, from
    the option `scale` (10 in the paper).
    """

    def __init__(self, width: int, options: Mapping[str, Any], facts: Facts) -> None:
        super().__init__(options, facts)
        if facts.get("labels") == "number":
            raise UsageError("a cosine head tells classes apart; labels that are numbers need linear, mlp or attention")
        self.weight = nn.Parameter(torch.randn(self.classes, width))
        self.scale = nn.Parameter(torch.tensor(float(options["scale"])))

    def scores(self, features: Features) -> Tensor:
        pooled = features["pooled"]
        return self.scale * functional.linear(
            functional.normalize(pooled, dim=1), functional.normalize(self.weight, dim=1)
        )


def build_linear(spec: Spec, backbone: Backbone, facts: Facts) -> Head:
    """The head `linear`."""
    return LinearHead(backbone.provides["pooled"], spec.options, facts)


def build_mlp(spec: Spec, backbone: Backbone, facts: Facts) -> Head:
    """The head `mlp`."""
    return MlpHead(backbone.provides["pooled"], spec.options, facts)


def build_cosine(spec: Spec, backbone: Backbone, facts: Facts) -> Head:
    """The head `cosine`."""
    return CosineHead(backbone.provides["pooled"], spec.options, facts)


def small_linear(width: int, classes: int) -> nn.Linear:
    """Starts near zero, so that the first loss is log(classes) and the first gradients do not shake the backbone."""
    layer = nn.Linear(width, classes)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer
