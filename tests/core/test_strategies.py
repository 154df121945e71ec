"""Every strategy's plan over a backbone of four stages, and what a bad plan is refused for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from engine_toys import CONTEXT, copies, run_fit, toy_batch, toy_model

from graftwork import PluginError, UsageError
from graftwork.catalogue import load_catalogue
from graftwork.engine.optimizer import build_optimizer, check_plan, enter_phase
from graftwork.interfaces import Group, Model, Phase, Plan, PlanContext, Spec, Strategy, stage_groups
from graftwork.plugins import Plugins
from graftwork.strategies import full, gradual, l2_sp, layerwise, linear_probe, lp_ft, partial, scratch
from graftwork.testing.fits import no_teacher

STRATEGIES = {
    "full": full.build(Spec("full")),
    "scratch": scratch.build(Spec("scratch")),
    "linear-probe": linear_probe.build(Spec("linear-probe")),
    "partial": partial.build(Spec("partial", argument="2")),
    "layerwise": layerwise.build(Spec("layerwise", {"decay": 0.5})),
    "gradual": gradual.build(Spec("gradual")),
    "lp-ft": lp_ft.build(Spec("lp-ft", {"probe_share": 0.5, "probe_lr_factor": 10.0})),
    "l2-sp": l2_sp.build(Spec("l2-sp", {"alpha": 0.1, "beta": 0.01})),
}


def parts_of(phase: Phase) -> list[str]:
    """The parts that a phase trains, in order."""
    return list(dict.fromkeys(group.name.partition("/")[0] for group in phase.groups))


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_plan_passes_the_check_spends_the_epochs_and_trains_each_parameter_once(name: str) -> None:
    model = toy_model(norm=True)
    plan = STRATEGIES[name].plan(model, CONTEXT)
    check_plan(plan, model)
    assert plan.epochs == CONTEXT.epochs and plan.strategy.partition(":")[0] == name
    frozen_in_all = min(phase.frozen_stages for phase in plan.phases)
    trained = {parameter for group in plan.phases[-1].groups for parameter in group.parameters}
    expected = {parameter for group in stage_groups(model, frozen_in_all, 0.0) for parameter in group.parameters}
    assert trained == expected
    optimizer = build_optimizer(plan, model, "adamw", 0.9)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(trained)


@pytest.mark.parametrize("name", STRATEGIES)
def test_weight_decay_is_for_matrices_only(name: str) -> None:
    model = toy_model(norm=True)
    dimensions = {key: value.ndim for key, value in model.named_parameters()}
    for phase in STRATEGIES[name].plan(model, CONTEXT).phases:
        for group in phase.groups:
            assert {dimensions[key] > 1 for key in group.parameters} == {group.weight_decay > 0}


@pytest.mark.parametrize("name", STRATEGIES)
def test_exactly_the_planned_parameters_require_gradients_in_every_phase(name: str) -> None:
    model = toy_model(norm=True)
    for phase in STRATEGIES[name].plan(model, CONTEXT).phases:
        enter_phase(model, phase)
        model.train()
        wanted = {key for group in phase.groups for key in group.parameters}
        assert {key for key, value in model.named_parameters() if value.requires_grad} == wanted
        assert [stage.training for stage in model.backbone.stages()] == [i >= phase.frozen_stages for i in range(4)]


def test_linear_probe_trains_the_head_alone() -> None:
    (phase,) = STRATEGIES["linear-probe"].plan(toy_model(), CONTEXT).phases
    assert phase.frozen_stages == 4 and parts_of(phase) == ["head"]


@pytest.mark.parametrize("last", [1, 2, 3, 4])
def test_partial_trains_the_last_stages_and_the_head(last: int) -> None:
    (phase,) = partial.build(Spec("partial", argument=str(last))).plan(toy_model(), CONTEXT).phases
    assert phase.frozen_stages == 4 - last
    assert parts_of(phase) == [*(f"stage{index}" for index in range(4 - last, 4)), "head"]


def test_partial_of_more_stages_than_there_are_is_refused_with_what_would_do() -> None:
    with pytest.raises(UsageError, match=r"partial:5 wants more stages than the backbone's 4.*partial:1 to partial:3"):
        partial.build(Spec("partial", argument="5")).plan(toy_model(), CONTEXT)


def test_layerwise_rates_fall_by_the_decay_from_stage_to_stage() -> None:
    (phase,) = STRATEGIES["layerwise"].plan(toy_model(), CONTEXT).phases
    rates = {group.name: group.lr_multiplier for group in phase.groups if "/" not in group.name}
    assert rates == {"stage0": 0.0625, "stage1": 0.125, "stage2": 0.25, "stage3": 0.5, "head": 1.0}


def test_gradual_thaws_from_the_last_stage_to_the_first() -> None:
    plan = STRATEGIES["gradual"].plan(toy_model(), replace(CONTEXT, epochs=8))
    assert [phase.frozen_stages for phase in plan.phases] == [4, 3, 2, 1, 0]
    assert [phase.epochs for phase in plan.phases] == [1, 1, 1, 1, 4], "what is left over goes to the last phase"
    assert parts_of(plan.phases[1]) == ["stage3", "head"]


@pytest.mark.parametrize(("epochs", "frozen"), [(2, [4, 0]), (3, [4, 2, 0]), (4, [4, 3, 1, 0])])
def test_gradual_with_few_epochs_thaws_several_at_once_and_ends_with_everything(epochs: int, frozen: list[int]) -> None:
    plan = STRATEGIES["gradual"].plan(toy_model(), replace(CONTEXT, epochs=epochs))
    assert [phase.frozen_stages for phase in plan.phases] == frozen


@pytest.mark.parametrize(
    ("share", "epochs", "expected"), [(0.5, 4, (2, 2)), (0.01, 4, (1, 3)), (0.99, 4, (3, 1)), (0.3, 10, (3, 7))]
)
def test_lp_ft_splits_the_epochs_and_keeps_both_phases(share: float, epochs: int, expected: tuple[int, int]) -> None:
    strategy = lp_ft.build(Spec("lp-ft", {"probe_share": share, "probe_lr_factor": 10.0}))
    probe, tune = strategy.plan(toy_model(), replace(CONTEXT, epochs=epochs)).phases
    assert (probe.epochs, tune.epochs) == expected
    assert (probe.frozen_stages, tune.frozen_stages) == (4, 0)
    assert probe.lr == pytest.approx(10 * tune.lr)


@pytest.mark.parametrize("name", ["gradual", "lp-ft"])
def test_strategies_of_several_phases_say_that_one_epoch_is_too_few(name: str) -> None:
    with pytest.raises(UsageError, match="at least 2 epochs"):
        STRATEGIES[name].plan(toy_model(), replace(CONTEXT, epochs=1))


def test_l2_sp_penalty_is_the_formula_and_its_gradient_points_back() -> None:
    model = toy_model()
    (phase,) = STRATEGIES["l2-sp"].plan(model, CONTEXT).phases
    (term,) = phase.terms
    term.start(model)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value))
    batch = toy_batch(3)
    penalty = term.loss(model, batch, {})["l2-sp"] / term.counts(batch)["l2-sp"]
    now = {name: value.detach() for name, value in model.named_parameters()}
    moved = sum(float((now[n] - before[n]).square().sum()) for n in now if n.startswith("backbone."))
    norm = sum(float(now[n].square().sum()) for n in now if n.startswith("head."))
    assert float(penalty.detach()) == pytest.approx(0.05 * moved + 0.005 * norm, rel=1e-5)
    penalty.backward()  # type: ignore[no-untyped-call]
    for name, value in model.named_parameters():
        expected = 0.1 * (value - before[name]) if name.startswith("backbone.") else 0.01 * value
        torch.testing.assert_close(value.grad, expected.detach())


def test_l2_sp_ends_nearer_to_the_start_than_full_fine_tuning(tmp_path: Path) -> None:
    distances = {}
    strong = l2_sp.build(Spec("l2-sp", {"alpha": 10.0, "beta": 0.0}))
    for name, strategy in {"full": STRATEGIES["full"], "l2-sp": strong}.items():
        model = toy_model()
        before = copies(model)
        run_fit(model, strategy, tmp_path / name)
        after = model.state_dict()
        distances[name] = sum(float((after[n] - before[n]).square().sum()) for n in before if n.startswith("backbone."))
    assert distances["l2-sp"] < 0.1 * distances["full"]


class Given(Strategy):
    """A third party's strategy that plans whatever it was given."""

    def __init__(self, *phases: Phase) -> None:
        self.phases = phases

    def plan(self, model: Model, context: PlanContext) -> Plan:
        return Plan("given", self.phases)


