"""Resume is exact with pictures of many shapes, random crops, and proposals that are drawn at random in every step."""

from __future__ import annotations

import pytest
from resume_kit import run_trials


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("task", "strategy"),
    [("detection", "full"), ("segmentation", "lp-ft")],
)
def test_killed_runs_with_batches_of_like_shape_end_the_same(task: str, strategy: str) -> None:
    words = ("--task", task, "--strategies", strategy, "--steps", "19", "--moments", "0", "--bugs", "")
    found = run_trials(*words, "--workers", "0")
    assert found["strategies"][strategy] == {"trials": 1, "identical": 1, "different": []}


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_pictures_of_many_shapes_killed_at_ten_moments_end_the_same(task: str) -> None:
    found = run_trials(*("--task", task, "--strategies", "full", "--steps", "", "--moments", "10", "--bugs", ""))
    assert found["strategies"]["full"]["different"] == []
