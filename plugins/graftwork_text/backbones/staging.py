"""How each family of transformers' encoders is cut into stages: its embedding, its layers, and how a layer is called.

A new family needs an entry here only where its layers take more than hidden states and a mask.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from graftwork import UsageError

Call = Callable[[Any, nn.Module, Tensor, Tensor], Tensor]
"""(upstream model, layer, hidden states [B, T, C], mask bool [B, T]) to hidden states [B, T, C]."""


@dataclass(frozen=True)
class Cut:
    """An upstream model, taken apart. Every parameter lies in exactly one of the parts.

    Args:
        first: modules of stage 0 by their path in the upstream model: the embedding and whatever all layers share.
        embed: (model, inputs) to hidden states [B, T, C].
        layers: (path, module) of every further stage.
        call: runs one stage.
        last: a norm after the last layer, by its path; None where there is none.
        repeats: how often each stage is applied: more than once where layers share their weights.
    """

    first: Mapping[str, nn.Module]
    embed: Callable[[Any, Mapping[str, Tensor]], Tensor]
    layers: Sequence[tuple[str, nn.Module]]
    call: Call
    last: tuple[str, nn.Module] | None = None
    repeats: Sequence[int] = field(default_factory=tuple)
    beside: Mapping[int, tuple[str, nn.Module]] = field(default_factory=dict)
    """A further module of a stage (by its index among the layers), which `call` finds in the upstream model itself."""


def unsupported(kind: str) -> UsageError:
    """The refusal of a family, by the model_type of its configuration."""
    return UsageError(f"the family {kind[:60]} is not supported", hint=TAKE)


TAKE = (
    "Take a model of BERT's kind (BERT, RoBERTa, XLM-RoBERTa, CamemBERT, DistilBERT, ELECTRA, ALBERT, MPNet, DeBERTa, "
    "ModernBERT and others), for example --backbone minilm-l6"
)


def cut(model: Any) -> Cut:
    """Take an upstream encoder apart.

    Raises:
        UsageError: its family is not supported: it is built in another way than those that can be cut into stages.
    """
    special = _FAMILIES.get(model.config.model_type)
    if special is not None:
        return special(model)
    found = next((path for path in _LAYERS if isinstance(_at(model, path), nn.ModuleList)), None)
    if not isinstance(getattr(model, "embeddings", None), nn.Module) or found is None:
        raise unsupported(model.config.model_type)
    if not all(isinstance(getattr(model.config, size, None), int) for size in ("hidden_size", "vocab_size")):
        kind = model.config.model_type
        raise UsageError(f"the family {kind} is no text encoder", hint=TAKE)
    return _plain(model, found)


_LAYERS = ("encoder.layer", "transformer.layer", "encoder.layers", "layers", "layer")


def _plain(model: Any, path: str) -> Cut:
    """BERT and its like: layers that take hidden states and a mask, or these and rotary positions of the whole model."""
    first = {"embeddings": model.embeddings}
    rotary = isinstance(getattr(model, "rotary_emb", None), nn.Module)
    if rotary:
        first["rotary_emb"] = model.rotary_emb
    if isinstance(getattr(model, "embeddings_project", None), nn.Module):  # ELECTRA's small embeddings
        first["embeddings_project"] = model.embeddings_project
    layers = [(f"{path}.{index}", layer) for index, layer in enumerate(_at(model, path))]
    rest = _rest(model, [*first, *(name for name, _ in layers)])
    last = None
    if len(rest) == 1 and isinstance(_at(model, rest[0]), nn.LayerNorm):  # models that normalise before each layer
        last = (rest[0], _at(model, rest[0]))
    elif rest:  # nothing says where these modules are used
        raise unsupported(model.config.model_type)
    return Cut(first, _embed, layers, _call_rotary if rotary else _call_plain, last)


def _rest(model: Any, paths: Sequence[str]) -> list[str]:
    """Modules with parameters or buffers of their own that lie outside the given paths, the pooler left aside."""
    inside = tuple(f"{path}." for path in (*paths, "pooler"))
    names = {name.rpartition(".")[0] for name, _ in [*model.named_parameters(), *model.named_buffers()]}
    return sorted(name for name in names if not f"{name}.".startswith(inside))


def _albert(model: Any) -> Cut:
    """ALBERT's layers share their weights: a stage is a group with all its repetitions (one group, and so one stage, in
    every published ALBERT)."""
    groups = model.encoder.albert_layer_groups
    layers = model.config.num_hidden_layers
    repeats = [0] * len(groups)
    for index in range(layers):
        repeats[int(index / (layers / len(groups)))] += 1
    first = {
        "embeddings": model.embeddings,
        "encoder.embedding_hidden_mapping_in": model.encoder.embedding_hidden_mapping_in,
    }

    def embed(model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        hidden: Tensor = model.encoder.embedding_hidden_mapping_in(_embed(model, inputs))
        return hidden

    named = [(f"encoder.albert_layer_groups.{index}", group) for index, group in enumerate(groups)]
    return Cut(first, embed, named, _call_plain, repeats=repeats)


def _mpnet(model: Any) -> Cut:
    """MPNet's layers share a bias by relative position, which belongs to stage 0."""

    def call(model: Any, layer: nn.Module, hidden: Tensor, mask: Tensor) -> Tensor:
        bias = model.encoder.compute_position_bias(hidden)
        result: Tensor = layer(hidden, _extended(model.config, hidden, mask), bias)[0]
        return result

    first = {
        "embeddings": model.embeddings,
        "encoder.relative_attention_bias": model.encoder.relative_attention_bias,
    }
    layers = [(f"encoder.layer.{index}", layer) for index, layer in enumerate(model.encoder.layer)]
    return Cut(first, _embed, layers, call)


