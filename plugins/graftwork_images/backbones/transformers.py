"""Staged backbones that are more than a chain of maps: ViT (tokens), Swin (channels last), ConvNeXt (norm after pooling)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graftwork import UsageError
from graftwork.interfaces import Features, ImageInput, State
from graftwork_images.backbones.staged import ConvolutionalBackbone, Stage, StagedBackbone


class SwinBackbone(StagedBackbone):
    """Swin keeps its running tensor as [B, H, W, C]; its maps are given channels first like everybody's."""

    def as_map(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2)

    def summary(self, state: State, cut: int) -> Tensor:
        """The mean over places, of which the channels come last here."""
        return super().summary({"x": self.as_map(state["x"])}, cut)


class _NormedEnd(nn.Module):
    """ConvNeXt's last stage: the blocks, and the norm that upstream keeps in its classifier."""

    def __init__(self, blocks: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.blocks = blocks
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.blocks(x)
        return result


class ConvNeXtBackbone(ConvolutionalBackbone):
    """ConvNeXt pools first and normalises then, so `pooled` is made inside the last stage, where the norm is.

    `map32` goes through the same norm, place by place, so that it has the scale that `pooled` has. The summary of the last
    stage is the mean before the norm: a summary uses no parameter.
    """

    def __init__(self, stages: Sequence[Stage], norm: nn.Module, facts: ImageInput) -> None:
        super().__init__(stages, facts, classifier=("classifier.",))
        last = len(self.body) - 1
        self.body[last] = _NormedEnd(self.body[last], norm)
        self._moves = {
            old: new.replace(f"body.{last}.", f"body.{last}.blocks.") for old, new in self._moves.items()
        } | {"classifier.0.": f"body.{last}.norm."}

    def advance(self, index: int, state: State, needs: frozenset[str]) -> State:
        state = super().advance(index, state, needs)
        end = self.body[index]
        if not isinstance(end, _NormedEnd):
            return state
        x, norm = state["x"], end.norm
        last = self._features[-1]
        if last in needs and last is not None:
            state[last] = norm(x)
        if "pooled" in needs:
            state["pooled"] = norm(F.adaptive_avg_pool2d(x, 1)).flatten(1)
        return state

    def finish(self, state: State, needs: frozenset[str]) -> Features:
        return {name: tensor for name, tensor in state.items() if name in needs}


class _Embedding(nn.Module):
    """Patches as tokens, after a class token, with their positions added."""

    def __init__(self, vit: Any) -> None:
        super().__init__()
        self.conv_proj = vit.conv_proj
        self.class_token = vit.class_token
        self.pos_embedding = vit.encoder.pos_embedding
        self.dropout = vit.encoder.dropout

    def forward(self, x: Tensor) -> Tensor:
        patches = self.conv_proj(x)
        grid = (patches.shape[2], patches.shape[3])
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        result: Tensor = self.dropout(tokens + resize_positions(self.pos_embedding, grid))
        return result


def resize_positions(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Position embeddings [1, 1 + T, C] of a square grid of T patches, for another grid (rows, columns).

    Bicubic with aligned corners, as torchvision's `interpolate_embeddings`; the class token's stays as it is.
    """
    side = math.isqrt(positions.shape[1] - 1)
    if grid == (side, side):
        return positions
    square = positions[:, 1:].transpose(1, 2).reshape(1, -1, side, side)
    resized = F.interpolate(square, size=grid, mode="bicubic", align_corners=True)
    return torch.cat([positions[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)


class VisionTransformerBackbone(StagedBackbone):
    """ViT: the embedding, then one stage an encoder block, the last with the final norm.

    Gives `tokens` [B, 1 + T, C] (class token first) with `mask` [B, 1 + T] (all true), `pooled` (the class token) and
    the patch tokens as a map; a stage's summary is the mean over all tokens, the class token among them. Takes any input
    whose sides are multiples of the patch; positions are resized to fit.
    """

    def __init__(self, vit: Any, facts: ImageInput) -> None:
        layers = list(vit.encoder.layers.named_children())
        width = int(vit.hidden_dim)
        stages = [Stage({"embedding": _Embedding(vit)}, channels=width)]
        for name, layer in layers[:-1]:
            stages.append(Stage({f"encoder.layers.{name}": layer}, channels=width))
        last = {f"encoder.layers.{layers[-1][0]}": layers[-1][1], "encoder.ln": vit.encoder.ln}
        stages.append(Stage(last, f"map{vit.patch_size}", width))
        super().__init__(stages, facts, classifier=("heads.",))
        self.provides = {**self.provides, "tokens": width}
        self._patch = int(vit.patch_size)
        self._moves |= {
            "conv_proj.": "body.0.embedding.conv_proj.",
            "class_token.": "body.0.embedding.class_token.",
            "encoder.pos_embedding.": "body.0.embedding.pos_embedding.",
        }

    def begin(self, inputs: Mapping[str, Tensor]) -> State:
        height, width = inputs["pixels"].shape[-2:]
        if height % self._patch or width % self._patch:
            raise UsageError(
                f"images of {height} x {width} pixels do not divide into patches of {self._patch}",
                hint=f"Choose an image size that is a multiple of {self._patch}",
            )
        return super().begin(inputs)

    def advance(self, index: int, state: State, needs: frozenset[str]) -> State:
        advanced = super().advance(index, state, needs)
        if index == 0 and self._features[-1] in needs:
            # The shape of the grid cannot be told from the number of tokens; one byte a patch carries it to the end.
            batch, _, height, width = state["x"].shape
            size = (batch, height // self._patch, width // self._patch)
            advanced["grid"] = torch.zeros(size, dtype=torch.bool, device=state["x"].device)
        return advanced

    def finish(self, state: State, needs: frozenset[str]) -> Features:
        x = state["x"]
        features: Features = {}
        if "pooled" in needs:
            features["pooled"] = x[:, 0]
        if "tokens" in needs:
            features["tokens"] = x
            features["mask"] = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        name = self._features[-1]
        if name in needs and name is not None:
            height, width = state["grid"].shape[1:]
            features[name] = x[:, 1:].transpose(1, 2).reshape(len(x), -1, height, width)
        return features

    def translate(self, foreign: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As for every backbone; positions of another (square) grid are resized to this one's."""
        ours = super().translate(foreign)
        key = "body.0.embedding.pos_embedding"
        theirs, wanted = ours.get(key), self.get_parameter(key)
        if theirs is not None and theirs.ndim == 3 and theirs.shape != wanted.shape:
            patches = theirs.shape[1] - 1
            if theirs.shape[2] == wanted.shape[2] and patches > 0 and math.isqrt(patches) ** 2 == patches:
                side = math.isqrt(wanted.shape[1] - 1)
                ours[key] = resize_positions(theirs.float(), (side, side))
        return ours
