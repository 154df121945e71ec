"""What flows through a model: Batch in, State between stages, Features to the head, Predictions out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from graftwork.interfaces.stream import LABELLED

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
        stream: the name of the stream that it was drawn from.
        unit: so many rows that follow one another belong together and are never split.
        given: what teachers say of the rows: the outputs of each by its name, each tensor batch first.
    """

    rows: Tensor
    inputs: dict[str, Tensor]
    targets: Targets
    state: State | None = None
    stream: str = LABELLED
    unit: int = 1
    given: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device; the copy overlaps with computation where the memory is pinned."""
        return self._changed(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory (called by the data loader)."""
        return self._changed(lambda tensor: tensor.pin_memory())

    def slice(self, start: int, stop: int) -> Batch:
        """Rows `start` to `stop` of this batch, as views."""
        changed = replace(self, targets={})._changed(lambda tensor: tensor[start:stop])
        return replace(changed, rows=self.rows[start:stop], targets=sliced(self.targets, start, stop))

    def twice(self) -> Batch:
        """Every row twice, one whole after the other."""
        doubled = replace(self, targets={})._changed(lambda tensor: torch.cat([tensor, tensor]))
        targets = self.targets
        if isinstance(targets, list):
            return replace(doubled, rows=self.rows.repeat(2), targets=[*targets, *targets])
        both = {name: torch.cat([tensor, tensor]) for name, tensor in targets.items()}
        return replace(doubled, rows=self.rows.repeat(2), targets=both)

    def split(self, size: int) -> list[Batch]:
        """Micro-batches of at most `size` rows, in order; of one unit where that is larger."""
        size = max(self.unit, size // self.unit * self.unit)
        return [self.slice(start, min(start + size, len(self))) for start in range(0, len(self), size)]

    def _changed(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The same batch with every tensor changed."""
        targets = self.targets
        return replace(
            self,
            inputs=_each(self.inputs, change),
            targets=[_each(row, change) for row in targets] if isinstance(targets, list) else _each(targets, change),
            state=None if self.state is None else _each(self.state, change),
            given={name: _each(outputs, change) for name, outputs in self.given.items()},
        )


def sliced(values: Targets | Predictions, start: int, stop: int) -> Targets:
    """Rows `start` to `stop`, as views."""
    if isinstance(values, list):
        return values[start:stop]
    return {name: tensor[start:stop] for name, tensor in values.items()}


def _each(tensors: Mapping[str, Tensor], change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    return {name: change(tensor) for name, tensor in tensors.items()}


def pad_rows(rows: Sequence[Tensor]) -> Tensor:
    """Tensors of one number of dimensions as [B, …], zeros beyond where a row is smaller than the largest."""
    largest = [max(sides) for sides in zip(*(row.shape for row in rows), strict=True)]
    if all(list(row.shape) == largest for row in rows):
        return torch.stack(list(rows))
    padded = rows[0].new_zeros(len(rows), *largest)
    for place, row in zip(padded, rows, strict=True):
        place[tuple(slice(side) for side in row.shape)] = row
    return padded
