"""Phases that are solved instead of stepped, and epochs that are not evaluated; killed at any moment, they end alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_toys import (
    CLASSES,
    CONTEXT,
    WIDTH,
    Accuracy,
    ToyBackbone,
    ToyExamples,
    ToyHead,
    copies,
    largest_difference,
    run_fit,
    toy_model,
)
from torch import Tensor

from graftwork import PluginError, UsageError
from graftwork.engine.ema import Ema
from graftwork.interfaces import (
    Features,
    Model,
    Observer,
    Phase,
    Plan,
    PlanContext,
    Solver,
    Spec,
    StepRecord,
    Strategy,
    Targets,
    stage_groups,
)
from graftwork.strategies import full, linear_probe, lp_ft


class SolvedHead(ToyHead):
    """Solves its layer by least squares with a ridge; the option `ridge` is its weight."""

    def solve(self, items: Iterable[tuple[Features, Targets]], options: Mapping[str, Any]) -> dict[str, Tensor]:
        gram, moments = (
            torch.zeros(WIDTH + 1, WIDTH + 1, dtype=torch.float64),
            torch.zeros(WIDTH + 1, CLASSES, dtype=torch.float64),
        )
        for features, targets in items:
            assert isinstance(targets, dict)
            rows = torch.cat([features["pooled"], torch.ones(len(targets["label"]), 1)], dim=1).double()
            gram += rows.T @ rows
            moments += rows.T @ torch.nn.functional.one_hot(targets["label"], CLASSES).double()
        found = torch.linalg.solve(
            gram + float(options["ridge"]) * torch.eye(WIDTH + 1, dtype=torch.float64), moments
        ).float()
        return {"linear.weight": found[:-1].T.contiguous(), "linear.bias": found[-1]}


class Solved(Strategy):
    """Solves the head on the frozen backbone; then, where asked for, trains everything."""

    def __init__(self, then: bool = False, before: bool = False, every: int = 1) -> None:
        self.then, self.before, self.every = then, before, every

    def plan(self, model: Model, context: PlanContext) -> Plan:
        stages = len(model.backbone.stages())
        whole = Phase("full", 3, 0, stage_groups(model, 0, 0.0), 0.01, evaluate_every=self.every)
        solved = Phase("solved", 1, stages, (), 0.0, solver=Solver({"ridge": 0.1}))
        phases = [*([replace(whole, name="before")] if self.before else []), solved, *([whole] if self.then else [])]
        return Plan("solved", tuple(phases))


def solvable(seed: int = 0) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Model(ToyBackbone(), SolvedHead())


class Death(Exception):
    pass


class Dies(Observer):
    """Ends the process, in effect, before a step or an evaluation is written down."""

    def __init__(self, step: int = 0, epoch: int = 0) -> None:
        self.step, self.epoch = step, epoch

    def step_end(self, record: StepRecord) -> None:
        if record.step == self.step:
            raise KeyboardInterrupt

    def epoch_end(self, record: Any) -> None:
        if record.epoch == self.epoch:
            raise KeyboardInterrupt


def test_a_head_is_solved_in_one_epoch_and_is_the_best_where_nothing_is_better(tmp_path: Path) -> None:
    model = solvable()
    before = copies(model)
    fitted = run_fit(model, Solved(), tmp_path)
    (line,) = fitted.progress.history
    assert line["phase"] == "solved" and line["train_loss"] is None and line["val"]["accuracy"] > 0.5
    assert fitted.progress.best_epoch == 1 and fitted.progress.step == 1
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"head.linear.weight", "head.linear.bias"}
    assert "bit-identical" in fitted.progress.proofs[0]
    again = run_fit(solvable(), Solved(), tmp_path / "again")
    assert largest_difference(copies(model), copies(again.model)) == 0.0


def test_rows_are_solved_as_they_are_not_augmented(tmp_path: Path) -> None:
    class Plain(ToyExamples):
        def view(self, number: int) -> ToyExamples:
            assert number == 0
            return ToyExamples(32)

    plain = run_fit(solvable(), Solved(), tmp_path / "plain")
    noisy = run_fit(solvable(), Solved(), tmp_path / "noisy", train=Plain(32, noise=1.0))
    assert largest_difference(copies(plain.model), copies(noisy.model)) == 0.0


@pytest.mark.parametrize("step", [3, 12, 13, 14, 20])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_run_with_a_solved_phase_that_is_killed_ends_in_the_same_bits(step: int, ema: float, tmp_path: Path) -> None:
    """Steps 1 to 12, the head solved as step 13, steps 14 to 25."""
    strategy, options = Solved(then=True, before=True), {"ema": ema, "checkpoint_steps": 2}
    whole = run_fit(solvable(), strategy, tmp_path / "whole", **options)
    assert whole.progress.step == 25
    dies: dict[str, Any] = {"epoch": 4} if step == 13 else {"step": step}
    with pytest.raises(KeyboardInterrupt):
        run_fit(solvable(), strategy, tmp_path / "cut", observers=[Dies(**dies)], **options)
    resumed = run_fit(solvable(), strategy, tmp_path / "cut", resume=True, **options)
    assert largest_difference(copies(whole.model), copies(resumed.model)) == 0.0
    kept = ("epoch", "phase", "train_loss", "val")
    assert [[line[key] for key in kept] for line in resumed.progress.history] == [
        [line[key] for key in kept] for line in whole.progress.history
    ]


def test_averaged_weights_take_over_what_was_solved() -> None:
    model = solvable()
    ema = Ema(model, 0.9)
    ema.put({"head.linear.bias": torch.ones(CLASSES)})
    assert torch.equal(ema.average["head.linear.bias"], torch.ones(CLASSES))


def test_a_head_that_cannot_be_solved_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ToyHead cannot be solved"):
        run_fit(toy_model(), Solved(), tmp_path)


def test_what_is_solved_must_fit_the_head(tmp_path: Path) -> None:
    class Wrong(ToyHead):
        def solve(self, items: Any, options: Any) -> dict[str, Tensor]:
            return {"linear.weight": torch.full((CLASSES, WIDTH), float("nan"))}

    with pytest.raises(PluginError, match="not finite"):
        run_fit(Model(ToyBackbone(), Wrong()), Solved(), tmp_path)


@pytest.mark.parametrize("changes", [{"epochs": 2}, {"head_loss": False}, {"evaluate_every": 0}, {"streams": ()}])
def test_phases_that_cannot_be_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    class Odd(Solved):
        def plan(self, model: Model, context: PlanContext) -> Plan:
            (phase,) = super().plan(model, context).phases
            good = Phase("full", 1, 0, stage_groups(model, 0, 0.0), 0.01)
            return Plan("odd", (replace(phase, **changes), good))

    with pytest.raises(PluginError, match="phase 'solved'"):
        run_fit(solvable(), Odd(), tmp_path)


class Counting(Accuracy):
    """Counts the evaluations."""

    done = 0

    def compute(self) -> dict[str, float]:
        Counting.done += 1
        return super().compute()


def test_epochs_between_evaluations_are_no_candidates_and_do_not_count_for_patience(tmp_path: Path) -> None:
    Counting.done = 0

    class Rarely(Strategy):
        def plan(self, model: Model, context: PlanContext) -> Plan:
            (phase,) = full.build(Spec("full")).plan(model, context).phases
            return Plan("rarely", (replace(phase, evaluate_every=3),))

    context = replace(CONTEXT, epochs=8)
    fitted = run_fit(toy_model(), Rarely(), tmp_path, context=context, metrics=Counting, patience=3)
    evaluated = [line["epoch"] for line in fitted.progress.history if line["val"]]
    assert evaluated == [3, 6, 8] and Counting.done == 3 and fitted.progress.best_epoch in evaluated
    assert fitted.progress.epoch == 8 and all(line["train_loss"] > 0 for line in fitted.progress.history)


class RarelyLpFt(Strategy):
    """lp-ft, whose probe is evaluated every `every` epochs: on frozen features, evaluating costs more than training."""

    def __init__(self, every: int) -> None:
        self.every = every

    def plan(self, model: Model, context: PlanContext) -> Plan:
        spec = Spec("lp-ft", {"probe_share": 0.5, "probe_lr_factor": 10.0})
        probe, tune = lp_ft.build(spec).plan(model, context).phases
        return Plan("lp-ft", (replace(probe, evaluate_every=self.every), tune))


@pytest.mark.parametrize("step", [6, 13, 18])
def test_lp_ft_with_rare_evaluations_trains_alike_and_resumes_exactly(step: int, tmp_path: Path) -> None:
    context = replace(CONTEXT, epochs=6)
    often = run_fit(toy_model(), RarelyLpFt(1), tmp_path / "often", context=context)
    rarely = run_fit(toy_model(), RarelyLpFt(2), tmp_path / "rarely", context=context, checkpoint_steps=4)
    assert [bool(line["val"]) for line in rarely.progress.history] == [False, True, True, True, True, True]
    losses = [[line["train_loss"] for line in found.progress.history] for found in (often, rarely)]
    assert losses[0] == losses[1], "evaluating changes nothing that is trained"
    with pytest.raises(KeyboardInterrupt):
        run_fit(
            toy_model(), RarelyLpFt(2), tmp_path / "cut", context=context, checkpoint_steps=4, observers=[Dies(step)]
        )
    resumed = run_fit(toy_model(), RarelyLpFt(2), tmp_path / "cut", context=context, checkpoint_steps=4, resume=True)
    assert largest_difference(copies(rarely.model), copies(resumed.model)) == 0.0


def test_bad_epochs_are_counted_anew_in_each_phase(tmp_path: Path) -> None:
    class Flat(Accuracy):
        def compute(self) -> dict[str, float]:
            return {"accuracy": 0.5}

    class Twice(Strategy):
        def plan(self, model: Model, context: PlanContext) -> Plan:
            (phase,) = linear_probe.build(Spec("linear-probe")).plan(model, replace(context, epochs=2)).phases
            return Plan("twice", (phase, replace(phase, name="again")))

    fitted = run_fit(toy_model(), Twice(), tmp_path, metrics=Flat, patience=3)
    assert fitted.progress.epoch == 4 and fitted.progress.stopped is None
    assert fitted.progress.bad_epochs == 2
