"""The staged text backbone: any encoder of transformers that `staging` can cut."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from graftwork import UsageError
from graftwork.interfaces import Backbone, Features, State, TextInput
from graftwork_text.backbones.pooling import DenseLayer, pool
from graftwork_text.backbones.staging import KNOWN, cut, unsupported
from graftwork_text.backbones.upstream import build_upstream, padding_token, positions

_LEFT_OUT = re.compile(
    r"^(pooler|cls|classifier|qa_outputs|lm_head|predictions|discriminator_predictions|generator_predictions|"
    r"generator_lm_head|lm_predictions|mask_predictions|vocab_transform|vocab_layer_norm|vocab_projector|pre_classifier|"
    r"head|decoder|sop_classifier)\."
)
"""Upstream's heads by the beginning of their names, after the model's own prefix is gone."""

_BUFFERS = ("position_ids", "token_type_ids", "inv_freq")
"""Ends of names that older files hold and that follow from the configuration."""


_DENSE = "after_pooling"


@dataclass(frozen=True)
class AfterPooling:
    """What sentence-transformers puts after the pooling.

    Args:
        dense: a layer as JSON text, see `DenseLayer`, or "".
        normalize: whether `pooled` is scaled to length 1.
    """

    dense: str = ""
    normalize: bool = False


class _Stage(nn.Module):
    """A container of upstream modules, under names that need no dots."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for path, module in modules.items():
            self.add_module(path.replace(".", "_"), module)


class TextBackbone(Backbone):
    """An encoder of transformers: stage 0 is the embedding, each further stage a layer.

    Features: `pooled` [B, C], the first token's, the mean over the mask or another of `POOLINGS`; `tokens` [B, T, C] with
    `mask` [B, T]. With a dense layer `pooled` has as many channels as that gives.

    Args:
        config: the model's configuration as JSON text, as in its config.json.
        pooling: one of `POOLINGS`, or `auto` for the model's habit.
        facts: tokenizer and length; weights bring their own.
        length: tokens, the user's own limit; 0 for the weights'.
        after: what follows the pooling.

    Raises:
        UsageError: no such kind of model, one that cannot be cut into stages, or a length beyond its positions.
    """

    def __init__(
        self, config: str, pooling: str, facts: TextInput, length: int, after: AfterPooling = AfterPooling()
    ) -> None:
        super().__init__()
        model = build_upstream(config)
        self._positions = positions(model)
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
        width = int(model.config.hidden_size)
        dense = DenseLayer(after.dense, width) if after.dense else None
        if dense is not None:
            stages[-1][_DENSE] = dense
        self.body = nn.ModuleList(_Stage(modules) for modules in stages)
        self._moves = {
            f"{path}.": f"body.{index}.{path.replace('.', '_')}."
            for index, modules in enumerate(stages)
            for path in modules
        }
        # Not registered: its parameters belong to the stages, and upstream's code finds what layers share through it.
        self.__dict__["_upstream"] = model
        self._prefix = str(getattr(model, "base_model_prefix", "") or "model")
        self._pad = padding_token(model)
        self._pooling = pooling if pooling != "auto" else str(getattr(model.config, "classifier_pooling", "cls"))
        self.__dict__["_dense"] = dense
        self._normalize = after.normalize
        self.provides = {"pooled": width if dense is None else dense.width, "tokens": width}
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
        layer = self._parts.layers[index - 1][1]
        for _ in range(self._parts.repeats[index - 1] if self._parts.repeats else 1):
            x = self._parts.call(model, layer, x, mask)
        if index == len(self.body) - 1 and self._parts.last is not None:
            x = self._parts.last[1](x)
        return {"x": x, "mask": mask}

    def finish(self, state: State, needs: frozenset[str]) -> Features:
        x, mask = state["x"], state["mask"]
        features: Features = {}
        if "pooled" in needs:
            pooled = pool(x, mask, self._pooling)
            dense: DenseLayer | None = self.__dict__["_dense"]
            pooled = pooled if dense is None else dense(pooled)
            features["pooled"] = nn.functional.normalize(pooled.float(), dim=-1) if self._normalize else pooled
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
            if self._dense is not None and name.startswith("linear."):  # sentence-transformers' own file of the layer
                ours[f"{self._moves[f'{_DENSE}.']}{name}"] = tensor
                continue
            plain = name.removeprefix(f"{self._prefix}.").removeprefix("model.")
            plain = re.sub(r"(LayerNorm)\.gamma$", r"\1.weight", re.sub(r"(LayerNorm)\.beta$", r"\1.bias", plain))
            if plain.endswith(_BUFFERS):
                continue
            start = next((old for old in self._moves if plain.startswith(old)), None)
            if start is not None:
                ours[self._moves[start] + plain.removeprefix(start)] = tensor
            elif not _LEFT_OUT.match(f"{plain}."):
                ours[plain] = tensor
        return ours

    def _check_against_upstream(self) -> None:
        """Compare with the model's own forward on a few random tokens, since this kind of model is not in our tests."""
        model = self.__dict__["_upstream"]
        training = self.training
        generator = torch.Generator().manual_seed(0)
        size = min(7, self._positions)
        tokens = torch.randint(1, max(2, min(50, model.config.vocab_size)), (2, size), generator=generator)
        mask = torch.ones_like(tokens, dtype=torch.bool)
        mask[1, -(-size // 2) :] = False
        model.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                ours = self({"tokens": tokens, "mask": mask}, frozenset({"tokens"}))["tokens"]
                theirs = model(
                    input_ids=tokens.masked_fill(~mask, self._pad), attention_mask=mask.long()
                ).last_hidden_state
            same = torch.allclose(ours[mask], theirs[mask], atol=1e-5)
        except Exception:  # layers that take more than hidden states and a mask
            raise unsupported(model.config.model_type) from None
        finally:
            model.train(training)
        if not same:  # in stages it would compute something else than the whole model
            raise unsupported(model.config.model_type)
