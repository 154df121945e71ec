"""The head `fcn`: two convolutions on one map, the plainest that there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from graftwork.interfaces import Backbone, Facts, Features, Head, Spec
from graftwork_segmentation.heads.base import SegmentationHead, coarsest, small_scores, steady, strides_of


class FcnHead(SegmentationHead):
    """Long et al. 2015, "Fully Convolutional Networks for Semantic Segmentation", in torchvision's form.

    Reads the coarsest map (`stride` at most) and classifies at its stride: with 32 the paper's FCN-32s. Upstream's
    backbone is dilated to stride 8, where the same 3 x 3 convolution sees a quarter of the width: its weights are a start,
    not the same function. A finer map (`stride` 16 or 8) gives sharper edges and has other channels than upstream's weights.

    BatchNorm, for upstream's weights need its tensors.

    Args:
        provides: channels of the backbone's features by name.
        options: `stride`; `width`, 0 for a quarter of the map's channels as upstream; `dropout`, 0.1 upstream; those of
            `PixelLoss`.
        facts: as SegmentationHead.
    """

    label_layers: ClassVar[tuple[str, ...]] = ("classifier.4.",)

    def __init__(self, provides: Mapping[str, int], options: Mapping[str, Any], facts: Facts) -> None:
        name = strides_of(provides)[coarsest(provides, int(options["stride"]))]
        super().__init__({name}, options, facts)
        self.map = name
        width = int(options["width"]) or max(1, provides[name] // 4)
        # Upstream's FCNHead, which knows one width only; its names, so that its weights fit.
        self.classifier = nn.Sequential(
            nn.Conv2d(provides[name], width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout(float(options["dropout"])),
            small_scores(nn.Conv2d(width, self.classes, 1)),
        )
        steady(self.classifier)

    def logits(self, features: Features) -> Tensor:
        """[B, classes, h, w] at the map's size."""
        result: Tensor = self.classifier(features[self.map])
        return result


def build(spec: Spec, backbone: Backbone, facts: Facts) -> Head:
    """The head `fcn`."""
    return FcnHead(backbone.provides, spec.options, facts)
