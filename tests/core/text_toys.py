"""Tiny text encoders of every family, inputs for them, and upstream's own answer: for the tests of text backbones."""

from __future__ import annotations

import inspect
import json
from typing import Any

import torch
from torch import Tensor

from graftwork.interfaces import TextInput
from graftwork_text.backbones.staged import TextBackbone

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
    # Families that nothing here was written for.
    "ernie": {"model_type": "ernie", **BERT},
    "nomic_bert": {"model_type": "nomic_bert", **BERT},
    "roberta-prelayernorm": {"model_type": "roberta-prelayernorm", **ROBERTA},
}

# transformers converts nomic_bert's files as it reads them; we do not, and refuse them by their names.
WITH_FILES = [name for name in FAMILIES if name != "nomic_bert"]


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


def upstream(family: str) -> Any:
    from transformers import CONFIG_MAPPING, AutoModel

    plain = dict(FAMILIES[family])
    torch.manual_seed(5)
    return AutoModel.from_config(CONFIG_MAPPING[plain.pop("model_type")](**plain)).eval()


def hidden(model: Any, inputs: dict[str, Tensor], pad: int) -> Tensor:
    """The last hidden states of an upstream model [B, T, C], called as its users call it."""
    given: dict[str, Tensor] = {
        "input_ids": inputs["tokens"].masked_fill(~inputs["mask"], pad),
        "attention_mask": inputs["mask"].long(),
    }
    if "token_type_ids" in inspect.signature(model.forward).parameters and model.config.type_vocab_size > 1:
        given["token_type_ids"] = inputs["types"]
    with torch.no_grad():
        found: Tensor = model(**given).last_hidden_state
    return found


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
