"""Kept states of phases with terms: what a term needs is kept in its phase, and with and without the weights are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_toys import SETTINGS, Accuracy, ToyExamples, copies, largest_difference
from term_toys import model_with_squares
from torch import Tensor, nn

from graftwork.engine.checkpoint import CheckpointStore
from graftwork.engine.fit import Fit, FitData, Fitting
from graftwork.engine.observers import Observers
from graftwork.engine.terms import start_terms
from graftwork.interfaces import Batch, Features, Group, Model, Phase, Plan, Term
from graftwork.machine.device import Device
from graftwork.states.fill import Rows
from graftwork.states.phases import PhaseStates, StateSource, choose_states

CPU = Device("cpu", "fp32")


class Still(ToyExamples):
    """The same rows every time, and nothing drawn."""

    def load(self, row: int) -> Tensor:
        return self.numbers[row]

    def collate(self, rows: Sequence[int], examples: Sequence[Any]) -> Batch:
        index = torch.tensor(rows)
        return Batch(index, {"numbers": torch.stack(list(examples))}, {"label": self.labels[index]})


class Reader(Term):
    """What the head's linear layer makes of a second feature, against the inputs."""

    needs = frozenset({"squares"})
    reads = frozenset({"numbers"})

    def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
        linear = model.head.linear
        assert isinstance(linear, nn.Linear)
        apart = linear(features["squares"]) - batch.inputs["numbers"][:, :3]
        return {"reader": apart.square().sum()}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"reader": torch.tensor(float(len(batch)))}


def planned(model: Model, frozen: tuple[int, int]) -> Plan:
    """Two phases, of which the first has a term."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    head = Group("head", tuple(names[id(parameter)] for parameter in model.head.parameters()))
    first = Phase("first", 2, frozen[0], (head,), 0.01, terms=(Reader(),))
    return Plan("reads", (first, replace(first, name="second", frozen_stages=frozen[1], terms=())))


def source(train: Still, validation: Still, allowed: bool) -> StateSource:
    def rows(examples: Still) -> Rows:
        return Rows(examples, [hashlib.sha256(row.numpy().tobytes()).hexdigest().encode() for row in examples.numbers])

    return StateSource(
        train=rows(train), validation=rows(validation), test=0, identity={"toy": 1}, about={"toy": "1"}, views=None,
        allowed=allowed, batch=8, device=CPU,
    )  # fmt: skip


def fitted(folder: Path, frozen: tuple[int, int], allowed: bool) -> tuple[Model, PhaseStates]:
    train, validation = Still(32), Still(16, seed=1)
    model = model_with_squares()
    plan = planned(model, frozen)
    start_terms(plan, model, 0)
    states = choose_states(source(train, validation, allowed), model, plan)
    assert model.entered == (), "choosing enters no phase"
    data = FitData(train, validation, (), Accuracy, "accuracy")
    fit = Fit(Fitting(model, plan, data, SETTINGS, CPU, states), CheckpointStore(folder), Observers(()))
    fit.run(False)
    return model, states


@pytest.mark.parametrize("frozen", [(4, 4), (2, 4), (4, 2), (3, 3)])
def test_a_phase_with_a_term_trains_from_kept_states_as_it_would_without(
    frozen: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))
    kept, states = fitted(tmp_path / "kept", frozen, True)
    anew, _ = fitted(tmp_path / "anew", frozen, False)
    assert [choice.kept for choice in states.choices] == [True, True]
    # Products of matrices this small round by the place of a row in its batch.
    assert largest_difference(copies(kept), copies(anew)) < 1e-6
    again, found = fitted(tmp_path / "again", frozen, True)
    assert {choice.reason for choice in found.choices} == {"an earlier run kept them"}
    assert largest_difference(copies(kept), copies(again)) == 0.0


def test_what_a_term_needs_is_kept_in_its_phase_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))
    _, states = fitted(tmp_path / "run", (4, 4), True)
    first, second = states.choices
    assert first.nbytes > second.nbytes, "squares and inputs beside what the head needs"
    assert len({path.parent for path in (tmp_path / "cache").rglob("segment-*")}) == 4, (
        "training and validation, of two kinds"
    )
