"""timm's models by name: built, cut, and proven to compute in pieces what they compute whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from graftwork import UsageError
from graftwork.errors import did_you_mean
from graftwork.interfaces import Backbone, ImageInput, Spec
from graftwork_timm.staged import Layout, TimmBackbone, TimmConvNet, cut

NAMED: Mapping[str, str] = {
    "timm-resnet18": "resnet18.a1_in1k",
    "timm-convnext-atto": "convnext_atto.d2_in1k",
    "timm-deit-tiny": "deit_tiny_patch16_224.fb_in1k",
    "timm-efficientnet-lite0": "efficientnet_lite0.ra_in1k",
}
"""Catalogue name to timm's MODEL.TAG. Every other model is had by `--backbone timm:MODEL.TAG`."""

_WAY_OUT = "Try another model, for example timm:resnet18, timm:convnext_tiny or timm:vit_small_patch16_224"
_TOLERANCE = 1e-4
"""Of features in pieces against those of the whole, by their largest value; they are computed by the same operations."""


def build(spec: Spec) -> Backbone:
    """The backbone with random weights and the preprocessing of timm's weights of that name.

    Options `model` (timm's MODEL or MODEL.TAG) of the entry `timm`; `image_size`, pixels, 0 for what the weights saw.

    Raises:
        UsageError: timm has no such model, or it cannot be cut into stages.
    """
    name = NAMED.get(spec.name) or str(spec.options["model"])
    layout, facts = understood(name)
    backbone = _staged(create(name), layout, facts)
    size = int(spec.options.get("image_size") or 0)
    if size:
        backbone.input = replace(facts, size=size, resize=round(facts.resize * size / facts.size))
        backbone.chosen_facts = frozenset({"size", "resize"})
    return backbone


def config_of(name: str) -> Any:
    """timm's PretrainedCfg of a model, by MODEL or MODEL.TAG.

    Raises:
        UsageError: there is no such model or tag.
    """
    import timm

    model, _, tag = name.partition(".")
    if not timm.is_model(model):
        hint = did_you_mean(model, timm.list_models())
        raise UsageError(f"timm {timm.__version__} has no model {model!r}", hint=hint)
    tags = [known.partition(".")[2] for known in timm.list_models(model, include_tags=True)]
    if tag and tag not in tags:
        raise UsageError(f"timm's {model} has no weights called {tag!r}", hint=did_you_mean(tag, tags))
    return timm.get_pretrained_cfg(name)


def create(name: str) -> Any:
    """timm's network with random weights and no classifier; one that can be asked takes pictures of any size."""
    import timm

    config_of(name)  # before timm could take the name for a place to download from
    try:
        return timm.create_model(name, num_classes=0, dynamic_img_size=True)
    except TypeError as error:
        if "dynamic_img_size" not in str(error):
            raise
        return timm.create_model(name, num_classes=0)


@lru_cache(maxsize=16)
def understood(name: str) -> tuple[Layout, ImageInput]:
    """How a model is cut, proven by running it once in pieces and once whole; and what it wants to see.

    Raises:
        UsageError: there is no such model, or it cannot be cut.
    """
    config_of(name)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), torch.no_grad():
        try:
            torch.manual_seed(0)
            return _proven(create(name).eval())
        except Exception as error:  # a foreign network fails in any way it likes
            first = (str(error).strip().splitlines() or [type(error).__name__])[0][:160].rstrip(".")
            raise UsageError(f"cannot be cut into stages ({first})", where=f"timm:{name}", hint=_WAY_OUT) from None


