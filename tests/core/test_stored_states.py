"""States for whoever has a backbone and rows, and neither head nor plan: those of a phase, in the same entries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_toys import CONTEXT, copies
from stage_toys import ROWS, PlainRows, backbone_of, source_of, staged_model

from graftwork.catalogue import load_catalogue
from graftwork.config import override_layer
from graftwork.config.check import resolve_and_check
from graftwork.interfaces import Batch, Examples, Spec
from graftwork.log import heard
from graftwork.machine.device import Device
from graftwork.run import assemble, execute
from graftwork.runs.states import about_states, facts_of_rows, identity_of
from graftwork.states import fill
from graftwork.states.examples import StateExamples
from graftwork.states.fill import Rows, ready
from graftwork.states.phases import choose_states
from graftwork.states.stored import ComputedStates, stored_states
from graftwork.states.stores import Keeping
from graftwork.strategies import linear_probe, partial

NEEDS = frozenset({"pooled", "stage1", "stage3"})


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def read(examples: Examples, numbers: Sequence[int]) -> Batch:
    batch: Batch = examples.collate(numbers, [examples.load(number) for number in numbers])
    return batch


def assert_same(found: Batch, expected: Batch, tolerance: float = 0.0) -> None:
    assert found.state is not None and expected.state is not None
    assert isinstance(found.targets, dict) and isinstance(expected.targets, dict)
    for ours, theirs in (
        (found.state, expected.state),
        (found.targets, expected.targets),
        (found.inputs, expected.inputs),
    ):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name], value, rtol=0, atol=tolerance)
    assert torch.equal(found.rows, expected.rows)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("strategy", ["partial:1", "linear-probe"])
@pytest.mark.parametrize("kind", ROWS)
def test_they_are_what_a_phase_with_so_many_frozen_stages_trains_from(
    kind: str, strategy: str, kept: bool, own_cache: Path
) -> None:
    train, validation = ROWS[kind](20, 0), ROWS[kind](10, 1)
    model = staged_model(kind, (1, 3), ("pooled",))
    plan = (
        partial.build(Spec("partial", {}, "1")) if strategy == "partial:1" else linear_probe.build(Spec(strategy))
    ).plan(model, CONTEXT)
    cut = plan.phases[0].frozen_stages
    source = source_of(train, validation, True)
    backbone = backbone_of(
        kind
    )  # drawn from another seed than the model's: the same weights only where they are copied
    backbone.load_state_dict(model.backbone.state_dict())
    ours = stored_states(backbone, NEEDS, cut, source.train, source_of(train, validation, kept).keeping(), view=0)
    evaluated = stored_states(backbone, NEEDS, cut, source.validation, source_of(train, validation, kept).keeping())
    assert type(ours) is type(evaluated) is (StateExamples if kept else ComputedStates)
    segments = sorted(own_cache.glob("states/*/segment-*"))
    assert len(segments) == (2 if kept else 0)
    states = choose_states(source, model, plan)
    assert states.choices[0].reason == ("an earlier run kept them" if kept else "computed once instead of 4 times")
    model.freeze(cut)
    theirs = states.data(model, 0, lambda: False)
    if kept:
        assert sorted(own_cache.glob("states/*/segment-*")) == segments
    # Products of small matrices round otherwise for other numbers of rows; convolutions and attention of these sizes do not.
    rounding = 1e-6 if kind == "numbers" and not kept else 0.0
    for numbers in ([3], [0, 1, 2, 9], list(range(19, 2, -1))):
        assert_same(read(ours, numbers), read(theirs.train, numbers), rounding)
    assert_same(read(evaluated, [4, 2, 7]), read(theirs.validation, [4, 2, 7]), rounding)


def test_what_a_phase_has_left_is_found(own_cache: Path) -> None:
    train, validation = ROWS["texts"](20, 0), ROWS["texts"](10, 1)
    model, source = staged_model("texts", (1, 3), ("pooled",)), source_of(train, validation, True)
    plan = linear_probe.build(Spec("linear-probe")).plan(model, CONTEXT)
    states = choose_states(source, model, plan)
    model.freeze(3)
    states.data(model, 0, lambda: False)
    segments = sorted(own_cache.glob("states/*/segment-*"))
    train.read = 0
    stored_states(model.backbone, NEEDS, 3, source.train, source.keeping(), view=0)
    assert sorted(own_cache.glob("states/*/segment-*")) == segments
    assert train.read <= 12  # eight to see whether they vary, two, twice each, to see whether what is kept is true


def test_a_run_finds_what_was_left_without_a_head_and_the_other_way_round(tmp_path: Path, own_cache: Path) -> None:
    catalogue = load_catalogue()
    flags: dict[str, Any] = {
        "task": "text-classification", "data": "sample:messages", "backbone": "graftext-s", "weights": "none",
        "strategy": "linear-probe", "epochs": 2, "limit_train": 40, "device": "cpu", "precision": "fp32", "workers": 0,
        "compile": "off", "batch_size": 16,
    }  # fmt: skip
    resolved = resolve_and_check([override_layer(flags)], catalogue)

    def left(cut: int) -> Examples:
        assembled = assemble(resolved, catalogue)
        task, data, backbone = assembled.task, assembled.data, assembled.model.backbone
        facts = facts_of_rows(task, data.facts)
        examples = task.examples(data.tables.splits["train"], backbone.input, facts, True)
        identity = identity_of(assembled.config, catalogue, assembled.backbone, facts, (task, backbone, examples))
        keeping = Keeping(identity, about_states(assembled.config), True, 64, Device("cpu", "fp32"))
        rows = Rows(examples, data.digests["train"])
        return stored_states(backbone, frozenset({"pooled"}), cut, rows, keeping, view=0)

    left(5)
    before = set(own_cache.glob("states/*/segment-*"))
    assert len(before) == 1
    execute(resolved, catalogue, tmp_path / "run")
    parts = [
        json.loads((path.parent / "about.json").read_text())["part"] for path in own_cache.glob("states/*/segment-*")
    ]
    assert sorted(parts) == [
        "evaluation",
        "evaluation",
        "training view 0",
    ]  # validation, test; nothing of training anew
    after = sorted(own_cache.glob("states/*/segment-*"))
    assert isinstance(left(5), StateExamples)
    assert sorted(own_cache.glob("states/*/segment-*")) == after


def test_where_the_cache_cannot_hold_them_they_are_computed(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = ROWS["pictures"](12, 0)
    keeping = source_of(rows, rows, True).keeping()
    kept = stored_states(backbone_of("pictures"), NEEDS, 2, rows.kept_as(), keeping)
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "other"))
    monkeypatch.setenv("GRAFTWORK_CACHE_LIMIT", "1kB")
    without = stored_states(backbone_of("pictures"), NEEDS, 2, rows.kept_as(), keeping)
    assert isinstance(kept, StateExamples) and isinstance(without, ComputedStates)
    assert_same(read(without, [2, 0, 5]), read(kept, [2, 0, 5]))


def test_where_the_disk_fails_it_is_said_and_they_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fill.RowStore, "writing", full)
    rows, said = ROWS["numbers"](12, 0), []
    with heard(said.append):
        found = stored_states(backbone_of("numbers"), NEEDS, 2, rows.kept_as(), source_of(rows, rows, True).keeping())
    assert isinstance(found, ComputedStates)
    assert said == ["states cannot be kept (No space left on device): going on without"]


def test_nothing_of_the_backbone_and_of_the_random_numbers_changes() -> None:
    rows, backbone = ROWS["pictures"](12, 0), backbone_of("pictures").train()
    backbone.stages()[1].eval()
    modes, before = [module.training for module in backbone.modules()], copies(backbone)  # type: ignore[arg-type]
    random = torch.get_rng_state()
    for kept in (True, False):
        found = stored_states(backbone, NEEDS, 2, rows.kept_as(), source_of(rows, rows, kept).keeping())
        read(found, [0, 1])
    assert [module.training for module in backbone.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    now = backbone.state_dict()
    assert all(torch.equal(now[name], value) for name, value in before.items())


def test_a_batch_that_does_not_fit_is_computed_in_smaller_ones() -> None:
    class Small(type(backbone_of("numbers"))):  # type: ignore[misc]
        def begin(self, inputs: Any) -> Any:
            if len(inputs["numbers"]) > 3:
                raise torch.OutOfMemoryError("tried to allocate too much")
            return super().begin(inputs)

    rows = ROWS["numbers"](12, 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        small = Small()
    found = stored_states(small, NEEDS, 3, rows.kept_as(), source_of(rows, rows, False).keeping())
    assert read(found, list(range(12))).state is not None


def test_inputs_that_are_read_come_beside_the_state() -> None:
    rows = ROWS["texts"](12, 0)
    for kept in (True, False):
        keeping = source_of(rows, rows, kept).keeping()
        found = stored_states(backbone_of("texts"), NEEDS, 1, rows.kept_as(), keeping, reads=frozenset({"tokens"}))
        batch = read(found, [0, 1])
        assert batch.inputs.keys() == {"tokens"} and batch.inputs["tokens"].shape == (2, 4)
        assert torch.equal(batch.inputs["tokens"][0, :3], rows.rows[0]["tokens"])


def test_a_model_goes_on_from_them() -> None:
    rows, model = ROWS["texts"](12, 0), staged_model("texts", (1, 2), ("pooled",))
    model.freeze(2)
    keeping = source_of(rows, rows, False).keeping()
    found = stored_states(model.backbone, model.head.needs, 2, rows.kept_as(), keeping)
    batch = ready(read(found, [0, 5]), found, model, keeping.device)  # of one length
    predicted = model.predict(batch)
    plain = model.predict(read(rows, [0, 5]))
    assert isinstance(predicted, dict) and isinstance(plain, dict)
    assert torch.equal(predicted["logits"], plain["logits"])


class _Drawn(PlainRows):
    def load(self, row: int) -> Any:
        return {name: value + torch.randn(()) for name, value in super().load(row).items()}


class _Mixed(PlainRows):
    def collate(self, rows: Sequence[int], examples: Sequence[Any]) -> Batch:
        batch = super().collate(rows, examples)
        return Batch(batch.rows, {name: value * torch.rand(()) for name, value in batch.inputs.items()}, batch.targets)


def test_rows_that_are_other_ones_at_every_look_are_refused_and_their_views_are_not() -> None:
    plain = ROWS["numbers"](12, 0)
    keeping = source_of(plain, plain, True).keeping()
    backbone, drawn = backbone_of("numbers"), _Drawn(plain.rows)
    with pytest.raises(ValueError, match="augmented or mixed anew"):
        stored_states(backbone, NEEDS, 2, drawn.kept_as(), keeping)
    once, again = (read(stored_states(backbone, NEEDS, 2, drawn.kept_as(), keeping, view=1), [1, 2]) for _ in range(2))
    assert_same(once, again)
    with pytest.raises(ValueError, match="augmented or mixed anew"):
        stored_states(backbone, NEEDS, 2, _Mixed(plain.rows).kept_as(), keeping, view=1)


@pytest.mark.parametrize(
    ("needs", "cut", "message"),
    [
        ({"pooled"}, 0, "not a state after 0 stages"),
        ({"pooled"}, 4, "not a state after 4 stages"),
        ({"pooled", "stage4", "map8"}, 2, "not map8, stage4"),
    ],
)
def test_what_the_backbone_does_not_have_is_refused(needs: set[str], cut: int, message: str) -> None:
    rows = ROWS["numbers"](4, 0)
    with pytest.raises(ValueError, match=message):
        stored_states(
            backbone_of("numbers"), frozenset(needs), cut, rows.kept_as(), source_of(rows, rows, True).keeping()
        )


def test_no_rows_are_no_states() -> None:
    rows = ROWS["numbers"](0, 0)
    assert (
        len(stored_states(backbone_of("numbers"), NEEDS, 1, rows.kept_as(), source_of(rows, rows, True).keeping())) == 0
    )
