"""Checks that every run makes of itself: frozen is frozen, and nothing trains that the plan does not train."""

from __future__ import annotations

import hashlib

import torch

from graftwork.errors import RunFailed
from graftwork.interfaces import Model


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
