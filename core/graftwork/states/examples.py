"""Rows as what frozen stages made of them: examples that hand out states, or the rows of which states can be made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork.cache.rows import StoredRows
from graftwork.data.sampler import Sizes, as_columns
from graftwork.interfaces import Batch, Examples
from graftwork.interfaces.batch import Targets, pad_rows
from graftwork.interfaces.extractor import SUMMARY


class StateExamples(Examples):
    """Rows whose states are kept: view after view, number v * rows + r is row r in view v.

    Args:
        stored: the states of each view.
        source: the rows that they were made from.
    """

    cheap: ClassVar[bool] = True

    def __init__(self, stored: Sequence[StoredRows], source: Examples) -> None:
        self._stored = StoredRows.together(stored)
        self._source = source
        self.evaluated_together = source.evaluated_together  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self._stored)

    def sizes(self) -> Sizes | None:
        return self._source.sizes()

    def load(self, row: int) -> int:
        return row

    def collate(self, rows: Sequence[int], examples: Sequence[Any]) -> Batch:
        """A batch with `state`; states of several sizes are padded with zeros at the end."""
        return batch_of(self._stored.gather(rows), rows, self._source)


@dataclass(frozen=True)
class SameSizePieces:
    """Rows that are to become one batch of states, collated size by size.

    Args:
        rows: row numbers, in order.
        pieces: positions among them, and the batch of these rows; a row alone stands twice in its batch.
        given: what teachers say of the rows.
    """

    rows: tuple[int, ...]
    pieces: tuple[tuple[tuple[int, ...], Batch], ...]
    given: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device) -> SameSizePieces:
        """The same on a device."""
        return replace(self, pieces=tuple((positions, batch.to(device)) for positions, batch in self.pieces))

    def pin_memory(self) -> SameSizePieces:
        """The same in page-locked memory (called by the data loader)."""
        return replace(self, pieces=tuple((positions, batch.pin_memory()) for positions, batch in self.pieces))


class SameSizeExamples(Examples):
    """Rows of several sizes, each batch collated size by size: what states are computed from where they are not kept.

    A row's state is then that of the row alone, whatever it is batched with, just as a kept one is.

    Args:
        source: the rows; or views of them, one after the other.
        sizes: of every row.
    """

    def __init__(self, source: Examples, sizes: Sizes) -> None:
        self._source = source
        self._sizes = sizes
        self._columns = as_columns(sizes)
        self.cheap = source.cheap  # type: ignore[misc]
        self.evaluated_together = source.evaluated_together  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self._sizes)

    def sizes(self) -> Sizes | None:
        return self._sizes

    def join(self, name: str, values: Sequence[Tensor]) -> Tensor:
        return self._source.join(name, values)

    def load(self, row: int) -> Any:
        return self._source.load(row)

    def collate(self, rows: Sequence[int], examples: Sequence[Any]) -> SameSizePieces:
        sizes = self._columns[[row % len(self._sizes) for row in rows]]
        pieces = []
        for positions in of_one_size(range(len(rows)), sizes, len(rows)):
            picked = [examples[position] for position in positions]
            pieces.append((positions, self._source.collate([rows[position] for position in positions], picked)))
        return SameSizePieces(tuple(rows), tuple(pieces))


def of_one_size(rows: Sequence[int], sizes: Sizes | NDArray[np.int64] | None, most: int) -> Iterator[tuple[int, ...]]:
    """Batches of rows of the very same size, so that no state holds padding. A row alone stands twice in its batch:
    kernels for one row may round differently from those for many (seen in oneDNN's convolutions).

    Args:
        rows: row numbers.
        sizes: of every row that has a number; None where they are all alike.
        most: rows in a batch.
    """
    ordered = list(rows)
    cuts = [0, len(ordered)]
    if sizes is not None and ordered:
        columns = as_columns(sizes)[ordered]
        order = np.lexsort(columns.T[::-1])
        ordered = [ordered[index] for index in order]
        changes = np.flatnonzero((np.diff(columns[order], axis=0) != 0).any(axis=1)) + 1
        cuts = [0, *changes.tolist(), len(ordered)]
    for first, last in pairwise(cuts):
        for start in range(first, last, most):
            batch = tuple(ordered[start : min(start + most, last)])
            yield batch if len(batch) > 1 else batch * 2


def columns_of(state: Mapping[str, Tensor], batch: Batch, rows: int, reads: frozenset[str]) -> dict[str, Any]:
    """What training from a state needs, row by row, as columns of a store: the state, summaries of the stages before it
    (`summary/2`), what heads read, and targets.

    Args:
        state: of the batch.
        rows: the first so many of the batch.
        reads: names of inputs that the head reads.
    """
    columns: dict[str, Any] = {
        name if name.startswith(SUMMARY) else f"state/{name}": value[:rows] for name, value in state.items()
    }
    columns |= {f"input/{name}": batch.inputs[name][:rows] for name in sorted(reads)}
    if isinstance(batch.targets, list):
        for name in batch.targets[0] if batch.targets else ():
            columns[f"each/{name}"] = [target[name] for target in batch.targets[:rows]]
    else:
        columns |= {f"target/{name}": value[:rows] for name, value in batch.targets.items()}
    return columns


def batch_of(columns: Mapping[str, Tensor | list[Tensor]], rows: Sequence[int], source: Examples) -> Batch:
    """A batch from columns as `columns_of` makes them.

    Args:
        columns: a tensor [B, …], or one a row.
        rows: row numbers; those of further views count as their row's.
        source: the rows' examples, which know how what differs in size is joined.
    """
    alike = source.sizes() is None
    state: dict[str, Tensor] = {}
    inputs: dict[str, Tensor] = {}
    targets: dict[str, Tensor] = {}
    each: dict[str, Sequence[Tensor]] = {}
    for column, values in columns.items():
        kind, _, name = column.partition("/")
        if kind in ("state", "summary"):
            state[name if kind == "state" else column] = values if isinstance(values, Tensor) else pad_rows(values)
        elif kind == "each":
            each[name] = list(values)
        else:
            into = inputs if kind == "input" else targets
            into[name] = values if alike and isinstance(values, Tensor) else source.join(name, list(values))
    found: Targets = targets
    if each:
        found = [{name: values[index] for name, values in each.items()} for index in range(len(rows))]
    return Batch(torch.tensor([row % len(source) for row in rows], dtype=torch.int64), inputs, found, state)
