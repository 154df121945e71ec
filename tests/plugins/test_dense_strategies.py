"""Every strategy trains a detector and a segmenter; the backbone is what it freezes, neck and head always train."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from graftwork.catalogue import first_party_registry, load_catalogue, read_registry
from graftwork.config import override_layer
from graftwork.config.check import resolve_and_check
from graftwork.run import execute

STRATEGIES = sorted(read_registry(first_party_registry()).strategies)
TASKS = {"detection": ("digit-scenes", "retinanet"), "segmentation": ("digit-masks", "fpn")}


def train(out: Path, task: str, strategy: str, **more: Any) -> dict[str, Any]:
    sample, head = TASKS[task]
    settings = {
        "task": task,
        "data": f"sample:{sample}",
        "backbone": "squeezenet1_1",
        "weights": "none",
        "head": head,
        "head_options": {"width": 64},
        "task_options": {"size": 64},
        "strategy": strategy,
        "limit_train": 16,
        "epochs": 2,
        "batch_size": 8,
        "workers": 0,
        "device": "cpu",
        "precision": "fp32",
        **more,
    }
    catalogue = load_catalogue()
    return execute(resolve_and_check([override_layer(settings)], catalogue), catalogue, out)


OFTEN = {("detection", "full"), ("segmentation", "lora")}
"""What every test run tries; the rest is tried before a release."""

CASES = [
    pytest.param(
        task,
        strategy,
        marks=[] if (task, strategy) in OFTEN else [pytest.mark.acceptance],
    )
    for task in TASKS
    for strategy in STRATEGIES
    if strategy != "gradual"
]


@pytest.mark.parametrize(("task", "strategy"), CASES)
def test_every_strategy_trains(tmp_path: Path, task: str, strategy: str) -> None:
    summary = train(tmp_path / "run", task, strategy)
    assert summary["proofs"]["artifact"].endswith("bit-identically")
    assert 0 <= summary["test"][summary["primary_metric"]] <= 1
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    trained = {group["name"].partition("/")[0] for phase in plan["phases"] for group in phase["groups"]}
    assert "head" in trained
    if strategy == "linear-probe":
        assert trained == {"head"} and "bit-identical" in summary["proofs"]["frozen"][0]
        assert summary["parameters"]["trained"] > 10_000, "the neck trains too"


@pytest.mark.parametrize("task", ["detection", pytest.param("segmentation", marks=pytest.mark.acceptance)])
def test_gradual_unfreezing_has_a_phase_a_stage(tmp_path: Path, task: str) -> None:
    summary = train(tmp_path / "run", task, "gradual", epochs=5)
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    assert [phase["frozen_stages"] for phase in plan["phases"]] == sorted(
        (phase["frozen_stages"] for phase in plan["phases"]), reverse=True
    )
    assert len(summary["proofs"]["frozen"]) >= 2
