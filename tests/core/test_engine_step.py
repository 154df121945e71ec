"""One optimizer step: micro-batches, memory that runs out, losses that are not finite, clipping, averaged weights."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_toys import CONTEXT, ToyExamples, copies, largest_difference, run_fit, toy_model
from torch import Tensor

from graftwork import RunFailed
from graftwork.engine.ema import Ema, averaged_weights
from graftwork.engine.optimizer import build_optimizer, clip_gradients, enter_phase, learning_rate, set_rates
from graftwork.engine.step import Stepper
from graftwork.engine.terms import start_terms
from graftwork.interfaces import Batch, Model, Phase, Spec, Strategy
from graftwork.machine.device import Device
from graftwork.machine.memory import is_out_of_memory
from graftwork.strategies import full, l2_sp, partial

FULL = full.build(Spec("full"))
L2_SP = l2_sp.build(Spec("l2-sp", {"alpha": 0.5, "beta": 0.5}))
WEIGHTS = (0.2, 1.0, 3.0)


def batch_of(rows: int, seed: int = 0) -> Batch:
    examples = ToyExamples(rows, seed)
    batch: Batch = examples.collate(range(rows), [examples.load(row) for row in range(rows)])
    return batch


def stepper_for(
    model: Model, strategy: Strategy = FULL, micro_batch: int | None = None, grad_clip: float = 0.0, name: str = "sgd"
) -> Stepper:
    """A stepper with the plan's first phase entered and its rate set."""
    plan = strategy.plan(model, CONTEXT)
    phase = plan.phases[0]
    start_terms(plan, model, 0)
    optimizer = build_optimizer(plan, model, name, 0.0)
    enter_phase(model, phase)
    set_rates(optimizer, phase, 0.1)
    model.train()
    return Stepper(model, optimizer, Device("cpu", "fp32"), grad_clip, 0, micro_batch)


def after_step(
    model: Model, strategy: Strategy = FULL, rows: int = 13, **options: Any
) -> tuple[dict[str, Tensor], float]:
    """The model's tensors and the loss after one step."""
    stepper = stepper_for(model, strategy, **options)
    loss = stepper.step(model, [batch_of(rows)], 1)
    return copies(model), float(loss)


@pytest.mark.parametrize("strategy", [FULL, L2_SP], ids=["plain", "with a term"])
@pytest.mark.parametrize("micro_batch", [1, 2, 5, 12, 13, 50])
def test_micro_batches_give_the_step_of_the_whole_batch(strategy: Strategy, micro_batch: int) -> None:
    whole, loss = after_step(toy_model(weights=WEIGHTS), strategy)
    split, split_loss = after_step(toy_model(weights=WEIGHTS), strategy, micro_batch=micro_batch)
    assert largest_difference(whole, split) < 1e-6
    assert split_loss == pytest.approx(loss, rel=1e-5)
    assert largest_difference(whole, copies(toy_model(weights=WEIGHTS))) > 1e-3, "the step did something"


@pytest.mark.parametrize("limit", [12, 6, 4, 1])
def test_a_step_that_runs_out_of_memory_is_split_and_gives_the_same_result(limit: int, said: list[str]) -> None:
    whole, _ = after_step(toy_model(weights=WEIGHTS), L2_SP)
    model = toy_model(weights=WEIGHTS, limit=limit)
    stepper = stepper_for(model, L2_SP)
    stepper.step(model, [batch_of(13)], 1)
    assert largest_difference(whole, copies(model)) < 1e-6
    size = stepper.micro_batch
    assert size is not None and size <= limit
    assert said[0] == "step 1: out of memory with 13 rows, going on with micro-batches of 7"
    seen = model.backbone.seen
    assert (
        isinstance(seen, list)
        and sum(seen[-math.ceil(13 / size) :]) == 13
        and max(seen[-math.ceil(13 / size) :]) == size
    )


