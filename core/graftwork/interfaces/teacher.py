"""A teacher: a trained model, what it says of the training rows, and how a strategy asks for one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graftwork.interfaces.model import Model


@dataclass(frozen=True)
class Teacher:
    """A trained model that looks at the same rows in the same views, each prepared as its own backbone wants them.

    What its head gives of a row (`Head.outputs`) comes with every batch of training rows as `Batch.given[name]`: tensors
    by name, batch first, float32 as computed in eval mode. Rows must stay the same, so that they can be looked at once:
    texts do, pictures do in fixed views (`--views V`), and rows that are mixed with one another do not.

    Args:
        name: by which batches hold its outputs.
        model: in eval mode, without gradients, on the CPU until the run is settled.
    """

    name: str
    model: Model


OpenTeacher = Callable[[str], Teacher]
"""Opens `run:DIR`. Raises UsageError where there is no trained model, or one of another task or other classes."""
