"""The head `deeplabv3`: atrous convolutions at several rates, and the picture as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.segmentation.deeplabv3 import ASPP

from graftwork.interfaces import Backbone, Facts, Features, Head, Spec
from graftwork_segmentation.heads.base import (
    SegmentationHead,
    coarsest,
    mean_of_picture,
    small_scores,
    steady,
    strides_of,
)

_OUTPUT_STRIDE = 8


class DeepLabV3Head(SegmentationHead):
    """Chen et al. 2017, "Rethinking Atrous Convolution for Semantic Image Segmentation", of torchvision's parts.

    The paper dilates the backbone so that its last map keeps stride 8 or 16; ours stay as they are, which costs a fraction.
    So the head reads the coarsest map (`stride` at most), which has the channels that upstream's weights expect, and
    divides the rates by what the map is coarser: `reach` pixels of the picture lie between the taps of the first
    atrous convolution whatever the stride (96 = rate 12 at stride 8, as upstream's ResNets have it). At the positions that both
    have, an atrous convolution of the dilated map and one of the plain map with the smaller rate read the same cells.
    What comes out is upsampled to stride 8 before the last 3 x 3 convolution, which so sees what upstream's sees.

    BatchNorm, for upstream's weights need its tensors; with a single row its running statistics in the global branch.
    That branch averages over the picture, not over the canvas's padding.

    Args:
        provides: channels of the backbone's features by name.
        options: `stride`; `reach`, pixels; `width`, 256 in the paper; `dropout`, 0.5 upstream; those of `PixelLoss`.
        facts: as SegmentationHead.
    """

    label_layers: ClassVar[tuple[str, ...]] = ("classifier.4.",)

    def __init__(self, provides: Mapping[str, int], options: Mapping[str, Any], facts: Facts) -> None:
        stride = coarsest(provides, int(options["stride"]))
        name = strides_of(provides)[stride]
        super().__init__({name}, options, facts)
        self.map = name
        self.finer = max(1, stride // _OUTPUT_STRIDE)
        width, reach = int(options["width"]), int(options["reach"])
        pyramid = ASPP(provides[name], [max(1, round(times * reach / stride)) for times in (1, 2, 3)], width)
        pyramid.project[3].p = float(options["dropout"])
        # Upstream's DeepLabHead, which knows one width only; its names, so that its weights fit.
        self.classifier = nn.Sequential(
            pyramid,
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            small_scores(nn.Conv2d(width, self.classes, 1)),
        )
        steady(self.classifier)

    def logits(self, features: Features) -> Tensor:
        """[B, classes, h, w] at stride 8, or the map's where that is finer."""
        value = self.context(features)
        if self.finer > 1:
            size = [side * self.finer for side in value.shape[-2:]]
            value = functional.interpolate(value, size=size, mode="bilinear", align_corners=False)
        for module in list(self.classifier)[1:]:
            value = module(value)
        return value

    def context(self, features: Features) -> Tensor:
        """Torchvision's ASPP with the mean over the picture: [B, width, h, w] at the map's size."""
        pyramid: Any = self.classifier[0]
        *convolutions, whole = pyramid.convs
        value = features[self.map]
        seen = [convolution(value) for convolution in convolutions]
        mean = mean_of_picture(features, self.map)
        # Its first module is the pooling over the whole canvas.
        for module in list(whole)[1:]:
            mean = module(mean)
        result: Tensor = pyramid.project(torch.cat([*seen, mean.expand_as(seen[0])], dim=1))
        return result


def build(spec: Spec, backbone: Backbone, facts: Facts) -> Head:
    """The head `deeplabv3`."""
    return DeepLabV3Head(backbone.provides, spec.options, facts)
