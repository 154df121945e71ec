"""Resume is exact where a run trains from kept states: killed while it computes them, or while it trains from them."""

from __future__ import annotations

import pytest
from resume_kit import BASES, run_trials


@pytest.mark.parametrize(
    ("task", "strategy"),
    [
        pytest.param("image-classification", "lp-ft", marks=pytest.mark.acceptance),
        ("text-classification", "partial:1"),
        pytest.param("segmentation", "linear-probe", marks=pytest.mark.acceptance),
    ],
)
def test_killed_runs_that_keep_states_end_the_same(task: str, strategy: str) -> None:
    words = ("--task", task, "--strategies", strategy, "--views", "2", "--steps", "19", "--moments", "1", "--bugs", "")
    found = run_trials(*words, "--workers", "0")
    assert found["strategies"][strategy] == {"trials": 2, "identical": 2, "different": []}


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("task", sorted(BASES))
def test_runs_that_keep_states_killed_at_twenty_moments_end_the_same(task: str) -> None:
    words = ("--task", task, "--strategies", "gradual,linear-probe", "--views", "2", "--steps", "", "--bugs", "")
    found = run_trials(*words, "--moments", "10")
    assert [outcome["different"] for outcome in found["strategies"].values()] == [[], []]
