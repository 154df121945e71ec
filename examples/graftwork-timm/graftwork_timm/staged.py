"""A timm network as a staged backbone: nothing here knows a model.

A stage is timm's own network of which only some modules are left; the others pass their input on. So what runs is timm's own
`forward_features`, a piece at a time. That pieces in a row are the whole is not believed but proven, see `models`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from graftwork import UsageError
from graftwork.interfaces import Backbone, Features, ImageInput, State


@dataclass(frozen=True)
class Layout:
    """How a network is cut, and what it gives.

    Args:
        groups: names of the modules of each stage: children of the network, or of its Sequentials (`blocks.3`).
        maps: the feature that each stage's output is (`map8`), or None.
        provides: channels by feature name.
        stride: pixels, of the last map.
        form: of the tensors between stages: `NCHW`, `NHWC`, or `NLC` for tokens.
        side: pixels, where the network takes pictures of one size only; 0 where it takes any.
        classifier: beginnings of upstream keys that belong to no stage.
        widths: channels of each stage's output.
    """

    groups: tuple[tuple[str, ...], ...]
    maps: tuple[str | None, ...]
    provides: Mapping[str, int]
    stride: int
    form: str
    side: int
    classifier: tuple[str, ...]
    widths: tuple[int, ...] = ()


def cut(network: Any) -> tuple[list[list[str]], list[int]]:
    """The modules of each stage, and the stride of each stage's output (0 for a stem that ends in no feature).

    timm's `feature_info` names the modules that end a level; modules stand in the order in which they are used. What comes
    before the first level is the stem, what comes after the last belongs to the last.

    Raises:
        ValueError: the network names no such modules, or not in order.
    """
    ends = [info["module"] for info in network.feature_info]
    order = list(_flat(network, ends))
    places = [order.index(end) + 1 for end in ends]  # a ValueError names the module that is not there
    if not places or places != sorted(set(places)):
        raise ValueError("its feature levels are not in the order of its modules")
    strides = [int(info["reduction"]) for info in network.feature_info]
    stem = places[0] - 1
    if _trains(network, order[:stem]) and _trains(network, [ends[0]]):
        places, strides = [stem, *places], [0, *strides]
    places[-1] = len(order)
    return [order[start:end] for start, end in zip([0, *places[:-1]], places, strict=True)], strides


def _flat(network: nn.Module, ends: Collection[str]) -> Iterator[str]:
    """Names of the children in order, those of a container that holds ends in place of the container."""
    for name, module in network.named_children():
        inner = [f"{name}.{child}" for child, _ in module.named_children()]
        opened = isinstance(module, nn.Sequential | nn.ModuleList) and not {*inner}.isdisjoint(ends)
        yield from inner if opened else [name]


def _trains(network: nn.Module, names: Collection[str]) -> bool:
    return any(True for name in names for _ in network.get_submodule(name).parameters())


class Stage(nn.Module):
    """timm's network with some of its modules; called as the piece of `forward_features` that they are."""

    net: Any

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.net = network

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.net.forward_features(x)
        return result

    def pooled(self, x: Tensor) -> Tensor:
        """What timm's classifier would read, [B, C]."""
        result: Tensor = self.net.forward_head(x, pre_logits=True)
        return result


def reduced(network: nn.Module, names: Collection[str], opened: Collection[str], loose: bool) -> nn.Module:
    """The network with only the named modules; the tensors that hang on it directly (positions, class tokens) where `loose`.

    Args:
        opened: names of containers whose children are named one by one.
    """
    part = type(network).__new__(type(network))
    nn.Module.__init__(part)
    part.__dict__.update({name: value for name, value in network.__dict__.items() if name not in part.__dict__})
    for name, parameter in network._parameters.items():
        part.register_parameter(name, parameter if loose else None)
    for name, buffer in network._buffers.items():
        persistent = name not in network._non_persistent_buffers_set
        part.register_buffer(name, buffer if loose else None, persistent=persistent)
    for name, module in network._modules.items():
        if name in opened and module is not None:
            inner = {other[len(name) + 1 :] for other in names if other.startswith(f"{name}.")}
            part.add_module(name, reduced(module, inner, (), loose))
        else:
            part.add_module(name, module if name in names or module is None else nn.Identity())
    return part


