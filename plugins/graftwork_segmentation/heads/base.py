"""What all segmentation heads share: choosing maps, loss on the canvas, masks in the original's pixels, translation."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from graftwork.errors import DataError, UsageError
from graftwork.interfaces import Facts, Features, Head, Outputs, Predictions, Targets
from graftwork_segmentation.losses import VOID, PixelLoss

_BAND = 64 << 20  # bytes of logits at the original's resolution that are held at once


class SegmentationHead(Head):
    """From maps to a class for every pixel. A subclass supplies `logits` and `label_layers`.

    Args:
        needs: names of the maps that it reads.
        options: of the head; `PixelLoss` reads its own among them.
        facts: `classes` and `train_counts` (pixels).

    Raises:
        DataError: more classes than a mask of bytes can tell apart.
        UsageError: options that contradict one another.
    """

    reads: frozenset[str] = frozenset({"size", "original", "canvas"})
    """Inputs among the features: int64 [B, 2] (height, width) of the picture in the canvas, and as stored; and [B, 0, H, W],
    whose shape is the canvas's."""

    label_layers: ClassVar[tuple[str, ...]]
    """Prefixes of the tensors whose meaning or shape follows from the labels."""

    def __init__(self, needs: Iterable[str], options: Mapping[str, Any], facts: Facts) -> None:
        super().__init__()
        self.needs = frozenset(needs)
        self.classes = len(facts["classes"])
        if self.classes > VOID:
            raise DataError(
                f"{self.classes} classes; a mask of bytes tells {VOID} apart", hint="Join some by labels.yaml"
            )
        self.objective = PixelLoss(options, facts)

    @abstractmethod
    def logits(self, features: Features) -> Tensor:
        """[B, classes, h, w], a map of the canvas at any resolution."""

    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        """The parts of `PixelLoss`, as sums. `mask` of the targets is uint8 [B, H, W] in canvas pixels."""
        logits = self.outputs(features)["logits"]
        with torch.autocast(logits.device.type, enabled=False):
            sums: dict[str, Tensor] = self.objective(logits, _mask(targets))
        return sums

    def counts(self, targets: Targets) -> dict[str, Tensor]:
        return self.objective.counts(_mask(targets))

    def outputs(self, features: Features) -> Outputs:
        """`logits`, float32 [B, classes, h, w], a map of the canvas."""
        # In float32 whatever the precision of the run: bf16 has three digits, too few for log-probabilities.
        return {"logits": self.logits(features).float()}

    def postprocess(self, outputs: Outputs, features: Features) -> Predictions:
        """One dict a row: `mask`, uint8 [h, w] class indices in pixels of the original."""
        height, width = features["canvas"].shape[-2:]
        # Together, since reading numbers waits for the device.
        places = torch.stack([features["size"], features["original"]], dim=1).tolist()
        return [
            {"mask": mask_of(row, tuple(size), tuple(original), (height, width))}
            for row, (size, original) in zip(outputs["logits"], places, strict=True)
        ]

    def translate(self, foreign: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of torchvision's segmenter of the same architecture, or of an earlier run's head, for this head.

        The head's layers carry upstream's names already (`classifier.0. …`). Left out are upstream's backbone and
        auxiliary classifier, and the layers whose outputs are labels; unknown names pass, to be reported.
        """
        left_out = ("backbone.", "aux_classifier.", *self.label_layers)
        return {name: tensor for name, tensor in foreign.items() if not name.startswith(left_out)}


def mask_of(
    logits: Tensor, size: tuple[int, int], original: tuple[int, int], canvas: tuple[int, int], band: int = _BAND
) -> Tensor:
    """The most probable class of every pixel of the original: uint8 [h, w].

    One bilinear interpolation from the map to the original's pixels. Where the picture was not resized this is what
    interpolating to the canvas and cropping gives; where it was, it is finer than interpolating twice, since the second
    time would blur what the first drew. The map's cells are placed by the actual ratio of map and canvas, not by a stride:
    maps of unpadded stems are a cell short. The argmax is taken at full resolution, since the largest of interpolated
    logits is not the interpolation of the largest; a band of rows at a time, since 150 classes at 4000 x 3000 pixels would
    be 7 GB.

    Args:
        logits: float32 [classes, h, w] over the whole canvas.
        size, original, canvas: (height, width) in pixels: of the picture in the canvas, as stored, of the canvas.
        band: bytes, about, that interpolated logits may take at once.
    """
    height, width = original
    # In grid_sample's coordinates the canvas reaches from -1 to 1; the picture lies at its top left.
    ys, xs = (
        (torch.arange(original[axis], device=logits.device) + 0.5) * (2 * size[axis] / (original[axis] * canvas[axis]))
        - 1
        for axis in (0, 1)
    )
    rows = max(1, band // (4 * logits.shape[0] * width))
    mask = torch.empty(height, width, dtype=torch.uint8, device=logits.device)
    for start in range(0, height, rows):
        part = ys[start : start + rows]
        grid = torch.stack([xs.expand(len(part), width), part[:, None].expand(len(part), width)], dim=-1)
        values = functional.grid_sample(logits[None], grid[None], padding_mode="border", align_corners=False)
        mask[start : start + rows] = values[0].argmax(dim=0)
    return mask


def strides_of(provides: Mapping[str, int]) -> dict[int, str]:
    """Names of the maps that a backbone provides by their stride, finest first.

    Raises:
        UsageError: it provides none.
    """
    found = {int(match[1]): name for name in provides if (match := re.fullmatch(r"map(\d+)", name))}
    if not found:
        raise UsageError(
            f"a segmentation head reads maps, and this backbone provides {', '.join(sorted(provides))}",
            hint="Take an image backbone",
        )
    return dict(sorted(found.items()))


def coarsest(provides: Mapping[str, int], at_most: int) -> int:
    """The largest stride of a map that is no larger than `at_most`; the smallest of all where each is larger."""
    strides = list(strides_of(provides))
    return max((stride for stride in strides if stride <= at_most), default=strides[0])


def mean_of_picture(features: Features, name: str) -> Tensor:
    """The mean of a map over the part that the picture covers: [B, C, 1, 1].

    Not over the canvas: what else is in the batch decides how large that is, and must not change what a head makes of a
    picture. Cells at the edge count by the share that is covered.
    """
    values = features[name]
    shares: list[Tensor] = []
    for axis, (cells, pixels) in enumerate(zip(values.shape[-2:], features["canvas"].shape[-2:], strict=True)):
        covered = features["size"][:, axis] * cells / pixels
        shares.append((covered[:, None] - torch.arange(cells, device=values.device)).clamp(0, 1))
    share = shares[0][:, None, :, None] * shares[1][:, None, None, :]
    return (values * share).sum(dim=(2, 3), keepdim=True) / share.sum(dim=(2, 3), keepdim=True)


class SteadyBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm that takes its running statistics where a batch has a single value a channel.

    Torch refuses to train there, and one value has no spread. It happens in a head's global branch with one row: as the
    last batch, and in micro-batches after memory ran out.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.numel() == self.num_features:
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(input)


def steady(module: nn.Module) -> None:
    """Put a `SteadyBatchNorm2d` in the place of every BatchNorm2d within torchvision's module; names stay."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, SteadyBatchNorm2d(child.num_features))


def small_scores(layer: nn.Conv2d) -> nn.Conv2d:
    """Starts near zero, so that the first loss is log(classes) and the first gradients do not shake the backbone."""
    nn.init.normal_(layer.weight, std=0.01)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _mask(targets: Targets) -> Tensor:
    if isinstance(targets, list):
        raise TypeError("a segmentation head is trained on masks of one canvas, batch first")
    return targets["mask"]
