"""A head over several stages, and rows of every kind for it: numbers, pictures, texts of several lengths."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from engine_toys import CLASSES, CONTEXT, SETTINGS, WIDTH, Accuracy, NumbersInput
from text_toys import tiny
from torch import Tensor, nn

from graftwork.engine.checkpoint import CheckpointStore
from graftwork.engine.fit import Fit, FitData, Fitting
from graftwork.engine.observers import Observers
from graftwork.interfaces import (
    Backbone,
    Batch,
    Examples,
    Features,
    Head,
    Model,
    Outputs,
    Predictions,
    Spec,
    State,
    Strategy,
    Targets,
)
from graftwork.interfaces.batch import pad_rows
from graftwork.machine.device import Device
from graftwork.states.fill import Rows
from graftwork.states.phases import StateSource, choose_states


class Uneven(Backbone):
    """Three stages of 16, 32 and 16 numbers, each with a BatchNorm. (With widths that are no multiple of 8, products of
    matrices round a row otherwise at another place of the batch.)"""

    widths = (16, 32, 16)

    def __init__(self) -> None:
        super().__init__()
        self.input = NumbersInput()
        self.provides = {"pooled": self.widths[-1]}
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(before, width), nn.BatchNorm1d(width), nn.Tanh())
            for before, width in pairwise((WIDTH, *self.widths))
        )

    def stages(self) -> Sequence[nn.Module]:
        return list(self.blocks)

    def begin(self, inputs: Mapping[str, Tensor]) -> State:
        return {"x": inputs["numbers"]}

    def advance(self, index: int, state: State, needs: frozenset[str]) -> State:
        return {"x": self.blocks[index](state["x"])}

    def finish(self, state: State, needs: frozenset[str]) -> Features:
        return {"pooled": state["x"]} if "pooled" in needs else {}

    def summary_width(self, cut: int) -> int:
        return self.widths[cut - 1]


class StageHead(Head):
    """A linear layer on the summaries of some stages side by side (Evci et al. 2022, "Head2Toe", without its selection)."""

    def __init__(self, backbone: Backbone, cuts: Sequence[int], more: Sequence[str] = ()) -> None:
        super().__init__()
        self.names = [*(f"stage{cut}" for cut in cuts), *more]
        self.needs = frozenset(self.names)
        width = sum(backbone.summary_width(cut) for cut in cuts) + sum(backbone.provides[name] for name in more)
        self.linear = nn.Linear(width, CLASSES)

    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        assert isinstance(targets, dict)
        return {"loss": nn.functional.cross_entropy(self.scores(features), targets["label"], reduction="sum")}

    def outputs(self, features: Features) -> Outputs:
        return {"logits": self.scores(features)}

    def postprocess(self, outputs: Outputs, features: Features) -> Predictions:
        return dict(outputs)

    def scores(self, features: Features) -> Tensor:
        found: Tensor = self.linear(torch.cat([features[name].float() for name in self.names], dim=1))
        return found


class PlainRows(Examples):
    """Rows of tensors by name, with labels; texts are padded to the longest of a batch. `read` counts what is loaded."""

    def __init__(self, rows: Sequence[Mapping[str, Tensor]], lengths: Sequence[int] | None = None) -> None:
        self.rows = rows
        self.lengths = lengths
        self.read = 0

    def __len__(self) -> int:
        return len(self.rows)

    def sizes(self) -> Sequence[int] | None:
        return self.lengths

    def load(self, row: int) -> Mapping[str, Tensor]:
        self.read += 1
        return self.rows[row]

    def collate(self, rows: Sequence[int], examples: Sequence[Any]) -> Batch:
        inputs = {name: pad_rows([example[name] for example in examples]) for name in examples[0]}
        return Batch(torch.tensor(rows), inputs, {"label": torch.tensor(rows) % CLASSES})

    def kept_as(self) -> Rows:
        """With digests of their content."""
        digests = [
            hashlib.sha256(b"".join(value.numpy().tobytes() for value in row.values())).hexdigest() for row in self.rows
        ]
        return Rows(self, np.array(digests, dtype=np.bytes_))


def numbers(count: int, seed: int) -> PlainRows:
    generator = torch.Generator().manual_seed(seed)
    return PlainRows([{"numbers": torch.randn(WIDTH, generator=generator)} for _ in range(count)])


def pictures(count: int, seed: int) -> PlainRows:
    generator = torch.Generator().manual_seed(seed)
    return PlainRows(
        [{"pixels": torch.randint(0, 256, (3, 32, 32), generator=generator).to(torch.uint8)} for _ in range(count)]
    )


def sentences(count: int, seed: int) -> PlainRows:
    generator = torch.Generator().manual_seed(seed)
    lengths = [3 + row % 5 for row in range(count)]
    return PlainRows(
        [
            {
                "tokens": torch.randint(4, 60, (length,), generator=generator),
                "mask": torch.ones(length, dtype=torch.bool),
            }
            for length in lengths
        ],
        lengths,
    )


def backbone_of(kind: str) -> Backbone:
    """A small backbone with weights that are always the same."""
    from graftwork_images.backbones import graftnet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "numbers":
            return Uneven()
        if kind == "pictures":
            return graftnet.build(Spec("graftnet-s"))
        return tiny("bert")


ROWS = {"numbers": numbers, "pictures": pictures, "texts": sentences}


def staged_model(kind: str, cuts: Sequence[int], more: Sequence[str] = ()) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        backbone = backbone_of(kind)
        return Model(backbone, StageHead(backbone, cuts, more)).lay_out()


def source_of(train: PlainRows, validation: PlainRows, kept: bool, precision: str = "fp32") -> StateSource:
    return StateSource(
        train=train.kept_as(),
        validation=validation.kept_as(),
        test=0,
        identity={"task": "toy"},
        about={},
        views=None,
        allowed=kept,
        batch=8,
        device=Device("cpu", precision),
    )


def trained(
    model: Model, strategy: Strategy, folder: Path, rows: tuple[PlainRows, PlainRows], kept: bool, precision: str
) -> Fit:
    """A whole fit of four epochs."""
    source = source_of(*rows, kept, precision)
    plan = strategy.plan(model, CONTEXT)
    states = choose_states(source, model, plan)
    data = FitData(*rows, (), Accuracy, "accuracy")
    fit = Fit(Fitting(model, plan, data, SETTINGS, source.device, states), CheckpointStore(folder), Observers(()))
    fit.run(False)
    return fit
