"""A text's one vector from its tokens', and the layer that may follow: as sentence-transformers computes them."""

from __future__ import annotations

import json

import torch
from torch import Tensor, nn

from graftwork import UsageError

POOLINGS = ("cls", "mean", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens")

ACTIVATIONS = ("Tanh", "Identity", "ReLU", "GELU", "SiLU", "Sigmoid", "LeakyReLU", "ELU", "Mish")
"""Classes of torch.nn that a dense layer may name: those that take no arguments and hold no tensors."""


def pool(x: Tensor, mask: Tensor, how: str) -> Tensor:
    """One vector a row from x [B, T, C] over a mask [B, T] of rows that begin at 0; in float32, and never of nothing.

    `weightedmean` weighs a token by its place, the first by 1 (Muennighoff 2022); `mean_sqrt_len_tokens` divides the sum
    by the root of how many there are.
    """
    if how == "cls":
        return x[:, 0]
    if how == "mean":
        return mean_over(x, mask)
    real = mask.unsqueeze(-1)
    if how == "max":
        most = x.float().masked_fill(~real, torch.finfo(torch.float32).min).amax(1)
        return torch.where(mask.any(1, keepdim=True), most, 0.0)
    if how == "lasttoken":
        last = (mask.sum(1) - 1).clamp(min=0)
        return x.gather(1, last.view(-1, 1, 1).expand(-1, 1, x.shape[2])).squeeze(1)
    kept = torch.where(real, x.float(), 0.0)
    if how == "weightedmean":
        weights = torch.arange(1, x.shape[1] + 1, device=x.device, dtype=torch.float32).view(1, -1, 1) * real
        return (kept * weights).sum(1) / weights.sum(1).clamp(min=1)
    return kept.sum(1) / real.sum(1).clamp(min=1).sqrt()


def mean_over(x: Tensor, mask: Tensor) -> Tensor:
    """The mean of x [B, T, C] over a mask [B, T], in float32 and never of nothing."""
    real = mask.unsqueeze(-1)
    return torch.where(real, x.float(), 0.0).sum(1) / real.sum(1).clamp(min=1)


class DenseLayer(nn.Module):
    """A linear layer and an activation after the pooling: [B, in] to [B, out].

    Args:
        text: JSON with `in`, `out`, `bias` and `activation`.
        width: channels of what is pooled.

    Raises:
        UsageError: it is no such layer, or is for another width.
    """

    def __init__(self, text: str, width: int) -> None:
        super().__init__()
        try:
            facts = json.loads(text)
            taken, given, bias, name = (
                int(facts["in"]),
                int(facts["out"]),
                bool(facts["bias"]),
                str(facts["activation"]),
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            raise UsageError("the backbone's dense layer is not described as one") from None
        if name not in ACTIVATIONS or not 0 < given <= 65_536:
            raise UsageError(f"the backbone's dense layer has {given} outputs and the activation {name[:40]!r}")
        if taken != width:
            raise UsageError(f"the backbone's dense layer takes {taken} channels and the encoder gives {width}")
        self.width = given
        self.linear = nn.Linear(taken, given, bias=bias)
        self.activation: nn.Module = getattr(nn, name)()

    def forward(self, pooled: Tensor) -> Tensor:
        found: Tensor = self.activation(self.linear(pooled.to(self.linear.weight.dtype)))
        return found
