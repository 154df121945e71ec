"""Models of transformers from a configuration's text: what is dropped from it, what is refused, no code but the library's."""

from __future__ import annotations

import inspect
import json
from typing import Any

from graftwork import UsageError
from graftwork_text.backbones.dropping import use_attention, use_dropout
from graftwork_text.backbones.staging import TAKE, unsupported

_LIMITS = {
    "hidden_size": 16_384,
    "embedding_size": 16_384,
    "intermediate_size": 131_072,
    "num_hidden_layers": 512,
    "num_attention_heads": 1_024,
    "vocab_size": 5_000_000,
    "max_position_embeddings": 1 << 17,
    "type_vocab_size": 4_096,
    "max_relative_positions": 1 << 17,
    "position_buckets": 1 << 17,
    "relative_attention_num_buckets": 4_096,
    "conv_kernel_size": 255,
    "inner_group_num": 512,
    "num_hidden_groups": 512,
}
"""Larger than any encoder's; a configuration beyond them is damaged or hostile."""

_POSITIVE = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
_MOST_PARAMETERS = 30_000_000_000

_DROPPED = frozenset({
    "architectures", "attn_implementation", "auto_map", "dtype", "experts_implementation", "finetuning_task", "id2label",
    "label2id", "num_labels", "output_attentions", "output_hidden_states", "problem_type", "quantization_config",
    "return_dict", "task_specific_params", "torch_dtype", "torchscript", "transformers_version", "use_cache",
})  # fmt: skip
"""What says nothing of the encoder: heads, habits of a call, and names under which code would be fetched."""


def plain_config(config: str) -> dict[str, Any]:
    """A configuration's JSON text as what describes the encoder, `model_type` included.

    Raises:
        UsageError: it is no JSON object with a `model_type`.
    """
    try:
        found = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the backbone's config is no JSON ({_line(error)})") from None
    if not isinstance(found, dict) or not isinstance(found.get("model_type"), str):
        raise UsageError("the backbone's config is no model's configuration: it names no model_type")
    return {name: value for name, value in found.items() if name not in _DROPPED and not name.startswith("_")}


def build_upstream(config: str) -> Any:
    """A model with random weights from a configuration's JSON text, without a pooler; no code but transformers' own.

    Raises:
        UsageError: no configuration, an unknown kind of model, or sizes that cannot be meant.
    """
    from transformers import CONFIG_MAPPING, MODEL_MAPPING

    plain = plain_config(config)
    kind = plain.pop("model_type")
    if kind not in CONFIG_MAPPING:
        raise UsageError(
            f"transformers knows no model of type {kind[:60]!r}", hint=f"Code from a hub is never run. {TAKE}"
        )
    _check_sizes(plain)
    try:
        built = CONFIG_MAPPING[kind](**plain)
        # Once more, by the names that the family gives to its sizes (DistilBERT's dim is hidden_size).
        _check_sizes({name: getattr(built, name, None) for name in _LIMITS})
        found = MODEL_MAPPING[type(built)]
        maker = found[0] if isinstance(found, tuple | list) else found  # Funnel has a second, smaller one
    except UsageError:
        raise
    except Exception as error:  # a library boundary: a hostile configuration fails in any way it likes
        raise UsageError(f"the backbone's config is not one of {kind} ({_line(error)})") from None
    _refuse_decoders(built)
    return _instantiate(maker, built)


def _check_sizes(sizes: dict[str, Any]) -> None:
    known = {name: value for name, value in sizes.items() if name in _LIMITS and isinstance(value, int)}
    for name, value in known.items():
        if value > _LIMITS[name] or (name in _POSITIVE and value < 1):
            raise UsageError(f"the backbone's config has {name} = {value}")
    width, layers = known.get("hidden_size", 0), known.get("num_hidden_layers", 0)
    inner = known.get("intermediate_size", 0)
    total = layers * width * (4 * width + 2 * inner) + known.get("vocab_size", 0) * width
    if total > _MOST_PARAMETERS:
        raise UsageError(f"the backbone's config asks for about {total / 1e9:.0f} billion parameters")


def _refuse_decoders(config: Any) -> None:
    """Say so where a model cannot be an encoder, before it is built."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    kind = config.model_type
    if getattr(config, "is_encoder_decoder", False):
        raise UsageError(f"{kind} has an encoder and a decoder; text backbones are encoders alone", hint=TAKE)
    if kind == "xlnet":  # neither: its attention follows an order of its own
        raise unsupported(kind)
    causal = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING
    if causal or getattr(config, "is_decoder", False):
        raise UsageError(f"{kind} is a decoder, in which a token sees only what stands before it", hint=TAKE)


def _instantiate(maker: Any, config: Any) -> Any:
    extra = {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(maker.__init__).parameters else {}
    for attention in ("sdpa", "eager"):
        try:
            config._attn_implementation = attention
            model = maker(config, **extra)
            break
        except Exception as error:  # a library boundary: sizes that do not fit one another fail in any way
            if attention == "eager":
                raise UsageError(f"{maker.__name__} cannot be built ({_line(error)})") from None
    if attention == "sdpa" and getattr(maker, "_supports_attention_backend", False):
        config._attn_implementation = use_attention()
    use_dropout(model)
    return model.float()


def positions(model: Any) -> int:
    """Tokens that a model has positions for, special tokens included."""
    found = int(getattr(model.config, "max_position_embeddings", 0) or 512)
    padding = getattr(getattr(model, "embeddings", None), "padding_idx", None)
    # RoBERTa's kind counts positions from the padding token's number on.
    return max(1, found - (0 if padding is None else int(padding) + 1))


def padding_token(model: Any) -> int:
    """The number that a model expects where there is no token."""
    of_embeddings = getattr(getattr(model, "embeddings", None), "padding_idx", None)
    found = getattr(model.config, "pad_token_id", None) if of_embeddings is None else of_embeddings
    return int(found) if found is not None and 0 <= int(found) < model.config.vocab_size else 0


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:160].rstrip(".")
