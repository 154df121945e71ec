"""Two processes under torchrun give the model that one process gives with the same global batch."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

SETTINGS: list[str] = [
    *("train", "--task", "image-classification", "--data", "sample:digits", "--limit-train", "48"),
    *("--backbone", "squeezenet1_1", "--weights", "none", "--set", "backbone_options.image_size=32"),
    *("--epochs", "4", "--batch-size", "16", "--lr", "0.05", "--optimizer", "sgd", "--seed", "1"),
    *("--device", "cpu", "--precision", "fp32", "--workers", "0", "--imbalance", "weights", "--json"),
]
# Sums of gradients are taken in another order; SGD hands that on as it is (AdamW divides by tiny numbers).
TOLERANCE = 1e-5


def largest(first: dict[str, Any], second: dict[str, Any]) -> float:
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def test_two_processes_give_the_model_of_one(command: Callable[..., Any], tmp_path: Path) -> None:
    words = [*SETTINGS, "--strategy", "lp-ft"]
    alone = command([sys.executable, "-m", "graftwork", *words, "--out", tmp_path / "alone"])
    assert alone.code == 0, alone.stderr
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    cache = {"GRAFTWORK_CACHE": str(tmp_path / "cache")}  # both processes compute a share of the probe's states
    pair = command([*torchrun, "-m", "graftwork", *words, "--out", tmp_path / "pair"], env=cache)
    assert pair.code == 0, pair.stderr[-3000:]
    one, two = json.loads(alone.stdout), json.loads(pair.stdout)  # one document: one process speaks
    assert (one["processes"], two["processes"]) == (1, 2)
    assert "kept states" in alone.stderr and len(list((tmp_path / "cache").rglob("segment-*"))) == 3
    assert pair.stderr.count("plan: lp-ft") == 1 and "graft: error" not in pair.stderr
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("alone", "pair"))
    difference = largest(first, second)
    print(f"largest difference {difference:.1e}")  # noqa: T201 (shown with -s)
    assert float(first["head.linear.bias"].abs().max()) > 100 * TOLERANCE, (
        "training moved the weights, which began at 0"
    )
    assert first.keys() == second.keys() and difference < TOLERANCE
    for split in ("val", "test"):
        assert two[split]["accuracy"] == pytest.approx(one[split]["accuracy"], abs=0.01)
    names = {path.name for path in (tmp_path / "alone").iterdir()}
    assert {path.name for path in (tmp_path / "pair").iterdir()} == names
    lines = (tmp_path / "pair" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4]
    losses = [
        [json.loads(line)["train_loss"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("alone", "pair")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.acceptance
def test_an_error_in_every_process_ends_all_of_them(command: Callable[..., Any], tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = [*SETTINGS, "--batch-size", "1", "--out", tmp_path / "run"]
    done = command([*torchrun, "-m", "graftwork", *words], timeout=120)
    assert done.code != 0
    assert "graft: error: batch size 1 is smaller than the number of processes, 2" in done.stderr
