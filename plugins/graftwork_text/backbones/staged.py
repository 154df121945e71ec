"""The staged text backbone: any encoder of transformers that `staging` can cut."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from graftwork import UsageError
from graftwork.interfaces import Backbone, Features, State, TextInput
from graftwork_text.backbones.staging import KNOWN, cut

_LIMITS = {"hidden_size": 16_384, "num_hidden_layers": 512, "vocab_size": 5_000_000, "max_position_embeddings": 1 << 17}
"""Larger than any model's; a configuration beyond them is damaged or hostile."""

_LEFT_OUT = re.compile(r"^(pooler|cls|classifier|qa_outputs|lm_head|predictions|discriminator_predictions|generator|"
                       r"vocab_(transform|layer_norm|projector)|pre_classifier|mask_predictions|head|decoder|sop_classifier)\b")  # fmt: skip
"""Upstream's heads by the beginning of their names, after the model's own prefix is gone."""

_BUFFERS = ("position_ids", "token_type_ids", "inv_freq")
"""Ends of names that older files hold and that follow from the configuration."""


class _Stage(nn.Module):
    """A container of upstream modules, under names that need no dots."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for path, module in modules.items():
            self.add_module(path.replace(".", "_"), module)


class TextBackbone(Backbone):
    """An encoder of transformers: stage 0 is the embedding, each further stage a layer.

    Features: `pooled` [B, C], the first token's or the mean over the mask; `tokens` [B, T, C] with `mask` [B, T].

    Args:
        config: the model's configuration as JSON text, as in its config.json.
        pooling: `cls`, `mean`, or `auto` for the model's habit.
        facts: tokenizer and length; weights bring their own.
        length: tokens, the user's own limit; 0 for the weights'.

    Raises:
        UsageError: no such kind of model, one that cannot be cut into stages, or a length beyond its positions.
    """

    def __init__(self, config: str, pooling: str, facts: TextInput, length: int) -> None:
        super().__init__()
        model = build_upstream(config)
        self._positions = positions(model.config)
        if length > self._positions:
            raise UsageError(f"the model has positions for {self._positions} tokens, not for {length}")
        self.input = TextInput(facts.tokenizer, length or min(facts.length, self._positions))
        self.chosen_facts = frozenset({"length"}) if length else frozenset()
        self._parts = cut(model)
        stages: list[dict[str, nn.Module]] = [dict(self._parts.first)]
        for index, (path, layer) in enumerate(self._parts.layers):
            stages.append({path: layer})
            if index in self._parts.beside:
                beside, module = self._parts.beside[index]
                stages[-1][beside] = module
        if self._parts.last is not None:
            stages[-1][self._parts.last[0]] = self._parts.last[1]
        self.body = nn.ModuleList(_Stage(modules) for modules in stages)
        self._moves = {
            f"{path}.": f"body.{index}.{path.replace('.', '_')}."
            for index, modules in enumerate(stages)
            for path in modules
        }
        # Not registered: its parameters belong to the stages, and upstream's code finds what layers share through it.
        self.__dict__["_upstream"] = model
        self._prefix = str(getattr(model, "base_model_prefix", "") or "model")
        self._pad = int(model.config.pad_token_id or 0)
        self._pooling = pooling if pooling != "auto" else str(getattr(model.config, "classifier_pooling", "cls"))
        width = int(model.config.hidden_size)
        self.provides = {"pooled": width, "tokens": width}
        if model.config.model_type not in KNOWN:
            self._check_against_upstream()

    def stages(self) -> Sequence[nn.Module]:
        return list(self.body)

    def begin(self, inputs: Mapping[str, Tensor]) -> State:
        mask = inputs["mask"]
        # Some models number positions by comparing with their padding token, which only the model knows.
        tokens = inputs["tokens"].masked_fill(~mask, self._pad)
        types = inputs.get("types")
        return {"tokens": tokens, "mask": mask, "types": torch.zeros_like(tokens) if types is None else types}

    def advance(self, index: int, state: State, needs: frozenset[str]) -> State:
        model = self.__dict__["_upstream"]
        mask = state["mask"]
        if index == 0:
            return {"x": self._parts.embed(model, state), "mask": mask}
        x = state["x"]
        path, layer = self._parts.layers[index - 1]
        for _ in range(self._parts.repeats[index - 1] if self._parts.repeats else 1):
            x = self._parts.call(model, layer, x, mask)
        if index == len(self.body) - 1 and self._parts.last is not None:
            x = self._parts.last[1](x)
        return {"x": x, "mask": mask}

    def finish(self, state: State, needs: frozenset[str]) -> Features:
        x, mask = state["x"], state["mask"]
        features: Features = {}
        if "pooled" in needs:
            features["pooled"] = x[:, 0] if self._pooling == "cls" else mean_over(x, mask)
        if "tokens" in needs:
            features |= {"tokens": x, "mask": mask}
        return features

    def use_input(self, facts: Mapping[str, Any]) -> None:
        super().use_input(facts)
        if self.input.length > self._positions:
            raise UsageError(f"the model has positions for {self._positions} tokens, not for {self.input.length}")

    def translate(self, foreign: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Upstream's key names, with or without the model's prefix, TensorFlow's `gamma` and `beta` included."""
        ours: dict[str, Tensor] = {}
        for name, tensor in foreign.items():
            if name.startswith("body."):
                ours[name] = tensor
                continue
            plain = name.removeprefix(f"{self._prefix}.").removeprefix("model.")
            plain = re.sub(r"(LayerNorm)\.gamma$", r"\1.weight", re.sub(r"(LayerNorm)\.beta$", r"\1.bias", plain))
            if _LEFT_OUT.match(plain) or plain.endswith(_BUFFERS):
                continue
            start = next((old for old in self._moves if plain.startswith(old)), None)
            ours[plain if start is None else self._moves[start] + plain.removeprefix(start)] = tensor
        return ours

    def _check_against_upstream(self) -> None:
        """Compare with the model's own forward on a few random tokens, since this kind of model is not in our tests."""
        model = self.__dict__["_upstream"]
        training = self.training
        generator = torch.Generator().manual_seed(0)
        tokens = torch.randint(1, min(50, model.config.vocab_size), (2, 7), generator=generator)
        mask = torch.ones_like(tokens, dtype=torch.bool)
        mask[1, 4:] = False
        model.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                ours = self({"tokens": tokens, "mask": mask}, frozenset({"tokens"}))["tokens"]
                theirs = model(
                    input_ids=tokens.masked_fill(~mask, self._pad), attention_mask=mask.long()
                ).last_hidden_state
            same = torch.allclose(ours[mask], theirs[mask], atol=1e-5)
        except Exception as error:
            raise UsageError(
                f"{type(model).__name__} cannot be cut into stages: its layers take more than hidden states and a mask "
                f"({type(error).__name__}: {str(error)[:160]})"
            ) from None
        finally:
            model.train(training)
        if not same:
            raise UsageError(f"{type(model).__name__} cut into stages does not compute what the whole model computes")


