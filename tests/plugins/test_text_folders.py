"""Folders of models as people have them: what opens gives AutoModel's tokens and hidden states; what does not, a way out.

The folders are written by transformers, sentence-transformers, peft and torch; the ways out are followed.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from text_toys import BERT, upstream

from graftwork import UsageError
from graftwork.interfaces import Pretrained, Spec, TextInput
from graftwork.log import heard
from graftwork.models.weights import load_backbone, read_state
from graftwork_text.backbones import BUILDERS
from graftwork_text.backbones.probes import PROBES
from graftwork_text.backbones.sources import open_pretrained
from graftwork_text.tokens import load_tokenizer

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *"abcdefghijklmnopqrstuvwxyz",
    *(f"##{c}" for c in "abcdeinorst"),
]
CASES = Path(__file__).parents[3] / "shared" / "cases" / "text" / "models"


def bert(folder: Path, post_processor: bool = True, **facts: Any) -> Path:
    """A BERT of 60 embeddings with a WordPiece tokenizer, as save_pretrained leaves it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    upstream("bert").save_pretrained(folder)
    tokenizer = Tokenizer(models.WordPiece({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(WORDS[:5])
    if post_processor:
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {f"{kind}_token": f"[{kind.upper()}]" for kind in ("pad", "unk", "cls", "sep", "mask")}
    facts = {"tokenizer_class": "BertTokenizer", "model_max_length": 20, **named, **facts}
    (folder / "tokenizer_config.json").write_text(json.dumps(facts))
    return folder


def add(folder: Path, tokens: list[str], special: bool, resize: bool) -> Path:
    """Add tokens as users do."""
    from transformers import AutoModel, AutoTokenizer

    own = AutoTokenizer.from_pretrained(folder)
    own.add_tokens(tokens, special_tokens=special)
    own.save_pretrained(folder)
    if resize:
        model = AutoModel.from_pretrained(folder)
        model.resize_token_embeddings(max(60, len(own)) + 5)
        model.save_pretrained(folder)
    return folder


def load(opened: Pretrained, **options: Any) -> Any:
    """The backbone with its weights, in evaluation mode."""
    backbone: Any = BUILDERS["transformers"](Spec("transformers", {**opened.options, **options})).eval()
    backbone.use_input(opened.input)
    state = {name: tensor for path in opened.files() for name, tensor in read_state(path).items()}
    assert load_backbone(backbone, state, "folder").complete
    return backbone


def check_against_auto_model(folder: Path, opened: Pretrained) -> None:
    """Tokens of every probe, and hidden states of some, are AutoModel's and AutoTokenizer's."""
    from transformers import AutoModel, AutoTokenizer

    own, theirs = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval().float()
    backbone = load(opened)
    tokenizer = load_tokenizer(backbone.input)
    words = [word for word in own.get_added_vocab() if word not in own.special_tokens_map.values()]
    probes = [*PROBES, *(f"a {word} b{word}" for word in words)]
    ours = [encoding.ids for encoding in tokenizer.encode_batch_fast(probes)]
    assert ours == own(probes, verbose=False)["input_ids"]
    for row in ours[:8]:
        tokens = torch.tensor([row[: backbone.input.length]])
        with torch.no_grad():
            found = backbone({"tokens": tokens, "mask": torch.ones_like(tokens, dtype=torch.bool)})["tokens"]
            expected = theirs(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
        assert (found - expected).abs().max() < 1e-5


def refused(folder: Path | str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        opened = open_pretrained(str(folder))
        BUILDERS["transformers"](Spec("transformers", opened.options))
    assert "\n" not in str(caught.value)
    return caught.value


def follow(error: UsageError, tmp_path: Path, base: Path | None = None) -> str:
    """Run the command that a hint gives, in this process, which has its libraries; return the backbone that it names next."""
    hint = str(error.hint)
    command = re.search(r"python -c ('.*')", hint)
    assert command, hint
    code = shlex.split(command[1])[0].replace("BASE", str(base))
    with contextlib.chdir(tmp_path):
        exec(code, {})
    named = re.search(r"--backbone (\S+)", hint)
    return str(tmp_path / named[1]) if named else ""


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    with heard(lines.append):
        yield lines


def beside(folder: Path, name: str, **facts: Any) -> Path:
    """Tokens that stand in another file than tokenizer.json, as older versions left them."""
    bert(folder)
    (folder / name).write_text(json.dumps(facts))
    return folder


def without_class(folder: Path) -> Path:
    (bert(folder) / "tokenizer_config.json").unlink()
    return folder


def padded(folder: Path) -> Path:
    """As sentence-transformers' models have it."""
    tokenizer = load_tokenizer(TextInput((bert(folder) / "tokenizer.json").read_text(), 1))
    tokenizer.enable_padding(length=12)
    tokenizer.enable_truncation(8)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


NEW = {"content": "[NEW]", "special": True, "normalized": False, "lstrip": False, "rstrip": False, "single_word": False}
OPENED_TOKENS: dict[str, Callable[[Path], Path]] = {
    "own special tokens": lambda folder: add(bert(folder), ["[USER]", "[URL]"], True, True),
    "own words": lambda folder: add(bert(folder), ["zzproduct", "@user", "No 1"], False, True),
    "special words in angles": lambda folder: add(bert(folder), ["<hashtag>", "<emoji>"], True, True),
    "no post-processor": lambda folder: bert(folder, post_processor=False),
    "a cased tokenizer that lowers by its class": lambda folder: bert(folder, do_lower_case=False),
    "tokenizer_config of another class": lambda folder: bert(folder, tokenizer_class="PreTrainedTokenizerFast"),
    "added_tokens.json": lambda folder: beside(folder, "added_tokens.json", zz=len(WORDS)),
    "special_tokens_map.json": lambda folder: beside(
        folder, "special_tokens_map.json", additional_special_tokens=["[XX]"]
    ),
    "added_tokens_decoder": lambda folder: bert(folder, added_tokens_decoder={str(len(WORDS)): NEW}),
    "no tokenizer_config": without_class,
    "padding and truncation in the file": padded,
    "accents kept": lambda folder: bert(folder, strip_accents=False),
}


@pytest.mark.parametrize("name", OPENED_TOKENS)
def test_what_opens_gives_the_tokens_of_its_own_tokenizer(name: str, tmp_path: Path, said: list[str]) -> None:
    folder = OPENED_TOKENS[name](tmp_path / "model")
    check_against_auto_model(folder, open_pretrained(str(folder)))
    assert any("tokenizer.json differs from its BertTokenizer" in line for line in said) == (
        name not in ("own special tokens", "own words", "special words in angles", "tokenizer_config of another class",
                     "no tokenizer_config", "padding and truncation in the file")
    )  # fmt: skip


@pytest.mark.parametrize(
    "kind", ["AlbertTokenizer", "XLMRobertaTokenizer", "CamembertTokenizer", "BertJapaneseTokenizer"]
)
def test_a_class_that_the_file_is_not_for_is_named_and_the_hint_opens_it(kind: str, tmp_path: Path) -> None:
    error = refused(bert(tmp_path, tokenizer_class=kind))
    assert error.what == f"its tokenizer.json cannot be opened as a {kind}, as tokenizer_config.json says"
    found = re.search(r'"tokenizer_class": "\w+"', str(error.hint))
    assert found
    path = tmp_path / "tokenizer_config.json"
    path.write_text(path.read_text().replace(f'"tokenizer_class": "{kind}"', found[0]))
    check_against_auto_model(tmp_path, open_pretrained(str(tmp_path)))


def test_control_tokens_that_somebody_typed_stay_text_beside_own_special_tokens(tmp_path: Path) -> None:
    folder = add(bert(tmp_path), ["[USER]"], True, True)
    ids = load_tokenizer(load(open_pretrained(str(folder))).input).encode("a [SEP] [USER] [MASK]").ids
    assert ids.count(3) == 1 and len(WORDS) in ids and 4 not in ids


@pytest.mark.parametrize(
    ("tokens", "special", "words"),
    [
        ([f"zz{at}" for at in range(30)], False, r"\d+ tokens were added .*'zz\d+', .*has 60"),
        ([f"[T{at}]" for at in range(20)], True, r"\d+ tokens were added .*'\[T\d+\]'"),
        ([f"w{at}" for at in range(60 - len(WORDS) + 1)], False, r"1 token was added .*'w\d+'"),
    ],
)
def test_added_tokens_without_embeddings_are_counted_and_the_hint_makes_them(
    tokens: list[str], special: bool, words: str, tmp_path: Path
) -> None:
    folder = add(bert(tmp_path / "my model"), tokens, special, False)
    error = refused(folder)
    assert re.search(words, error.what)
    assert int(error.what.split()[0]) == len(WORDS) + len(tokens) - 60
    follow(error, tmp_path)
    check_against_auto_model(Path(f"{folder}-resized"), open_pretrained(f"{folder}-resized"))


def sentence(folder: Path, *after: Any, pooling: str = "mean") -> Path:
    """A folder of sentence-transformers around `bert`."""
    st = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    base = bert(folder.with_name("base"))
    encoder = Transformer(str(base), max_seq_length=16)
    st.SentenceTransformer(modules=[encoder, Pooling(16, pooling_mode=pooling), *after], device="cpu").save(str(folder))
    return folder


def embeddings(folder: Path, texts: list[str]) -> torch.Tensor:
    import sentence_transformers as st

    found: torch.Tensor = st.SentenceTransformer(str(folder), device="cpu").encode(texts, convert_to_tensor=True)
    return found


def pooled(backbone: Any, texts: list[str]) -> torch.Tensor:
    tokenizer = load_tokenizer(backbone.input)
    tokenizer.enable_truncation(backbone.input.length)
    rows = []
    for text in texts:
        tokens = torch.tensor([tokenizer.encode(text).ids])
        with torch.no_grad():
            rows.append(backbone({"tokens": tokens, "mask": torch.ones_like(tokens, dtype=torch.bool)})["pooled"])
    return torch.cat(rows)


TEXTS = ["an abandoned cab", "rain on the side of a stone", "A", "NO NOISE in the dining room, please " * 4]


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens"])
def test_poolings_of_sentence_transformers_are_used(pooling: str, tmp_path: Path) -> None:
    folder = sentence(tmp_path / "st", pooling=pooling)
    opened = open_pretrained(str(folder))
    assert (opened.options["pooling"], opened.input["length"]) == (pooling, 16)
    assert torch.allclose(pooled(load(opened), TEXTS), embeddings(folder, TEXTS), atol=1e-5)


@pytest.mark.parametrize("activation", ["Tanh", "Identity", "GELU"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_dense_layer_is_used_and_normalize_where_it_is_asked_for(
    activation: str, bias: bool, tmp_path: Path, said: list[str]
) -> None:
    pytest.importorskip("sentence_transformers")
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize

    layer = Dense(16, 6, bias=bias, activation_function=getattr(torch.nn, activation)())
    folder = sentence(tmp_path / "st", layer, Normalize())
    opened = open_pretrained(str(folder))
    assert any("normalize=true" in line for line in said)
    assert load(opened).provides["pooled"] == 6
    expected = embeddings(folder, TEXTS)
    assert torch.allclose(pooled(load(opened, normalize=True), TEXTS), expected, atol=1e-5)
    plain = pooled(load(opened), TEXTS)
    assert torch.allclose(torch.nn.functional.normalize(plain, dim=-1), expected, atol=1e-5)


def test_lower_case_and_a_prompt_of_sentence_transformers(tmp_path: Path, said: list[str]) -> None:
    folder = sentence(tmp_path / "st")
    path = folder / "sentence_bert_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "do_lower_case": True}))
    about = folder / "config_sentence_transformers.json"
    prompts = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    about.write_text(json.dumps({**json.loads(about.read_text()), **prompts}))
    tokenizer = load_tokenizer(load(open_pretrained(str(folder))).input)
    assert tokenizer.encode("RAIN").ids == tokenizer.encode("rain").ids and tokenizer.normalizer is not None
    assert any("prompt 'query: ' is not put before texts" in line for line in said)


def _modules(*changes: dict[str, Any]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "modules.json"
        path.write_text(json.dumps([*json.loads(path.read_text()), *changes]))

    return change


def _first_module(kind: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "modules.json"
        modules = json.loads(path.read_text())
        modules[0]["type"] = kind
        path.write_text(json.dumps(modules))

    return change


def _dense_with(**facts: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "2_Dense").mkdir()
        config = {"in_features": 16, "out_features": 6, **facts}
        (folder / "2_Dense" / "config.json").write_text(json.dumps(config))
        _modules({"type": "sentence_transformers.models.Dense", "path": "2_Dense"})(folder)

    return change


def _pooling_with(**facts: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"embedding_dimension": 16, **facts}))

    return change


REFUSED_MODULES: dict[str, tuple[Callable[[Path], None], str]] = {
    "CNN": (_modules({"type": "sentence_transformers.models.CNN", "path": "2_CNN"}), r"2_CNN \(CNN\)"),
    "LSTM": (_modules({"type": "sentence_transformers.models.LSTM", "path": "2_LSTM"}), r"2_LSTM \(LSTM\)"),
    "norm": (_modules({"type": "sentence_transformers.models.LayerNorm", "path": "2_LayerNorm"}), "LayerNorm"),
    "SPLADE": (_first_module("sentence_transformers.sparse_encoder.models.MLMTransformer"), "MLMTransformer"),
    "static": (_first_module("sentence_transformers.models.StaticEmbedding"), "StaticEmbedding"),
    "router": (_first_module("sentence_transformers.base.modules.router.Router"), "Router"),
    "own code": (_first_module("custom_st.Transformer"), "Transformer"),
    "residual": (_dense_with(use_residual=True), r"2_Dense \(Dense\)"),
    "own activation": (_dense_with(activation_function="mine.Snake"), r"2_Dense \(Dense\)"),
    "tokens": (_dense_with(module_input_name="token_embeddings"), r"2_Dense \(Dense\)"),
    "joined": (_pooling_with(pooling_mode=["cls", "mean"]), "its pooling joins cls and mean"),
    "joined, before": (
        _pooling_with(pooling_mode_cls_token=True, pooling_mode_max_tokens=True),
        "its pooling joins cls and max",
    ),
    "unknown": (_pooling_with(pooling_mode="attention"), "its pooling 'attention' is not known"),
}


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sentence(tmp_path_factory.mktemp("sentences") / "st")


@pytest.mark.parametrize("name", REFUSED_MODULES)
def test_other_modules_are_refused_by_name_and_the_encoder_alone_opens(
    name: str, sentences: Path, tmp_path: Path
) -> None:
    change, words = REFUSED_MODULES[name]
    folder = Path(shutil.copytree(sentences, tmp_path / "st"))
    change(folder)
    error = refused(folder)
    assert re.search(words, error.what)
    if "without modules.json" in str(error.hint):
        (folder / "modules.json").unlink()
        (folder / "1_Pooling" / "config.json").unlink()
    else:
        found = re.search(r'"pooling_mode": "\w+"', str(error.hint))
        assert found
        (folder / "1_Pooling" / "config.json").write_text("{" + found[0] + "}")
    assert open_pretrained(str(folder)).options["pooling"] in ("auto", "cls")


def test_pickled_weights_open_as_tensors_alone(tmp_path: Path) -> None:
    folder = bert(tmp_path)
    state = read_state(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    torch.save({"args": 1}, folder / "training_args.bin")
    check_against_auto_model(folder, open_pretrained(str(folder)))
    names = sorted(state)
    shards = {"pytorch_model-1.bin": names[::2], "pytorch_model-2.bin": names[1::2]}
    (folder / "pytorch_model.bin").unlink()
    for file, kept in shards.items():
        torch.save({name: state[name] for name in kept}, folder / file)
    index = {"weight_map": {name: file for file, kept in shards.items() for name in kept}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    load(open_pretrained(str(folder)))


def test_pickled_weights_of_the_old_layout_are_converted_by_the_hint(tmp_path: Path) -> None:
    folder = bert(tmp_path / "old")
    state = read_state(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    follow(refused(folder), tmp_path)
    check_against_auto_model(Path(f"{folder}-converted"), open_pretrained(f"{folder}-converted"))


@pytest.mark.parametrize(("kind", "base", "labels"), [("SEQ_CLS", True, 5), ("SEQ_CLS", False, 2), (None, True, 0)])
def test_an_adapter_is_joined_by_the_hint(kind: str | None, base: bool, labels: int, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    from transformers import AutoModel, AutoModelForSequenceClassification

    model = bert(tmp_path / "base")
    maker: Any = AutoModelForSequenceClassification if kind else AutoModel
    adapted = peft.get_peft_model(
        maker.from_pretrained(model, **({"num_labels": labels} if kind else {})),
        peft.LoraConfig(task_type=kind, r=2, target_modules=["query", "value"], init_lora_weights=False),
    )
    folder = tmp_path / "adapter"
    adapted.save_pretrained(folder)
    if not base:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": None}))
    error = refused(folder)
    assert "adapter_config.json" in error.what and ("BASE" in str(error.hint)) != base
    follow(error, tmp_path, model)
    merged = f"{folder}-merged"
    found = load(open_pretrained(merged)).state_dict()
    before = load(open_pretrained(str(model))).state_dict()
    changed = [name for name in found if not torch.equal(found[name], before[name])]
    assert len(changed) == 4 and all(name.endswith(("query.weight", "value.weight")) for name in changed)


@pytest.mark.parametrize(
    ("inner", "best", "chosen"),
    [
        (["checkpoint-500"], None, "checkpoint-500"),
        (["checkpoint-90", "checkpoint-1000"], None, "checkpoint-1000"),
        (["checkpoint-10", "checkpoint-20"], "/home/me/out/checkpoint-10", "checkpoint-10"),
        (["final"], None, "final"),
        (["snapshots/0a1b"], None, "snapshots/0a1b"),
    ],
)
def test_a_folder_of_checkpoints_names_the_one_to_take(
    inner: list[str], best: str | None, chosen: str, tmp_path: Path
) -> None:
    root = tmp_path / "out put"
    for name in inner:
        bert(root / name)
        (root / name / "trainer_state.json").write_text(json.dumps({"best_model_checkpoint": best}))
    error = refused(root)
    named = shlex.split(str(error.hint))[-1]
    assert Path(named) == root / chosen and Path(inner[0]).parts[0] in error.what
    open_pretrained(named)


def test_a_checkpoint_without_its_tokenizer_gets_it_from_its_base(tmp_path: Path) -> None:
    base = bert(tmp_path / "base")
    folder = bert(tmp_path / "checkpoint-3")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    error = refused(folder)
    assert "no tokenizer.json" in error.what
    follow(error, tmp_path, base)
    check_against_auto_model(folder, open_pretrained(str(folder)))


def test_a_run_is_named_as_one(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{}")
    assert str(refused(tmp_path).hint) == f"Give it as --backbone run:{tmp_path}"


FAMILY: dict[str, dict[str, Any]] = {
    "longformer": {**BERT, "attention_window": 4},
    "fnet": BERT,
    "squeezebert": {**BERT, "q_groups": 1, "k_groups": 1, "v_groups": 1, "post_attention_groups": 1,
                    "intermediate_groups": 1, "output_groups": 1, "embedding_size": 16},
    "layoutlm": BERT,
    "funnel": {"vocab_size": 60, "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 24, "block_sizes": [1, 1]},
    "big_bird": BERT,
    "roformer": BERT,
    "xlnet": {"vocab_size": 60, "d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 24},
    "xlm": {"vocab_size": 60, "emb_dim": 16, "n_layers": 1, "n_heads": 2},
    "reformer": {"vocab_size": 60},
    "canine": BERT,
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILY)
def test_a_family_that_is_not_supported_is_named_with_others_that_are(family: str, tmp_path: Path) -> None:
    folder = bert(tmp_path)
    (folder / "config.json").write_text(json.dumps({"model_type": family, **FAMILY[family]}))
    error = refused(folder)
    assert family in str(error) and "--backbone minilm-l6" in str(error.hint)
    assert not re.search("config.json|stages|hidden states|forward|Error|Module", str(error))


NOT_OPENED = {
    "A2_special_added_not_resized": "2 tokens were added to its tokenizer",
    "A_added_not_resized": "2 tokens were added to its tokenizer",
    "G_adapter": "holds an adapter",
    "H_trainer_out": "checkpoint-500",
    **{f"E_{name}": "not supported" for name in ("esm", "flaubert", "fnet", "funnel", "layoutlm", "longformer")},
    **{f"E_{name}": "not supported" for name in ("rembert", "roformer", "squeezebert", "t5enc", "xlnet")},
    **{f"E_{name}": "is a decoder" for name in ("llama_cls", "qwen2_cls")},
}


def test_every_folder_that_people_have_opens_as_automodel_or_is_refused_by_name() -> None:
    if not CASES.is_dir():
        pytest.skip(f"the cases are not there: no folder {CASES}")
    for folder in sorted(CASES.iterdir()):
        if folder.name in NOT_OPENED:
            error = refused(folder)
            assert NOT_OPENED[folder.name] in str(error) and error.hint, folder.name
        else:
            check_against_auto_model(folder, open_pretrained(str(folder)))
