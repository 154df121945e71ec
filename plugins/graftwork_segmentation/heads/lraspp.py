"""The head `lraspp`: light, for mobile backbones: one gated coarse map and one finer one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.segmentation.lraspp import LRASPPHead

from graftwork.interfaces import Backbone, Facts, Features, Head, Spec
from graftwork_segmentation.heads.base import (
    SegmentationHead,
    coarsest,
    mean_of_picture,
    small_scores,
    steady,
    strides_of,
)

_LOW_STRIDE = 8


class LrasppHead(SegmentationHead):
    """Howard et al. 2019, "Searching for MobileNetV3" (LR-ASPP), of torchvision's parts.

    Reads the coarsest map, `high`, and `low`, the map of stride 8 or the next finer than `high` where 8 is not finer; a
    backbone with one map gives it as both. Upstream's backbone is dilated to stride 16 where ours has 32: nothing in the
    head reaches beyond a cell of `high`, so its weights mean the same.

    BatchNorm, for upstream's weights need its tensors. The gate averages over the picture, not over the canvas's padding
    (nor over windows, as in the paper; torchvision's takes everything too).

    Args:
        provides: channels of the backbone's features by name.
        options: `width`, 128 in the paper; `dropout`, 0 to 1, of the coarse branch before its last layer; those of
            `PixelLoss`.
        facts: as SegmentationHead.
    """

    label_layers: ClassVar[tuple[str, ...]] = ("classifier.low_classifier.", "classifier.high_classifier.")

    def __init__(self, provides: Mapping[str, int], options: Mapping[str, Any], facts: Facts) -> None:
        maps = strides_of(provides)
        high = max(maps)
        low = coarsest(provides, min(_LOW_STRIDE, high - 1))
        super().__init__({maps[low], maps[high]}, options, facts)
        self.low, self.high = maps[low], maps[high]
        self.classifier = LRASPPHead(provides[self.low], provides[self.high], self.classes, int(options["width"]))
        small_scores(self.classifier.low_classifier)
        small_scores(self.classifier.high_classifier)
        steady(self.classifier)
        self.dropout = nn.Dropout(float(options["dropout"]))

    def logits(self, features: Features) -> Tensor:
        """[B, classes, h, w] at the size of `low`: LRASPPHead.forward, with the mean over the picture."""
        parts, low = self.classifier, features[self.low]
        gate = mean_of_picture(features, self.high)
        # Its first module is the pooling over the whole canvas.
        for module in list(parts.scale)[1:]:
            gate = module(gate)
        value = parts.cbr(features[self.high]) * gate
        value = functional.interpolate(value, size=low.shape[-2:], mode="bilinear", align_corners=False)
        result: Tensor = parts.low_classifier(low) + parts.high_classifier(self.dropout(value))
        return result


def build(spec: Spec, backbone: Backbone, facts: Facts) -> Head:
    """The head `lraspp`."""
    return LrasppHead(backbone.provides, spec.options, facts)
