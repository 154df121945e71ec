"""The head: from features to a loss, and by way of outputs to predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from graftwork.errors import UsageError
from graftwork.interfaces.batch import Features, Outputs, Predictions, Targets


class Head(nn.Module, ABC):
    """Consumes named features; owns its loss and its decoding.

    The loss comes as sums and its divisors come apart from it, computed from the targets alone. So a batch that is split
    into micro-batches, or spread over processes, is normalised by the whole batch's count and gives the same gradients.
    """

    needs: frozenset[str]
    """Names of the features that it reads; checked against the catalogue before anything is downloaded."""

    reads: frozenset[str] = frozenset()
    """Names of inputs that the head gets among its features, unchanged: the size of a picture within its padding."""

    @abstractmethod
    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        """Each loss part as a scalar *sum* over its items (rows, pixels, boxes). Called in train mode only."""

    def counts(self, targets: Targets) -> dict[str, Tensor]:
        """The divisor of each loss part: how many items (or how much weight) its sum runs over; float scalars.

        The default is the number of rows, for one part called `loss`.
        """
        rows = len(targets) if isinstance(targets, list) else next(iter(targets.values())).shape[0]
        return {"loss": torch.tensor(float(rows))}

    def solve(self, items: Iterable[tuple[Features, Targets]], options: Mapping[str, Any]) -> dict[str, Tensor]:
        """The head's tensors in place of training it step by step, from the features of all training rows.

        A function of its arguments: no random numbers that do not follow from `options`.

        Args:
            items: batches of rows in order, on the model's device, not augmented; may be read several times.
            options: of the phase's solver.

        Returns:
            Tensors by the names of `state_dict`; those that are left out stay as they are.

        Raises:
            UsageError: this head cannot be solved; the default.
        """
        raise UsageError(f"{type(self).__name__} cannot be solved", hint="Use a strategy that trains it step by step")

    def translate(self, foreign: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of another model's head under this head's own key names: what is worth starting from for other labels.

        The default takes nothing: a classifier's weights are about its own classes.

        Args:
            foreign: upstream weights without its backbone, under upstream's key names; or those of a head that graftwork
                trained, under its own.

        Returns:
            What does not depend on the labels; what does (class scores) is left out.
        """
        return {}

    @abstractmethod
    def outputs(self, features: Features) -> Outputs:
        """What the network says: tensors alone, batch first. This is what is exported, distilled and averaged.

        Their shapes follow from the shapes of the features and from nothing that these hold: no `.item()`, no selection
        whose size the data decides. Called in train mode and in eval mode; in eval mode a row's do not depend on the rows
        beside it.
        """

    @abstractmethod
    def postprocess(self, outputs: Outputs, features: Features) -> Predictions:
        """Predictions in the form that the task's metrics take: thresholds, suppression, argmax. Called in eval mode only.

        Args:
            outputs: of these features; left as they are.
            features: what `outputs` was given; they say what lies where: sizes of pictures and of maps, masks.
        """

    @final
    def predict(self, features: Features) -> Predictions:
        """What comes of the outputs of these features. Called in eval mode only."""
        return self.postprocess(self.outputs(features), features)