def _proven(network: Any) -> tuple[Layout, ImageInput]:
    facts = _facts(network)
    groups, strides = cut(network)
    fixed = network.pretrained_cfg.get("fixed_input_size", False) and not getattr(network, "dynamic_img_size", False)
    side = facts.size if fixed else 4 * strides[-1]
    pixels = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)) * 4 - 2
    last = network.forward_features(pixels)
    pooled = network.forward_head(last, pre_logits=True)
    tokens = last.ndim == 3
    form = "NLC" if tokens else str(getattr(network, "output_fmt", "NCHW"))
    # Of several levels with one stride, the last is the map.
    ends = {stride: index for index, stride in enumerate(strides) if stride > 1}
    maps = tuple(f"map{stride}" if ends.get(stride) == index else None for index, stride in enumerate(strides))
    levels = [0] * (len(strides) - len(network.feature_info)) + [info["num_chs"] for info in network.feature_info]
    widths = {feature: int(width) for feature, width in zip(maps, levels, strict=True) if feature}
    widths[f"map{strides[-1]}"] = last.shape[3 if form == "NHWC" else 2 if tokens else 1]
    provides = {**widths, "pooled": pooled.shape[-1]} | ({"tokens": last.shape[-1]} if tokens else {})
    classifier = network.pretrained_cfg.get("classifier") or ()
    left_out = tuple(f"{name}." for name in ([classifier] if isinstance(classifier, str) else classifier))
    layout = Layout(tuple(map(tuple, groups)), maps, provides, strides[-1], form, facts.size if fixed else 0, left_out)
    whole = {"pooled": pooled, **_levels(network, pixels, maps, strides, last, tokens)}
    staged = _staged(network, layout, facts)
    _compare(staged, pixels, whole)
    return replace(layout, widths=_widths(staged, pixels)), facts


def _levels(
    network: Any, pixels: Tensor, maps: tuple[str | None, ...], strides: list[int], last: Tensor, tokens: bool
) -> dict[str, Tensor]:
    """The features as timm itself gives them."""
    if tokens:
        return {"tokens": last}
    found = {}
    if hasattr(network, "forward_intermediates"):
        taken = network.forward_intermediates(pixels, intermediates_only=True)
        taken = [None] * (len(strides) - len(taken)) + list(taken)
        found = {feature: level for feature, level in zip(maps[:-1], taken, strict=False) if feature}
    last_map = last.permute(0, 3, 1, 2) if getattr(network, "output_fmt", "NCHW") == "NHWC" else last
    return {**found, f"map{strides[-1]}": last_map}


def _compare(backbone: Backbone, pixels: Tensor, whole: Mapping[str, Tensor]) -> None:
    """Hold the stages, one after the other, against the whole network."""
    needs = frozenset(backbone.provides)
    pieces = backbone.suffix({"x": pixels}, 0, needs)
    for name in sorted(needs - {"mask"} & set(whole)):
        found, wanted = pieces[name], whole[name]
        if found.shape != wanted.shape:
            raise ValueError(f"{name} is {tuple(found.shape)} in stages, and {tuple(wanted.shape)} as timm gives it")
        if not torch.allclose(found, wanted, rtol=0, atol=_TOLERANCE * max(1.0, float(wanted.abs().max()))):
            raise ValueError(f"{name} comes out otherwise in stages than from the whole network")
        if found.shape[1 if name.startswith("map") else -1] != backbone.provides[name]:
            raise ValueError(f"{name} has another width than timm says")


def _widths(backbone: Backbone, pixels: Tensor) -> tuple[int, ...]:
    """The channels of each stage's output: timm does not say those of a stem."""
    state, widths = {"x": pixels}, []
    for index in range(len(backbone.stages())):
        state = backbone.advance(index, state, frozenset())
        widths.append(backbone.summary(state, index + 1).shape[1])
    return tuple(widths)


def _staged(network: Any, layout: Layout, facts: ImageInput) -> TimmBackbone:
    return (TimmConvNet if layout.form == "NCHW" else TimmBackbone)(network, layout, facts)


def _facts(network: Any) -> ImageInput:
    """Preprocessing as timm resolves it for the weights of that name."""
    from timm.data.config import resolve_model_data_config

    data = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    channels, _, size = data["input_size"]
    if channels != 3:
        raise ValueError(f"takes {channels} channels; pictures have three")
    interpolation = data["interpolation"] if data["interpolation"] in ("bilinear", "bicubic") else "bicubic"
    mean, spread = tuple(map(float, data["mean"])), tuple(map(float, data["std"]))
    return ImageInput(size, math.floor(size / data["crop_pct"]), mean, spread, interpolation)  # type: ignore[arg-type]
