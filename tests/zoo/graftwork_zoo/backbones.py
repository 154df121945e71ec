"""Small nets that are right, and nets that differ from them in one method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from graftwork.interfaces import Backbone, Features, ImageInput, Spec, State, TextInput

WIDTHS = (8, 16, 16)


class TameNet(Backbone):
    """Three convolutions with norms, each halving height and width."""

    norm: type[nn.BatchNorm2d] = nn.BatchNorm2d
    first_stride = 2

    def __init__(self) -> None:
        super().__init__()
        self.input: Any = ImageInput(size=16, resize=16)
        self.provides = {"map2": 8, "map4": 16, "map8": 16, "pooled": 16}
        widths = (3, *WIDTHS)
        self.body = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(widths[index], widths[index + 1], 3, 2 if index else self.first_stride, 1, bias=False),
                self.norm(widths[index + 1]),
                nn.ReLU(),
            )
            for index in range(len(WIDTHS))
        )

    def stages(self) -> Sequence[nn.Module]:
        return list(self.body)

    def begin(self, inputs: Mapping[str, Tensor]) -> State:
        return {"x": (inputs["pixels"] - 0.5) / 0.25}

    def advance(self, index: int, state: State, needs: frozenset[str]) -> State:
        kept = {name: value for name, value in state.items() if name in needs}
        if f"map{2**index}" in needs:
            kept[f"map{2**index}"] = state["x"]
        return {**kept, "x": self.body[index](state["x"])}

    def finish(self, state: State, needs: frozenset[str]) -> Features:
        features = {**state, "map8": state["x"], "pooled": state["x"].mean(dim=(2, 3))}
        return {name: features[name] for name in needs}

    def summary_width(self, cut: int) -> int:
        return WIDTHS[cut - 1]


class _AlwaysTraining(nn.BatchNorm2d):
    def train(self, mode: bool = True) -> _AlwaysTraining:
        super().train(True)
        return self


class DriftingNorm(TameNet):
    norm = _AlwaysTraining


class AnotherForward(TameNet):
    def forward(self, inputs: Mapping[str, Tensor], needs: frozenset[str] | None = None) -> Features:
        features = super().forward(inputs, needs)
        return {name: functional.normalize(f, dim=1) if name == "pooled" else f for name, f in features.items()}


class WrongWidth(TameNet):
    def __init__(self) -> None:
        super().__init__()
        self.provides = {**self.provides, "pooled": 32}


class WrongStride(TameNet):
    first_stride = 1


class SharedGrid(TameNet):
    def advance(self, index: int, state: State, needs: frozenset[str]) -> State:
        return {**super().advance(index, state, needs), "grid": torch.arange(16.0)}


class NumberInState(TameNet):
    def advance(self, index: int, state: State, needs: frozenset[str]) -> State:
        return {**super().advance(index, state, needs), "height": state["x"].shape[2]}  # type: ignore[dict-item]


class CentredOnBatch(TameNet):
    def begin(self, inputs: Mapping[str, Tensor]) -> State:
        return {"x": inputs["pixels"] - inputs["pixels"].mean(dim=0, keepdim=True)}


class ReusedMemory(TameNet):
    _memory: Tensor | None = None

    def advance(self, index: int, state: State, needs: frozenset[str]) -> State:
        found = super().advance(index, state, needs)
        if index or torch.is_grad_enabled():
            return found
        if self._memory is None or self._memory.shape != found["x"].shape:
            self._memory = torch.empty_like(found["x"])
        return {**found, "x": self._memory.copy_(found["x"])}


class Outsider(TameNet):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def finish(self, state: State, needs: frozenset[str]) -> Features:
        return super().finish({**state, "x": state["x"] * self.scale}, needs)


class SharedNorm(TameNet):
    def __init__(self) -> None:
        super().__init__()
        self.body[2][1] = self.body[1][1]  # type: ignore[index,operator]


class DropsInEvaluation(TameNet):
    def finish(self, state: State, needs: frozenset[str]) -> Features:
        return super().finish({**state, "x": functional.dropout(state["x"], 0.1)}, needs)


class InPlace(TameNet):
    def begin(self, inputs: Mapping[str, Tensor]) -> State:
        return {"x": inputs["pixels"].sub_(0.5).div_(0.25)}


class Detached(TameNet):
    def advance(self, index: int, state: State, needs: frozenset[str]) -> State:
        return super().advance(index, {name: value.detach() for name, value in state.items()}, needs)


class GivesEverything(TameNet):
    def finish(self, state: State, needs: frozenset[str]) -> Features:
        return {**super().finish(state, needs), "map8": state["x"]}


class Counting(TameNet):
    def __init__(self) -> None:
        super().__init__()
        self.body[0].register_buffer("calls", torch.zeros(()))

    def begin(self, inputs: Mapping[str, Tensor]) -> State:
        self.body[0].get_buffer("calls").add_(1)
        return super().begin(inputs)


class NotSaved(TameNet):
    def __init__(self) -> None:
        super().__init__()
        self.body[2].register_buffer("mix", torch.randn(16, 1, 1), persistent=False)

    def advance(self, index: int, state: State, needs: frozenset[str]) -> State:
        found = super().advance(index, state, needs)
        return {**found, "x": found["x"] * self.body[2].mix} if index == 2 else found  # type: ignore[operator]


class LosesOwnNames(TameNet):
    def translate(self, foreign: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value for name, value in foreign.items() if not name.endswith("num_batches_tracked")}


@dataclass
class _Writable:
    size: int = 16
    resize: int = 16

    def to_json(self) -> dict[str, Any]:
        return vars(self)


class WritableFacts(TameNet):
    def __init__(self) -> None:
        super().__init__()
        self.input = _Writable()


class SeedsTheProcess(TameNet):
    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__()


class ChangesDtype(TameNet):
    def __init__(self) -> None:
        super().__init__()
        torch.set_default_dtype(torch.float64)


class ChangesThreads(TameNet):
    def __init__(self) -> None:
        super().__init__()
        torch.set_num_threads(1)


class UnseededWeights(TameNet):
    def __init__(self) -> None:
        super().__init__()
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.1, generator=_unseeded())


class ForgetsWidths(TameNet):
    summary_width = Backbone.summary_width


class ComparesRows(TameNet):
    def summary(self, state: State, cut: int) -> Tensor:
        found = super().summary(state, cut)
        return found - found.mean(dim=0)


class SummaryCutOff(TameNet):
    def summary(self, state: State, cut: int) -> Tensor:
        return super().summary({"x": state["x"].detach()}, cut)


class SummaryTakesAway(TameNet):
    def summary(self, state: State, cut: int) -> Tensor:
        return super().summary({"x": state.pop("x")}, cut)


class SummaryLearns(TameNet):
    def summary(self, state: State, cut: int) -> Tensor:
        found = super().summary(state, cut)
        return found * self.body[cut - 1][1].weight  # type: ignore[index]


class TameWords(Backbone):
    """Two layers over tokens, of which each sees its own row's mean over the mask."""

    def __init__(self) -> None:
        super().__init__()
        self.input: Any = TextInput("", 8)
        self.provides = {"pooled": 16, "tokens": 16}
        self.body = nn.ModuleList([nn.Embedding(20, 16), nn.Linear(32, 16)])

    def stages(self) -> Sequence[nn.Module]:
        return list(self.body)

    def begin(self, inputs: Mapping[str, Tensor]) -> State:
        return {"tokens": inputs["tokens"], "mask": inputs["mask"]}

    def advance(self, index: int, state: State, needs: frozenset[str]) -> State:
        if index == 0:
            return {"x": self.body[0](state["tokens"]), "mask": state["mask"]}
        x = state["x"]
        mean = _mean(state).unsqueeze(1).expand_as(x)
        return {"x": torch.tanh(self.body[1](torch.cat([x, mean], dim=2))), "mask": state["mask"]}

    def finish(self, state: State, needs: frozenset[str]) -> Features:
        features = {"pooled": _mean(state)} if "pooled" in needs else {}
        return features | ({"tokens": state["x"], "mask": state["mask"]} if "tokens" in needs else {})


