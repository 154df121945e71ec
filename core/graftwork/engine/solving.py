"""A phase that is solved, not stepped: the head gets what frozen stages make of the training rows, and gives its tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from graftwork.data.loader import load_batches
from graftwork.data.sampler import in_order
from graftwork.errors import PluginError
from graftwork.interfaces import Examples, Features, Model, Solver, Targets
from graftwork.machine.device import Device
from graftwork.states.fill import ready
from graftwork.states.phases import PhaseData


@dataclass(frozen=True)
class _Items(Iterable[tuple[Features, Targets]]):
    """Features and targets of all training rows in order, batch by batch; read anew each time that they are asked for."""

    model: Model
    rows: Examples
    count: int
    size: int
    device: Device

    def __iter__(self) -> Iterator[tuple[Features, Targets]]:
        training = self.model.training
        self.model.eval()
        try:
            # Every process reads all rows: what is solved must be the same in each.
            specs = in_order(self.count, self.size, sizes=self.rows.sizes())
            for loaded in load_batches(self.rows, specs, 0, 0, self.device.pins):
                batch = ready(loaded, self.rows, self.model, self.device)
                with torch.no_grad(), self.device.autocast():
                    features = self.model.features(batch)
                yield features, batch.targets
        finally:
            self.model.train(training)


def solve_head(
    model: Model, rows: PhaseData, train: Examples, solver: Solver, batch_size: int, device: Device
) -> dict[str, Tensor]:
    """Let the head solve itself, and put what it gives into it.

    Args:
        model: on the device, with the phase entered.
        rows: of the phase; each training row stands first in view 0, which is not augmented.
        train: the training rows; where `rows` has no fixed views, their view 0 is read.
        solver: of the phase.

    Returns:
        The tensors that were solved, by the names of the head's `state_dict`.

    Raises:
        UsageError: the head cannot be solved.
        PluginError: it gives tensors that it does not have, or of another shape or not finite.
    """
    given = rows.train.view(0) if rows.train is train else rows.train
    size = max(batch_size, given.evaluated_together)
    solved = model.head.solve(_Items(model, given, len(train), size, device), solver.options)
    own = model.head.state_dict()
    for name, value in solved.items():
        if name not in own or own[name].shape != value.shape:
            raise PluginError(f"{type(model.head).__name__}.solve gives {name!r}, which does not fit the head")
        if not bool(torch.isfinite(value).all()):
            raise PluginError(f"{type(model.head).__name__}.solve gives {name!r}, which is not finite")
    with torch.no_grad():
        for name, value in solved.items():
            own[name].copy_(value)
    return {name: own[name] for name in solved}
