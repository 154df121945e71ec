"""Heads for image classification: linear, MLP and cosine, with one loss between them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from graftwork.interfaces import Backbone, Facts, Features, Head, Predictions, Spec, Targets


def inverse_frequency(counts: Sequence[int]) -> Tensor:
    """Class weights [classes] in inverse proportion to the classes' training rows.

    Scaled so that they average 1 over the training rows (scikit-learn's `balanced`), which leaves the size of the loss,
    and so the meaning of the learning rate, as it was. A class without rows gets 1: no row will ever ask for it.
    """
    rows = torch.tensor(counts, dtype=torch.float32)
    present = rows > 0
    weights = rows.sum() / (present.sum() * rows.clamp(min=1))
    return torch.where(present, weights, torch.ones_like(weights))


class ClassificationHead(Head):
    """From `pooled` [B, C] to one class of several. A subclass supplies `logits`.

    Targets hold `label` (int64 [B]) or, after mixup, `probabilities` (float [B, classes]).

    Args:
        options: `label_smoothing`, 0 to 1 (Szegedy et al. 2016); `imbalance`, `none`, `weights`, `focal` or `sampler`
            (which is the sampler's work, and nothing here); `focal_gamma` (Lin et al. 2017; 0 is cross-entropy).
        facts: `classes`, their names, and `train_counts`, their training rows.
    """

    needs = frozenset({"pooled"})

    def __init__(self, options: Mapping[str, Any], facts: Facts) -> None:
        super().__init__()
        self.classes = len(facts["classes"])
        self._smoothing = float(options["label_smoothing"])
        self._gamma = float(options["focal_gamma"]) if options["imbalance"] == "focal" else None
        weights = inverse_frequency(facts["train_counts"]) if options["imbalance"] == "weights" else None
        # Follows from the facts, which the artifact keeps: not a second copy among its tensors.
        self.register_buffer("class_weights", weights, persistent=False)

    @abstractmethod
    def logits(self, pooled: Tensor) -> Tensor:
        """[B, classes] from [B, C]."""

    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        """The cross-entropy or focal loss, summed over the rows."""
        # In float32 whatever the precision of the run: bf16 has three digits, too few for log-probabilities.
        logits = self.logits(features["pooled"]).float()
        target = _target(targets)
        if self._gamma is not None:
            return {"loss": focal_loss_sum(logits, target, self._gamma, self._smoothing)}
        total = functional.cross_entropy(
            logits, target, weight=self._weights(), reduction="sum", label_smoothing=self._smoothing
        )
        return {"loss": total}

    def counts(self, targets: Targets) -> dict[str, Tensor]:
        """Rows; with class weights and hard labels the sum of the rows' weights. Both are torch's own convention."""
        target = _target(targets)
        weights = self._weights()
        if weights is not None and not target.is_floating_point():
            return {"loss": weights[target].sum()}
        return {"loss": torch.tensor(float(target.shape[0]))}

    def predict(self, features: Features) -> Predictions:
        """`logits` and `probabilities`, float32 [B, classes]."""
        logits = self.logits(features["pooled"]).float()
        return {"logits": logits, "probabilities": logits.softmax(dim=1)}

    def _weights(self) -> Tensor | None:
        weights = self.class_weights
        return weights if isinstance(weights, Tensor) else None


def focal_loss_sum(logits: Tensor, target: Tensor, gamma: float, label_smoothing: float = 0.0) -> Tensor:
    """The focal loss of Lin et al. 2017, "Focal Loss for Dense Object Detection", over softmax, summed over the rows.

    For a hard label it is (1 - p)^gamma * -log p; for soft targets the same term of every class, weighted by its
    probability, so that gamma = 0 gives the cross-entropy in both cases.

    Args:
        logits: [B, classes].
        target: int64 [B], or probabilities [B, classes].
        gamma: how strongly rows that are already right are turned down, from 0.
        label_smoothing: share of every target that is spread over all classes, 0 to 1.
    """
    classes = logits.shape[1]
    soft = target if target.is_floating_point() else functional.one_hot(target, classes).to(logits.dtype)
    soft = soft * (1 - label_smoothing) + label_smoothing / classes
    log_p = logits.log_softmax(dim=1)
    # 1 - p by expm1: where p rounds to 1 its power would have no gradient, or an infinite one for gamma below 1.
    missing = (-torch.expm1(log_p)).clamp(min=torch.finfo(logits.dtype).tiny)
    return -(soft * missing.pow(gamma) * log_p).sum()


class LinearHead(ClassificationHead):
    """One linear layer. Option `dropout`, 0 to 1, on its input."""

    def __init__(self, width: int, options: Mapping[str, Any], facts: Facts) -> None:
        super().__init__(options, facts)
        self.dropout = nn.Dropout(float(options["dropout"]))
        self.linear = _linear(width, self.classes)

    def logits(self, pooled: Tensor) -> Tensor:
        result: Tensor = self.linear(self.dropout(pooled))
        return result


class MlpHead(ClassificationHead):
    """One hidden layer. Options `hidden`, its width, and `dropout`, 0 to 1, before the last layer."""

    def __init__(self, width: int, options: Mapping[str, Any], facts: Facts) -> None:
        super().__init__(options, facts)
        hidden = int(options["hidden"])
        self.hidden = nn.Linear(width, hidden)
        self.dropout = nn.Dropout(float(options["dropout"]))
        self.linear = _linear(hidden, self.classes)

    def logits(self, pooled: Tensor) -> Tensor:
        result: Tensor = self.linear(self.dropout(functional.gelu(self.hidden(pooled))))
        return result


class CosineHead(ClassificationHead):
    """Scaled cosine between features and one direction a class: lengths of features and of weights play no part.

    Source: Gidaris & Komodakis 2018, "Dynamic Few-Shot Visual Learning without Forgetting". The scale is learned, from
    the option `scale` (10 in the paper).
    """

    def __init__(self, width: int, options: Mapping[str, Any], facts: Facts) -> None:
        super().__init__(options, facts)
        self.weight = nn.Parameter(torch.randn(self.classes, width))
        self.scale = nn.Parameter(torch.tensor(float(options["scale"])))

    def logits(self, pooled: Tensor) -> Tensor:
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


def _linear(width: int, classes: int) -> nn.Linear:
    """Starts near zero, so that the first loss is log(classes) and the first gradients do not shake the backbone."""
    layer = nn.Linear(width, classes)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


def _target(targets: Targets) -> Tensor:
    if isinstance(targets, list):
        raise TypeError("a classification head takes targets as tensors, batch first")
    return targets["probabilities"] if "probabilities" in targets else targets["label"]
