"""The staged image backbone: what every family here shares. How a network is cut stands in `families`.

A backbone is a list of stages, each a run of upstream modules under their upstream names, and a table that says where
every upstream tensor went. The state between stages is the running tensor `x` and the maps that somebody needs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graftwork.interfaces import Backbone, Features, ImageInput, State


@dataclass(frozen=True)
class Stage:
    """One stage, before it becomes a module.

    Args:
        parts: modules in order of execution, by their upstream name (`layer1`, `features.3`).
        feature: the name under which the stage's output is provided (`map8`), or None.
        channels: of that output.
    """

    parts: Mapping[str, nn.Module]
    feature: str | None = None
    channels: int = 0


def normalise(pixels: Tensor, facts: ImageInput, channels_last: bool) -> Tensor:
    """Pixels [B, 3, H, W], uint8 or float in 0..1, as float with the mean and spread that the weights were trained on.

    Python numbers instead of constant tensors: no copy to the device (a CUDA stream would wait for it), and nothing that
    could end up among the buffers.
    """
    layout = torch.channels_last if channels_last else torch.contiguous_format
    whole, dtype = (1.0, pixels.dtype) if pixels.is_floating_point() else (255.0, torch.float32)
    values = pixels.to(dtype, memory_format=layout, copy=True)
    # In place: planes of their own, put together again, would cost the CPU two to five times as long.
    for index, (mean, spread) in enumerate(zip(facts.mean, facts.std, strict=True)):
        values[:, index].mul_(1.0 / (whole * spread)).sub_(mean / spread)
    return values


def at_size(backbone: Backbone, size: int) -> Backbone:
    """The backbone for pictures of `size` pixels (0 for what its weights were trained on); the resize before the crop
    follows in proportion. The user's choice: weights that bring their own size do not replace it."""
    if size:
        facts = backbone.input
        backbone.input = replace(facts, size=size, resize=round(facts.resize * size / facts.size))
        backbone.chosen_facts = frozenset({"size", "resize"})
    return backbone


class StagedBackbone(Backbone):
    """A chain of stages whose outputs are maps [B, C, H/S, W/S]; `pooled` [B, C] is the mean of the last one.

    Args:
        stages: input to output; the last one's `channels` are those of `pooled`.
        facts: preprocessing of the default weights.
        classifier: upstream key prefixes that belong to no stage (`fc.`), left out by `translate`.
    """

    def __init__(self, stages: Sequence[Stage], facts: ImageInput, classifier: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.input = facts
        self.body = nn.ModuleList(
            nn.Sequential(OrderedDict((_child(name), module) for name, module in stage.parts.items()))
            for stage in stages
        )
        maps = {stage.feature: stage.channels for stage in stages if stage.feature is not None}
        self.provides = {**maps, "pooled": stages[-1].channels}
        self._features = tuple(stage.feature for stage in stages)
        self._widths = tuple(stage.channels for stage in stages)
        self._classifier = classifier
        self._moves = {
            f"{name}.": f"body.{index}.{_child(name)}." for index, stage in enumerate(stages) for name in stage.parts
        }

    def stages(self) -> Sequence[nn.Module]:
        """The stages, input to output."""
        return list(self.body)

    def begin(self, inputs: Mapping[str, Tensor]) -> State:
        """Normalised pixels as `x`, from `pixels` [B, 3, H, W] (uint8, or float in 0..1)."""
        return {"x": normalise(inputs["pixels"], self.input, self.channels_last)}

    def advance(self, index: int, state: State, needs: frozenset[str]) -> State:
        """Runs a stage; its input is kept as a map first, where the stage before provides one that is needed."""
        kept = {name: tensor for name, tensor in state.items() if name != "x"}
        before = self._features[index - 1] if index else None
        if before in needs and before is not None:
            kept[before] = self.as_map(state["x"])
        kept["x"] = self.body[index](state["x"])
        return kept

    def finish(self, state: State, needs: frozenset[str]) -> Features:
        """The needed maps, and the mean over the last one as `pooled`."""
        features = {name: tensor for name, tensor in state.items() if name in needs}
        last = self.as_map(state["x"])
        if self._features[-1] in needs and self._features[-1] is not None:
            features[self._features[-1]] = last
        if "pooled" in needs:
            features["pooled"] = F.adaptive_avg_pool2d(last, 1).flatten(1)
        return features

    def summary_width(self, cut: int) -> int:
        """The channels of that stage's output."""
        return self._widths[cut - 1]

    def as_map(self, x: Tensor) -> Tensor:
        """The running tensor as [B, C, H, W]."""
        return x

    def translate(self, foreign: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Torchvision's key names to ours; its classifier is left out, unknown keys pass unchanged."""
        return dict(self._translated(foreign))

    def _translated(self, foreign: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        for key, tensor in foreign.items():
            # The longest upstream name wins: `classifier.0.` is ConvNeXt's last norm, `classifier.` its classifier.
            prefix = max((old for old in self._moves if f"{key}.".startswith(old)), key=len, default=None)
            if prefix is not None:
                rest = key[len(prefix) :]
                yield (self._moves[prefix] + rest if rest else self._moves[prefix][:-1]), tensor
            elif not key.startswith(self._classifier):
                yield key, tensor


class ConvolutionalBackbone(StagedBackbone):
    """A staged backbone whose running tensor is [B, C, H, W]."""

    channels_last: ClassVar[bool] = True


def _child(name: str) -> str:
    return name.replace(".", "_")
