"""Rows of numbers that stay on the device until the end, from all processes: what every metric here is made from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def row_store(width: int, device: torch.device) -> Any:
    """A torchmetrics metric that holds rows [N, width], float32: `update` takes them, `compute` gives those of all processes.

    One tensor, one gather. Nothing waits for the device: counting (bincount) would, so it is left to the end.
    """
    import torchmetrics

    class Rows(torchmetrics.Metric):
        """Rows of numbers; float32 holds class numbers exactly up to 16 million."""

        full_state_update = False

        def __init__(self) -> None:
            super().__init__()
            self.rows: list[Tensor]
            self.add_state("rows", default=[], dist_reduce_fx="cat")

        def update(self, rows: Tensor) -> None:
            self.rows.append(rows)
            # Few large blocks: a small one for every batch, between the tensors of forward passes, would leave holes in
            # the heap into which none of these fits. Each row is copied as often as the number of blocks doubles.
            while len(self.rows) > 1 and len(self.rows[-2]) <= len(self.rows[-1]):
                last = self.rows.pop()
                self.rows[-1] = torch.cat([self.rows[-1], last])

        def compute(self) -> Tensor:
            return torch.cat(self.rows) if isinstance(self.rows, list) else self.rows

    store = Rows().to(device)
    # A process without rows has to take part in the gather all the same.
    store.update(torch.zeros(0, width, device=device))
    return store
