"""Streams: where the batches of a phase come from. One stream of labelled rows is the default."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import torch

LABELLED = "labelled"
"""The stream of the training rows with their labels."""


class Items(ABC):
    """What a batch is made of where that is not single rows: an item is `unit` rows that are never torn apart.

    Each item is a function of its number and of random numbers that follow from (seed, epoch, number), so that a run can
    start again at any step, and a batch can be split between items.
    """

    unit: ClassVar[int] = 1
    """Rows an item."""

    @abstractmethod
    def count(self, rows: int) -> int:
        """How many items an epoch has; the same in every epoch.

        Args:
            rows: of the split.
        """

    @abstractmethod
    def item(self, number: int, strata: Sequence[int], generator: torch.Generator) -> tuple[int, ...]:
        """The rows of an item, `unit` of them.

        Args:
            number: of the item in its epoch, from 0.
            strata: a class index for every row of the split.
            generator: the only randomness allowed.
        """


@dataclass(frozen=True)
class Stream:
    """Batches of a split.

    Args:
        name: unique in the phase; terms say by it which batches they see.
        split: `train`, or `unlabelled`: rows without labels.
        items: what batches are made of; None for the rows themselves, in a random order.
        batch_size: items a step, over all processes; None for the run's.
    """

    name: str = LABELLED
    split: str = "train"
    items: Items | None = None
    batch_size: int | None = None
