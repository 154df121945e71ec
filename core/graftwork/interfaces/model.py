"""The model: one backbone, one head, in training the terms beside them; one entry."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from graftwork.errors import PluginError
from graftwork.interfaces.backbone import Backbone
from graftwork.interfaces.batch import Batch, Features, Predictions, State
from graftwork.interfaces.extractor import Extractor
from graftwork.interfaces.head import Head
from graftwork.interfaces.term import Term


class Model(nn.Module):
    """A backbone with a head. `forward` is the only entry: data-parallel wrappers see only what passes through it.

    `terms` holds what a plan adds to the loss. These are modules of the model, with parameters, buffers and a mode; its
    `state_dict` leaves them out, so that an artifact and averaged weights are backbone and head alone.
    """

    def __init__(self, backbone: Backbone, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.terms = nn.ModuleList()
        self.entered: tuple[Term, ...] = ()
        self._made: tuple[tuple[Any, ...], Extractor] | None = None
        if missing := self.extractor.lacking:
            has = f"{sorted(backbone.provides)} and {len(backbone.stages())} stages"
            raise ValueError(f"the head needs {missing}, the backbone provides {has}")
        self.frozen_stages = 0
        self.frozen_statistics = False
        self.head_loss = True
        self.register_state_dict_post_hook(_leave_terms_out)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(_miss_no_term)  # type: ignore[no-untyped-call]

    @property
    def extractor(self) -> Extractor:
        """The backbone with what head and terms need and read. Who needs `stageK` gets the summary after K stages."""
        parts = (self.backbone, self.head, self.entered)
        made_of, made = self._made or ((), None)
        if made is None or any(part is not other for part, other in zip(parts, made_of, strict=True)):
            made = Extractor(self.backbone, self.needs, self.reads)  # not in every step: small nets take long for it
            self._made = parts, made
        return made

    @property
    def needs(self) -> frozenset[str]:
        """Features that the head and the terms of the phase read."""
        return self.head.needs.union(*(term.needs for term in self.entered))

    @property
    def reads(self) -> frozenset[str]:
        """Inputs that the head and the terms of the phase read."""
        return self.head.reads.union(*(term.reads for term in self.entered))

    def enter(self, terms: Collection[Term]) -> None:
        """Begin a phase with these terms: they add to the loss, and what they need is computed and kept."""
        self.entered = tuple(terms)

    def lay_out(self) -> Model:
        """Put the weights into the memory format that the backbone runs fastest in, in training and in prediction: kernels
        of the other one are slower and may round otherwise."""
        if self.backbone.channels_last:
            self.to(memory_format=torch.channels_last)
        return self

    def forward(self, batch: Batch, mode: Literal["loss", "predict"] = "loss") -> Any:
        """`loss`: the loss parts of head and terms as sums (train mode). `predict`: the head's predictions (eval mode)."""
        features = self.features(batch)
        if mode == "predict":
            return self.head.predict(self._for_head(features))
        sums = dict(self.head.loss(self._for_head(features), batch.targets)) if self._labels_count(batch) else {}
        for term in self._terms_of(batch):
            _add(sums, term.loss(self, batch, features), term)
        return sums

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """The divisor of each loss part of head and terms that `forward` gives for a batch, from the batch alone.

        Raises:
            PluginError: a term has a loss part of a name that is taken.
        """
        counts = dict(self.head.counts(batch.targets)) if self._labels_count(batch) else {}
        for term in self._terms_of(batch):
            _add(counts, term.counts(batch), term)
        return counts

    def _labels_count(self, batch: Batch) -> bool:
        """Whether the head's loss is asked for: rows without labels have none."""
        return self.head_loss and bool(batch.targets)

    def _terms_of(self, batch: Batch) -> list[Term]:
        return [term for term in self.entered if term.stream == batch.stream]

    def features(self, batch: Batch) -> Features:
        """What head and terms get: the features that they need and the inputs that they read. Frozen stages record no gradients.

        A batch that holds the state after the frozen stages goes on from there.
        """
        cut = self.frozen_stages
        state = self.prefix(batch) if batch.state is None else batch.state
        if cut:
            state = self._laid_out(state)
        extractor = self.extractor
        return extractor.features(state, cut) | {name: batch.inputs[name] for name in extractor.reads}

    def _for_head(self, features: Features) -> Features:
        """The features without those that only terms asked for: a head sees the same with and without them."""
        if not self.entered:
            return features
        others = (self.needs - self.head.needs) | (self.reads - self.head.reads)
        return {name: value for name, value in features.items() if name not in others}

    def _laid_out(self, state: State) -> State:
        """A state in one memory format, computed now or kept: sums over another layout may round otherwise."""
        maps = torch.channels_last if self.backbone.channels_last else torch.contiguous_format
        return {
            name: value.contiguous(memory_format=maps if value.ndim == 4 else torch.contiguous_format)
            for name, value in state.items()
        }

    def prefix(self, batch: Batch) -> State:
        """What the frozen stages make of a batch: the state after them, or the needed features where all are frozen."""
        return self.prefixes(batch, (self.frozen_stages,))[self.frozen_stages]

    def prefixes(self, batch: Batch, cuts: Collection[int]) -> dict[int, State]:
        """The states after the first so many stages, in one pass; after the last one, the needed features."""
        return self.extractor.states(batch.inputs, cuts)

    def predict(self, batch: Batch) -> Predictions:
        """Predictions for a batch, in eval mode and without gradients; the mode is put back afterwards."""
        training = self.training
        self.eval()
        try:
            with torch.no_grad():
                result: Predictions = self(batch, "predict")
                return result
        finally:
            self.train(training)

    def freeze(self, stages: int) -> None:
        """Freeze the first `stages` stages: no gradients, and eval mode that survives `.train()`.

        Parameters of later stages and of the head keep the `requires_grad` that they have.

        Raises:
            ValueError: more stages than the backbone has, or fewer than none.
        """
        all_stages = self.backbone.stages()
        if not 0 <= stages <= len(all_stages):
            raise ValueError(f"cannot freeze {stages} of {len(all_stages)} stages")
        self.frozen_stages = stages
        for stage in all_stages[:stages]:
            stage.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Model:
        """Train mode for everything but the frozen stages, whose BatchNorm statistics must stay put.

        With `frozen_statistics`, BatchNorm and whatever else keeps running statistics keeps them in all stages.
        """
        super().train(mode)
        for stage in self.backbone.stages()[: self.frozen_stages]:
            stage.eval()
        if self.frozen_statistics:
            for module in self.backbone.modules():
                if any(name.startswith("running_") for name, _ in module.named_buffers(recurse=False)):
                    module.eval()
        return self

    def frozen_tensors(self, stages: int) -> dict[str, Tensor]:
        """Parameters and buffers of the first `stages` stages, by a stable name."""
        return self.extractor.tensors(stages)


def _add(parts: dict[str, Tensor], more: Mapping[str, Tensor], term: Term) -> None:
    """Put a term's loss parts, or their divisors, beside those that are there."""
    taken = parts.keys() & more.keys()
    if taken:
        raise PluginError(
            f"term {term.describe()['name']!r} has the loss part {min(taken)!r}, which the head or another term has too"
        )
    parts.update(more)


def _leave_terms_out(model: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    for name in [name for name in state if name.startswith(f"{prefix}terms.")]:
        del state[name]


def _miss_no_term(model: nn.Module, keys: Any) -> None:
    keys.missing_keys[:] = [name for name in keys.missing_keys if not name.startswith("terms.")]
