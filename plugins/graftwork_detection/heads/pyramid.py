"""The neck of every detector here: torchvision's feature pyramid over whatever maps a backbone has."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, FeaturePyramidNetwork

from graftwork.interfaces import Features


class Pyramid(nn.Module):
    """A feature pyramid (Lin et al. 2017): maps of like width, each with what coarser ones know.

    It takes the backbone's maps from stride `finest` to 32, or the coarsest one where all are finer; levels beyond are
    made from the last one, halving it. So a net with maps to stride 8, or a vision transformer with a single map, gets
    the same coarse levels as a ResNet.

    Args:
        provides: channels of the backbone's features by name; maps are called `mapS`, S being the stride.
        width: channels of every level.
        finest: stride of the finest map that is taken, where there is one.
        coarsest: stride of the coarsest level.
        extra: how levels beyond the maps are made: `p5`, 3x3 convolutions on the last level (RetinaNet, FCOS); `pool`,
            every other value of it (Faster R-CNN).
    """

    def __init__(
        self,
        provides: Mapping[str, int],
        width: int,
        finest: int = 8,
        coarsest: int = 128,
        extra: Literal["p5", "pool"] = "p5",
    ) -> None:
        super().__init__()
        strides = sorted(int(name[3:]) for name in provides if name.startswith("map"))
        taken = [stride for stride in strides if finest <= stride <= 32] or strides[-1:]
        self.maps = tuple(f"map{stride}" for stride in taken)
        self.needs = frozenset(self.maps)
        beyond = [2**power for power in range(int(math.log2(taken[-1])) + 1, int(math.log2(coarsest)) + 1)]
        self.strides = (*taken, *beyond)
        self.fpn = FeaturePyramidNetwork(
            [provides[name] for name in self.maps],
            width,
            _Pool(beyond) if extra == "pool" else _Convolve(beyond, width),
        )

    def forward(self, features: Features) -> list[Tensor]:
        """The levels [B, width, H/S, W/S], fine to coarse, one for each of `strides`."""
        return list(self.fpn(OrderedDict((name, features[name]) for name in self.maps)).values())

    def sizes(self, features: Features) -> list[tuple[int, int]]:
        """Height and width of each level, from the maps' alone: of one beyond them half of the last level's, rounded up."""
        found = []
        for name in self.maps:
            height, width = features[name].shape[-2:]
            found.append((height, width))
        while len(found) < len(self.strides):
            height, width = found[-1]
            found.append(((height + 1) // 2, (width + 1) // 2))
        return found


class _Convolve(ExtraFPNBlock):  # type: ignore[misc]
    """Torchvision's LastLevelP6P7 for any number of levels, under its key names: `p6` is the level of stride 64."""

    def __init__(self, strides: list[int], width: int) -> None:
        super().__init__()
        self.names = [f"p{int(math.log2(stride))}" for stride in strides]
        for name in self.names:
            convolution = nn.Conv2d(width, width, 3, 2, 1)
            nn.init.kaiming_uniform_(convolution.weight, a=1)
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            self.add_module(name, convolution)

    def forward(self, p: list[Tensor], c: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        # In float32: of a map of 2 x 1 places, oneDNN's bf16 convolution of stride 2 gives a gradient that is not a number
        # (torch 2.14). These levels cost next to nothing.
        with torch.autocast(p[-1].device.type, enabled=False):
            for index, name in enumerate(self.names):
                last = p[-1].float()
                p = [*p, self.get_submodule(name)(F.relu(last) if index else last)]
        return p, names + self.names


class _Pool(ExtraFPNBlock):  # type: ignore[misc]
    """Torchvision's LastLevelMaxPool for any number of levels."""

    def __init__(self, strides: list[int]) -> None:
        super().__init__()
        self.names = [f"pool{stride}" for stride in strides]

    def forward(self, p: list[Tensor], c: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        for _ in self.names:
            p = [*p, F.max_pool2d(p[-1], 1, 2, 0)]
        return p, names + self.names
