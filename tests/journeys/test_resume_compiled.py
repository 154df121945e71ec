"""Resume is exact where stages are compiled: a resumed run compiles again, and to the same numbers."""

from __future__ import annotations

import pytest
from resume_kit import run_trials

from graftwork.machine.compiling import why_not


@pytest.mark.acceptance
@pytest.mark.skipif(why_not() is not None, reason=f"this machine cannot compile: {why_not()}")
def test_a_compiled_run_that_is_killed_ends_the_same() -> None:
    # Mid-epoch, behind a checkpoint: the resumed run meets other sizes first.
    words = ("--task", "text-classification", "--strategies", "full", "--steps", "5", "--moments", "0", "--bugs", "")
    found = run_trials(*words, "--workers", "0", "--jobs", "1", "--compiled")
    assert found["strategies"]["full"] == {"trials": 1, "identical": 1, "different": []}
