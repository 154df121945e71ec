"""The conformance kit for strategies: subclass `StrategyConformance`, name the strategy, and pytest runs the checks.

class TestMyStrategy(StrategyConformance):
    strategy = "my-strategy"    # or with an argument: "my-strategy:2"
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from graftwork.catalogue import split_strategy, strategy_argument
from graftwork.engine.optimizer import check_plan
from graftwork.engine.proofs import check_same_predictions, comparable
from graftwork.errors import GraftworkError, RunFailed, UsageError
from graftwork.interfaces import Model, Observer, Phase, Plan, Spec, StepRecord
from graftwork.testing.base import copied, doing, leaves, same
from graftwork.testing.fits import context, few_rows, fit, prepared
from graftwork.testing.options import check_options_are_read
from graftwork.testing.streams import StreamChecks
from graftwork.testing.surroundings import check_leaves_alone


class StrategyConformance(StreamChecks):
    """What being a strategy means, as tests, on a small model of the first task that has a sample.

    Checks of the plan's terms stand in `testing.terms`, of its streams in `testing.streams`. A check that cannot hold is named
    in `exceptions` with the reason, and is skipped with it.
    """

    def test_the_engine_takes_the_plan(self) -> None:
        subject = self.subject()
        strategy = self.built(subject)
        model = prepared(subject, strategy)
        plan = self.planned(strategy, model)
        try:
            check_plan(plan, model)
        except GraftworkError as error:
            raise AssertionError(f"the engine refuses the plan: {error}") from error
        for phase in plan.phases:
            _check_phase(phase)

    def test_phases_last_as_long_as_asked(self) -> None:
        subject = self.subject()
        strategy = self.built(subject)
        model = prepared(subject, strategy)
        for epochs in (1, 2, 3, self.epochs, 10 * self.epochs):
            try:
                plan = strategy.plan(model, context(subject, epochs))
            except UsageError:
                assert epochs < self.epochs, f"the strategy refuses {epochs} epochs"
                continue  # it needs more, and says so
            found = [phase.epochs for phase in plan.phases]
            solved = all(phase.solver for phase in plan.phases)  # one epoch each, however many are asked for
            assert plan.epochs == epochs or solved, (
                f"asked for {epochs} epochs, the phases last {' + '.join(map(str, found))} = {plan.epochs}"
            )
            assert all(count >= 1 for count in found), f"asked for {epochs} epochs, a phase lasts none: {found}"

    def test_planning_changes_nothing(self) -> None:
        subject = self.subject()
        strategy = self.built(subject)
        model = prepared(subject, strategy)
        before = _described(model)
        state = copied(model.state_dict())
        self.planned(strategy, model)
        same(model.state_dict(), state, "planning changes the model's weights: that is for prepare() to do")
        after = _described(model)
        for name, value in before.items():
            assert after[name] == value, f"planning changes {name}: that is for prepare(), or for the engine, to do"

    def test_planning_twice_gives_the_same_plan(self) -> None:
        subject = self.subject()
        plans = []
        for _ in range(2):
            strategy = self.built(subject)
            model = prepared(subject, strategy)
            plans += [_plain(self.planned(strategy, model)), _plain(self.planned(strategy, model))]
        assert all(plan == plans[0] for plan in plans), "planned again for the same model, the plan is another one"

    def test_the_learning_rate_and_decay_are_respected(self) -> None:
        subject = self.subject()
        strategy = self.built(subject)
        model = prepared(subject, strategy)
        one, two = (self.planned(strategy, model, lr=lr) for lr in (1e-3, 2e-3))
        for before, after in zip(one.phases, two.phases, strict=True):
            for group, other in zip(before.groups, after.groups, strict=True):
                rate, doubled = before.lr * group.lr_multiplier, after.lr * other.lr_multiplier
                assert math.isclose(doubled, 2 * rate, rel_tol=1e-6), (
                    f"with twice the learning rate, group {group.name} of phase {before.name} has {doubled:g} and not "
                    f"{2 * rate:g}: the plan ignores what the user asked for"
                )
        for phase in self.planned(strategy, model, weight_decay=0.0).phases:
            for group in phase.groups:
                assert group.weight_decay == 0, (
                    f"without weight decay, group {group.name} of phase {phase.name} has {group.weight_decay:g}"
                )
        for schedule in ("constant", "cosine"):
            phases = self.planned(strategy, model, schedule=schedule).phases
            found = {phase.schedule for phase in phases if not phase.solver}
            assert not found or schedule in found, (
                f"asked for the schedule {schedule}, the phases have {', '.join(sorted(found))}"
            )

    def test_the_plan_can_be_written_down(self) -> None:
        subject = self.subject()
        strategy = self.built(subject)
        model = prepared(subject, strategy)
        with doing("describing the plan as JSON"):
            json.dumps(self.planned(strategy, model).describe(model), allow_nan=False)

    def test_a_fit_moves_what_the_plan_trains_and_nothing_else(self, tmp_path: Path) -> None:
        subject = self.subject()
        strategy = self.built(subject)
        model = prepared(subject, strategy)
        plan = self.planned(strategy, model)
        watch = _Moves(model)
        try:
            fit(subject, model, plan, tmp_path, [watch])
        except RunFailed as error:
            raise AssertionError(f"a fit by this plan fails: {error}") from error
        for phase in plan.phases:
            for group in phase.groups:
                moved = set(group.parameters) & watch.moved
                assert moved, f"group {group.name} of phase {phase.name} is to be trained, and nothing in it moves"
        trained = {name for phase in plan.phases for group in phase.groups for name in group.parameters}
        # What a term keeps may follow the model without being trained.
        strangers = {name for name in watch.moved - trained if not name.startswith("terms.")}
        assert not strangers, f"parameters in no group move: {', '.join(sorted(strangers)[:3])}"

    def test_finishing_keeps_the_predictions_and_gives_the_model_back(self) -> None:
        subject = self.subject()
        strategy = self.built(subject)
        plain = subject.model()
        model = prepared(subject, strategy)
        self.planned(strategy, model)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.01)
        batch = few_rows(subject, model, train=False)
        before = comparable(model, batch)
        with doing("finishing"):
            strategy.finish(model)
        names = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        wanted = {name: tuple(tensor.shape) for name, tensor in plain.state_dict().items()}
        extra = sorted({*names.items()} ^ {*wanted.items()})
        assert not extra, (
            f"after finish() the model is not its own backbone and head again: {extra[0][0]} is extra or missing"
        )
        try:
            check_same_predictions(before, comparable(model, batch))
        except RunFailed as error:
            raise AssertionError(f"finish() changes what the model predicts: {error.what}") from error

    def test_the_files_of_finish_lie_in_the_run_directory(self) -> None:
        subject = self.subject()
        strategy = self.built(subject)
        model = prepared(subject, strategy)
        for name, content in strategy.finish(model).items():
            path = PurePosixPath(name)
            inside = not path.is_absolute() and ".." not in path.parts and "\\" not in name
            assert inside, f"finish() gives a file {name!r}, which is no path within the run directory"
            assert isinstance(content, bytes), (
                f"finish() gives a {type(content).__name__} for the file {name}, and not bytes"
            )

    def test_what_is_drawn_depends_on_the_seed_alone(self) -> None:
        subject = self.subject()
        states = []
        for _ in range(2):
            with doing("preparing the model"):
                strategy = self.built(subject)
                model = prepared(subject, strategy, seed=3)
            plan = self.planned(strategy, model)
            terms = {f"term {index}": dict(term.state_dict()) for index, term in enumerate(plan.terms)}
            states.append(copied(dict(model.state_dict()) | terms))
        same(states[1], states[0], "prepared twice with one seed, the model differs")

    def test_every_option_is_declared_and_read(self) -> None:
        subject = self.subject()
        catalogue = subject.builder.catalogue
        name = split_strategy(self.strategy, catalogue)[0]
        entry = catalogue.strategy(name)
        argument = strategy_argument(entry, self.strategy, catalogue)

        def use(options: Any) -> None:
            spec = Spec(name, options, None if argument is None else str(argument))
            strategy = subject.builder.plugins.build("strategies", name, spec)
            strategy.plan(prepared(subject, strategy), context(subject, self.epochs))

        check_options_are_read(f"strategy {name}", entry, use)

    def test_building_leaves_the_process_as_it_was(self) -> None:
        subject = self.subject()
        strategy = self.built(subject)
        model = prepared(subject, strategy)
        check_leaves_alone("building the strategy", lambda: self.built(subject))
        check_leaves_alone("planning", lambda: strategy.plan(model, context(subject, self.epochs)))


class _Moves(Observer):
    """Notes which parameters move at any step."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._before = copied(dict(model.named_parameters()))
        self.moved: set[str] = set()

    def step_end(self, record: StepRecord) -> None:
        for name, parameter in self._model.named_parameters():
            if name in self._before and name not in self.moved and not torch.equal(parameter, self._before[name]):
                self.moved.add(name)


