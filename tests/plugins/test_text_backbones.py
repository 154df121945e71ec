"""Text backbones: every family in stages, held against upstream's own model; foreign folders, good and hostile."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from graftwork import RunFailed, UsageError
from graftwork.interfaces import Spec, TextInput
from graftwork.testing.backbones import BackboneConformance
from graftwork.weights import load_backbone, read_state
from graftwork_text.backbones import BUILDERS, OPENERS
from graftwork_text.backbones.sources import open_pretrained
from graftwork_text.backbones.staged import TextBackbone, mean_over

BERT: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 24,
    "type_vocab_size": 2,
    "pad_token_id": 0,
}
ROBERTA = {**BERT, "pad_token_id": 1, "type_vocab_size": 1, "bos_token_id": 0, "eos_token_id": 2}
DEBERTA = {**BERT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {"model_type": "bert", **BERT},
    "roberta": {"model_type": "roberta", **ROBERTA},
    "xlm-roberta": {"model_type": "xlm-roberta", **ROBERTA},
    "camembert": {"model_type": "camembert", **ROBERTA},
    "distilbert": {
        "model_type": "distilbert",
        "vocab_size": 60,
        "dim": 16,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 24,
        "max_position_embeddings": 24,
        "pad_token_id": 0,
    },
    "mpnet": {"model_type": "mpnet", **ROBERTA, "relative_attention_num_buckets": 32},
    "electra": {"model_type": "electra", **BERT, "embedding_size": 8},
    "albert": {"model_type": "albert", **BERT, "embedding_size": 8},
    "albert-two-groups": {"model_type": "albert", **BERT, "num_hidden_layers": 4, "num_hidden_groups": 2},
    "deberta": {"model_type": "deberta", **DEBERTA},
    "deberta-v2": {"model_type": "deberta-v2", **DEBERTA},
    "deberta-v3": {
        "model_type": "deberta-v2",
        **DEBERTA,
        "type_vocab_size": 0,
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "conv_kernel_size": 3,
    },
    "modernbert": {
        "model_type": "modernbert",
        **BERT,
        "num_hidden_layers": 3,
        "global_attn_every_n_layers": 2,
        "local_attention": 4,
        "max_position_embeddings": 24,
        "cls_token_id": 2,
        "sep_token_id": 3,
        "bos_token_id": 2,
        "eos_token_id": 3,
    },
    "ernie": {"model_type": "ernie", **BERT},  # a family that nothing here was written for
}


def tiny(family: str, pooling: str = "auto", length: int = 0) -> TextBackbone:
    return TextBackbone(json.dumps(FAMILIES[family]), pooling, TextInput("", 20), length)


def texts() -> dict[str, Tensor]:
    """Two rows of 9 and 5 tokens, pairs by their types; what stands where the mask is false must not matter."""
    tokens = torch.randint(4, 60, (2, 9), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[1, 5:] = False
    types = torch.zeros_like(tokens)
    types[0, 5:] = 1
    types[1, 3:5] = 1
    return {"tokens": tokens.masked_fill(~mask, 0), "mask": mask, "types": types}


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


def upstream(family: str) -> Any:
    from transformers import CONFIG_MAPPING, AutoModel

    plain = dict(FAMILIES[family])
    torch.manual_seed(5)
    return AutoModel.from_config(CONFIG_MAPPING[plain.pop("model_type")](**plain)).eval()


def hidden(model: Any, inputs: dict[str, Tensor], pad: int) -> Tensor:
    """The last hidden states of an upstream model [B, T, C], called as its users call it."""
    import inspect

    given: dict[str, Tensor] = {
        "input_ids": inputs["tokens"].masked_fill(~inputs["mask"], pad),
        "attention_mask": inputs["mask"].long(),
    }
    if "token_type_ids" in inspect.signature(model.forward).parameters and model.config.type_vocab_size > 1:
        given["token_type_ids"] = inputs["types"]
    with torch.no_grad():
        found: Tensor = model(**given).last_hidden_state
    return found


@pytest.mark.parametrize("family", FAMILIES)
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
@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "albert-two-groups"])
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


def test_the_state_after_the_embedding_has_gradients() -> None:
    backbone, inputs = tiny("mpnet").eval(), texts()
    needs = frozenset({"pooled"})
    state = backbone.prefix(inputs, 1, needs)
    state["x"] = state["x"].detach().requires_grad_()
    backbone.suffix(state, 1, needs)["pooled"].sum().backward()
    assert state["x"].grad is not None and state["x"].grad[inputs["mask"]].any()


def test_building_is_a_function_of_the_seed_and_attention_is_the_fused_one() -> None:
    torch.manual_seed(1)
    first = tiny("ernie")
    after = torch.rand(1)
    torch.manual_seed(1)
    second = tiny("ernie")
    assert torch.equal(torch.rand(1), after)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert first.__dict__["_upstream"].config._attn_implementation == "sdpa"


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
        if family.startswith("albert-two"):
            continue
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


HOSTILE = {
    "no JSON": "{",
    "no object": "[1]",
    "no model type": "{}",
    "unknown model": json.dumps({"model_type": "nothing-like-this", "auto_map": {"AutoModel": "x.Y"}}),
    "type of no text": json.dumps({"model_type": ["bert"]}),
    "decoder-only": json.dumps({"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 60}),
    "llama": json.dumps({"model_type": "llama", **BERT, "num_key_value_heads": 2}),
    "encoder-decoder": json.dumps({"model_type": "t5", "d_model": 16, "num_layers": 1, "num_heads": 2, "d_kv": 8}),
    "set up as a decoder": json.dumps({**FAMILIES["bert"], "is_decoder": True}),
    "wide": json.dumps({**FAMILIES["bert"], "hidden_size": 1 << 20}),
    "wide inside": json.dumps({**FAMILIES["bert"], "intermediate_size": 1 << 40}),
    "deep": json.dumps({**FAMILIES["bert"], "num_hidden_layers": 100_000}),
    "large in all": json.dumps(
        {**FAMILIES["bert"], "hidden_size": 16_384, "num_hidden_layers": 500, "intermediate_size": 65_536}
    ),
    "many words": json.dumps({**FAMILIES["bert"], "vocab_size": 10**9}),
    "no layer": json.dumps({**FAMILIES["bert"], "num_hidden_layers": 0}),
    "a word for a number": json.dumps({**FAMILIES["bert"], "hidden_size": "16"}),
    "heads that do not fit": json.dumps({**FAMILIES["bert"], "num_attention_heads": 3}),
    "padding beyond the words": json.dumps({**FAMILIES["bert"], "pad_token_id": 99}),
    "pictures": json.dumps({"model_type": "vit", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}),
    "sparse attention": json.dumps({"model_type": "big_bird", **BERT}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_configuration_that_cannot_be_meant_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        TextBackbone(HOSTILE[name], "auto", TextInput("", 20), 0)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    print(caught.value)
