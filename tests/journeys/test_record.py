"""The record of what the command does: the same twice, and no difference is overlooked."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RECORD = Path(__file__).parents[1] / "record.py"
NAMES = ("images-linear-probe-kept", "texts-lora-killed")
Command = Callable[..., Any]


@pytest.fixture(scope="module")
def record(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of two configurations: one that keeps states, one that is killed and resumed."""
    return written(command, tmp_path_factory.mktemp("record") / "first.json")


def written(command: Command, target: Path) -> Path:
    words = [word for name in NAMES for word in ("--only", name)]
    done = command([sys.executable, RECORD, "write", target, *words])
    assert done.code == 0, done.stderr
    return target


def compared(command: Command, before: Path, after: Path) -> tuple[int, list[str]]:
    done = command([sys.executable, RECORD, "compare", before, after])
    assert done.stderr == ""
    return done.code, [line.strip() for line in done.stdout.splitlines()]


@pytest.mark.acceptance
def test_a_record_is_the_same_twice(command: Command, record: Path, tmp_path: Path) -> None:
    again = written(command, tmp_path / "again.json")
    assert compared(command, record, again) == (0, ["2 of 2 equal"])
    kept, killed = (json.loads(record.read_text())["configurations"][name] for name in NAMES)
    assert {"model.safetensors", "model.json", "plan.json", "metrics.jsonl", "summary.json"} <= set(kept) & set(killed)
    assert {"predictions/test.parquet", "predict --json", "evaluate --json"} <= set(kept)
    assert kept["plan.json"]["values"]["phases"][0]["rows"]["kept"] is True


@pytest.mark.acceptance
def test_planted_differences_are_named_and_what_is_new_is_listed_apart(
    command: Command, record: Path, tmp_path: Path
) -> None:
    changed = json.loads(record.read_text())
    kept, killed = (changed["configurations"][name] for name in NAMES)
    for found in (kept["metrics.jsonl"], kept["plan.json"], kept["predictions/test.parquet"], killed["plan.json"]):
        found["digest"] = "another"
    kept["metrics.jsonl"]["values"][0]["train_loss"] += 1e-9
    del kept["plan.json"]["values"]["phases"][0]["lr"]
    killed["plan.json"]["values"]["phases"][0]["terms"] = []
    after = tmp_path / "changed.json"
    after.write_text(json.dumps(changed))

    code, lines = compared(command, record, after)

    assert code == 1 and lines[-1] == "1 of 2 equal"
    apart = lines.index("only in the second, so candidates for what was wanted:")
    different, new = lines[1:apart], lines[apart + 1 : -1]
    assert new == ["texts-lora-killed: plan.json: phases[0].terms is new ([])"]
    metrics, plan, predictions = different
    assert metrics.startswith("images-linear-probe-kept: metrics.jsonl: [0].train_loss is ")
    assert plan.startswith("images-linear-probe-kept: plan.json: phases[0].lr is gone (was ")
    assert predictions == "images-linear-probe-kept: predictions/test.parquet: differs"


@pytest.mark.acceptance
def test_a_configuration_that_was_not_run_differs(command: Command, record: Path, tmp_path: Path) -> None:
    fewer = json.loads(record.read_text())
    del fewer["configurations"][NAMES[1]]
    after = tmp_path / "fewer.json"
    after.write_text(json.dumps(fewer))
    code, lines = compared(command, record, after)
    assert code == 1 and lines == ["different:", "texts-lora-killed: was not run", "1 of 2 equal"]
