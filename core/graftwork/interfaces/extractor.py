"""What is asked of a backbone: features that it provides, and summaries of its stages under the names `stage1`, `stage2`, …"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from graftwork.interfaces.backbone import Backbone
from graftwork.interfaces.batch import Features, State

SUMMARY = "summary/"
"""Beside a state lie the summaries of the stages before it, `summary/1`: no backbone calls a tensor of its state so."""

_STAGE = re.compile(r"stage([1-9][0-9]*)")


@dataclass(frozen=True)
class Extractor:
    """A backbone, and what is wanted of it.

    Args:
        backbone: with its weights.
        needs: names of features; `stageK`, unless the backbone provides something of that name, is the summary of the
            state after K stages [B, C].
        reads: names of inputs that are wanted beside the features.
    """

    backbone: Backbone
    needs: frozenset[str]
    reads: frozenset[str] = frozenset()

    @cached_property
    def summaries(self) -> tuple[int, ...]:
        """After how many stages a summary is wanted, ascending."""
        found = (_STAGE.fullmatch(name) for name in self.needs - self.backbone.provides.keys())
        return tuple(sorted(int(match[1]) for match in found if match))

    @property
    def lacking(self) -> list[str]:
        """What is wanted and this backbone does not have."""
        stages = len(self.backbone.stages())
        summaries = {f"stage{cut}" for cut in self.summaries if cut <= stages}
        return sorted(self.needs - self.backbone.provides.keys() - summaries)

    def states(self, inputs: Mapping[str, Tensor], cuts: Collection[int]) -> dict[int, State]:
        """The states after the first so many stages, in one pass and without gradients; after the last one, the needed
        features. Beside each lie the wanted summaries of the stages before it."""
        backbone, summaries, needs = self.backbone, self.summaries, self._provided
        stages = len(backbone.stages())
        found: dict[int, State] = {}
        beside: State = {}
        # no_grad, not inference_mode: a trainable suffix must be able to save these tensors for backward.
        with torch.no_grad():
            state = backbone.begin(inputs)
            for cut in range(max(cuts) + 1):
                if cut:
                    state = backbone.advance(cut - 1, state, needs)
                if cut in summaries:
                    beside[f"{SUMMARY}{cut}"] = self._summary(state, cut)
                if cut in cuts:
                    given = backbone.finish(state, needs) if cut == stages else state
                    found[cut] = given | beside if beside else given
        return found

    def features(self, state: State, cut: int) -> Features:
        """The needed features, from the state after the first `cut` stages with the summaries beside it, as `states` gives it.

        Where all stages are behind it, the state is the needed features. A summary of the very state that is given need not
        lie beside it.
        """
        backbone, summaries, needs = self.backbone, self.summaries, self._provided
        stages = len(backbone.stages())
        if not summaries:
            return state if cut == stages else backbone.suffix(state, cut, needs)
        found = {f"stage{index}": state[f"{SUMMARY}{index}"] for index in summaries if f"{SUMMARY}{index}" in state}
        state = {name: value for name, value in state.items() if not name.startswith(SUMMARY)}
        if cut == stages:
            return state | found
        for index in range(cut, stages + 1):
            if index > cut:
                state = backbone.advance(index - 1, state, needs)
            if index in summaries and f"stage{index}" not in found:
                found[f"stage{index}"] = self._summary(state, index)
        return backbone.finish(state, needs) | found

    def tensors(self, stages: int) -> dict[str, Tensor]:
        """Parameters and buffers of the first `stages` stages, by a stable name."""
        found: dict[str, Tensor] = {}
        for index, stage in enumerate(self.backbone.stages()[:stages]):
            for name, tensor in [*stage.named_parameters(), *stage.named_buffers()]:
                found[f"stage{index}.{name}"] = tensor
        return found

    @cached_property
    def _provided(self) -> frozenset[str]:
        """The needed features that the backbone itself provides."""
        return self.needs - {f"stage{cut}" for cut in self.summaries}

    def _summary(self, state: State, cut: int) -> Tensor:
        found, width = self.backbone.summary(state, cut), self.backbone.summary_width(cut)
        if found.ndim != 2 or found.shape[1] != width:
            name, shape = type(self.backbone).__name__, tuple(found.shape)
            raise ValueError(
                f"the summary of stage {cut} of {name} has the shape {shape}, declared are {width} channels"
            )
        return found
