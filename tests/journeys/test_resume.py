"""Resume is exact: after kill -9 at any moment the run ends bit-identical to the one that was never killed."""

from __future__ import annotations

import pytest
from resume_kit import run_trials


@pytest.mark.parametrize("strategy", ["full", "gradual", "lp-ft"])
def test_killed_runs_end_like_the_uninterrupted_one(strategy: str) -> None:
    # After the first step, mid-epoch before and after a checkpoint, at a phase's first step, after the last step.
    found = run_trials("--strategies", strategy, "--steps", "1,8,18,21,40", "--moments", "2", "--bugs", "")
    outcome = found["strategies"][strategy]
    assert outcome["different"] == []
    assert outcome["identical"] == outcome["trials"] == 10


@pytest.mark.parametrize(
    ("task", "strategy"),
    [
        ("text-classification", "full"),
        ("text-classification", "lora"),
        ("image-classification", "lora"),
    ],
)
def test_killed_runs_with_batches_of_like_length_or_adapters_end_the_same(task: str, strategy: str) -> None:
    found = run_trials(
        *(
            "--task",
            task,
            "--strategies",
            strategy,
            "--steps",
            "1,18,19,40",
            "--moments",
            "2",
            "--bugs",
            "",
            "--workers",
            "0",
        )
    )
    assert found["strategies"][strategy] == {"trials": 6, "identical": 6, "different": []}


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
