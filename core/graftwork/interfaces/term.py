"""The term: something added to the loss that sees the batch, the features and the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from graftwork.interfaces.batch import Batch, Features
from graftwork.interfaces.stream import LABELLED

if TYPE_CHECKING:
    from graftwork.interfaces.model import Model


class Term(nn.Module, ABC):
    """Something added to the loss: a teacher, a consistency, a pull to the starting weights. Stands in `Phase.terms`.

    As with a head, the value comes as sums and the divisors come apart from them, so that a batch that is split into
    micro-batches, or spread over processes, gives the gradients of the whole. A penalty on parameters alone is given as its
    value times the rows of the batch, with the rows as its count: it is then added once a step, in however many pieces.

    While it trains it is one of `model.terms`, and it is never part of the artifact. A term whose parameters are trained is
    made and put there in `Strategy.prepare`, which is seeded; its parameters stand in groups of the plan under the names
    that `model.named_parameters()` gives them. Other terms may be made in `plan`.

    What it keeps of the model must be copies, or stand in a tuple: a module that is an attribute becomes its own.
    """

    needs: frozenset[str] = frozenset()
    """Names of the features that it reads, beside what the head needs; the backbone must provide them."""

    reads: frozenset[str] = frozenset()
    """Names of the batch's inputs that it reads; where states of frozen stages are kept, these are kept with them."""

    stream: str = LABELLED
    """The name of the stream whose batches it sees."""

    couples_rows: bool = False
    """Whether its value for a batch is no sum over its rows (singular values, a contrast). Such a batch is split only where
    the user asks for that, and told so."""

    def start(self, model: Model) -> None:
        """Look at the model with its starting weights, before the first step of the run. Changes nothing of the model.

        Called without gradients; what is drawn here is seeded. May be called again, and then begins anew. A resumed run calls it
        too, before `restore`.
        """

    @abstractmethod
    def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
        """Each of its loss parts as a scalar *sum* over the rows of a batch, or of a part of one. Changes nothing.

        Called within the model's forward pass, in train mode. No other loss part has the same name.

        Args:
            model: whose features they are.
            batch: on the device; where states are kept, its inputs are those that the head and the terms read.
            features: what the head gets and what the terms need.
        """

    @abstractmethod
    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """The divisor of each loss part, from the batch alone: how many items its sum runs over; float scalars."""

    def after(self, sums: Mapping[str, Tensor], counts: Mapping[str, Tensor]) -> None:
        """Take in a step that was taken: called once a step, after the weights moved, however often it was tried.

        Called without gradients, in every process with the same numbers; what is drawn here is seeded.

        Args:
            sums: every loss part of the step, the head's too, over all rows and processes; scalars on the device. Those of its
                own stream by their names; those of others bear their stream's, `STREAM/NAME`, unless that is the labelled one.
            counts: their divisors.
        """

    def state(self) -> dict[str, Tensor]:
        """Everything that moves while it trains, for checkpoints: its parameters and buffers, unless it keeps more."""
        return dict(self.state_dict())

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave, after `start`."""
        self.load_state_dict(state)

    def describe(self) -> dict[str, Any]:
        """Name and settings, for plan.json and for messages."""
        return {"name": type(self).__name__}
