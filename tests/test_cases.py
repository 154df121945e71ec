"""What people really have: every case of cases.yaml is right now, or refused with a way out that works."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import cases


def test_every_case_says_what_was_and_what_is_right() -> None:
    read, runs = cases.load()  # raises by name where an entry, a regular expression or a command is not well formed
    assert len(read) >= 90 and runs
    counts = Counter(case.verdict for case in read)
    assert set(counts) == set(cases.VERDICTS)  # 0.1.0 did all of it


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"case": "x1"}, "v or t"),
        ({"case": "v01", "verdict": "fine", "steps": []}, "verdict is 'fine'"),
        ({"case": "v01", "kind": "k", "verdict": "right", "steps": [{"run": "graft", "now": {}}]}, "what was"),
        ({"case": "v01", "verdict": "right", "steps": [{"run": "graft", "was": {}}]}, "what is right now"),
        ({"case": "v01", "verdict": "right", "steps": [{"run": "for x in", "now": {}}]}, "for x in"),
        ({"case": "v01", "verdict": "right", "steps": [{"run": "graft", "now": {"cod": 1}}]}, "unknown {'cod'}"),
    ],
)
def test_an_entry_that_is_not_well_formed_is_told_by_its_name(
    entry: dict[str, object], message: str, tmp_path: Path
) -> None:
    import yaml

    path = tmp_path / "cases.yaml"
    path.write_text(yaml.safe_dump({"runs": {}, "cases": [entry]}))
    with pytest.raises(ValueError, match=message):
        cases.load(path)


@pytest.mark.parametrize(
    ("code", "err", "verdict"),
    [
        (0, "", "wrong"),
        (3, "graft: error: no", "refused, no way out"),
        (3, "graft: error: no. Try this", "refused, way out works"),
        (1, "graft: error: unexpected KeyError: 'x'", "crash"),
        (134, "", "crash"),
    ],
)
def test_a_command_is_judged_by_what_it_leaves(code: int, err: str, verdict: str, tmp_path: Path) -> None:
    graft = tmp_path / "graft"
    graft.write_text(f'#!/bin/sh\necho "{err}" >&2\nexit {code}\n')
    graft.chmod(0o755)
    now = ({"rows": 3}, {"code": 3, "says": "Try this", "follow": [{"run": "true", "now": {}}]})
    case = cases.Case("v01", "k", "right", {}, (cases.Step("graft inspect", now),))
    (result,) = cases.judged([case], {}, graft, jobs=1).values()
    assert result["verdict"] == verdict and bool(result["wrong"]) == (verdict != "refused, way out works")


@pytest.mark.acceptance
@pytest.mark.timeout(7200)
def test_nothing_is_wrong_in_silence_and_every_refusal_has_a_way_out(graft_path: Path) -> None:
    read, runs = cases.load()
    results = cases.judged(read, runs, graft_path)
    if all(result["verdict"] == "skipped" for result in results.values()):
        pytest.skip(f"the inputs are not there: no folder {cases.SHARED}")
    good = {"right", "refused, way out works", "skipped"}
    bad = {name: result["wrong"] for name, result in results.items() if result["verdict"] not in good}
    assert not bad, bad
