"""Fixed views of rows: a handful of looks in place of endless augmentation, so that what is made of them can be kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from graftwork.data.sampler import BatchSpec
from graftwork.data.seeds import BATCH, ROW, VIEW, derive
from graftwork.interfaces import Examples
from graftwork.machine.generator import restoring_cpu_generator, seed_cpu

_LOOKED_AT = 8  # rows


class View(Examples):
    """One fixed view of rows. What loading draws is a function of (view, content of the row): the same in every epoch,
    in every run, and wherever the row stands.

    Args:
        examples: rows as training sees them.
        number: of the view, as in `Examples.view`.
        digests: of the rows, hexadecimal.
    """

    def __init__(self, examples: Examples, number: int, digests: Sequence[bytes] | NDArray[Any]) -> None:
        self._examples = examples.view(number)
        self._number = number
        self._digests = digests

    def __len__(self) -> int:
        return len(self._examples)

    def sizes(self) -> Sequence[int] | Sequence[tuple[int, ...]] | None:
        return self._examples.sizes()

    def load(self, row: int) -> Any:
        seed_cpu(derive(VIEW, int(bytes(self._digests[row])[:15], 16), self._number))
        return self._examples.load(row)

    def collate(self, rows: Sequence[int], examples: Sequence[Any]) -> Any:
        return self._examples.collate(rows, examples)

    def join(self, name: str, values: Sequence[torch.Tensor]) -> torch.Tensor:
        return self._examples.join(name, values)


class FixedViews(Examples):
    """Several views of the same rows, one after the other: number v * rows + r is row r in view v."""

    def __init__(self, views: Sequence[View]) -> None:
        self._views = views
        self._rows = len(views[0])
        self.cheap = views[0]._examples.cheap  # type: ignore[misc]

    def __len__(self) -> int:
        return self._rows * len(self._views)

    def sizes(self) -> Sequence[int] | Sequence[tuple[int, ...]] | None:
        """Of the rows; those of their views are the same."""
        return self._views[0].sizes()

    def join(self, name: str, values: Sequence[torch.Tensor]) -> torch.Tensor:
        return self._views[0].join(name, values)

    def load(self, row: int) -> Any:
        view, row = divmod(row, self._rows)
        return self._views[view].load(row)

    def collate(self, rows: Sequence[int], examples: Sequence[Any]) -> Any:
        return self._views[0].collate([row % self._rows for row in rows], examples)


def in_view(spec: BatchSpec, views: int, rows: int) -> BatchSpec:
    """A batch of rows as a batch of their views: each row takes turns, and an epoch shows a share of each view."""
    if views == 1:
        return spec
    numbers = tuple((spec.epoch + row) % views * rows + row for row in spec.rows)
    return BatchSpec(spec.epoch, spec.index, numbers, spec.all_rows)


def draws(examples: Examples, rows: Sequence[int] = range(_LOOKED_AT)) -> tuple[bool, bool]:
    """Whether loading a row, and whether collating rows, draws random numbers: then an epoch differs from the next.

    Seen, not declared: torch's generator is the only randomness that examples may use, and it moves when it is used.
    """
    with restoring_cpu_generator():
        seed_cpu(derive(ROW, 0, 0, 0))
        before = torch.default_generator.get_state()
        numbers = [row for row in rows if row < len(examples)]
        loaded = [examples.load(row) for row in numbers]
        loading = not torch.equal(before, torch.default_generator.get_state())
        seed_cpu(derive(BATCH, 0, 0, 0))
        before = torch.default_generator.get_state()
        examples.collate(numbers, loaded)
        return loading, not torch.equal(before, torch.default_generator.get_state())
