"""Compiled stages: the same names, the same numbers to rounding, the same bits after a resume; and when they pay."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from engine_toys import ToyExamples, copies, largest_difference, prepare, run_fit, toy_batch, toy_model
from torch import nn

from graftwork import UsageError
from graftwork.interfaces import Spec
from graftwork.machine import compiling
from graftwork.machine.compiling import (
    Tried,
    check_can_compile,
    compile_stages,
    leave_uncompiled,
    verdict,
    why_not,
    worth_trying,
)
from graftwork.strategies import full

FULL = full.build(Spec("full"))


@pytest.mark.skipif(why_not() is not None, reason=f"this machine cannot compile: {why_not()}")
def test_compiled_stages_keep_names_numbers_and_copies(tmp_path: Path) -> None:
    # Not AdamW: it makes whole steps of a gradient that is zero but for rounding, as that of a bias before BatchNorm.
    plain = run_fit(toy_model(stages=1, norm=True), FULL, tmp_path / "plain", ema=0.9, optimizer="sgd")
    model = toy_model(stages=1, norm=True)
    keys, start = list(model.state_dict()), copies(model)
    assert compile_stages(model.backbone) == 1
    assert list(model.state_dict()) == keys
    copied = copy.deepcopy(model)
    assert largest_difference(copies(copied), start) == 0.0
    said = model.predict(toy_batch(5))
    compiled = run_fit(model, FULL, tmp_path / "compiled", ema=0.9, optimizer="sgd")
    assert largest_difference(copies(plain.model), copies(model)) < 1e-4
    leave_uncompiled(model.backbone)
    assert all(module._compiled_call_impl is None for module in model.modules())
    assert compiled.progress.step == plain.progress.step
    eager = toy_model(stages=1, norm=True).predict(toy_batch(5))
    assert isinstance(said, dict) and isinstance(eager, dict)
    torch.testing.assert_close(said["logits"], eager["logits"])
    from torch._dynamo.utils import counters

    # Two for training and evaluation each, whatever the sizes; and none from the rows' numbers.
    assert counters["stats"]["unique_graphs"] <= 4
    fit = prepare(toy_model(stages=1), FULL, tmp_path / "more", train=ToyExamples(13))
    fit.run(False)


def test_a_container_that_is_never_called_gives_way_to_its_children() -> None:
    class Container(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.rest = nn.Linear(2, 2), nn.ModuleList([nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2))])

    found = compiling._called(Container())
    assert [type(module).__name__ for module in found] == ["Linear", "Linear", "Sequential"]


@pytest.mark.parametrize(
    ("tried", "steps", "expected"),
    [
        (Tried(1.0, 0.7, 60.0), 10_000, "on"),
        (Tried(1.0, 0.7, 60.0), 500, "off"),
        (Tried(1.0, 0.97, 1.0), 10_000, "off"),
        (Tried(1.0, 1.3, 1.0), 10_000, "off"),
    ],
)
def test_compiling_is_taken_where_it_pays_back_in_this_run(tried: Tried, steps: int, expected: str) -> None:
    choice, reason = verdict(tried, steps)
    assert choice == expected
    assert "ms compiled" in reason and f"over {steps} steps" in reason


def test_a_short_run_does_not_try() -> None:
    assert not worth_trying(100, 1.0, "cpu")
    assert worth_trying(10_000, 1.0, "cpu")
    assert worth_trying(3_000, 0.5, "cuda") and not worth_trying(3_000, 0.5, "cpu")
    assert not worth_trying(10**9, 1.0, "mps"), "torch compiles nothing useful there"


def test_a_machine_without_a_compiler_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("with CUDA, torch brings its compiler")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert "no C++ compiler" in (why_not() or "")
    with pytest.raises(UsageError, match=r"no C\+\+ compiler .*Install g\+\+"):
        check_can_compile()
