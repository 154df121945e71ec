"""An exponential moving average of the weights, for evaluation and for the model that is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from graftwork.interfaces import Model


class Ema:
    """Averages parameters and floating-point buffers with a decay that warms up: min(decay, (1 + t) / (10 + t))."""

    def __init__(self, model: Model, decay: float) -> None:
        self.decay = decay
        self.model = model
        self.average = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimizer step `step` (from 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in self.model.state_dict().items():
            mean = self.average[name]
            if value.is_floating_point():
                mean.lerp_(value, 1.0 - decay)
            else:
                mean.copy_(value)

    @torch.no_grad()
    def put(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over tensors that were set at once instead of stepped."""
        for name, value in tensors.items():
            self.average[name].copy_(value)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back a stored average."""
        for name, value in tensors.items():
            self.average[name].copy_(value)


@contextmanager
def averaged_weights(ema: Ema | None) -> Iterator[None]:
    """The model with the averaged weights inside the block; its own again afterwards."""
    if ema is None:
        yield
        return
    own = {name: value.detach().clone() for name, value in ema.model.state_dict().items()}
    ema.model.load_state_dict(ema.average)
    try:
        yield
    finally:
        ema.model.load_state_dict(own)
