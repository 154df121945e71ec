"""What flows through a model: Batch in, State between stages, Features to the head, Predictions out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

State = dict[str, Tensor]
"""Everything that the next stage needs: a flat dict of tensors, batch first, so that it can be cached row by row."""

Features = dict[str, Tensor]
"""Named tensors for a head: `pooled` [B, C]; `mapS` [B, C, H/S, W/S]; `tokens` [B, T, C] with `mask` [B, T]."""

Outputs = dict[str, Tensor]
"""What a head's network makes of features: tensors alone, batch first; `Head.postprocess` makes predictions of them."""

Targets = dict[str, Tensor] | list[dict[str, Tensor]]
"""Labels of a batch: tensors with the batch first, or one dict a row where rows differ in size (boxes)."""

Predictions = dict[str, Tensor] | list[dict[str, Tensor]]
"""What a head says of a batch, in the same two forms as Targets."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows on their way through the model.

    Args:
        rows: [B] int64, the row numbers in their split.
        inputs: what the backbone takes, each tensor batch first.
        targets: what the head's loss takes; an empty dict when there are no labels.
        state: what the model's frozen stages made of the rows before (`Model.prefix`), in place of the backbone's inputs;
            `inputs` then holds what the head reads.
    """

    rows: Tensor
    inputs: dict[str, Tensor]
    targets: Targets
    state: State | None = None

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device; the copy overlaps with computation where the memory is pinned."""
        return replace(
            self,
            inputs={name: tensor.to(device, non_blocking=True) for name, tensor in self.inputs.items()},
            targets=_map(self.targets, lambda tensor: tensor.to(device, non_blocking=True)),
            state=self.state and {name: tensor.to(device, non_blocking=True) for name, tensor in self.state.items()},
        )

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory (called by the data loader)."""
        return replace(
            self,
            inputs={name: tensor.pin_memory() for name, tensor in self.inputs.items()},
            targets=_map(self.targets, lambda tensor: tensor.pin_memory()),
            state=self.state and {name: tensor.pin_memory() for name, tensor in self.state.items()},
        )

    def slice(self, start: int, stop: int) -> Batch:
        """Rows `start` to `stop` of this batch, as views."""
        inputs = {name: tensor[start:stop] for name, tensor in self.inputs.items()}
        state = self.state and {name: tensor[start:stop] for name, tensor in self.state.items()}
        return Batch(self.rows[start:stop], inputs, sliced(self.targets, start, stop), state)

    def split(self, size: int) -> list[Batch]:
        """Micro-batches of at most `size` rows, in order."""
        return [self.slice(start, min(start + size, len(self))) for start in range(0, len(self), size)]


def sliced(values: Targets | Predictions, start: int, stop: int) -> Targets:
    """Rows `start` to `stop`, as views."""
    if isinstance(values, list):
        return values[start:stop]
    return {name: tensor[start:stop] for name, tensor in values.items()}


def _map(targets: Targets, change) -> Targets:  # type: ignore[no-untyped-def]
    if isinstance(targets, list):
        return [{name: change(tensor) for name, tensor in row.items()} for row in targets]
    return {name: change(tensor) for name, tensor in targets.items()}


def pad_rows(rows: Sequence[Tensor]) -> Tensor:
    """Tensors of one number of dimensions as [B, …], zeros beyond where a row is smaller than the largest."""
    largest = [max(sides) for sides in zip(*(row.shape for row in rows), strict=True)]
    if all(list(row.shape) == largest for row in rows):
        return torch.stack(list(rows))
    padded = rows[0].new_zeros(len(rows), *largest)
    for place, row in zip(padded, rows, strict=True):
        place[tuple(slice(side) for side in row.shape)] = row
    return padded