def test_the_smaller_micro_batch_is_kept_for_the_steps_that_follow(said: list[str]) -> None:
    model = toy_model(limit=7)
    stepper = stepper_for(model)
    for number in (1, 2, 3):
        stepper.step(model, [batch_of(13, seed=number)], number)
    assert stepper.micro_batch == 7 and len(said) == 1


def test_batchnorm_statistics_of_a_failed_attempt_are_put_back() -> None:
    failed, direct = toy_model(norm=True, limit=7), toy_model(norm=True)
    after, _ = after_step(failed)
    expected, _ = after_step(direct, micro_batch=7)
    assert largest_difference(after, expected) == 0.0
    assert int(after["backbone.blocks.0.norm.num_batches_tracked"]) == 2, "two micro-batches, and no failed attempt"


def test_the_random_numbers_of_a_failed_attempt_are_put_back() -> None:
    after, _ = after_step(toy_model(limit=7, dropout=0.5))
    expected, _ = after_step(toy_model(dropout=0.5), micro_batch=7)
    assert largest_difference(after, expected) == 0.0


def test_a_batch_of_which_not_even_one_row_fits_ends_with_one_clear_line(said: list[str]) -> None:
    model = toy_model(limit=0)
    stepper = stepper_for(model)
    with pytest.raises(RunFailed, match=r"step 4: not even one row fits .* 1 rows\)\. Use a smaller"):
        stepper.step(model, [batch_of(13)], 4)
    assert [line.rsplit(" ", 1)[1] for line in said] == ["7", "4", "2", "1"]
    assert largest_difference(copies(model), copies(toy_model())) == 0.0, "a failed step changes nothing"


def test_training_with_too_little_memory_ends_where_training_with_enough_does(tmp_path: Path) -> None:
    enough = run_fit(toy_model(weights=WEIGHTS), FULL, tmp_path / "enough")
    little = run_fit(toy_model(weights=WEIGHTS, limit=3), FULL, tmp_path / "little")
    assert largest_difference(copies(enough.model), copies(little.model)) < 1e-5
    assert little.progress.step == enough.progress.step == 16
    assert little.progress.micro_batch == 2 and enough.progress.micro_batch is None


