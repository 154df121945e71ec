"""The backbone `hashed-mlp`: a row of any table as one vector. Weights are looked up by a hash of the column's name, so that a
network that was trained on one table starts on another, with other columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from graftwork.interfaces import Backbone, Features, Spec, State


@dataclass(frozen=True)
class TableInput:
    """What the backbone wants to see: `columns` int64 [B, F], each below `buckets`, and `values` float32 [B, F]."""

    buckets: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Columns(nn.Embedding):
    """A linear layer whose weights are looked up: the sum of each value times its column's weights (Weinberger et al. 2009,
    "Feature Hashing for Large Scale Multitask Learning")."""

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=0.02)  # as in Devlin et al. 2019; torch's own 1 drowns the blocks

    def forward(self, columns: Tensor, values: Tensor) -> Tensor:  # type: ignore[override]
        return torch.einsum("bf,bfw->bw", values, super().forward(columns))


class Block(nn.Module):
    """x + W ReLU(V norm(x)), as in the ResNet of Gorishniy et al. 2021, "Revisiting Deep Learning Models for Tabular Data"."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers = (nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.layers(x)
        return result


class HashedMlp(Backbone):
    """A stage that looks up, then one a block; the last ends in a norm. Gives `pooled` [B, width]."""

    def __init__(self, buckets: int, width: int, depth: int) -> None:
        super().__init__()
        self.input = TableInput(buckets)
        self.provides = {"pooled": width}
        blocks: list[nn.Module] = [Block(width) for _ in range(depth)]
        blocks[-1] = nn.Sequential(blocks[-1], nn.LayerNorm(width))
        self.body = nn.ModuleList([Columns(buckets, width), *blocks])

    def stages(self) -> Sequence[nn.Module]:
        return list(self.body)

    def begin(self, inputs: Mapping[str, Tensor]) -> State:
        return {"columns": inputs["columns"], "values": inputs["values"]}

    def advance(self, index: int, state: State, needs: frozenset[str]) -> State:
        given = (state["columns"], state["values"]) if index == 0 else (state["x"],)
        return {"x": self.body[index](*given)}

    def finish(self, state: State, needs: frozenset[str]) -> Features:
        return {"pooled": state["x"]}


def build(spec: Spec) -> Backbone:
    """The backbone `hashed-mlp` with random weights."""
    return HashedMlp(*(int(spec.options[name]) for name in ("buckets", "width", "depth")))
