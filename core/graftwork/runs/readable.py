"""Rows of new inputs of which some may turn out to be damaged: those are told by name, and the others go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from graftwork.errors import DataError
from graftwork.interfaces import Batch, Examples

if TYPE_CHECKING:
    from datasets import Dataset

Refuse = Callable[[int, DataError], None]
"""Called with a row's number and why it cannot be read."""


def readable_rows(
    rows: Dataset, make: Callable[[Dataset], Examples], refuse: Callable[[str, DataError], None]
) -> tuple[Dataset, Examples | None]:
    """The rows of which examples can be made, and their examples; None where there are none.

    Args:
        rows: with `origin`.
        make: gives the examples of rows; what it raises of some is asked for again row by row.
        refuse: called with a row's origin and why it cannot be read; may raise.
    """
    if not len(rows):
        return rows, None
    try:
        return rows, make(rows)
    except DataError:
        kept = []
        for row, origin in enumerate(rows["origin"][:]):
            try:
                make(rows.select([row]))
                kept.append(row)
            except DataError as error:
                refuse(origin, error)
        rows = rows.select(kept)
        return rows, make(rows) if kept else None


class ReadableExamples(Examples):
    """Examples of which a batch holds those rows that can be read; the others are in `lost`. Loaded in this process alone.

    Args:
        source: the examples.
        refuse: called for each row that cannot be read; may raise.
    """

    def __init__(self, source: Examples, refuse: Refuse) -> None:
        self._source = source
        self._refuse = refuse
        self.lost: set[int] = set()
        self.evaluated_together = source.evaluated_together  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self._source)

    def sizes(self) -> Any:
        return self._source.sizes()

    def load(self, row: int) -> Any:
        try:
            return self._source.load(row)
        except DataError as error:
            self._refuse(row, error)
            self.lost.add(row)
            return None

    def collate(self, rows: Sequence[int], examples: Sequence[Any]) -> Batch:
        read = [(row, example) for row, example in zip(rows, examples, strict=True) if row not in self.lost]
        if not read:
            return Batch(torch.empty(0, dtype=torch.int64), {}, {})
        batch: Batch = self._source.collate([row for row, _ in read], [example for _, example in read])
        return batch
