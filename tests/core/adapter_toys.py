"""Adapters for tests: the strategies, a few steps with their promises checked, and nets with odd layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from engine_toys import CONTEXT
from torch import Tensor, nn

from graftwork.engine.optimizer import enter_phase
from graftwork.engine.proofs import untrained_tensors
from graftwork.interfaces import Backbone, Batch, Features, ImageInput, Model, Spec, State, Strategy
from graftwork.strategies import bitfit, lora
from graftwork.testing.backbones import Probe

LORA = lora.build(Spec("lora", {"rank": 2, "alpha": 4.0, "dropout": 0.0}))
BITFIT = bitfit.build(Spec("bitfit"))


def steps(model: Model, strategy: Strategy, batch: Batch) -> None:
    """Three steps of the strategy's phase, checking gradients on the way."""
    (phase,) = strategy.plan(model, CONTEXT).phases
    enter_phase(model, phase)
    model.train()
    kept = {name: value.clone() for name, value in untrained_tensors(model, phase).items()}
    trained = [p for p in model.parameters() if p.requires_grad]
    named = {name for group in phase.groups for name in group.parameters}
    assert {name for name, p in model.named_parameters() if p.requires_grad} == named
    optimizer = torch.optim.SGD(trained, lr=0.05)
    for step in range(3):
        model.zero_grad()
        torch.stack(list(model.head.loss(model.features(batch), batch.targets).values())).sum().backward()
        without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert not without, f"step {step}: no gradient reaches {without[:5]}"
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
    for name, value in untrained_tensors(model, phase).items():
        assert torch.equal(value, kept[name]), f"{name} moved"


class Chain(Backbone):
    """Given modules as stages, over an input `x`."""

    def __init__(self, width: int, *stages: nn.Module) -> None:
        super().__init__()
        self.input = ImageInput(8, 8)
        self.provides = {"pooled": width}
        self.body = nn.ModuleList(stages)

    def stages(self) -> Sequence[nn.Module]:
        return list(self.body)

    def begin(self, inputs: Mapping[str, Tensor]) -> State:
        return dict(inputs)

    def advance(self, index: int, state: State, needs: frozenset[str]) -> State:
        return {"x": self.body[index](state["x"])}

    def finish(self, state: State, needs: frozenset[str]) -> Features:
        x = state["x"]
        return {"pooled": x.mean((2, 3)) if x.ndim == 4 else x.mean(1) if x.ndim == 3 else x}


def chain(*stages: nn.Module, like: Tensor) -> tuple[Model, Batch]:
    backbone = Chain(8, *stages)
    return Model(backbone, Probe({"pooled": 8})), Batch(torch.arange(len(like)), {"x": like}, {})


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.tanh(self.one(x)))


class Standardised(nn.Conv2d):
    """A convolution whose weight is not what it convolves with."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias)


class Aside(nn.Module):
    """A layer that is called, but that no gradient reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.aside = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            gate = self.aside(x).sigmoid()
        return x * gate


class Reading(nn.Module):
    """A layer at `body.1`, as a stage of Chain is, whose weight is read without a call."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleList([nn.Identity(), nn.Linear(8, 8)])

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.body[1].weight  # type: ignore[operator]


class Both(nn.Module):
    """A layer that is called and whose weight is read as well."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) @ self.layer.weight


def shared() -> nn.Module:
    layer = nn.Linear(8, 8)
    return nn.Sequential(layer, nn.Tanh(), layer)