class TimmBackbone(Backbone):
    """A timm network in stages. The state between them is the running tensor `x` and the maps that somebody needs."""

    def __init__(self, network: Any, layout: Layout, facts: ImageInput) -> None:
        super().__init__()
        self.input = facts
        self.provides = layout.provides
        self._layout = layout
        opened = {name.partition(".")[0] for group in layout.groups for name in group if "." in name}
        self.body = nn.ModuleList(
            Stage(reduced(network, group, opened, index == 0)) for index, group in enumerate(layout.groups)
        )
        loose = [*network._parameters, *network._buffers]
        homes = dict.fromkeys(loose, 0) | {name: at for at, group in enumerate(layout.groups) for name in group}
        self._moves = {f"{name}.": f"body.{index}.net.{name}." for name, index in homes.items()}

    def stages(self) -> Sequence[nn.Module]:
        return list(self.body)

    def begin(self, inputs: Mapping[str, Tensor]) -> State:
        """Normalised pixels as `x`, from `pixels` [B, 3, H, W] (uint8, or float in 0..1).

        Raises:
            UsageError: pictures of a size that the network does not take.
        """
        pixels = inputs["pixels"]
        height, width = pixels.shape[-2:]
        side, patch = self._layout.side, self._layout.stride if self._layout.form == "NLC" else 1
        if side and (height, width) != (side, side):
            hint = "Choose another model, or a task that brings all pictures to one size"
            raise UsageError(f"takes pictures of {side} x {side} pixels only, not {height} x {width}", hint=hint)
        if height % patch or width % patch:
            hint = f"Choose an image size that is a multiple of {patch}"
            raise UsageError(f"pictures of {height} x {width} pixels do not divide into patches of {patch}", hint=hint)
        whole = 1.0 if pixels.is_floating_point() else 255.0
        values = pixels.to(pixels.dtype if whole == 1.0 else torch.float32, copy=True)
        # Python numbers, so that no constant has to be copied to the device.
        for index, (mean, spread) in enumerate(zip(self.input.mean, self.input.std, strict=True)):
            values[:, index].mul_(1.0 / (whole * spread)).sub_(mean / spread)
        return {"x": values}

    def advance(self, index: int, state: State, needs: frozenset[str]) -> State:
        x = state["x"]
        kept = {name: value for name, value in state.items() if name != "x"}
        before, last = self._layout.maps[index - 1] if index else None, self._layout.maps[-1]
        if before is not None and before in needs:
            kept[before] = self._as_map(x)
        if index == 0 and self._layout.form == "NLC" and last in needs:
            # The grid cannot be told from the number of tokens; one byte a patch carries its shape to the end.
            grid = [side // self._layout.stride for side in x.shape[-2:]]
            kept["grid"] = torch.zeros(len(x), *grid, dtype=torch.bool, device=x.device)
        stage = self.body[index]
        assert isinstance(stage, Stage)
        kept["x"] = x = stage(x)
        if index + 1 == len(self.body) and "pooled" in needs:
            kept["pooled"] = stage.pooled(x)
        return kept

    def finish(self, state: State, needs: frozenset[str]) -> Features:
        features = {name: value for name, value in state.items() if name in needs}
        last = self._layout.maps[-1]
        if "tokens" in needs:
            features["tokens"] = state["x"]
            features["mask"] = torch.ones(state["x"].shape[:2], dtype=torch.bool, device=state["x"].device)
        if last is not None and last in needs:
            features[last] = self._as_map(state["x"], state.get("grid"))
        return features

    def summary(self, state: State, cut: int) -> Tensor:
        """The mean over places; where these are tokens, over all of them, a class token among them."""
        nhwc = self._layout.form == "NHWC"
        return super().summary({"x": self._as_map(state["x"])} if nhwc else state, cut)

    def summary_width(self, cut: int) -> int:
        """The channels of that stage's output."""
        return self._layout.widths[cut - 1]

    def _as_map(self, x: Tensor, grid: Tensor | None = None) -> Tensor:
        """The running tensor as [B, C, H, W]."""
        if grid is None:
            return x.permute(0, 3, 1, 2) if self._layout.form == "NHWC" else x
        height, width = grid.shape[1:]
        return x[:, x.shape[1] - height * width :].transpose(1, 2).reshape(len(x), -1, height, width)

    def translate(self, foreign: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """timm's key names to ours; its classifier is left out, unknown keys pass unchanged."""
        own, ours = self.state_dict().keys(), {}
        for key, tensor in foreign.items():
            old = max((old for old in self._moves if f"{key}.".startswith(old)), key=len, default=None)
            if key in own or (old is None and not key.startswith(self._layout.classifier)):
                ours[key] = tensor
            elif old is not None and not key.startswith(self._layout.classifier):
                ours[(self._moves[old] + f"{key}."[len(old) :])[:-1]] = tensor
        return ours


class TimmConvNet(TimmBackbone):
    """A network whose running tensor is [B, C, H, W]."""

    channels_last: ClassVar[bool] = True