def mean_over(x: Tensor, mask: Tensor) -> Tensor:
    """The mean of x [B, T, C] over a mask [B, T], in float32 and never of nothing."""
    weights = mask.unsqueeze(-1).float()
    return (x.float() * weights).sum(1) / weights.sum(1).clamp(min=1)


def positions(config: Any) -> int:
    """Tokens that a model has positions for."""
    found = int(getattr(config, "max_position_embeddings", 0) or 512)
    # RoBERTa's kind counts positions from the padding token's number on.
    offset = int(config.pad_token_id or 0) + 1 if config.model_type in OFFSET else 0
    return max(1, found - offset)


OFFSET = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl", "roberta-prelayernorm"})


def build_upstream(config: str) -> Any:
    """A model with random weights from a configuration's JSON text, without a pooler; no code but transformers' own.

    Raises:
        UsageError: no JSON object, an unknown kind of model, or sizes that cannot be meant.
    """
    from transformers import CONFIG_MAPPING, MODEL_MAPPING

    try:
        plain = json.loads(config)
        if not isinstance(plain, dict):
            raise ValueError("no JSON object")
        kind = str(plain.pop("model_type"))
    except (ValueError, KeyError, RecursionError) as error:
        raise UsageError(f"the backbone's config is no model's configuration ({error})") from None
    if kind not in CONFIG_MAPPING:
        raise UsageError(f"transformers knows no model of type {kind[:60]!r}", hint="Code from a hub is never run")
    plain.pop("auto_map", None)
    try:
        built = CONFIG_MAPPING[kind](**plain)
        for name, limit in _LIMITS.items():
            value = getattr(built, name, 1)
            if isinstance(value, int) and not 0 < value <= limit:
                raise UsageError(f"the backbone's config has {name} = {value}")
        maker = MODEL_MAPPING[type(built)]
    except UsageError:
        raise
    except Exception as error:  # a library boundary: a hostile configuration fails in any way it likes
        raise UsageError(f"the backbone's config is not one of {kind} ({str(error)[:160]})") from None
    return _instantiate(maker, built)


def _instantiate(maker: Any, config: Any) -> Any:
    import inspect

    extra = {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(maker.__init__).parameters else {}
    for attention in ("sdpa", "eager"):
        config._attn_implementation = attention
        try:
            model = maker(config, **extra)
            break
        except Exception as error:  # a library boundary: sizes that do not fit one another fail in any way
            if attention == "eager":
                raise UsageError(f"{maker.__name__} cannot be built ({str(error)[:160]})") from None
    return model.float()
