"""The simplest head that reads all that a backbone provides, and a model of both, to look at a backbone with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from graftwork.cache.rows import RowStore
from graftwork.interfaces import Backbone, Batch, Features, Head, Model, Outputs, Predictions, Targets
from graftwork.states.examples import columns_of


class Probe(Head):
    """A linear layer on the mean of every feature that a backbone provides: the simplest head that reads them all."""

    def __init__(self, provides: Mapping[str, int], outputs: int = 2) -> None:
        super().__init__()
        self.needs = frozenset(provides)
        self.layers = nn.ModuleDict({name: nn.Linear(channels, outputs) for name, channels in provides.items()})

    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        return {"loss": self.scores(features).square().sum()}

    def outputs(self, features: Features) -> Outputs:
        return {"scores": self.scores(features)}

    def postprocess(self, outputs: Outputs, features: Features) -> Predictions:
        return dict(outputs)

    def scores(self, features: Features) -> Tensor:
        """[B, outputs], the sum over all features."""
        parts = []
        for name, layer in self.layers.items():
            feature = features[name].float()
            dims = [2, 3] if feature.ndim == 4 else [1]
            parts.append(layer(feature if feature.ndim == 2 else feature.mean(dims)))
        return torch.stack(parts).sum(0)


def probed(backbone: Backbone) -> Model:
    """A model with a probe for a head."""
    return Model(backbone, Probe(backbone.provides))


def rows_of(inputs: Mapping[str, Tensor]) -> int:
    """How many rows a batch of inputs has."""
    return int(next(iter(inputs.values())).shape[0])


def batch_of(inputs: dict[str, Tensor]) -> Batch:
    """Inputs as a batch with a target that no loss reads: rows without any have no loss of the head's."""
    rows = rows_of(inputs)
    return Batch(torch.arange(rows), inputs, {"unread": torch.zeros(rows)})


def backward(losses: Mapping[str, Tensor]) -> None:
    """Gradients of the sum of all loss parts."""
    torch.autograd.backward(list(losses.values()))


def stored_and_read(model: Model, batch: Batch, cut: int, folder: Path) -> Batch:
    """A batch by way of the disk: the states that its rows have after `cut` stages."""
    digests = [f"{row:064x}".encode() for row in range(len(batch))]
    training = model.training
    model.eval()
    columns = columns_of(model.prefixes(batch, (cut,))[cut], batch, len(batch), frozenset())
    model.train(training)
    store = RowStore(folder / "entry", {})
    with store.writing() as writer:
        writer.add(digests, columns)
    stored = store.open(digests)
    assert stored is not None, "the store lost rows"
    state = {name.removeprefix("state/"): value for name, value in stored.gather(range(len(batch))).items()}
    return Batch(
        batch.rows, {}, batch.targets, {name: value for name, value in state.items() if isinstance(value, Tensor)}
    )