def phase(*groups: Group, frozen: int = 0, epochs: int = 1) -> Phase:
    return Phase("only", epochs, frozen, groups, 0.01)


HEAD = ("head.linear.weight", "head.linear.bias")


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ((), "'given' planned no phase"),
        ((phase(),), "'only' of strategy 'given' trains nothing"),
        ((phase(Group("nothing", ())),), "'nothing'.*has no parameters"),
        ((phase(Group("ghost", ("head.absent",))),), "'ghost'.*'head.absent', which the model does not have"),
        ((phase(Group("a", HEAD), Group("b", HEAD[:1])),), "'b'.*'a' both hold 'head.linear.weight'"),
        ((phase(Group("a", (HEAD[0], HEAD[0]))),), "'a'.*'head.linear.weight' twice"),
        ((phase(Group("early", ("backbone.blocks.0.linear.weight",)), frozen=1),), "'early'.*lies in a frozen stage"),
        ((phase(Group("a", HEAD)), phase(Group("a", HEAD[:1]))), "'a'.*other parameters than in an earlier phase"),
        ((phase(Group("a", HEAD), frozen=5),), "freezes 5 of 4 stages"),
        ((phase(Group("a", HEAD), epochs=0),), "lasts 0 epochs"),
    ],
)
def test_a_bad_plan_is_refused_with_the_name_of_what_is_wrong(
    phases: tuple[Phase, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(PluginError, match=message):
        run_fit(toy_model(), Given(*phases), tmp_path)


def test_recipes_and_options_of_the_catalogue_build_every_strategy() -> None:
    catalogue = load_catalogue()
    plugins = Plugins(catalogue)
    for name, entry in catalogue.entries["strategies"].items():
        argument = str(entry.argument.default) if entry.argument else None
        strategy = plugins.build("strategies", name, Spec(name, entry.complete({}), argument))
        model = toy_model()
        strategy.prepare(model, toy_batch(), no_teacher)
        assert strategy.plan(model, CONTEXT).epochs == CONTEXT.epochs
