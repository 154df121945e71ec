"""The profiler watches a few steps, and changes nothing."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

from engine_toys import CONTEXT, copies, largest_difference, run_fit, toy_model

from graftwork.engine.profile import STEPS, ProfileObserver
from graftwork.interfaces import Spec
from graftwork.strategies import full

FULL = full.build(Spec("full"))


def test_a_profiled_run_ends_with_the_same_bits_and_leaves_a_trace_and_a_table(tmp_path: Path, said: list[str]) -> None:
    plain = run_fit(toy_model(norm=True, dropout=0.5), FULL, tmp_path / "plain", batch_size=2)
    watching = ProfileObserver(tmp_path / "profile")
    seen = run_fit(toy_model(norm=True, dropout=0.5), FULL, tmp_path / "seen", batch_size=2, observers=[watching])
    assert largest_difference(copies(plain.model), copies(seen.model)) == 0.0
    assert not [line for line in seen.said if "switched off" in line]
    with gzip.open(tmp_path / "profile/trace.json.gz", "rt") as lines:
        events = [event.get("name", "") for event in json.load(lines)["traceEvents"]]
    assert sum("Optimizer.step" in name for name in events) == STEPS
    table = (tmp_path / "profile/operators.txt").read_text()
    assert table.startswith(f"{STEPS} steps") and "aten::" in table and "Self CPU" in table
    assert said == [f"profile: {STEPS} steps in {tmp_path / 'profile'}, see operators.txt and trace.json.gz"]


def test_an_evaluation_is_not_part_of_the_trace(tmp_path: Path) -> None:
    """Four steps an epoch: the one after the first, which passes, up to the evaluation."""
    watching = ProfileObserver(tmp_path / "profile")
    run_fit(toy_model(), FULL, tmp_path / "run", observers=[watching], context=replace(CONTEXT, epochs=1))
    assert (tmp_path / "profile/operators.txt").read_text().startswith("3 steps")


def test_a_run_that_is_too_short_says_so(tmp_path: Path, said: list[str]) -> None:
    watching = ProfileObserver(tmp_path / "profile")
    run_fit(toy_model(), FULL, tmp_path, observers=[watching], context=replace(CONTEXT, epochs=1), batch_size=32)
    assert said == ["profile: the run was too short, nothing was recorded"]
    assert not (tmp_path / "profile").exists()