def _check_phase(phase: Phase) -> None:
    where = f"phase {phase.name!r}"
    assert phase.schedule in ("cosine", "constant"), (
        f"{where} has the schedule {phase.schedule!r}, which the engine does not know"
    )
    if phase.solver:
        return  # takes no steps
    assert math.isfinite(phase.lr) and phase.lr > 0, f"{where} has the learning rate {phase.lr}"
    assert 0 <= phase.warmup <= 1, f"{where} warms up for {phase.warmup} of its steps, which is no share"
    for group in phase.groups:
        assert math.isfinite(group.lr_multiplier) and group.lr_multiplier > 0, (
            f"group {group.name} of {where} has the multiplier {group.lr_multiplier}: it would not train"
        )
        assert group.weight_decay >= 0, f"group {group.name} of {where} has the weight decay {group.weight_decay}"


def _described(model: Model) -> dict[str, Any]:
    return {
        "which parameters want gradients": {name: p.requires_grad for name, p in model.named_parameters()},
        "the modules": [f"{name}: {type(module).__name__}" for name, module in model.named_modules()],
        "train and eval mode": {name: module.training for name, module in model.named_modules()},
        "how many stages are frozen": model.frozen_stages,
        "the tensors": sorted(leaves(model.state_dict())),
    }


def _plain(plan: Plan) -> Any:
    """A plan without its terms and items, which are objects: of these what they say, and what they are."""
    return [
        (
            replace(phase, terms=(), streams=tuple(replace(stream, items=None) for stream in phase.streams)),
            [term.describe() for term in phase.terms],
            [type(stream.items) for stream in phase.streams],
        )
        for phase in plan.phases
    ]
