"""Resume is exact: after kill -9 at any moment the run ends bit-identical to the one that was never killed."""

from __future__ import annotations

import pytest
from resume_kit import run_trials


def test_killed_runs_end_like_the_uninterrupted_one() -> None:
    # After the first step, in the middle of an epoch after a checkpoint, after the last step; with workers and without.
    found = run_trials("--strategies", "lp-ft", "--steps", "1,18,40", "--moments", "1", "--bugs", "")
    outcome = found["strategies"]["lp-ft"]
    assert outcome["different"] == []
    assert outcome["identical"] == outcome["trials"] == 7


@pytest.mark.parametrize(
    ("task", "strategy"),
    [
        pytest.param("image-classification", "full", marks=pytest.mark.acceptance),
        pytest.param("image-classification", "gradual", marks=pytest.mark.acceptance),
        pytest.param("image-classification", "lora", marks=pytest.mark.acceptance),
        pytest.param("text-classification", "full", marks=pytest.mark.acceptance),
        pytest.param("text-classification", "lora", marks=pytest.mark.acceptance),
    ],
)
def test_every_kind_of_run_ends_the_same_after_a_kill(task: str, strategy: str) -> None:
    """With one phase or a phase a stage, with adapters, with batches of like length."""
    words = (
        "--task",
        task,
        "--strategies",
        strategy,
        "--steps",
        "19",
        "--moments",
        "1",
        "--bugs",
        "",
        "--workers",
        "0",
    )
    found = run_trials(*words)
    assert found["strategies"][strategy] == {"trials": 2, "identical": 2, "different": []}


@pytest.mark.acceptance
def test_every_planted_resume_bug_is_caught() -> None:
    found = run_trials("--strategies", "lp-ft", "--steps", "18", "--moments", "0", "--workers", "0")
    assert found["strategies"]["lp-ft"]["different"] == []
    missed = [name for name, caught in found["planted_bugs"].items() if not caught]
    assert missed == []
    assert len(found["planted_bugs"]) >= 8


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("strategy", ["full", "lora", "lp-ft", "bitfit"])
def test_texts_killed_at_twenty_moments_end_the_same(strategy: str) -> None:
    found = run_trials(
        *("--task", "text-classification", "--strategies", strategy, "--steps", "", "--moments", "20", "--bugs", "")
    )
    assert found["strategies"][strategy]["different"] == []


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
def test_kill_after_every_step_and_at_twenty_moments() -> None:
    found = run_trials()
    assert {name: outcome["different"] for name, outcome in found["strategies"].items()} == {
        "full": [],
        "gradual": [],
        "lp-ft": [],
    }
    assert all(outcome["trials"] == 63 for outcome in found["strategies"].values())
