"""What a run goes on from: where it is, and everything that is written down so that it can be taken up again."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from graftwork.engine.checkpoint import CheckpointStore
from graftwork.engine.ema import Ema
from graftwork.engine.optimizer import optimizer_tensors, restore_optimizer
from graftwork.engine.terms import restore_terms, term_tensors
from graftwork.interfaces import Model

SPARED = 20.0
"""Times what it took to write the last checkpoint, until an epoch's end is worth one more: a twentieth of the run at most.
Epochs that train from kept states last less than it takes to write a large model down."""


@dataclass
class Progress:
    """Where a run is: everything that a checkpoint holds beside tensors."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    loss_rows: int = 0
    best_value: float | None = None
    best_epoch: int = 0
    best_file: str | None = None
    bad_epochs: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    frozen: str = ""
    proofs: list[str] = field(default_factory=list)
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    micro_batch: int | None = None
    stopped: str | None = None


class Resumable:
    """The tensors of a run, written to its checkpoints and read back.

    Args:
        model, optimizer, ema, scaler: what moves in training.
        store: the run's checkpoints.
        seconds: between checkpoints inside an epoch.
        steps: a checkpoint every so many steps besides, or None.
    """

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        ema: Ema | None,
        scaler: torch.amp.GradScaler | None,
        store: CheckpointStore,
        seconds: float,
        steps: int | None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.ema = ema
        self.scaler = scaler
        self.store = store
        self.seconds = seconds
        self.steps = steps
        self._best: tuple[int, dict[str, Tensor]] | None = None
        self._saved_at = time.monotonic()
        self._writing = 0.0

    def due(self, step: int) -> bool:
        """Whether a step inside an epoch is to leave a checkpoint."""
        return bool(self.steps and step % self.steps == 0) or self._since() >= self.seconds

    def due_after_epoch(self) -> bool:
        """Whether an epoch's end, when nothing else asks for a checkpoint, is to leave one."""
        return self._since() >= min(self.seconds, SPARED * self._writing)

    def keep_best(self, epoch: int) -> None:
        """Remember the weights as the best so far; they go to the disk with the next checkpoint, or never."""
        tensors = {name: value.detach().to("cpu", copy=True) for name, value in self.model.state_dict().items()}
        self._best = (epoch, tensors)

    def save(self, progress: Progress, loss_sum: Tensor) -> str:
        """Write a checkpoint; its path. The best weights go first, so that none refers to a file that is not there."""
        started = time.monotonic()
        if self._best is not None:
            progress.best_file = self.store.save_best(*self._best)
            self._best = None
        tensors = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"optimizer/{name}": v for name, v in optimizer_tensors(self.optimizer, self.model).items()}
        tensors |= {f"terms/{name}": value for name, value in term_tensors(self.model).items()}
        if self.ema:
            tensors |= {f"ema/{name}": value for name, value in self.ema.average.items()}
        tensors["loss_sum"] = loss_sum
        meta = asdict(progress)
        if self.scaler:
            meta["scaler"] = self.scaler.state_dict()
        path = self.store.save(progress.step, tensors, meta)
        self._writing = time.monotonic() - started
        return str(path)

    def saved(self) -> None:
        """Note the time: the main process has just written a checkpoint."""
        self._saved_at = time.monotonic()

    def restore(self) -> tuple[Progress, Tensor] | None:
        """Put back what the newest valid checkpoint holds; where the run was, and the sum of its epoch's losses.

        Raises:
            RunFailed: there are checkpoints, and every one is damaged.
        """
        checkpoint = self.store.load()
        if checkpoint is None:
            return None
        meta = dict(checkpoint.meta)
        scaler = meta.pop("scaler", None)
        if self.scaler and scaler:
            self.scaler.load_state_dict(scaler)
        self.model.load_state_dict(_under("model/", checkpoint.tensors))
        restore_terms(self.model, _under("terms/", checkpoint.tensors))
        restore_optimizer(self.optimizer, self.model, _under("optimizer/", checkpoint.tensors))
        if self.ema:
            self.ema.restore(_under("ema/", checkpoint.tensors))
        return Progress(**meta), checkpoint.tensors["loss_sum"]

    def _since(self) -> float:
        return time.monotonic() - self._saved_at


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
