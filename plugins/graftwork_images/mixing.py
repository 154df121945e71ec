"""Mixup and cutmix: whole batches mixed with themselves, labels mixed alike."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2


class Mixing:
    """Mixes a batch with itself, shifted by one row; one draw a batch.

    Sources: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization"; Yun et al. 2019, "CutMix". Where both are
    on, each batch gets one of them with equal chance.

    Args:
        mixup, cutmix: alpha of the Beta distribution that the share is drawn from; 0 is off.
        classes: how many there are; 1 for numbers.
    """

    def __init__(self, mixup: float, cutmix: float, classes: int) -> None:
        choices: list[Any] = []
        if mixup > 0:
            choices.append(v2.MixUp(alpha=mixup, num_classes=classes))
        if cutmix > 0:
            choices.append(v2.CutMix(alpha=cutmix, num_classes=classes))
        self._choices = choices

    def __call__(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """From uint8 [B, 3, H, W] and labels to float32 in 0..1 and labels mixed alike: probabilities [B, classes] of int64
        [B]; of float32 [B, classes], or [B] for numbers, the same shape."""
        chosen = int(torch.randint(len(self._choices), ())) if len(self._choices) > 1 else 0
        numbers = labels.is_floating_point() and labels.ndim == 1
        mixed, soft = self._choices[chosen](pixels.float().div_(255), labels[:, None] if numbers else labels)
        return mixed, soft[:, 0] if numbers else soft


def build_mixing(mixup: float, cutmix: float, classes: int) -> Mixing | None:
    """The mixing that the options ask for; None when both are off."""
    return Mixing(mixup, cutmix, classes) if mixup > 0 or cutmix > 0 else None
