"""Checks that every run makes of itself: frozen is frozen, and nothing trains that the plan does not train."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch

from graftwork.errors import RunFailed
from graftwork.interfaces import Model, Predictions


def frozen_digest(model: Model, stages: int) -> str:
    """A sha256 over the parameters and buffers of the first stages, bit for bit."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.frozen_tensors(stages).items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        # flatten first: a scalar (BatchNorm's num_batches_tracked) has no bytes view
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def check_frozen(model: Model, stages: int, before: str, phase: str) -> str:
    """Compare with the digest at the phase's start; a sentence for the record.

    Raises:
        RunFailed: a frozen stage moved.
    """
    if frozen_digest(model, stages) != before:
        raise RunFailed(
            f"a frozen stage changed in phase {phase!r}",
            hint="A plugin trains what the plan froze, or a module keeps statistics in eval mode; report it",
        )
    tensors = len(model.frozen_tensors(stages))
    return f"phase {phase}: {tensors} parameters and buffers of {stages} frozen stages bit-identical ({before[:12]})"


def check_same_predictions(before: Predictions, after: Predictions, tolerance: float = 1e-3) -> str:
    """Compare predictions before and after adapters were merged; a sentence for the record.

    Args:
        tolerance: the largest difference, relative to the largest value where that is above 1.

    Raises:
        RunFailed: they differ by more.
    """
    largest = max(_differences(before, after), default=0.0)
    if not largest <= tolerance:
        raise RunFailed(
            f"the model predicts otherwise once its strategy has finished with it (by {largest:.2g})",
            hint="A plugin's adapters do not merge into the weights; report it",
        )
    return f"finished model predicts the same (largest difference {largest:.2g})"


def _differences(before: Predictions, after: Predictions) -> Iterator[float]:
    if isinstance(before, list) and isinstance(after, list):
        for one, other in zip(before, after, strict=True):
            yield from _differences(one, other)
    elif isinstance(before, dict) and isinstance(after, dict):
        for name, value in before.items():
            if value.numel():
                size = max(1.0, float(value.float().abs().max()))
                yield float((value.float() - after[name].float()).abs().max()) / size
