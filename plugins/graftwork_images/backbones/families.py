"""Torchvision's classification families, cut into stages: one short function a family, one table of names.

Torchvision builds the network (its own classes, numerics and initial weights); here it is only taken apart. A stage is
the stem, a group of blocks of one width, or (ViT) one block. The last stage at a stride S gives the map `mapS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)
from torchvision import models

from graftwork.interfaces import Backbone, ImageInput, Spec
from graftwork_images.backbones.staged import ConvolutionalBackbone, Stage, at_size
from graftwork_images.backbones.transformers import ConvNeXtBackbone, SwinBackbone, VisionTransformerBackbone

Parts = dict[str, nn.Module]
"""Modules of one stage by their upstream name."""


@dataclass(frozen=True)
class Family:
    """What the networks of one family have in common.

    Args:
        title: what a person calls it, with its source.
        names: torchvision's names of its members.
        assemble: takes torchvision's network apart.
    """

    title: str
    names: tuple[str, ...]
    assemble: Callable[[Any, ImageInput], Backbone]


def build(spec: Spec) -> Backbone:
    """The backbone of that torchvision name with random weights and the preprocessing of its default weights.

    Option `image_size` (pixels, 0 for the weights' own) asks for other pictures; the resize before the crop follows.
    """
    facts = preprocessing(models.get_model_weights(spec.name).DEFAULT)
    backbone = FAMILY_OF[spec.name].assemble(_network(spec.name), facts)
    return at_size(backbone, int(spec.options.get("image_size", 0)))


def _network(name: str) -> Any:
    """Torchvision's network; its classifier is thrown away, so it gets one class instead of a thousand."""
    if torch.get_default_device().type != "meta":
        return models.get_model(name, weights=None, num_classes=1)

    # RegNet computes its widths with tensors, which have no values on the meta device: there, tensors are created on the
    # processor (unfilled memory costs nothing) and move as they are registered, before they are initialised.
    def moved(module: nn.Module, name: str, tensor: Tensor) -> Any:
        return nn.Parameter(tensor.to("meta")) if isinstance(tensor, nn.Parameter) else tensor.to("meta")

    hooks = [register_module_parameter_registration_hook(moved), register_module_buffer_registration_hook(moved)]
    try:
        with torch.device("cpu"):
            return models.get_model(name, weights=None, num_classes=1)
    finally:
        for hook in hooks:
            hook.remove()


def preprocessing(weights: Any) -> ImageInput:
    """What a torchvision weights entry says about its inputs."""
    transform = weights.transforms()
    return ImageInput(
        size=transform.crop_size[0],
        resize=transform.resize_size[0],
        mean=tuple(transform.mean),
        std=tuple(transform.std),
        interpolation=transform.interpolation.value,
    )


def _resnet(net: Any, facts: ImageInput) -> Backbone:
    groups: list[Parts] = [{"conv1": net.conv1, "bn1": net.bn1, "relu": net.relu}]
    # The pool opens the next stage, so that the stem's output is the map at stride 2.
    groups.append({"maxpool": net.maxpool, "layer1": net.layer1})
    groups += [{f"layer{index}": getattr(net, f"layer{index}")} for index in (2, 3, 4)]
    return ConvolutionalBackbone(_staged(groups, _norm_width), facts, classifier=("fc.",))


def _regnet(net: Any, facts: ImageInput) -> Backbone:
    groups: list[Parts] = [{"stem": net.stem}]
    groups += [{f"trunk_output.{name}": block} for name, block in net.trunk_output.named_children()]
    return ConvolutionalBackbone(_staged(groups, _norm_width), facts, classifier=("fc.",))


def _mobilenet(net: Any, facts: ImageInput) -> Backbone:
    groups: list[Parts] = []
    for name, block in _features(net):
        # A new stage where the width changes; stem and last convolution differ in class from the blocks between.
        alike = groups and _norm_width({name: block}) == _norm_width(groups[-1])
        if alike and type(next(iter(groups[-1].values()))) is type(block):
            groups[-1][name] = block
        else:
            groups.append({name: block})
    return ConvolutionalBackbone(_staged(groups, _norm_width), facts, classifier=("classifier.",))


def _efficientnet(net: Any, facts: ImageInput) -> Backbone:
    groups: list[Parts] = [{name: block} for name, block in _features(net)]
    return ConvolutionalBackbone(_staged(groups, _norm_width), facts, classifier=("classifier.",))


def _squeezenet(net: Any, facts: ImageInput) -> Backbone:
    groups: list[Parts] = [{}]
    for name, module in _features(net):
        if isinstance(module, nn.MaxPool2d):
            groups.append({})
        groups[-1][name] = module

    def width(parts: Parts) -> int:
        stem, last = parts.get("features.0"), list(parts.values())[-1]
        if isinstance(stem, nn.Conv2d):
            return stem.out_channels
        # A fire ends in two convolutions side by side.
        return sum(module.out_channels for module in (last.expand1x1, last.expand3x3) if isinstance(module, nn.Conv2d))

    return ConvolutionalBackbone(_staged(groups, width), facts, classifier=("classifier.",))


class _DenseNetBackbone(ConvolutionalBackbone):
    """DenseNet with the key names of torchvision's published files, which still say `norm.1` for `norm1`."""

    _LEGACY = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")

    def translate(self, foreign: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return super().translate({self._LEGACY.sub(r"\1\2", key): tensor for key, tensor in foreign.items()})


def _densenet(net: Any, facts: ImageInput) -> Backbone:
    groups: list[Parts] = [{}]
    for name, module in _features(net):
        short = name.removeprefix("features.")
        # A transition halves the resolution: it opens the stage of the dense block after it.
        if short == "pool0" or short.startswith("transition"):
            groups.append({})
        groups[-1][name] = module
    groups[-1]["relu"] = nn.ReLU(inplace=True)
    widths = [net.features.norm0.num_features]
    widths += [getattr(net.features, f"transition{index}").norm.num_features for index in (1, 2, 3)]
    widths.append(net.features.norm5.num_features)
    stages = _staged(groups, lambda parts: widths[groups.index(parts)])
    return _DenseNetBackbone(stages, facts, classifier=("classifier.",))


def _convnext(net: Any, facts: ImageInput) -> Backbone:
    blocks = dict(_features(net))
    groups: list[Parts] = [{"features.0": blocks["features.0"]}, {"features.1": blocks["features.1"]}]
    groups += [{name: blocks[name] for name in (f"features.{index}", f"features.{index + 1}")} for index in (2, 4, 6)]

    def width(parts: Parts) -> int:
        return [module.out_channels for module in _leaves(parts) if isinstance(module, nn.Conv2d)][-1]

    return ConvNeXtBackbone(_staged(groups, width), net.classifier[0], facts)


def _swin(net: Any, facts: ImageInput) -> Backbone:
    blocks = list(net.features.children())
    width = blocks[0][0].out_channels
    stages = [Stage({"features.0": blocks[0]}, channels=width), Stage({"features.1": blocks[1]}, "map4", width)]
    for index, stride in ((2, 8), (4, 16), (6, 32)):
        parts: Parts = {f"features.{index}": blocks[index], f"features.{index + 1}": blocks[index + 1]}
        if stride == 32:
            parts["norm"] = net.norm
        stages.append(Stage(parts, f"map{stride}", width * stride // 4))
    return SwinBackbone(stages, facts, classifier=("head.",))


def _features(net: Any) -> Iterator[tuple[str, nn.Module]]:
    for name, module in net.features.named_children():
        yield f"features.{name}", module


def _leaves(parts: Parts) -> Iterator[nn.Module]:
    for part in parts.values():
        yield from part.modules()


def _norm_width(parts: Parts) -> int:
    return [module.num_features for module in _leaves(parts) if isinstance(module, nn.BatchNorm2d)][-1]


def _staged(groups: list[Parts], width: Callable[[Parts], int]) -> list[Stage]:
    """Stages with their maps: the last group at a stride gives the map of that stride."""
    strides: list[int] = []
    stride = 1
    for parts in groups:
        for part in parts.values():
            # Within one part only the first block shrinks, whatever else carries a stride (its shortcut) runs beside it.
            stride *= max((_stride(module) for module in part.modules()), default=1)
        strides.append(stride)
    last = {stride: index for index, stride in enumerate(strides) if stride > 1}
    return [
        Stage(parts, f"map{strides[index]}" if last.get(strides[index]) == index else None, width(parts))
        for index, parts in enumerate(groups)
    ]


def _stride(module: nn.Module) -> int:
    if not isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        return 1
    stride = module.stride
    return int(stride if isinstance(stride, int) else stride[0])


def _sizes(pattern: str, sizes: str) -> tuple[str, ...]:
    return tuple(pattern.format(size) for size in sizes.split())


FAMILIES: tuple[Family, ...] = (
    Family("ResNet (He et al. 2016)", _sizes("resnet{}", "18 34 50 101 152"), _resnet),
    Family("Wide ResNet (Zagoruyko & Komodakis 2016)", ("wide_resnet50_2", "wide_resnet101_2"), _resnet),
    Family("ResNeXt (Xie et al. 2017)", _sizes("resnext{}", "50_32x4d 101_32x8d 101_64x4d"), _resnet),
    Family("MobileNetV2 (Sandler et al. 2018)", ("mobilenet_v2",), _mobilenet),
    Family("MobileNetV3 (Howard et al. 2019)", ("mobilenet_v3_small", "mobilenet_v3_large"), _mobilenet),
    Family("EfficientNet (Tan & Le 2019)", _sizes("efficientnet_b{}", "0 1 2 3 4 5 6 7"), _efficientnet),
    Family("EfficientNetV2 (Tan & Le 2021)", _sizes("efficientnet_v2_{}", "s m l"), _efficientnet),
    Family("ConvNeXt (Liu et al. 2022)", _sizes("convnext_{}", "tiny small base large"), _convnext),
    Family(
        "RegNetX (Radosavovic et al. 2020)",
        _sizes("regnet_x_{}", "400mf 800mf 1_6gf 3_2gf 8gf 16gf 32gf"),
        _regnet,
    ),
    Family(
        "RegNetY (Radosavovic et al. 2020)",
        _sizes("regnet_y_{}", "400mf 800mf 1_6gf 3_2gf 8gf 16gf 32gf"),
        _regnet,
    ),
    Family("SqueezeNet (Iandola et al. 2016)", ("squeezenet1_0", "squeezenet1_1"), _squeezenet),
    Family("DenseNet (Huang et al. 2017)", _sizes("densenet{}", "121 161 169 201"), _densenet),
    Family("ViT (Dosovitskiy et al. 2021)", _sizes("vit_{}", "b_16 b_32 l_16 l_32"), VisionTransformerBackbone),
    Family("Swin (Liu et al. 2021)", _sizes("swin_{}", "t s b"), _swin),
    Family("Swin V2 (Liu et al. 2022)", _sizes("swin_v2_{}", "t s b"), _swin),
)

FAMILY_OF: Mapping[str, Family] = {name: family for family in FAMILIES for name in family.names}
"""The family of every catalogue name."""
