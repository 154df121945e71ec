"""Losses by what a label is: one class, several classes, a number. Sums and their divisors, never means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from graftwork.errors import UsageError
from graftwork.interfaces import Facts, Predictions, Targets


def inverse_frequency(counts: Sequence[int]) -> Tensor:
    """Class weights [classes] in inverse proportion to the classes' training rows.

    Scaled so that they average 1 over the training rows (scikit-learn's `balanced`), which leaves the size of the loss,
    and so the meaning of the learning rate, as it was. A class without rows gets 1: no row will ever ask for it.
    """
    rows = torch.tensor(counts, dtype=torch.float32)
    present = rows > 0
    weights = rows.sum() / (present.sum() * rows.clamp(min=1))
    return torch.where(present, weights, torch.ones_like(weights))


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


def sigmoid_focal_loss_sum(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """The focal loss of Lin et al. 2017 over sigmoids, summed over rows and classes; gamma = 0 is binary cross-entropy.

    Args:
        logits, target: [B, classes]; targets 0 to 1.
        gamma: how strongly what is already right is turned down, from 0.
    """
    plain = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    p = logits.sigmoid()
    missing = (p + target - 2 * p * target).clamp(min=torch.finfo(logits.dtype).tiny)
    return (missing.pow(gamma) * plain).sum()


class Objective(nn.Module, ABC):
    """What a head's scores mean: their loss and their predictions.

    Args of the subclasses are a head's options (`label_smoothing`, `imbalance`, `focal_gamma`) and the data's facts.
    """

    outputs: int
    """How many scores a row has."""

    @abstractmethod
    def loss(self, scores: Tensor, targets: Targets) -> Tensor:
        """The loss of scores [B, outputs], float32, summed over the rows."""

    @abstractmethod
    def count(self, targets: Targets) -> Tensor:
        """The divisor that belongs to the sum."""

    @abstractmethod
    def predict(self, scores: Tensor) -> Predictions:
        """What the metrics take."""


class OneClass(Objective):
    """One class of several: softmax.

    Targets hold `label` (int64 [B]) or, after mixup, `probabilities` (float [B, classes]).

    Options: `label_smoothing`, 0 to 1 (Szegedy et al. 2016); `imbalance`, `none`, `weights`, `focal` or `sampler` (which is
    the sampler's work, and nothing here); `focal_gamma` (Lin et al. 2017; 0 is cross-entropy).
    """

    def __init__(self, options: Mapping[str, Any], facts: Facts) -> None:
        super().__init__()
        self.outputs = len(facts["classes"])
        self._smoothing = float(options["label_smoothing"])
        self._gamma = float(options["focal_gamma"]) if options["imbalance"] == "focal" else None
        weights = inverse_frequency(facts["train_counts"]) if options["imbalance"] == "weights" else None
        # Follows from the facts, which the artifact keeps: not a second copy among its tensors.
        self.register_buffer("class_weights", weights, persistent=False)

    def loss(self, scores: Tensor, targets: Targets) -> Tensor:
        target = _target(targets)
        if self._gamma is not None:
            return focal_loss_sum(scores, target, self._gamma, self._smoothing)
        return functional.cross_entropy(
            scores, target, weight=_weights(self), reduction="sum", label_smoothing=self._smoothing
        )

    def count(self, targets: Targets) -> Tensor:
        """Rows; with class weights and hard labels the sum of the rows' weights. Both are torch's own convention."""
        target = _target(targets)
        weights = _weights(self)
        if weights is not None and not target.is_floating_point():
            return weights[target].sum()
        return torch.tensor(float(target.shape[0]))

    def predict(self, scores: Tensor) -> Predictions:
        """`logits` and `probabilities`, float32 [B, classes]."""
        return {"logits": scores, "probabilities": scores.softmax(dim=1)}


class ManyClasses(Objective):
    """Each class is there or not: a sigmoid each. Targets hold `labels`, float [B, classes] of 0 and 1.

    With `imbalance: weights` a rare class's presence weighs as much more as it is rarer than its absence.
    """

    def __init__(self, options: Mapping[str, Any], facts: Facts) -> None:
        super().__init__()
        self.outputs = len(facts["classes"])
        self._smoothing = float(options["label_smoothing"])
        self._gamma = float(options["focal_gamma"]) if options["imbalance"] == "focal" else None
        weights = None
        if options["imbalance"] == "weights":
            present = torch.tensor(facts["train_counts"], dtype=torch.float32).clamp(min=1)
            weights = ((float(facts["train_rows"]) - present).clamp(min=1) / present).clamp(max=100.0)
        self.register_buffer("class_weights", weights, persistent=False)

    def loss(self, scores: Tensor, targets: Targets) -> Tensor:
        target = _named(targets, "labels").float()
        if self._smoothing:
            target = target * (1 - self._smoothing) + 0.5 * self._smoothing
        if self._gamma is not None:
            return sigmoid_focal_loss_sum(scores, target, self._gamma)
        return functional.binary_cross_entropy_with_logits(scores, target, pos_weight=_weights(self), reduction="sum")

    def count(self, targets: Targets) -> Tensor:
        return torch.tensor(float(_named(targets, "labels").numel()))

    def predict(self, scores: Tensor) -> Predictions:
        """`logits` and `probabilities`, float32 [B, classes]; the probabilities of a row need not sum to 1."""
        return {"logits": scores, "probabilities": scores.sigmoid()}


class Number(Objective):
    """A number: squared error on the scale of the training rows. Targets hold `value`, float [B]."""

    outputs = 1

    def __init__(self, options: Mapping[str, Any], facts: Facts) -> None:
        super().__init__()
        for name, off in (("label_smoothing", 0), ("imbalance", "none")):
            if options[name] != off:
                raise UsageError(f"{name} = {options[name]} means nothing for labels that are numbers")
        self._mean = float(facts["mean"])
        self._std = float(facts["std"]) or 1.0

    def loss(self, scores: Tensor, targets: Targets) -> Tensor:
        wanted = (_named(targets, "value").float() - self._mean) / self._std
        return functional.mse_loss(scores[:, 0], wanted, reduction="sum")

    def count(self, targets: Targets) -> Tensor:
        return torch.tensor(float(_named(targets, "value").shape[0]))

    def predict(self, scores: Tensor) -> Predictions:
        """`value`, float32 [B], on the scale of the labels; `logits`, the scores."""
        return {"logits": scores, "value": scores[:, 0] * self._std + self._mean}


def objective(options: Mapping[str, Any], facts: Facts) -> Objective:
    """The objective for what the facts say a label is; one class where they say nothing."""
    kinds: dict[str, type[Objective]] = {"single": OneClass, "multi": ManyClasses, "number": Number}
    made: Objective = kinds[facts.get("labels", "single")](options, facts)
    return made


def _weights(module: nn.Module) -> Tensor | None:
    weights = module.class_weights
    return weights if isinstance(weights, Tensor) else None


def _target(targets: Targets) -> Tensor:
    return _named(targets, "probabilities" if "probabilities" in targets else "label")


def _named(targets: Targets, name: str) -> Tensor:
    if isinstance(targets, list):
        raise TypeError("a classification head takes targets as tensors, batch first")
    return targets[name]
