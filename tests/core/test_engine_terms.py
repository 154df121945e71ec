"""Terms in the loop: part of the loss and of checkpoints, told once a step, out of the artifact; batches that stay whole."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_toys import CONTEXT, ToyExamples, copies, largest_difference, prepare, run_fit, toy_batch, toy_model
from term_toys import Centre, Centred, Spread, With, model_with_squares, with_terms
from torch import Tensor, nn

from graftwork import PluginError, RunFailed, UsageError
from graftwork.engine.optimizer import build_optimizer, check_plan, enter_phase, set_rates
from graftwork.engine.proofs import untrained_tensors
from graftwork.engine.step import Stepper
from graftwork.engine.terms import start_terms
from graftwork.engine.trial import Trial, without_trace
from graftwork.interfaces import Batch, Features, Group, Model, Observer, Phase, Plan, StepRecord, Term
from graftwork.log import heard
from graftwork.machine.device import Device
from graftwork.testing.fits import no_teacher

CPU = Device("cpu", "fp32")


class Death(KeyboardInterrupt):
    """Ends a fit out of a step; nothing is written on the way."""


class Dies(Observer):
    def __init__(self, step: int) -> None:
        self.step = step

    def step_end(self, record: StepRecord) -> None:
        if record.step == self.step:
            raise Death


def centred(limit: int | None = None) -> tuple[Model, Centre, Plan]:
    """A model with its centre, planned and started; the same each time."""
    model = toy_model(weights=(0.2, 1.0, 3.0), limit=limit)
    strategy = Centred()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        strategy.prepare(model, toy_batch(), no_teacher)
    plan = strategy.plan(model, CONTEXT)
    check_plan(plan, model)
    start_terms(plan, model, 0)
    assert strategy.term is not None
    return model, strategy.term, plan


def stepper_of(model: Model, plan: Plan, micro_batch: int | None = None) -> Stepper:
    optimizer = build_optimizer(plan, model, "sgd", 0.0)
    enter_phase(model, plan.phases[0])
    set_rates(optimizer, plan.phases[0], 0.1)
    model.train()
    return Stepper(model, optimizer, CPU, 0.0, 0, micro_batch)


def moved(model: Model) -> dict[str, Tensor]:
    """Everything that training moves, terms included."""
    return {name: value.detach().clone() for name, value in (*model.named_parameters(), *model.named_buffers())}


@pytest.mark.parametrize("micro_batch", [1, 4, 6, 12])
def test_micro_batches_give_the_step_of_the_whole_batch_for_a_term_too(micro_batch: int) -> None:
    found = []
    for size in (None, micro_batch):
        model, term, plan = centred()
        before = term.state()["centre"].clone()
        loss = stepper_of(model, plan, size).step(model, [toy_batch(13)], 1)
        assert float((term.state()["centre"] - before).abs().max()) > 1e-2, "the term learned"
        found.append((moved(model), float(loss), term.told))
    (whole, loss, told), (split, split_loss, told_split) = found
    assert largest_difference(whole, split) < 1e-6
    assert split_loss == pytest.approx(loss, rel=1e-5)
    assert len(told) == len(told_split) == 1 and told[0] == pytest.approx(told_split[0], rel=1e-5)
    assert sum(told[0].values()) == pytest.approx(loss, rel=1e-5), "it is told of the head's parts too"


def test_a_term_is_told_once_of_a_step_that_was_tried_several_times(said: list[str]) -> None:
    model, term, plan = centred(limit=4)
    stepper_of(model, plan).step(model, [toy_batch(13)], 1)
    assert len(said) == 2 and len(term.told) == 1
    enough, other, plan = centred()
    stepper_of(enough, plan).step(enough, [toy_batch(13)], 1)
    assert term.told[0] == pytest.approx(other.told[0], rel=1e-5)
    assert largest_difference(moved(model), moved(enough)) < 1e-6


@pytest.mark.parametrize("ema", [0.0, 0.8])
@pytest.mark.parametrize("step", [2, 7, 14])
def test_a_fit_with_a_term_that_is_killed_and_resumed_ends_in_the_same_bits(
    step: int, ema: float, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"train": ToyExamples(32, noise=0.1), "ema": ema, "checkpoint_steps": 1}

    def fitted(folder: str, *observers: Observer, resume: bool = False) -> tuple[Any, Centre]:
        strategy = Centred()
        torch.manual_seed(3)
        found = run_fit(
            toy_model(norm=True, dropout=0.3),
            strategy,
            tmp_path / folder,
            observers=observers,
            resume=resume,
            **options,
        )
        assert strategy.term is not None
        return found, strategy.term

    whole, term = fitted("whole")
    with pytest.raises(Death):
        fitted("cut", Dies(step))
    resumed, other = fitted("cut", resume=True)
    assert largest_difference(copies(whole.model), copies(resumed.model)) == 0.0
    assert largest_difference(term.state(), other.state()) == 0.0
    assert float(term.get_buffer("distance")) > 0
    losses = [[line["train_loss"] for line in found.progress.history] for found in (whole, resumed)]
    assert losses[0] == losses[1]
    assert len(term.told) == 16 and len(other.told) == 16 - (step - 1)
    assert other.started == term.started, "a resumed run starts terms on the starting weights too"


def test_terms_are_in_checkpoints_and_neither_in_the_best_weights_nor_in_averages(tmp_path: Path) -> None:
    fit = run_fit(toy_model(), Centred(), tmp_path, ema=0.5).fit
    checkpoint = fit.store.load()
    assert checkpoint is not None and fit.ema is not None
    names = {name for name in checkpoint.tensors if "centre" in name or "distance" in name}
    assert {"terms/0/centre", "terms/0/distance", "optimizer/terms.0.centre/exp_avg"} <= names
    assert not any(name.startswith(("model/terms", "ema/")) for name in names)
    best = fit.store.load_best(checkpoint.meta["best_file"])
    plain = copies(toy_model()).keys()
    assert best.keys() == fit.ema.average.keys() == fit.model.state_dict().keys() == plain
    fit.model.load_state_dict(best)
    with pytest.raises(RuntimeError, match=r"Missing key.*head\.linear\.weight"):
        fit.model.load_state_dict({name: value for name, value in best.items() if name != "head.linear.weight"})


def test_a_trial_leaves_no_trace_of_a_phase_with_terms() -> None:
    model, term, plan = centred()
    before = moved(model)
    with without_trace(model, plan.phases[0]):
        assert model.entered == (term,)
        Trial(model, CPU, 0).step(toy_batch(8))
    assert model.entered == () and not term.told
    assert largest_difference(before, moved(model)) == 0.0
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_a_term_keeps_is_none_of_what_a_phase_must_not_change() -> None:
    model, term, plan = centred()
    phase = replace(plan.phases[0], groups=plan.phases[0].groups[:-1])
    assert not [name for name in untrained_tensors(model, phase) if "terms" in name]
    enter_phase(model, phase)
    assert not term.centre.requires_grad, "and what is in no group gets no gradient"


class Needy(Term):
    """Reads a second feature, and an input."""

    needs = frozenset({"squares"})
    reads = frozenset({"numbers"})

    def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
        assert torch.equal(features["numbers"], batch.inputs["numbers"])
        return {"squares": features["squares"].sum()}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"squares": torch.tensor(float(len(batch)))}


@pytest.mark.parametrize("frozen", [0, 2, 4])
def test_what_only_a_term_needs_is_computed_in_its_phase_and_hidden_from_the_head(frozen: int) -> None:
    model = model_with_squares()
    model.freeze(frozen)
    batch = toy_batch(5)
    head: Any = model.head
    seen: list[set[str]] = []
    original = head.loss
    head.loss = lambda features, targets: (seen.append(set(features)), original(features, targets))[1]
    assert model.needs == {"pooled"} and model.reads == frozenset()
    plain = model(batch)
    model.enter([Needy()])
    assert model.needs == {"pooled", "squares"} and model.reads == {"numbers"}
    found = model(batch)
    assert seen == [{"pooled"}, {"pooled"}]
    assert found.keys() == model.counts(batch).keys() == {*plain, "squares"}
    assert all(torch.equal(found[name], value) for name, value in plain.items())
    if frozen == 4:
        kept = replace(batch, state=model.prefix(batch))
        assert kept.state is not None and set(kept.state) == {"pooled", "squares"}
        assert float(model(kept)["squares"]) == float(found["squares"])


def test_a_term_that_needs_what_the_backbone_lacks_is_refused_with_a_way_out() -> None:
    model = toy_model()
    with pytest.raises(UsageError, match=r"term 'Needy' needs squares, the backbone provides pooled"):
        check_plan(with_terms(model, CONTEXT, Needy()), model)


def test_loss_parts_of_one_name_are_refused() -> None:
    model = toy_model()
    model.enter([Spread(), Spread()])
    with pytest.raises(PluginError, match=r"term 'spread' has the loss part 'spread', which the head or another term"):
        model.counts(toy_batch())


def test_a_term_twice_or_what_is_none_is_refused() -> None:
    model, term = toy_model(), Spread()
    with pytest.raises(PluginError, match="has the term 'spread' twice"):
        check_plan(with_terms(model, CONTEXT, term, term), model)
    with pytest.raises(PluginError, match="has a Linear among its terms, which is no Term"):
        check_plan(with_terms(model, CONTEXT, nn.Linear(1, 1)), model)  # type: ignore[arg-type]


def test_a_group_with_the_parameter_of_a_term_that_the_phase_lacks_is_refused() -> None:
    model, _, plan = centred()
    with pytest.raises(PluginError, match=r"trains 'terms\.0\.centre' of a term that it does not have"):
        check_plan(Plan("p", (replace(plan.phases[0], terms=()),)), model)


def test_a_term_that_takes_the_model_for_its_own_is_refused() -> None:
    class Keeps(Spread):
        def start(self, model: Model) -> None:
            self.model = model

    model = toy_model()
    with pytest.raises(PluginError, match=r"has the model, or a part of it, as a module of its own. Keep a copy"):
        start_terms(with_terms(model, CONTEXT, Keeps()), model, 0)


def test_a_term_that_is_not_finite_is_named_and_changes_no_weight() -> None:
    class Infinite(Spread):
        def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
            return {"spread": super().loss(model, batch, features)["spread"] * math.inf}

    model = toy_model()
    plan = with_terms(model, CONTEXT, Infinite())
    start_terms(plan, model, 0)
    with pytest.raises(RunFailed, match="step 5: loss part 'spread' is inf"):
        stepper_of(model, plan).step(model, [toy_batch(13)], 5)
    assert largest_difference(copies(model), copies(toy_model())) == 0.0


def test_a_loss_part_without_a_count_is_named() -> None:
    class Uncounted(Spread):
        def counts(self, batch: Batch) -> dict[str, Tensor]:
            return {}

    model = toy_model()
    plan = with_terms(model, CONTEXT, Uncounted())
    start_terms(plan, model, 0)
    with pytest.raises(PluginError, match="loss part 'spread' has no count"):
        stepper_of(model, plan).step(model, [toy_batch()], 1)


def test_a_batch_whose_rows_a_term_couples_is_not_split_by_itself(said: list[str]) -> None:
    model = toy_model(limit=7)
    plan = with_terms(model, CONTEXT, Spread())
    start_terms(plan, model, 0)
    stepper = stepper_of(model, plan)
    with pytest.raises(
        RunFailed, match=r"out of memory with 13 rows, and the term 'spread' couples.*--micro-batch 7 lets"
    ):
        stepper.step(model, [toy_batch(13)], 1)
    assert not said and largest_difference(copies(model), copies(toy_model())) == 0.0
    stepper_of(model, plan, 7).step(model, [toy_batch(13)], 1)


def test_a_batch_that_was_split_in_an_earlier_phase_is_whole_again_where_a_term_couples_its_rows() -> None:
    model = toy_model(limit=7)
    plan = with_terms(model, CONTEXT, Spread())
    start_terms(plan, model, 0)
    stepper = stepper_of(model, plan)
    enter_phase(model, replace(plan.phases[0], terms=()))
    stepper.step(model, [toy_batch(13)], 1)
    assert stepper.micro_batch == 7
    model.backbone.limit = 13  # type: ignore[assignment]
    enter_phase(model, plan.phases[0])
    stepper.step(model, [toy_batch(13)], 2)
    assert model.backbone.seen == [13, 7, 6, 13]


def test_that_a_term_sees_a_part_of_the_batch_only_is_said_once(tmp_path: Path) -> None:
    assert run_fit(toy_model(), With(Spread()), tmp_path / "whole").said == []
    lines: list[str] = []
    with heard(lines.append):
        fit = prepare(toy_model(), With(Spread()), tmp_path / "split", micro_batch=4)
    fit.run(False)
    assert lines == ["the term 'spread' couples the rows of a batch: of its 8 it sees 4 at a time, as set"]


def test_plans_describe_their_terms() -> None:
    model, _, plan = centred()
    (phase,) = plan.describe(model)["phases"]
    assert phase["terms"] == [{"name": "Centre"}]
    assert [group["parameters"] for group in phase["groups"] if group["name"] == "centre"] == [6]


def test_a_term_of_several_phases_is_started_once_and_goes_on(tmp_path: Path) -> None:
    class Twice(Centred):
        def plan(self, model: Model, context: Any) -> Plan:
            (phase,) = super().plan(model, replace(context, epochs=2)).phases
            return Plan("twice", (phase, replace(phase, name="again")))

    strategy = Twice()
    fit = run_fit(toy_model(), strategy, tmp_path).fit
    assert strategy.term is not None and len(strategy.term.started) == 1 and len(strategy.term.told) == 16
    assert len(fit.model.terms) == 1 and fit.plan.terms == (strategy.term,)


def test_what_a_term_draws_when_it_starts_follows_from_the_seed() -> None:
    class Draws(Spread):
        drawn: Mapping[str, Tensor]

        def start(self, model: Model) -> None:
            self.drawn = {"it": torch.rand(3)}

    found = []
    for seed in (0, 0, 1):
        term, model = Draws(), toy_model()
        torch.rand(5)
        start_terms(with_terms(model, CONTEXT, term), model, seed)
        found.append(term.drawn["it"])
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_groups_of_a_plan_name_parameters_of_terms_as_the_model_does() -> None:
    model, term, _ = centred()
    assert dict(model.named_parameters())["terms.0.centre"] is term.centre
    group = Group("x", ("terms.1.centre",))
    with pytest.raises(PluginError, match=r"names 'terms\.1\.centre', which the model does not have"):
        check_plan(Plan("p", (Phase("p", 1, 0, (group,), 0.1),)), model)


@pytest.mark.acceptance
def test_two_processes_give_the_steps_of_one_and_tell_terms_the_same(command: Callable[..., Any]) -> None:
    child = Path(__file__).with_name("terms_child.py")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    found = []
    for words in ([sys.executable, child], [*torchrun, child]):
        done = command(words)
        assert done.code == 0, done.stderr[-3000:]
        found.append(json.loads(done.stdout))
    one, two = found
    for name, value in one["moved"].items():
        torch.testing.assert_close(torch.tensor(two["moved"][name]), torch.tensor(value), rtol=1e-4, atol=1e-6)
    assert {"class", "size", "centre", "l2-sp"} == set(one["told"][0]) and len(two["told"]) == 2
    for told, alone in zip(two["told"], one["told"], strict=True):
        assert told == pytest.approx(alone, rel=1e-4)
    assert len(two["states"]) == 2 and len(set(two["states"])) == 1, "terms stay the same in all processes"


def test_a_term_of_another_stream_is_told_its_parts_by_their_names() -> None:
    model, term, plan = centred()
    term.stream = "more"
    stepper_of(model, plan).step(model, [toy_batch(13), replace(toy_batch(6), stream="more")], 1)
    (told,) = term.told
    assert {"class", "size"} < told.keys() and told["centre"] == told["more/centre"]
    assert float(term.get_buffer("distance")) > 0