def _deberta(model: Any) -> Cut:
    """DeBERTa's layers share embeddings of relative positions, which belong to stage 0; some have a convolution beside the
    first layer."""
    encoder = model.encoder
    first: dict[str, nn.Module] = {"embeddings": model.embeddings}
    for name in ("rel_embeddings", "LayerNorm"):
        if isinstance(getattr(encoder, name, None), nn.Module):
            first[f"encoder.{name}"] = getattr(encoder, name)

    def call(model: Any, layer: nn.Module, hidden: Tensor, mask: Tensor) -> Tensor:
        encoder = model.encoder
        numbers = mask.to(hidden.dtype)
        # The first DeBERTa fills its scores with a number that a 16-bit autocast cannot hold: it runs in float32.
        autocast = torch.is_autocast_enabled(hidden.device.type) and model.config.model_type != "deberta"
        with torch.autocast(hidden.device.type, enabled=autocast):
            output: Tensor = layer(
                hidden,
                encoder.get_attention_mask(numbers),
                query_states=None,
                relative_pos=encoder.get_rel_pos(hidden),
                rel_embeddings=encoder.get_rel_embedding(),
                output_attentions=False,
            )[0]
        if layer is encoder.layer[0] and getattr(encoder, "conv", None) is not None:
            output = encoder.conv(hidden, output, numbers)
        return output

    layers = [(f"encoder.layer.{index}", layer) for index, layer in enumerate(encoder.layer)]
    beside = {0: ("encoder.conv", encoder.conv)} if getattr(encoder, "conv", None) is not None else {}
    return Cut(first, _embed, layers, call, beside=beside)


def _modernbert(model: Any) -> Cut:
    """ModernBERT: rotary positions, and layers that look near by or everywhere."""

    def call(model: Any, layer: nn.Module, hidden: Tensor, mask: Tensor) -> Tensor:
        from transformers.masking_utils import create_bidirectional_sliding_window_mask

        kind = layer.attention_type
        if kind == "sliding_attention":
            extended = create_bidirectional_sliding_window_mask(
                config=model.config, inputs_embeds=hidden, attention_mask=mask
            )
        else:
            extended = _extended(model.config, hidden, mask)
        positions = torch.arange(hidden.shape[1], device=hidden.device).unsqueeze(0)
        rotary = model.rotary_emb(hidden, positions, kind)
        result: Tensor = layer(hidden, attention_mask=extended, position_embeddings=rotary)
        return result

    first = {"embeddings": model.embeddings, "rotary_emb": model.rotary_emb}
    layers = [(f"layers.{index}", layer) for index, layer in enumerate(model.layers)]
    return Cut(first, _embed, layers, call, last=("final_norm", model.final_norm))


_FAMILIES: dict[str, Callable[[Any], Cut]] = {
    "albert": _albert,
    "mpnet": _mpnet,
    "deberta": _deberta,
    "deberta-v2": _deberta,
    "modernbert": _modernbert,
}
KNOWN = frozenset({*_FAMILIES, "bert", "roberta", "xlm-roberta", "distilbert", "electra", "camembert"})
"""Model types that tests hold against upstream; others are held against it when they are built."""


def _embed(model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """Hidden states after the embedding, given by the names that its `forward` takes."""
    taken = inspect.signature(model.embeddings.forward).parameters
    given: dict[str, Any] = {"input_ids": inputs["tokens"]}
    if "token_type_ids" in taken:
        # RoBERTa and its like have one type only.
        several = getattr(model.config, "type_vocab_size", 2) > 1
        given["token_type_ids"] = inputs["types"] if several else torch.zeros_like(inputs["types"])
    if "mask" in taken:
        given["mask"] = inputs["mask"]
    hidden: Tensor = model.embeddings(**given)
    project = getattr(model, "embeddings_project", None)
    return hidden if project is None else project(hidden)


def _call_plain(model: Any, layer: nn.Module, hidden: Tensor, mask: Tensor) -> Tensor:
    result = layer(hidden, _extended(model.config, hidden, mask))
    return result if isinstance(result, Tensor) else result[0]


def _call_rotary(model: Any, layer: nn.Module, hidden: Tensor, mask: Tensor) -> Tensor:
    numbers = torch.arange(hidden.shape[1], device=hidden.device).unsqueeze(0)
    rotary = model.rotary_emb(hidden, position_ids=numbers)
    result = layer(hidden, attention_mask=_extended(model.config, hidden, mask), position_embeddings=rotary)
    return result if isinstance(result, Tensor) else result[0]


def _extended(config: Any, hidden: Tensor, mask: Tensor) -> Tensor | None:
    """The mask in the form that the model's attention takes."""
    from transformers.masking_utils import create_bidirectional_mask

    found: Any = create_bidirectional_mask(config=config, inputs_embeds=hidden, attention_mask=mask)
    return found  # type: ignore[no-any-return]


def _at(model: Any, path: str) -> Any:
    for name in path.split("."):
        model = getattr(model, name, None)
    return model
