"""GraftNet: graftwork's own compact residual network for small pictures, the embedded source model.

Made for 32 x 32 pixels and for processors: widths are multiples of 32, the arithmetic lies in plain 3 x 3 convolutions
(about 40 million multiply-adds a picture), and its weights stay under 4 MB.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from graftwork.interfaces import Backbone, ImageInput, Spec
from graftwork_images.backbones.staged import ConvolutionalBackbone, Stage, at_size

_FACTS = ImageInput(
    size=32,
    resize=32,
    # CIFAR-10's training split, per channel.
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al. 2016), the first of stride 2.

    The shortcut averages before its 1 x 1 convolution, so that no pixel is thrown away (He et al. 2019, "Bag of Tricks",
    ResNet-D). The second norm starts at zero: the block starts as its shortcut (Goyal et al. 2017).
    """

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False),
            nn.Conv2d(width_in, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def build(spec: Spec) -> Backbone:
    """GraftNet-S with random weights: 32 channels at full size, then 64, 128 and 192 at strides 2, 4 and 8."""
    widths = (32, 64, 128, 192)
    stem = nn.Sequential(
        nn.Conv2d(3, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)
    )
    stages = [Stage({"stem": stem}, channels=widths[0])]
    for index, (width_in, width) in enumerate(pairwise(widths), start=1):
        stages.append(Stage({f"block{index}": ResidualBlock(width_in, width)}, f"map{2**index}", width))
    for stage in stages:
        for module in stage.parts.values():
            _initialise(module)
    return at_size(ConvolutionalBackbone(stages, _FACTS), int(spec.options.get("image_size", 0)))


def _initialise(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
