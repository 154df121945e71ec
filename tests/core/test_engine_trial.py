"""Deciding by trying: loader processes from what a few batches take, and no trace of the trial."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from engine_toys import CONTEXT, SETTINGS, ToyExamples, copies, largest_difference, prepare, toy_model
from torch import Tensor, nn

from graftwork.config import Resolved, RunConfig, Setting
from graftwork.data.loader import choose_workers, guess_workers
from graftwork.engine.batches import FitData, sampler_of
from graftwork.engine.decide import LONG, decide_by_trial
from graftwork.engine.trial import Trial, without_trace
from graftwork.interfaces import Model, Spec, Strategy
from graftwork.machine.device import Device
from graftwork.strategies import full, partial

FULL = full.build(Spec("full"))
PARTIAL = partial.build(Spec("partial", {"stages": 2}))
LONG_RUN = replace(CONTEXT, epochs=LONG)


def resolved(**values: object) -> Resolved:
    config = RunConfig(task="t", data="d", precision="fp32", **values)  # type: ignore[arg-type]
    return Resolved(config, {name: Setting(name, getattr(config, name), "default") for name in RunConfig.model_fields})


def decided(model: Model, strategy: Strategy = FULL, rows: int = 32, epochs: int = LONG, **values: object) -> Resolved:
    examples = ToyExamples(rows, noise=0.3)
    plan = strategy.plan(model, replace(CONTEXT, epochs=epochs))
    device = Device("cpu", "fp32")
    sampler = sampler_of(FitData(examples, examples, tuple, lambda: None, ""), SETTINGS, device)  # type: ignore[arg-type,return-value]
    return decide_by_trial(resolved(**values), model, plan, plan.phases[0], examples, sampler, device)


@pytest.mark.parametrize("strategy", [FULL, PARTIAL], ids=["full", "partial"])
def test_training_after_a_trial_is_bit_identical_to_training_without_one(tmp_path: Path, strategy: Strategy) -> None:
    options = {"norm": True, "dropout": 0.5}
    without = prepare(toy_model(**options), strategy, tmp_path / "without", train=ToyExamples(32, noise=0.3))
    without.run(False)
    model = toy_model(**options)
    start, state = copies(model), torch.get_rng_state()
    modes = [module.training for module in model.modules()]
    found = decided(model, strategy)
    assert "to load" in found.settings["workers"].reason, "there was a trial"
    assert largest_difference(start, copies(model)) == 0.0
    assert torch.equal(state, torch.get_rng_state())
    assert modes == [module.training for module in model.modules()]
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert model.frozen_stages == 0
    tried = prepare(model, strategy, tmp_path / "tried", train=ToyExamples(32, noise=0.3))
    tried.run(False)
    assert largest_difference(copies(without.model), copies(tried.model)) == 0.0


def test_a_trial_that_fails_leaves_no_trace_either() -> None:
    model = toy_model(norm=True, limit=3)
    start, examples = copies(model), ToyExamples(8)
    with pytest.raises(torch.OutOfMemoryError), without_trace(model, FULL.plan(model, CONTEXT).phases[0]):
        Trial(model, Device("cpu", "fp32"), 0).step(examples.collate(range(8), list(examples.numbers)))
    assert largest_difference(start, copies(model)) == 0.0
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_trial_moves_what_a_step_moves_while_it_lasts() -> None:
    """Otherwise the tests above would pass on a trial that does nothing."""
    model = toy_model(norm=True)
    norm = model.backbone.stages()[0].norm
    assert isinstance(norm, nn.BatchNorm1d) and isinstance(norm.num_batches_tracked, Tensor)
    examples = ToyExamples(8)
    with without_trace(model, FULL.plan(model, CONTEXT).phases[0]):
        seconds = Trial(model, Device("cpu", "fp32"), 0).step(examples.collate(range(8), list(examples.numbers)))
        assert int(norm.num_batches_tracked) == 1 and seconds > 0
    assert int(norm.num_batches_tracked) == 0


def test_what_the_user_set_is_not_measured() -> None:
    model = toy_model()
    model.backbone.limit = 0  # any step would fail
    assert decided(model, workers=3).config.workers == 3


def test_a_run_that_is_too_short_is_not_measured() -> None:
    model = toy_model(limit=0)
    found = decided(model, epochs=1)
    assert found.config.workers == 0 and "few rows" in found.settings["workers"].reason


def test_rows_that_cost_nothing_to_load_need_no_trial() -> None:
    class Cheap(ToyExamples):
        cheap = True

    model = toy_model(limit=0)
    examples, plan, device = Cheap(32), FULL.plan(model, LONG_RUN), Device("cpu", "fp32")
    sampler = sampler_of(FitData(examples, examples, tuple, lambda: None, ""), SETTINGS, device)  # type: ignore[arg-type,return-value]
    found = decide_by_trial(resolved(), model, plan, plan.phases[0], examples, sampler, device)
    assert found.config.workers == 0


def test_phases_that_train_from_kept_states_need_no_trial() -> None:
    model = toy_model(limit=0)
    examples, plan, device = ToyExamples(32), FULL.plan(model, LONG_RUN), Device("cpu", "fp32")
    sampler = sampler_of(FitData(examples, examples, tuple, lambda: None, ""), SETTINGS, device)  # type: ignore[arg-type,return-value]
    found = decide_by_trial(resolved(), model, plan, None, examples, sampler, device)
    assert found.config.workers == 0


@pytest.mark.parametrize(
    ("load", "step", "cores", "accelerator", "processes", "expected"),
    [
        (0.001, 1.0, 8, False, 1, 0),
        (0.2, 1.0, 8, False, 1, 1),
        (0.9, 1.0, 2, False, 1, 1),
        (3.5, 1.0, 8, False, 1, 4),
        (3.5, 1.0, 2, False, 1, 1),
        (0.2, 1.0, 1, False, 1, 0),
        (0.2, 1.0, 2, False, 2, 0),
        (0.2, 1.0, 8, True, 1, 1),
        (2.0, 1.0, 8, True, 1, 3),
        (20.0, 1.0, 8, True, 1, 7),
        (20.0, 1.0, 8, True, 4, 1),
        (0.001, 1.0, 8, True, 1, 0),
    ],
)
def test_loaders_cover_what_loading_takes_of_a_step(
    load: float, step: float, cores: int, accelerator: bool, processes: int, expected: int
) -> None:
    count, reason = choose_workers(load, step, cores, accelerator, processes)
    assert count == expected
    assert f"{load * 1e3:.3g} ms to load" in reason and f"{step * 1e3:.3g} ms to compute" in reason


def test_a_short_run_gets_loaders_by_rule() -> None:
    assert guess_workers(100, 8, True)[0] == 0
    assert guess_workers(1000, 8, False)[0] == 1
    assert guess_workers(1000, 1, False)[0] == 0
    assert guess_workers(1000, 4, True)[0] == 3
