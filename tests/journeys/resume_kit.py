"""Kills runs and resumes them. Runs are forked from a parent that has imported torch, so that a trial costs a second.

The parent must never have computed with torch in several threads: an OpenMP pool does not survive a fork.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graftwork.interfaces import Observer, StepRecord

STEPS = 40
BASE: dict[str, Any] = {
    "task": "image-classification",
    "data": "sample:digits",
    "limit_train": 80,
    "batch_size": 20,
    "epochs": 10,
    "backbone": "graftnet-s",
    "weights": "none",
    "head_options": {"dropout": 0.2},
    "task_options": {"mixup": 0.2},
    "ema": 0.9,
    "checkpoint_steps": 3,
    "checkpoint_seconds": 1e9,
    "workers": 0,
    "device": "cpu",
}

_SHARED: dict[str, Any] = {
    "epochs": 10,
    "weights": "none",
    "ema": 0.9,
    "checkpoint_steps": 3,
    "checkpoint_seconds": 1e9,
    "workers": 0,
    "device": "cpu",
}

TEXT: dict[str, Any] = {
    **_SHARED,
    "task": "text-classification",
    "data": "sample:messages",
    "limit_train": 84,
    "batch_size": 21,
    "backbone": "graftext-s",
}
"""Texts of different lengths, so in batches of like length, with dropout in every layer."""

COMPILED: dict[str, Any] = {
    "compile": "on",
    "epochs": 2,
    "batch_size": 25,
    "precision": "fp32",
    "backbone": "transformers",
    "backbone_options": {
        "config": json.dumps(
            {"model_type": "bert", "vocab_size": 4096, "hidden_size": 32, "num_hidden_layers": 1,
             "num_attention_heads": 2, "intermediate_size": 64}
        ),
        "length": 64,
    },
}  # fmt: skip
"""Of TEXT: as little as can be compiled, in batches of many sizes and a smaller last one; 8 steps."""

_SCENES: dict[str, Any] = {
    **_SHARED,
    "limit_train": 40,
    "batch_size": 10,
    "backbone": "squeezenet1_1",
    "task_options": {"size": 64, "augment": "strong"},
}
"""Pictures of different shapes, so in batches of like shape, at random scales and crops."""

DETECTION: dict[str, Any] = {
    **_SCENES,
    "task": "detection",
    "data": "sample:digit-scenes",
    "head": "faster-rcnn",
    "head_options": {"width": 32, "hidden": 32, "proposals": 30, "rpn_samples": 64, "roi_samples": 32},
}
"""With proposals that are drawn at random in every step."""

SEGMENTATION: dict[str, Any] = {**_SCENES, "task": "segmentation", "data": "sample:digit-masks", "head": "fpn"}

BASES = {base["task"]: base for base in (BASE, TEXT, DETECTION, SEGMENTATION)}


TRIALS = Path(__file__).parent / "resume_trials.py"


def run_trials(*arguments: str) -> dict[str, Any]:
    """What `resume_trials.py` prints, run in a process of its own."""
    # One thread: the trials fork, and an OpenMP pool does not survive that.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(TRIALS), *arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@dataclass
class Diary(Observer):
    """Writes the rows of every step to a file that survives a kill, and kills its own process after a step."""

    path: Path
    kill_after: int | None = None
    name: str = field(default="diary", init=False)

    def step_end(self, record: StepRecord) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps([record.step, record.phase, list(record.rows)]) + "\n")
        if record.step == self.kill_after:
            os.kill(os.getpid(), signal.SIGKILL)


def start(
    out: Path,
    strategy: str,
    *,
    resume: bool = False,
    kill_after: int | None = None,
    mutate: Callable[[], None] | None = None,
    **settings: Any,
) -> int:
    """Fork a process that trains into `out`; its process id."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        sys.stdout = sys.stderr = open(out.with_suffix(".log"), "a")  # noqa: PTH123, SIM115
        if mutate is not None:
            mutate()
        train(out, strategy, resume=resume, kill_after=kill_after, **settings)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def train(out: Path, strategy: str, *, resume: bool, kill_after: int | None = None, **settings: Any) -> None:
    """Train in this process, as the command line would."""
    import torch

    from graftwork.catalogue import load_catalogue
    from graftwork.config import override_layer
    from graftwork.config.check import resolve_and_check
    from graftwork.log import heard
    from graftwork.run import execute

    torch.set_num_threads(1)
    if "views" in settings:  # its own states: a killed run may have been computing them
        os.environ["GRAFTWORK_CACHE"] = str(out.with_suffix(".cache"))
    catalogue = load_catalogue()
    base = BASES[settings.get("task", BASE["task"])]
    layer = override_layer({**base, "strategy": strategy, **settings})
    diary = Diary(out.with_suffix(".diary"), kill_after)
    with heard(print):
        execute(resolve_and_check([layer], catalogue), catalogue, out, resume=resume, observers=[diary])


def wait(process: int) -> int:
    """Exit code of a process, or minus the signal that ended it."""
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status)


@dataclass(frozen=True)
class Outcome:
    """What a finished run left: everything that must be the same bit for bit."""

    weights: str
    rows: dict[int, Any]
    history: list[Any]


def outcome(out: Path) -> Outcome:
    """Read a finished run.

    Raises:
        AssertionError: a step that was run twice did not see the same rows.
    """
    rows: dict[int, Any] = {}
    for line in out.with_suffix(".diary").read_text().splitlines():
        step, *seen = json.loads(line)
        assert rows.setdefault(step, seen) == seen, f"step {step} saw other rows after the resume"
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    history = [(line["epoch"], line["phase"], line["train_loss"], line["val"]) for line in lines]
    return Outcome(hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest(), rows, history)


def killed_then_resumed(
    folder: Path,
    strategy: str,
    *,
    after_step: int | None = None,
    after_seconds: float | None = None,
    mutate: Callable[[], None] | None = None,
    **settings: Any,
) -> Outcome:
    """Train, kill with SIGKILL after a step or at a moment, resume to the end."""
    label = f"step{after_step}" if after_step is not None else f"time{after_seconds:.3f}"
    out = folder / f"{strategy.replace(':', '')}-{label}-{random.randrange(10**9)}"
    process = start(out, strategy, resume=True, kill_after=after_step, **settings)
    if after_seconds is not None:
        time.sleep(after_seconds)
        os.kill(process, signal.SIGKILL)
    code = wait(process)
    assert code in (-signal.SIGKILL, 0), out.with_suffix(".log").read_text()[-2000:]
    code = wait(start(out, strategy, resume=True, mutate=mutate, **settings))
    assert code == 0, out.with_suffix(".log").read_text()[-2000:]
    return outcome(out)


def uninterrupted(folder: Path, strategy: str, **settings: Any) -> tuple[Outcome, float]:
    """The run that is never killed, and the seconds it took."""
    out = folder / f"{strategy.replace(':', '')}-whole"
    started = time.monotonic()
    assert wait(start(out, strategy, **settings)) == 0, out.with_suffix(".log").read_text()[-2000:]
    return outcome(out), time.monotonic() - started
