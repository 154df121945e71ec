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
        classes: how many there are.
    """

    def __init__(self, mixup: float, cutmix: float, classes: int) -> None:
        choices: list[Any] = []
        if mixup > 0:
            choices.append(v2.MixUp(alpha=mixup, num_classes=classes))
        if cutmix > 0:
            choices.append(v2.CutMix(alpha=cutmix, num_classes=classes))
        self._choices = choices

    def __call__(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """From uint8 [B, 3, H, W] and int64 [B] to float32 in 0..1 and label probabilities [B, classes]."""
        chosen = int(torch.randint(len(self._choices), ())) if len(self._choices) > 1 else 0
        mixed, probabilities = self._choices[chosen](pixels.float().div_(255), labels)
        return mixed, probabilities


def build_mixing(mixup: float, cutmix: float, classes: int) -> Mixing | None:
    """The mixing that the options ask for; None when both are off."""
    return Mixing(mixup, cutmix, classes) if mixup > 0 or cutmix > 0 else None
