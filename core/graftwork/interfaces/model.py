"""The model: one backbone, one head, one entry."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import torch
from torch import Tensor, nn

from graftwork.interfaces.backbone import Backbone
from graftwork.interfaces.batch import Batch, Features, Predictions, State
from graftwork.interfaces.head import Head


class Model(nn.Module):
    """A backbone with a head. `forward` is the only entry: data-parallel wrappers see only what passes through it."""

    def __init__(self, backbone: Backbone, head: Head) -> None:
        super().__init__()
        missing = head.needs - set(backbone.provides)
        if missing:
            raise ValueError(f"the head needs {sorted(missing)}, the backbone provides {sorted(backbone.provides)}")
        self.backbone = backbone
        self.head = head
        self.frozen_stages = 0
        self.frozen_statistics = False
        self.head_loss = True

    def lay_out(self) -> Model:
        """Put the weights into the memory format that the backbone runs fastest in, in training and in prediction: kernels
        of the other one are slower and may round otherwise."""
        if self.backbone.channels_last:
            self.to(memory_format=torch.channels_last)
        return self

    def forward(self, batch: Batch, mode: Literal["loss", "predict"] = "loss") -> Any:
        """`loss`: the head's loss parts as sums (train mode). `predict`: its predictions (eval mode)."""
        features = self.features(batch)
        if mode == "predict":
            return self.head.predict(features)
        return self.head.loss(features, batch.targets) if self._labels_count(batch) else {}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """The divisor of each loss part that `forward` gives for a batch, from the batch alone."""
        return self.head.counts(batch.targets) if self._labels_count(batch) else {}

    def _labels_count(self, batch: Batch) -> bool:
        """Whether the head's loss is asked for: rows without labels have none."""
        return self.head_loss and bool(batch.targets)

    def features(self, batch: Batch) -> Features:
        """What the head gets: the features that it needs and the inputs that it reads. Frozen stages record no gradients.

        A batch that holds the state after the frozen stages goes on from there.
        """
        cut = self.frozen_stages
        state = self.prefix(batch) if batch.state is None else batch.state
        if cut:
            state = self._laid_out(state)
        features = state if cut == len(self.backbone.stages()) else self.backbone.suffix(state, cut, self.head.needs)
        return features | {name: batch.inputs[name] for name in self.head.reads}

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
        needs, stages = self.head.needs, len(self.backbone.stages())
        found = {}
        # no_grad, not inference_mode: a trainable suffix must be able to save these tensors for backward.
        with torch.no_grad():
            state = self.backbone.begin(batch.inputs)
            for cut in range(max(cuts) + 1):
                if cut:
                    state = self.backbone.advance(cut - 1, state, needs)
                if cut in cuts:
                    found[cut] = self.backbone.finish(state, needs) if cut == stages else state
        return found

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
        found: dict[str, Tensor] = {}
        for index, stage in enumerate(self.backbone.stages()[:stages]):
            for name, tensor in [*stage.named_parameters(), *stage.named_buffers()]:
                found[f"stage{index}.{name}"] = tensor
        return found
