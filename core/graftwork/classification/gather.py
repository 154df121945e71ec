"""Rows and counts that stay on the device until the end, from all processes: what every metric here is made from.

No torchmetrics: whatever is imported of it imports transformers and scipy.signal too, two seconds of a run.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed


class Rows:
    """Rows of numbers, float32 [N, width], which holds class numbers exactly up to 16 million.

    One tensor, one gather. Nothing waits for the device: counting (bincount) would, so it is left to the end.

    Args:
        width: numbers a row.
        device: where the rows are.
    """

    def __init__(self, width: int, device: torch.device) -> None:
        # A process without rows has to take part in the gather all the same.
        self._rows = [torch.zeros(0, width, device=device)]
        self._gathered: Tensor | None = None

    def update(self, rows: Tensor) -> None:
        """Take in rows of this process, on the device."""
        self._rows.append(rows.detach())
        self._gathered = None

    def compute(self) -> Tensor:
        """The rows of all processes, in the order of ranks; all have to ask for them together."""
        if self._gathered is None:
            self._rows = [torch.cat(self._rows)]
            self._gathered = _of_all_processes(self._rows[0])
        return self._gathered


class Counts:
    """A sum of counts, int64 [size].

    Args:
        size: how many are counted.
        device: where the counts are.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self._counts = torch.zeros(size, dtype=torch.int64, device=device)
        self._total: Tensor | None = None

    def update(self, counts: Tensor) -> None:
        """Take in counts of this process, on the device."""
        self._counts += counts
        self._total = None

    def compute(self) -> Tensor:
        """The counts of all processes; all have to ask for them together."""
        if self._total is None:
            self._total = self._counts.clone()
            if _several():
                distributed.all_reduce(self._total)
        return self._total


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _of_all_processes(rows: Tensor) -> Tensor:
    """Rows of every process below one another; a gather wants as many of each, so the shorter are filled up for it."""
    if not _several():
        return rows
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.zeros_like(count) for _ in range(distributed.get_world_size())]
    distributed.all_gather(counts, count)
    lengths = [int(length) for length in counts]
    filled = rows.new_zeros(max(lengths), rows.shape[1])
    filled[: len(rows)] = rows
    parts = [torch.zeros_like(filled) for _ in lengths]
    distributed.all_gather(parts, filled)
    return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])