def test_an_error_that_is_not_about_memory_is_not_retried() -> None:
    model = toy_model()
    stepper = stepper_for(model)
    batch = replace(batch_of(13), inputs={"numbers": torch.zeros(13, 99)})
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        stepper.step(model, [batch], 1)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:116] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_running_out_of_memory_is_told_from_other_errors(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_a_loss_that_is_not_finite_names_the_step_and_the_part_and_changes_no_weight() -> None:
    model = toy_model()
    stepper = stepper_for(model)
    batch = batch_of(13)
    batch.inputs["numbers"][5] = float("nan")
    with pytest.raises(RunFailed, match=r"step 9: loss part 'class' is nan"):
        stepper.step(model, [batch], 9)
    assert largest_difference(copies(model), copies(toy_model())) == 0.0


def test_a_gradient_that_is_not_finite_reaches_no_weight() -> None:
    model = toy_model()
    stepper = stepper_for(model, grad_clip=1.0)
    parameter = next(model.head.parameters())
    parameter.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(RunFailed, match=r"step 2: the gradient is nan"):
        stepper.step(model, [batch_of(13)], 2)
    assert largest_difference(copies(model), copies(toy_model())) == 0.0


@pytest.mark.parametrize("largest", [0.05, 1e-4])
def test_gradients_are_scaled_together_to_the_largest_norm(largest: float) -> None:
    start = copies(toy_model())
    free, _ = after_step(toy_model())
    clipped, _ = after_step(toy_model(), grad_clip=largest)
    names = [name for name, _ in toy_model().named_parameters()]
    # Plain SGD at rate 0.1 with weight decay: take the decay out to see the gradient itself.
    decay = {name: 0.1 * 0.1 * start[name] if start[name].ndim > 1 else 0.0 for name in names}
    gradient = {name: (start[name] - free[name] - decay[name]) / 0.1 for name in names}
    scaled = {name: (start[name] - clipped[name] - decay[name]) / 0.1 for name in names}
    norm = float(torch.cat([value.flatten() for value in gradient.values()]).norm())
    assert norm > largest
    for name in names:
        torch.testing.assert_close(scaled[name], gradient[name] * largest / norm, rtol=2e-2, atol=2e-6)


def test_ema_is_the_recursion_with_a_decay_that_warms_up() -> None:
    model = toy_model(norm=True)
    ema = Ema(model, 0.9)
    expected = {name: value.double() for name, value in copies(model).items()}
    for step in range(1, 30):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model.get_buffer("backbone.blocks.0.norm.num_batches_tracked").add_(1)
        ema.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * value.double()
            else:
                expected[name] = value.double()
    assert largest_difference(ema.average, expected) < 1e-5


def test_averaged_weights_are_in_the_model_inside_the_block_only() -> None:
    model = toy_model()
    ema = Ema(model, 0.5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    own = copies(model)
    with pytest.raises(KeyboardInterrupt), averaged_weights(ema):
        assert largest_difference(copies(model), ema.average) == 0.0
        raise KeyboardInterrupt
    assert largest_difference(copies(model), own) == 0.0


def phase_with(schedule: str, warmup: float) -> Phase:
    return Phase("p", 1, 0, (), 2.0, schedule, warmup)


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("constant", 0.0, {0: 2.0, 50: 2.0, 99: 2.0}),
        ("constant", 0.1, {0: 2 / 11, 4: 10 / 11, 9: 20 / 11, 10: 2.0, 99: 2.0}),
        ("cosine", 0.0, {0: 2.0, 50: 1.0, 25: 1.7071067811865475, 99: 0.0004934396}),
        ("cosine", 0.2, {0: 2 / 21, 19: 40 / 21, 20: 2.0, 60: 1.0}),
    ],
)
def test_the_rate_rises_in_the_warm_up_and_then_follows_the_schedule(
    schedule: str, warmup: float, expected: dict[int, float]
) -> None:
    phase = phase_with(schedule, warmup)
    assert {step: learning_rate(phase, step, 100) for step in expected} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("warmup", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_every_step_of_any_phase_learns(schedule: str, warmup: float, steps: int) -> None:
    rates = [learning_rate(phase_with(schedule, warmup), step, steps) for step in range(steps)]
    assert all(0 < rate <= 2.0 for rate in rates)


def test_rates_and_decay_of_groups_that_a_phase_does_not_train_are_zero() -> None:
    model = toy_model()
    plan = partial.build(Spec("partial", argument="2")).plan(model, CONTEXT)
    only_head = replace(plan.phases[0], groups=tuple(g for g in plan.phases[0].groups if g.name.startswith("head")))
    optimizer = build_optimizer(replace(plan, phases=(plan.phases[0], only_head)), model, "adamw", 0.9)
    set_rates(optimizer, only_head, 0.3)
    for entry in optimizer.param_groups:
        assert entry["lr"] == (0.3 if entry["name"].startswith("head") else 0.0)
        assert entry["weight_decay"] == (0.1 if entry["name"] == "head" else 0.0)


def test_groups_of_one_rate_are_one_of_the_optimizers_and_gradients_are_summed_in_the_plans_order() -> None:
    model = toy_model()
    plan = partial.build(Spec("partial", argument="2")).plan(model, CONTEXT)
    groups = plan.phases[0].groups
    optimizer = build_optimizer(plan, model, "adamw", 0.9)
    rates = {(group.lr_multiplier, group.weight_decay) for group in groups}
    assert len(optimizer.param_groups) == len(rates) < len(groups)
    parameters = dict(model.named_parameters())
    for power, name in enumerate(name for group in groups for name in group.parameters):
        parameters[name].grad = torch.full_like(parameters[name], 3.0**-power)
    apart = torch.nn.utils.get_total_norm([parameters[name].grad for group in groups for name in group.parameters])
    assert torch.equal(clip_gradients(optimizer, 0.0), apart)
