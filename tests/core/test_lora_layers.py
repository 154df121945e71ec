"""Which layers LoRA adapts: those whose adapter trains and merges; and the proof that a finished model predicts as before."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from adapter_toys import LORA, Aside, Both, Reading, Standardised, Tied, chain, shared, steps
from engine_toys import CONTEXT, copies, toy_batch, toy_model
from torch import Tensor, nn

from graftwork import RunFailed, UsageError
from graftwork.engine.proofs import check_same_predictions, untrained_tensors
from graftwork.strategies import lora
from graftwork.testing.fits import no_teacher

ROWS, WORDS, MAPS = (
    torch.linspace(-1, 1, 24).view(3, 8),
    torch.linspace(-1, 1, 120).view(3, 5, 8),
    torch.ones(3, 8, 9, 9),
)


@pytest.mark.parametrize(
    ("stage", "like"),
    [
        (lambda: nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), WORDS),
        (shared, ROWS),
        (Tied, ROWS),
        (Aside, ROWS),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)), ROWS),
        (lambda: nn.Conv2d(8, 8, 3, padding=2, dilation=2), MAPS),
        (lambda: nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"), MAPS),
        (lambda: nn.Conv2d(8, 8, 3, groups=2), MAPS),
        (lambda: Standardised(8, 8, 3), MAPS),
    ],
    ids=["fast path", "shared", "tied", "aside", "weight norm", "dilated", "reflected", "grouped", "standardised"],
)
def test_a_layer_that_an_adapter_cannot_stand_beside_is_left_out(stage: Callable[[], nn.Module], like: Tensor) -> None:
    torch.manual_seed(0)
    first: nn.Module = nn.Conv2d(8, 8, 1) if like.ndim == 4 else nn.Linear(8, 8)
    last: nn.Module = nn.Conv2d(8, 8, 1) if like.ndim == 4 else nn.Linear(8, 8)
    model, batch = chain(first, stage(), last, like=like)
    LORA.prepare(model, batch, no_teacher)
    assert lora.adaptable(chain(first, stage(), like=like)[0], batch) == []
    assert [path for path, _ in lora._adapters(model.backbone)] == ["body.2"]
    steps(model, LORA, batch)
    before = model.predict(batch)
    LORA.finish(model)
    check_same_predictions(before, model.predict(batch), 1e-5)


def test_a_path_that_ends_like_a_target_is_not_a_target() -> None:
    torch.manual_seed(0)
    model, batch = chain(nn.Linear(8, 8), nn.Linear(8, 8), Reading(), like=ROWS)
    LORA.prepare(model, batch, no_teacher)
    assert [path for path, _ in lora._adapters(model.backbone)] == ["body.1"]


def test_a_layer_that_would_not_merge_is_refused_before_training() -> None:
    torch.manual_seed(0)
    model, batch = chain(nn.Linear(8, 8), Both(), like=ROWS)
    with pytest.raises(UsageError, match="would not merge into this backbone: 'pooled'"):
        LORA.prepare(model, batch, no_teacher)


def test_a_block_applied_several_times_is_adapted_once_and_merges() -> None:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
    model, batch = chain(nn.Linear(8, 8), nn.Sequential(block, block), like=ROWS)
    LORA.prepare(model, batch, no_teacher)
    steps(model, LORA, batch)
    before = model.predict(batch)
    LORA.finish(model)
    check_same_predictions(before, model.predict(batch), 1e-5)


def test_preparing_changes_no_weight_and_draws_the_same_from_the_same_seed() -> None:
    drawn = []
    for _ in range(2):
        model, batch = toy_model(norm=True), toy_batch(4)
        plain = copies(model)
        torch.manual_seed(5)
        LORA.prepare(model, batch, no_teacher)
        now = {name.replace(".base_layer", ""): value for name, value in copies(model).items()}
        assert all(torch.equal(now[name], value) for name, value in plain.items()), "bit for bit"
        drawn.append(now)
    assert all(torch.equal(value, drawn[1][name]) for name, value in drawn[0].items())
    assert all(not value.any() for name, value in drawn[0].items() if "lora_B" in name)


def test_frozen_statistics_hold_for_every_norm_that_keeps_them() -> None:
    maps = torch.randn(3, 8, 5, 5)
    model, batch = chain(
        nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), nn.InstanceNorm2d(8, track_running_stats=True), like=maps
    )
    LORA.prepare(model, batch, no_teacher)
    steps(model, LORA, batch)
    (phase,) = LORA.plan(model, CONTEXT).phases
    assert "backbone.body.2.running_mean" in untrained_tensors(model, phase)
    model.frozen_statistics = False
    assert model.train().backbone.get_submodule("body.2").training


ONE = torch.tensor([1.0, 2.0])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": ONE, "b": ONE}, {"a": ONE, "b": torch.tensor([1.0, math.nan])}),
        ({"b": ONE, "a": ONE}, {"b": torch.tensor([1.0, math.inf]), "a": ONE}),
        ({"a": ONE.view(2, 1)}, {"a": ONE}),
        ({"a": ONE}, {"a": ONE, "b": ONE}),
        ([{"a": ONE}], []),
        ({"a": ONE}, {"a": ONE + 0.01}),
    ],
    ids=["nan", "inf", "shape", "name", "rows", "value"],
)
def test_other_predictions_are_not_the_same(before: Any, after: Any) -> None:
    with pytest.raises(RunFailed, match="predicts otherwise"):
        check_same_predictions(before, after)


def test_values_that_a_head_rules_out_may_be_infinite_in_both() -> None:
    ruled_out = torch.tensor([-math.inf, 1.0])
    assert "predicts the same" in check_same_predictions({"a": ruled_out}, {"a": ruled_out.clone()})
