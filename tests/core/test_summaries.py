"""Summaries of stages: heads over several of them, with and without kept states; what they are; who may need them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from engine_toys import ToyBackbone, ToyHead, copies
from stage_toys import ROWS, StageHead, backbone_of, staged_model, trained
from text_toys import FAMILIES, texts, tiny
from torch import Tensor, nn

from graftwork.catalogue import load_catalogue
from graftwork.interfaces import Backbone, Batch, Features, Model, Spec, State, Strategy
from graftwork.strategies import full, linear_probe, partial

STRATEGIES: dict[str, Strategy] = {
    "full": full.build(Spec("full")),
    "partial:1": partial.build(Spec("partial", {}, "1")),
    "linear-probe": linear_probe.build(Spec("linear-probe")),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", ROWS)
def test_a_head_over_stages_learns_the_same_from_kept_states_and_without(
    kind: str, strategy: str, precision: str, tmp_path: Path
) -> None:
    found = {}
    for kept in (True, False):
        model = staged_model(kind, (1, 2, 3), ("pooled",))
        before = copies(model)
        rows = ROWS[kind](32, 0), ROWS[kind](16, 1)
        fit = trained(model, STRATEGIES[strategy], tmp_path / str(kept), rows, kept, precision)
        assert fit.states is not None and fit.states.any_kept == (kept and strategy != "full")
        found[kept] = copies(model)
        moved = {name for name, value in found[kept].items() if not torch.equal(value, before[name])}
        assert "head.linear.weight" in moved
        assert any(name.startswith("backbone.") for name in moved) == (strategy != "linear-probe")
    assert all(torch.equal(found[True][name], value) for name, value in found[False].items())


def test_summaries_of_frozen_stages_are_columns_beside_the_state(own_cache: Path, tmp_path: Path) -> None:
    rows = ROWS["texts"](32, 0), ROWS["texts"](16, 1)
    fit = trained(staged_model("texts", (1, 3)), STRATEGIES["partial:1"], tmp_path / "run", rows, True, "fp32")
    assert fit.states is not None
    kept = fit.states.data(fit.model, 0, lambda: False).train
    batch = kept.collate([0, 5], [0, 5])
    assert batch.state is not None
    assert batch.state.keys() == {"x", "mask", "summary/1"}  # stage 3 trains
    read = rows[0].read
    kept.collate([0], [0])
    assert rows[0].read == read


def test_where_all_stages_are_frozen_the_state_is_the_features_and_the_summaries(tmp_path: Path) -> None:
    rows = ROWS["pictures"](32, 0), ROWS["pictures"](16, 1)
    fit = trained(staged_model("pictures", (1, 4)), STRATEGIES["linear-probe"], tmp_path / "run", rows, True, "fp32")
    assert fit.states is not None
    state = fit.states.data(fit.model, 0, lambda: False).train.collate([0, 1], [0, 1]).state
    assert state is not None and {name: tuple(value.shape) for name, value in state.items()} == {
        "summary/1": (2, 32), "summary/4": (2, 192)
    }  # fmt: skip


def test_gradients_flow_into_trainable_stages_and_into_no_frozen_one() -> None:
    model = staged_model("pictures", (1, 2, 3))
    rows = ROWS["pictures"](2, 0)
    batch = rows.collate([0, 1], [rows.load(0), rows.load(1)])
    model.freeze(2)
    model.train()
    features = model.features(batch)
    assert [features[f"stage{cut}"].requires_grad for cut in (1, 2, 3)] == [False, False, True]
    model.head.loss(features, batch.targets)["loss"].backward()
    for index, stage in enumerate(model.backbone.stages()):
        reached = any(parameter.grad is not None for parameter in stage.parameters())
        assert reached == (index == 2)


def test_a_head_without_stages_runs_no_operation_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> Tensor:
        raise AssertionError("a summary was made that nobody needs")

    monkeypatch.setattr(Backbone, "summary", refused)
    model = Model(ToyBackbone(), ToyHead())
    model.features(Batch(torch.arange(2), {"numbers": torch.randn(2, 6)}, {}))
    model.freeze(4)
    assert model.prefix(Batch(torch.arange(2), {"numbers": torch.randn(2, 6)}, {})).keys() == {"pooled"}


def test_a_map_is_averaged_over_places_and_tokens_over_what_is_no_padding() -> None:
    backbone = backbone_of("numbers")
    maps = torch.randn(2, 3, 4, 5)
    assert torch.equal(backbone.summary({"x": maps}, 1), maps.mean((2, 3)))
    tokens, mask = torch.randn(2, 4, 3), torch.tensor([[True, True, False, False], [True, True, True, True]])
    tokens[0, 2:] = torch.nan
    found = backbone.summary({"x": tokens, "mask": mask}, 1)
    torch.testing.assert_close(found, torch.stack([tokens[0, :2].mean(0), tokens[1].mean(0)]))
    assert torch.equal(backbone.summary({"x": tokens[1:]}, 1), tokens[1:].mean(1))
    assert torch.equal(backbone.summary({"x": maps[:, :, 0, 0]}, 1), maps[:, :, 0, 0])


def test_half_precision_is_averaged_in_float32() -> None:
    x = torch.full((1, 2, 64, 64), 0.1, dtype=torch.bfloat16)
    found = backbone_of("numbers").summary({"x": x}, 1)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, x.float().mean((2, 3)))


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_have_the_same_summaries_however_they_are_padded(family: str) -> None:
    backbone, inputs = tiny(family).eval(), texts()
    alone = {name: tensor[1:, :5] for name, tensor in inputs.items()}
    for cut in range(1, len(backbone.stages()) + 1):
        with torch.no_grad():
            together = backbone.summary(backbone.prefix(inputs, cut, frozenset()), cut)
            found = backbone.summary(backbone.prefix(alone, cut, frozenset()), cut)
        torch.testing.assert_close(together[1:], found, atol=1e-5, rtol=1e-4)


class _Unlike(ToyBackbone):
    """A backbone that calls its running tensor otherwise, and says nothing of summaries."""

    def advance(self, index: int, state: State, needs: frozenset[str]) -> State:
        return {"hidden": super().advance(index, {"x": state.get("hidden", state.get("x"))}, needs)["x"]}  # type: ignore[dict-item]

    def finish(self, state: State, needs: frozenset[str]) -> Features:
        return {"pooled": state["hidden"]}


def test_a_backbone_that_says_nothing_of_summaries_works_for_heads_without_and_is_named_by_those_with() -> None:
    batch = Batch(torch.arange(2), {"numbers": torch.randn(2, 6)}, {})
    assert Model(_Unlike(), ToyHead()).features(batch).keys() == {"pooled"}
    backbone = _Unlike()
    with pytest.raises(NotImplementedError, match=r"_Unlike keeps no map, tokens or vector as `x`"):
        Model(backbone, StageHead(backbone, (1,))).features(batch)


def test_a_summary_of_another_width_than_declared_is_an_error_that_says_so() -> None:
    class Wider(ToyBackbone):
        def summary_width(self, cut: int) -> int:
            return 7

    backbone = Wider()
    with pytest.raises(ValueError, match=r"stage 2 of Wider has the shape \(2, 6\), declared are 7 channels"):
        Model(backbone, StageHead(backbone, (2,))).features(Batch(torch.arange(2), {"numbers": torch.randn(2, 6)}, {}))


def test_a_stage_that_the_backbone_does_not_have_is_refused_when_the_model_is_made() -> None:
    class Strange(ToyHead):
        needs = frozenset({"pooled", "stage5", "stage0"})

    with pytest.raises(ValueError, match=r"the head needs \['stage0', 'stage5'\], the backbone provides .* 4 stages"):
        Model(ToyBackbone(4), Strange())


def test_a_feature_of_the_backbone_itself_keeps_its_name() -> None:
    class Named(ToyBackbone):
        def __init__(self) -> None:
            super().__init__()
            self.provides = {"pooled": 6, "stage2": 6}

        def finish(self, state: State, needs: frozenset[str]) -> Features:
            return dict.fromkeys(needs, state["x"] + 1)

    class Reading(ToyHead):
        needs = frozenset({"stage2"})

    model, numbers = Model(Named(), Reading()), torch.randn(2, 6)
    assert model.extractor.summaries == ()
    found = model.features(Batch(torch.arange(2), {"numbers": numbers}, {}))["stage2"]
    assert torch.equal(found, model.backbone({"numbers": numbers}, frozenset({"stage2"}))["stage2"])


def test_the_registry_lets_a_head_need_stages_that_a_backbone_has() -> None:
    catalogue = load_catalogue()
    entry = catalogue.backbone("graftnet-s")
    head = catalogue.head("linear").model_copy(update={"needs": ("pooled", "stage2", "stage*")})
    assert head.lacking(entry.gives) == []
    further = head.model_copy(update={"needs": ("stage5", "stage4")})
    assert further.lacking(entry.gives) == ["stage5"]


def test_every_operation_of_a_stage_head_is_kept_in_float32_under_autocast() -> None:
    model = staged_model("pictures", (1, 4))
    rows = ROWS["pictures"](2, 0)
    batch = rows.collate([0, 1], [rows.load(0), rows.load(1)])
    with torch.autocast("cpu", torch.bfloat16):
        features = model.features(batch)
    assert {value.dtype for value in features.values()} == {torch.float32}
    assert isinstance(model.head.linear, nn.Linear)
