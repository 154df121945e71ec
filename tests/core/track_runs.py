"""Tiny runs that observers watch, in this process or in one that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graftwork.interfaces import Observer, StepRecord

STEPS, EPOCHS = 12, 3
TINY: dict[str, Any] = {
    "task": "image-classification",
    "data": "sample:digits",
    "limit_train": 40,
    "batch_size": 10,
    "epochs": EPOCHS,
    "backbone": "graftnet-s",
    "weights": "none",
    "head_options": {"dropout": 0.2},
    "strategy": "full",
    "seed": 3,
    "checkpoint_steps": 3,
    "checkpoint_seconds": 1e9,
    "workers": 0,
    "device": "cpu",
}


@dataclass
class At(Observer):
    """Does something after a step."""

    step: int
    action: Callable[[], None]
    name: str = field(default="at", init=False)

    def step_end(self, record: StepRecord) -> None:
        if record.step == self.step:
            self.action()


def run(
    out: Path,
    settings: Mapping[str, Any],
    *,
    resume: bool = False,
    observers: Sequence[Observer] = (),
) -> dict[str, Any]:
    """The tiny run with some settings of its own, in this process."""
    from graftwork.catalogue import load_catalogue
    from graftwork.config import override_layer
    from graftwork.config.check import resolve_and_check
    from graftwork.run import execute

    catalogue = load_catalogue()
    resolved = resolve_and_check([override_layer({**TINY, **settings})], catalogue)
    return execute(resolved, catalogue, out, resume=resume, observers=observers)


def run_killed(out: Path, settings: Mapping[str, Any], after: int) -> None:
    """The same in a process that kills itself, after a step and before the observers of the settings are told of it."""
    command = [sys.executable, __file__, str(out), json.dumps(settings), str(after)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    where, given, last = sys.argv[1:]
    run(Path(where), json.loads(given), observers=[At(int(last), lambda: os.kill(os.getpid(), signal.SIGKILL))])
