"""Trains on a third party's table with a third party's strategy, kills the run and resumes it: `killed_child.py FOLDER`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "journeys"))

import matplotlib.figure  # noqa: F401
import resume_kit
import sklearn.datasets  # noqa: F401
import torch
import torchmetrics.functional  # noqa: F401

import graftwork.run  # noqa: F401 (all imported before the forks, so that each is quick)

WINE = {
    "task": "table-classification",
    "data": "sample:wine",
    "epochs": 4,
    "batch_size": 32,
    "weights": "none",
    "head_options": {"dropout": 0.2},
    "checkpoint_steps": 3,
    "checkpoint_seconds": 1e9,
    "workers": 0,
    "device": "cpu",
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    resume_kit.BASES["table-classification"] = WINE
    found = {}
    for strategy, step in (("bss", 5), ("lp-ft", 13)):
        whole, _ = resume_kit.uninterrupted(folder, strategy, task=WINE["task"])
        killed = resume_kit.killed_then_resumed(folder, strategy, after_step=step, task=WINE["task"])
        found[strategy] = killed == whole
    print(json.dumps(found))  # noqa: T201
