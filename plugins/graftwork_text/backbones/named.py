"""The catalogue's text backbones: two with a configuration of their own, and one for any configuration."""

from __future__ import annotations

import json
from typing import Any

from graftwork.interfaces import Backbone, Spec, TextInput
from graftwork_text.backbones.staged import AfterPooling, TextBackbone

GRAFTEXT_S: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": 4096,
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "max_position_embeddings": 256,
    "type_vocab_size": 2,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "pad_token_id": 0,
}
"""graftwork's own small encoder, for machines without a GPU and for tests."""

MINILM_L6: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
"""MiniLM-L6-H384 (Wang et al. 2020), the encoder of all-MiniLM-L6-v2, which pools by the mean and was trained on up to
256 tokens."""


def build_graftext_s(spec: Spec) -> Backbone:
    """The backbone `graftext-s`."""
    return _build(GRAFTEXT_S, "mean", 128, spec)


def build_minilm_l6(spec: Spec) -> Backbone:
    """The backbone `minilm-l6`."""
    return _build(MINILM_L6, "mean", 256, spec)


def build_transformers(spec: Spec) -> Backbone:
    """The backbone `transformers`: the encoder that its option `config` describes, or one of graftext-s's size."""
    config = str(spec.options["config"]) or json.dumps(GRAFTEXT_S)
    facts = TextInput("", 512 if spec.options["config"] else 128)
    after = AfterPooling(str(spec.options.get("dense", "")), bool(spec.options.get("normalize", False)))
    return TextBackbone(config, str(spec.options["pooling"]), facts, int(spec.options["length"]), after)


def _build(config: dict[str, Any], habit: str, length: int, spec: Spec) -> Backbone:
    pooling = str(spec.options["pooling"])
    return TextBackbone(
        json.dumps(config), habit if pooling == "auto" else pooling, TextInput("", length), int(spec.options["length"])
    )
