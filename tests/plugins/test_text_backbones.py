"""Text backbones: every family in stages, held against upstream's own model, and what is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from text_toys import FAMILIES, HOSTILE, WITH_FILES, hidden, texts, tiny, upstream
from torch import Tensor

from graftwork import UsageError
from graftwork.interfaces import Spec, TextInput
from graftwork.models.weights import load_backbone, read_state
from graftwork.testing.backbones import BackboneConformance
from graftwork_text.backbones import BUILDERS, OPENERS
from graftwork_text.backbones.dropping import ATTENTION
from graftwork_text.backbones.pooling import POOLINGS, mean_over, pool
from graftwork_text.backbones.staged import AfterPooling, TextBackbone


class _Family(BackboneConformance):
    family: ClassVar[str]

    def build(self) -> TextBackbone:
        return tiny(self.family)

    def inputs(self) -> dict[str, Tensor]:
        return texts()


class TestBert(_Family):
    family = "bert"


class TestRoberta(_Family):
    family = "roberta"


class TestDistilBert(_Family):
    family = "distilbert"


class TestMPNet(_Family):
    family = "mpnet"


class TestElectra(_Family):
    family = "electra"


class TestAlbert(_Family):
    family = "albert"


class TestAlbertWithTwoGroups(_Family):
    family = "albert-two-groups"


class TestDeberta(_Family):
    family = "deberta"


class TestDebertaV3(_Family):
    family = "deberta-v3"


class TestModernBert(_Family):
    family = "modernbert"


class TestAFamilyWithoutAnEntry(_Family):
    family = "ernie"


class TestAFamilyWithRotaryPositions(_Family):
    family = "nomic_bert"


class TestAFamilyWithALastNorm(_Family):
    family = "roberta-prelayernorm"


@pytest.mark.parametrize("family", WITH_FILES)
def test_files_of_an_upstream_model_load_completely_and_give_its_hidden_states(family: str, tmp_path: Path) -> None:
    model = upstream(family)
    model.save_pretrained(tmp_path)
    ours = tiny(family).eval()
    report = load_backbone(ours, read_state(tmp_path / "model.safetensors"), family)
    assert report.complete, report
    inputs = texts()
    with torch.no_grad():
        found = ours(inputs)["tokens"]
    expected = hidden(model, inputs, FAMILIES[family]["pad_token_id"])
    assert (found - expected)[inputs["mask"]].abs().max() < 1e-5


@pytest.mark.parametrize("kind", ["AutoModelForSequenceClassification", "AutoModelForMaskedLM"])
@pytest.mark.parametrize("family", WITH_FILES)
def test_files_of_a_model_with_a_head_load_completely(family: str, kind: str, tmp_path: Path) -> None:
    import transformers

    plain = dict(FAMILIES[family])
    config = transformers.CONFIG_MAPPING[plain.pop("model_type")](**plain)
    getattr(transformers, kind).from_config(config).save_pretrained(tmp_path)
    report = load_backbone(tiny(family), read_state(tmp_path / "model.safetensors"), family)
    assert report.complete, report


def test_old_names_of_norms_and_a_half_precision_file_load_into_float32() -> None:
    model = upstream("bert")
    old = {
        f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t
        for name, t in model.state_dict().items()
    }
    ours = tiny("bert")
    report = load_backbone(
        ours, {n: t.bfloat16() for n, t in old.items()} | {"bert.embeddings.position_ids": torch.zeros(1)}, "old"
    )
    assert report.complete, report
    assert {tensor.dtype for tensor in ours.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("family", FAMILIES)
def test_what_stands_in_the_padding_does_not_matter(family: str) -> None:
    ours, inputs = tiny(family, "mean").eval(), texts()
    other = inputs | {"tokens": inputs["tokens"].masked_fill(~inputs["mask"], 7)}
    alone = {name: tensor[1:, :5] for name, tensor in inputs.items()}
    with torch.no_grad():
        found = ours(inputs)["pooled"]
        assert torch.equal(ours(other)["pooled"], found)
        assert torch.allclose(ours(alone)["pooled"], found[1:], atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_without_a_token_gives_numbers_and_numbers_for_gradients(family: str) -> None:
    for pooling in ("cls", "mean"):
        ours, inputs = tiny(family, pooling).eval(), texts()
        inputs["mask"][1] = False
        pooled = ours(inputs)["pooled"]
        pooled.square().sum().backward()
        assert torch.isfinite(pooled).all()
        assert all(torch.isfinite(p.grad).all() for p in ours.parameters() if p.grad is not None)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_trains_under_autocast_and_the_mean_stays_float32(family: str) -> None:
    ours = tiny(family, "mean")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = ours(texts())["pooled"]
    pooled.square().sum().backward()
    assert pooled.dtype == torch.float32
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in ours.parameters())


def test_albert_repeats_its_shared_layer_inside_one_stage() -> None:
    assert len(tiny("albert").stages()) == 2
    assert len(tiny("albert-two-groups").stages()) == 3


def test_pooling_is_the_first_token_or_the_mean_over_the_mask() -> None:
    inputs = texts()
    backbone = tiny("bert", "cls").eval()
    with torch.no_grad():
        features = backbone(inputs)
    assert torch.equal(features["pooled"], features["tokens"][:, 0])
    mean = mean_over(features["tokens"].half(), inputs["mask"])
    assert mean.dtype == torch.float32
    assert torch.allclose(mean[1], features["tokens"][1, :5].mean(0), atol=1e-3)


@pytest.mark.parametrize("how", POOLINGS)
def test_every_pooling_is_the_one_of_sentence_transformers(how: str) -> None:
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    inputs = texts()
    features = tiny("bert", how).eval()(inputs)
    given = {"token_embeddings": features["tokens"], "attention_mask": inputs["mask"].long()}
    expected = modules.Pooling(16, pooling_mode=how)(given)["sentence_embedding"]
    assert torch.allclose(features["pooled"], expected, atol=1e-6)
    nothing = pool(features["tokens"], torch.zeros_like(inputs["mask"]), how)
    assert nothing.isfinite().all()


def test_a_dense_layer_gives_pooled_its_width_and_normalize_its_length() -> None:
    dense = '{"in": 16, "out": 5, "bias": false, "activation": "Tanh"}'
    backbone = TextBackbone(json.dumps(FAMILIES["bert"]), "max", TextInput("", 20), 0, AfterPooling(dense, True)).eval()
    inputs = texts()
    assert backbone.provides == {"pooled": 5, "tokens": 16} and len(backbone.stages()) == 3
    assert backbone.translate({"linear.weight": torch.ones(5, 16)}).keys() <= backbone.state_dict().keys()
    pooled = backbone(inputs)["pooled"]
    assert pooled.shape == (2, 5) and torch.allclose(pooled.norm(dim=1), torch.ones(2), atol=1e-6)
    with pytest.raises(UsageError, match="takes 15 channels and the encoder gives 16"):
        TextBackbone(json.dumps(FAMILIES["bert"]), "max", TextInput("", 20), 0, AfterPooling(dense.replace("16", "15")))
    with pytest.raises(UsageError, match="activation"):
        TextBackbone(
            json.dumps(FAMILIES["bert"]), "max", TextInput("", 20), 0, AfterPooling(dense.replace("Tanh", "eval"))
        )


def test_the_state_after_the_embedding_has_gradients() -> None:
    backbone, inputs = tiny("mpnet").eval(), texts()
    needs = frozenset({"pooled"})
    state = backbone.prefix(inputs, 1, needs)
    state["x"] = state["x"].detach().requires_grad_()
    # Squared: the plain sum of what a layer norm gives is constant, and has a gradient by rounding alone.
    backbone.suffix(state, 1, needs)["pooled"].square().sum().backward()
    assert state["x"].grad is not None and state["x"].grad[inputs["mask"]].any()


def test_building_is_a_function_of_the_seed_and_attention_is_the_fused_one() -> None:
    torch.manual_seed(1)
    first = tiny("ernie")
    after = torch.rand(1)
    torch.manual_seed(1)
    second = tiny("ernie")
    assert torch.equal(torch.rand(1), after)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert first.__dict__["_upstream"].config._attn_implementation == ATTENTION


def test_the_users_length_stands_above_the_weights_and_below_the_positions() -> None:
    chosen = tiny("roberta", length=11)
    chosen.use_input({"tokenizer": "t", "length": 20})
    assert chosen.input == TextInput("t", 11)
    assert tiny("roberta").input.length == 20
    with pytest.raises(UsageError, match="positions for 22 tokens, not for 23"):
        tiny("roberta", length=23)
    with pytest.raises(UsageError, match="positions for 24 tokens"):
        tiny("bert").use_input({"length": 25})


def test_the_longest_input_that_is_allowed_runs() -> None:
    for family in FAMILIES:
        backbone = tiny(family).eval()
        size = backbone._positions
        inputs = {"tokens": torch.full((1, size), 5), "mask": torch.ones(1, size, dtype=torch.bool)}
        with torch.no_grad():
            assert backbone(inputs)["tokens"].shape == (1, size, 16), family


def test_text_facts_survive_pickling() -> None:
    facts = TextInput("text of a tokenizer", 7)
    assert pickle.loads(pickle.dumps(facts)) == facts


def test_the_catalogue_says_what_the_builders_build() -> None:
    from graftwork.catalogue import load_catalogue

    catalogue = load_catalogue()
    for name, build in BUILDERS.items():
        entry = catalogue.backbone(name)
        backbone = build(Spec(name, entry.complete({})))
        assert dict(backbone.provides) == entry.features, name
        assert len(backbone.stages()) == entry.stages, name
        assert sum(p.numel() for p in backbone.parameters()) == entry.parameters, name
        assert backbone.input.length == entry.input["length"], name
        assert backbone._pooling == ("cls" if name == "transformers" else "mean")
    assert set(OPENERS) == {name for name, entry in catalogue.entries["backbones"].items() if "hf" in entry.opens}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_configuration_that_cannot_be_meant_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        TextBackbone(HOSTILE[name], "auto", TextInput("", 20), 0)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_files_under_names_that_nobody_translates_are_refused(tmp_path: Path) -> None:
    upstream("nomic_bert").save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="weights of another architecture"):
        load_backbone(tiny("nomic_bert"), read_state(tmp_path / "model.safetensors"), "nomic")
