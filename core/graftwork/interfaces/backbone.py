"""The staged backbone: a network without a task, cut into stages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from graftwork.interfaces.batch import Features, State


@dataclass(frozen=True)
class ImageInput:
    """What an image backbone wants to see, as its weights were trained.

    Args:
        size: pixels, the side of the square crop at evaluation.
        resize: pixels, the shorter side before that crop.
        mean, std: of each channel, for pixels in 0..1; the backbone itself normalises, so nobody can forget it.
        interpolation: `bilinear` or `bicubic`.
    """

    size: int
    resize: int
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class TextInput:
    """What a text backbone wants to see: `tokens` int64 [B, T], `mask` bool [B, T] (true at real tokens) and, for pairs of
    texts, `types` int64 [B, T] (0 in the first, 1 in the second). What stands where the mask is false does not matter.

    Args:
        tokenizer: the text of a `tokenizer.json`, as the library tokenizers reads it; special tokens come from its
            post-processor.
        length: tokens, the longest input, special tokens included.
    """

    tokenizer: str
    length: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


InputFacts = ImageInput | TextInput
"""Frozen facts that data workers get instead of weights. Backbones of a new modality bring their own such dataclass."""


class Backbone(nn.Module, ABC):
    """A network in stages, from input to output: the unit of freezing, learning-rate decay, caching and scoring.

    A subclass supplies `stages`, `begin`, `advance` and `finish`; `forward`, `prefix` and `suffix` follow from them, so
    that `suffix(prefix(x, k), k)` runs the very operations of `forward(x)` for every k.

    Every parameter and buffer belongs to exactly one stage.
    """

    input: Any
    """ImageInput, TextInput, or another frozen dataclass with `to_json`."""

    provides: Mapping[str, int]
    """Channels by feature name, e.g. {"pooled": 512, "map8": 128, "map16": 256, "map32": 512}."""

    chosen_facts: frozenset[str] = frozenset()
    """Names of input facts that the user set by an option; weights that bring their own facts do not replace these."""

    channels_last: ClassVar[bool] = False
    """Whether its four-dimensional tensors run faster in channels_last memory format (convolutional nets)."""

    @abstractmethod
    def stages(self) -> Sequence[nn.Module]:
        """The stages, input to output; at least one. Their modules hold all parameters and buffers."""

    @abstractmethod
    def begin(self, inputs: Mapping[str, Tensor]) -> State:
        """The state before the first stage; no parameter is used here. Image backbones normalise pixels here."""

    @abstractmethod
    def advance(self, index: int, state: State, needs: frozenset[str]) -> State:
        """The state after stage `index`; keeps what later stages or a needed feature read, and drops the rest."""

    @abstractmethod
    def finish(self, state: State, needs: frozenset[str]) -> Features:
        """The needed features from the state after the last stage; no parameter is used here."""

    def prefix(self, inputs: Mapping[str, Tensor], cut: int, needs: frozenset[str]) -> State:
        """The state after the first `cut` stages (0 to len(stages))."""
        state = self.begin(inputs)
        for index in range(cut):
            state = self.advance(index, state, needs)
        return state

    def suffix(self, state: State, cut: int, needs: frozenset[str]) -> Features:
        """The features, from the state after the first `cut` stages."""
        for index in range(cut, len(self.stages())):
            state = self.advance(index, state, needs)
        return self.finish(state, needs)

    def forward(self, inputs: Mapping[str, Tensor], needs: frozenset[str] | None = None) -> Features:
        """The needed features of a batch of inputs (all that it provides when `needs` is None)."""
        wanted = frozenset(self.provides) if needs is None else needs
        return self.suffix(self.begin(inputs), 0, wanted)

    def summary(self, state: State, cut: int) -> Tensor:
        """What one vector says of the state after the first `cut` stages (1 to len(stages)): [B, C], in float32 at least.

        A head over several stages gets it as `stageK`, and stages are scored by it. It takes the state as `advance` gives it,
        whatever is needed, leaves it as it was, and uses no parameter.

        The default reads the running tensor `x` of the state: the mean over the places of a map [B, C, H, W], the mean over
        tokens [B, T, C], what is padding left out where the state has their `mask` [B, T], or a vector [B, C] as it is. Pictures
        in the padding of a larger canvas (detection, segmentation) are averaged over the canvas. Override it where the running
        tensor has another name or form.
        """
        x, mask = state.get("x"), state.get("mask")
        if x is None or not 2 <= x.ndim <= 4:
            raise NotImplementedError(f"{type(self).__name__} keeps no map, tokens or vector as `x`: give it `summary`")
        whole = torch.promote_types(x.dtype, torch.float32)
        if x.ndim == 3 and mask is not None:
            real = mask.unsqueeze(-1)
            return torch.where(real, x.to(whole), 0.0).sum(1) / real.sum(1).clamp(min=1)
        places = {2: (), 3: (1,), 4: (2, 3)}[x.ndim]
        return x.mean(places, dtype=whole) if places else x.to(whole)

    def summary_width(self, cut: int) -> int:
        """The channels C of the summary after the first `cut` stages (1 to len(stages)), for whoever builds a head on it.

        The default is the width of `pooled`, which is right where all stages are alike. Override it where they are not.
        """
        if "pooled" not in self.provides:
            raise NotImplementedError(
                f"{type(self).__name__} does not say how wide its stages are: give it `summary_width`"
            )
        return self.provides["pooled"]

    def use_input(self, facts: Mapping[str, Any]) -> None:
        """Let preprocessing travel with the weights: facts by name, as `input.to_json` gave them.

        Raises:
            TypeError: a fact that this kind of input does not have.
        """
        plain = {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
        self.input = replace(self.input, **{name: v for name, v in plain.items() if name not in self.chosen_facts})

    def translate(self, foreign: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Upstream weights (for example torchvision's key names) under this module's own key names.

        Keys that belong to no stage, such as an upstream classifier's, are left out by the subclass; keys that nobody
        knows are passed on unchanged, so that the loader can report them.
        """
        return dict(foreign)