class CountsPadding(TameWords):
    def summary(self, state: State, cut: int) -> Tensor:
        return state["x"].mean(dim=1)


def _mean(state: State) -> Tensor:
    real = state["mask"].unsqueeze(2)
    return (state["x"] * real).sum(1) / real.sum(1)


def _unseeded() -> torch.Generator:
    generator = torch.Generator()
    generator.seed()
    return generator


ALL: Mapping[str, type[Backbone]] = {
    "tame-net": TameNet,
    "miscounted": TameNet,  # what is wrong stands in registry.yaml
    "drifting-norm": DriftingNorm,
    "another-forward": AnotherForward,
    "wrong-width": WrongWidth,
    "wrong-stride": WrongStride,
    "shared-grid": SharedGrid,
    "number-in-state": NumberInState,
    "centred-on-batch": CentredOnBatch,
    "reused-memory": ReusedMemory,
    "outsider": Outsider,
    "shared-norm": SharedNorm,
    "drops-in-evaluation": DropsInEvaluation,
    "in-place": InPlace,
    "detached": Detached,
    "gives-everything": GivesEverything,
    "counting": Counting,
    "not-saved": NotSaved,
    "loses-own-names": LosesOwnNames,
    "writable-facts": WritableFacts,
    "seeds-the-process": SeedsTheProcess,
    "changes-dtype": ChangesDtype,
    "changes-threads": ChangesThreads,
    "unseeded-weights": UnseededWeights,
    "forgets-widths": ForgetsWidths,
    "compares-rows": ComparesRows,
    "summary-cut-off": SummaryCutOff,
    "summary-takes-away": SummaryTakesAway,
    "summary-learns": SummaryLearns,
    "tame-words": TameWords,
    "counts-padding": CountsPadding,
}


def build(spec: Spec) -> Backbone:
    return ALL[spec.name]()
