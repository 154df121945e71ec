"""Losses over pixels: cross-entropy, focal and dice, as sums with divisors that come from the masks alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from graftwork.classification.losses import inverse_frequency
from graftwork.errors import UsageError
from graftwork.interfaces import Facts

VOID = 255
"""The mask value of pixels that are not scored: unlabelled ones and the padding."""

# Logits are compared at half the canvas' resolution, each with the two by two pixels that it stands for: every pixel of
# the mask counts, and nothing is shifted. For 8 pictures of 320 x 448 pixels and 11 classes one step of interpolation,
# cross-entropy and backward took 0.022 s on one core so, and 0.146 s at full resolution, where a SqueezeNet's own forward
# and backward take 0.45 s.
BLOCK = 2


# The largest class weight: a class of a few hundred pixels in all would otherwise drown out whatever batch it is in.
HEAVIEST = 100.0


def class_weights(counts: Sequence[int]) -> Tensor:
    """Class weights [classes] in inverse proportion to the classes' training pixels, at most 100; 1 for a class without any.

    Up to its scale this is the median frequency balancing of Eigen & Fergus 2015 ("Predicting Depth, Surface Normals and
    Semantic Labels"), which Badrinarayanan et al. 2017 (SegNet) take for CamVid, with a class's share of all pixels for its
    share in the pictures that hold it. The scale is that of every domain here: an average of 1 over the training pixels.

    Measured against the milder inverse square root (of Mahajan et al. 2018, for instance): `fpn` on a pretrained SqueezeNet,
    250 steps of 4 pictures of CamVid, one seed, gave a mean IoU on validation of 0.50 so, 0.45 by the square root and 0.41
    without weights; pixel accuracy fell from 0.86, in the last two, to 0.80.
    """
    return inverse_frequency(counts).clamp(max=HEAVIEST)


def occupancy(mask: Tensor, classes: int) -> Tensor:
    """How many pixels of each two by two block are of each class, void ones of none: float32 [B, classes, H/2, W/2].

    Args:
        mask: uint8 [B, H, W], class indices and 255; H and W even.

    Raises:
        ValueError: a side is odd.
    """
    batch, height, width = mask.shape
    if height % BLOCK or width % BLOCK:
        raise ValueError(f"a canvas of {height} x {width} pixels does not divide into blocks of {BLOCK}")
    blocks = mask.view(batch, height // BLOCK, BLOCK, width // BLOCK, BLOCK).permute(0, 2, 4, 1, 3)
    index = blocks.reshape(batch, BLOCK * BLOCK, height // BLOCK, width // BLOCK).long()
    # Only 255 goes to the plane that is cut off again: a value outside the classes must fail, not vanish.
    index = torch.where(index == VOID, classes, index)
    planes = torch.zeros(batch, classes + 1, *index.shape[-2:], device=mask.device)
    ones = torch.ones((), device=mask.device).expand(index.shape)
    return planes.scatter_add_(1, index, ones)[:, :classes]


class PixelLoss(nn.Module):
    """The loss of a segmentation head.

    Options:
        loss: `ce`, cross-entropy; `focal` (Lin et al. 2017, "Focal Loss for Dense Object Detection", over softmax);
            `dice`; `ce+dice`, their sum.
        imbalance: `weights` weighs classes by `class_weights` (dice needs none: its classes count alike);
            `focal` puts focal in the place of cross-entropy; `none`; `sampler`, which is the sampler's work.
        focal_gamma: how strongly pixels that are already right are turned down; 0 is cross-entropy.
        label_smoothing: share of every label spread over all classes (Szegedy et al. 2016); not in dice.

    Args:
        options: these four.
        facts: `classes`, and `train_counts` (pixels of each class) for `imbalance: weights`.

    Raises:
        UsageError: options that contradict one another.
    """

    def __init__(self, options: Mapping[str, Any], facts: Facts) -> None:
        super().__init__()
        self.classes = len(facts["classes"])
        self.builder = _parts(options)
        self._gamma = float(options["focal_gamma"])
        self._smoothing = float(options["label_smoothing"])
        weights = class_weights(facts["train_counts"]) if options["imbalance"] == "weights" else None
        # Follows from the facts, which the artifact keeps: not a second copy among its tensors.
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Each part as a sum: over pixels, or over rows for `dice`.

        Args:
            logits: float32 [B, classes, h, w], a map of the canvas at any resolution.
            mask: uint8 [B, H, W], class indices in canvas pixels, 255 where nothing is scored.
        """
        seen = occupancy(mask, self.classes)
        if logits.shape[-2:] != seen.shape[-2:]:
            logits = functional.interpolate(logits, size=seen.shape[-2:], mode="bilinear", align_corners=False)
        log_p = logits.log_softmax(dim=1)
        sums: dict[str, Tensor] = {}
        for part in self.builder:
            sums[part] = dice_loss_sum(log_p, seen) if part == "dice" else self._pixels(log_p, seen, part)
        return sums

    def counts(self, mask: Tensor) -> dict[str, Tensor]:
        """The divisor of each part: scored pixels, with class weights their summed weights; for `dice` rows with any."""
        counts: dict[str, Tensor] = {}
        for part in self.builder:
            scored = mask != VOID
            if part == "dice":
                count = scored.flatten(1).any(dim=1).sum()
            elif (weights := self._weights()) is not None:
                table = functional.pad(weights, (0, VOID + 1 - self.classes))
                count = table[mask.int()].sum()
            else:
                count = scored.sum()
            # A batch of void alone: its sums are 0, and must not be divided by 0.
            counts[part] = count.float().clamp(min=1)
        return counts

    def _pixels(self, log_p: Tensor, seen: Tensor, part: str) -> Tensor:
        """Cross-entropy or focal loss. Smoothing and weights together follow torch's cross_entropy."""
        weights = self._weights()
        target = seen
        if self._smoothing:
            scored = seen.sum(dim=1, keepdim=True)
            target = seen * (1 - self._smoothing) + scored * (self._smoothing / self.classes)
        if weights is not None:
            target = target * weights.view(1, -1, 1, 1)
        if part == "focal":
            # 1 - p by expm1: where p rounds to 1 its power would have no gradient, or an infinite one for gamma below 1.
            missing = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
            target = target * missing.pow(self._gamma)
        return -(target * log_p).sum()

    def _weights(self) -> Tensor | None:
        weights = self.class_weights
        return weights if isinstance(weights, Tensor) else None


def dice_loss_sum(log_p: Tensor, seen: Tensor) -> Tensor:
    """The soft dice loss of Milletari et al. 2016 ("V-Net"), 1 - 2 sum(p g) / (sum(p^2) + sum(g^2)), summed over the rows.

    Ours beyond the paper's two classes: one term for each class that the row's mask holds, over the row's scored pixels,
    averaged over these classes, so that a class of few pixels counts as much as the sky. A class that a row does not hold
    has no term there: its dice would be 0 whatever is predicted. A row without scored pixels adds 0.

    Args:
        log_p: log-probabilities [B, classes, h, w].
        seen: as `occupancy` gives it, of the same shape.
    """
    p = log_p.exp()
    scored = seen.sum(dim=1, keepdim=True)
    truth = seen.sum(dim=(2, 3))
    both = (seen * p).sum(dim=(2, 3))
    predicted = (scored * p * p).sum(dim=(2, 3))
    present = truth > 0
    dice = 2 * both / (predicted + truth).clamp(min=1)
    terms = torch.where(present, 1 - dice, torch.zeros_like(dice))
    return (terms.sum(dim=1) / present.sum(dim=1).clamp(min=1)).sum()


def _parts(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The loss parts that the options ask for."""
    loss, imbalance = str(options["loss"]), str(options["imbalance"])
    if loss == "dice":
        if options["label_smoothing"]:
            raise UsageError(
                "label_smoothing means nothing for loss = dice", hint="Leave it out, or use loss = ce+dice"
            )
        if imbalance in ("weights", "focal"):
            raise UsageError(
                f"imbalance = {imbalance} means nothing for loss = dice, whose classes count alike",
                hint="Leave it out, or use loss = ce+dice",
            )
    parts = loss.split("+")
    if imbalance == "focal":
        parts = ["focal" if part == "ce" else part for part in parts]
    return tuple(parts)
