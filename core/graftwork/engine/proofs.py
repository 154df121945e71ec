"""Checks that every run makes of itself: frozen is frozen, and nothing trains that the plan does not train."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from graftwork.errors import RunFailed
from graftwork.interfaces import Batch, Model, Phase, Predictions
from graftwork.models.weights import tensors_sha256


def untrained_tensors(model: Model, phase: Phase) -> dict[str, Tensor]:
    """Everything that a phase must not change, by name: the frozen stages, parameters in no group, and, with
    `frozen_statistics`, the backbone's buffers. What terms keep is theirs to move (a teacher that follows)."""
    trained = {name for group in phase.groups for name in group.parameters}
    if phase.solver is not None:
        trained |= {f"head.{name}" for name, _ in model.head.named_parameters()}
    kept = dict(model.frozen_tensors(phase.frozen_stages))
    seen = {id(tensor) for tensor in kept.values()}
    for name, parameter in model.named_parameters():
        if name not in trained and id(parameter) not in seen and not name.startswith("terms."):
            kept[name] = parameter
    if phase.frozen_statistics:
        kept |= {f"backbone.{name}": value for name, value in model.backbone.named_buffers() if id(value) not in seen}
    return kept


def untrained_digest(model: Model, phase: Phase) -> str:
    """A sha256 over what a phase must not change, bit for bit; empty where it may change everything."""
    kept = untrained_tensors(model, phase)
    return tensors_sha256(kept) if kept else ""


def check_untrained(model: Model, phase: Phase, before: str) -> str:
    """Compare with the digest at the phase's start; a sentence for the record.

    Raises:
        RunFailed: something moved that the phase does not train.
    """
    if untrained_digest(model, phase) != before:
        raise RunFailed(
            f"a frozen stage or weight changed in phase {phase.name!r}",
            hint="A plugin trains what the plan froze, or a module keeps statistics in eval mode; report it",
        )
    tensors = len(untrained_tensors(model, phase))
    plural = "s" if phase.frozen_stages > 1 else ""
    stages = f" of {phase.frozen_stages} frozen stage{plural}" if phase.frozen_stages else ""
    beside = " and beside what trains" if tensors > len(model.frozen_tensors(phase.frozen_stages)) else ""
    return f"phase {phase.name}: {tensors} parameters and buffers{stages}{beside} bit-identical ({before[:12]})"


def comparable(model: Model, batch: Batch) -> dict[str, Tensor]:
    """What a model gives of a batch in eval mode, as far as it changes little when weights change little.

    That is what the head gets, and predictions that are tensors. Those that come row by row (objects, masks) are
    decisions, which a rounding may tip.
    """
    predictions = model.predict(batch)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            features = {f"feature {name}": value for name, value in model.features(batch).items()}
    finally:
        model.train(training)
    return features | (predictions if isinstance(predictions, dict) else {})


def check_same_predictions(before: Predictions, after: Predictions, tolerance: float = 1e-3) -> str:
    """Compare predictions before and after adapters were merged; a sentence for the record.

    Args:
        tolerance: the largest difference, relative to the largest value where that is above 1.

    Raises:
        RunFailed: they differ by more.
    """
    largest = max(_differences(before, after), default=0.0)
    if largest > tolerance:
        raise RunFailed(
            f"the model predicts otherwise once its strategy has finished with it (by {largest:.2g})",
            hint="A plugin's adapters do not merge into the weights; report it",
        )
    return f"finished model predicts the same (largest difference {largest:.2g})"


def _differences(before: Predictions, after: Predictions) -> Iterator[float]:
    """The largest difference of each tensor, relative; infinite where shapes, or what is finite, are not the same."""
    if isinstance(before, list) or isinstance(after, list):
        if not (isinstance(before, list) and isinstance(after, list) and len(before) == len(after)):
            yield math.inf
            return
        for row, again in zip(before, after, strict=True):
            yield from _differences(row, again)
        return
    if before.keys() != after.keys():
        yield math.inf
        return
    for name in before:
        one, other = before[name].float(), after[name].float()
        if one.shape != other.shape:
            yield math.inf
        elif one.numel():
            # Equal values first: a class that a head rules out has -inf in both, and the difference of those is nan.
            difference = (one - other).abs().masked_fill(one == other, 0.0).nan_to_num(nan=math.inf)
            size = max(1.0, float(one.abs().nan_to_num(nan=0.0, posinf=0.0).max()))
            yield float(difference.max()) / size
