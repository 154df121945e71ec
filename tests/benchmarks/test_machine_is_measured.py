"""What is measured of the machine and of whole commands, at the tiniest size, so that none of it rots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., str]
Results = Callable[[Path, str], dict[str, Any]]


def arms(found: dict[str, Any]) -> list[str]:
    return [row["arm"] for row in found["rows"]]


def limits(found: dict[str, Any]) -> list[float | None]:
    """The limits of the acceptance lines; a tiny run judges none of them."""
    assert found["tiny"] and all(line["holds"] is None and line["ratio"] > 0 for line in found["acceptance"])
    return [line["at_most"] if line["at_least"] is None else line["at_least"] for line in found["acceptance"]]


@pytest.mark.acceptance
def test_memory_and_time_are_measured_as_the_data_grows(run: Run, results: Results, tmp_path: Path) -> None:
    if not Path("/proc/self/smaps_rollup").is_file():
        pytest.skip("memory is measured on Linux only: no /proc/PID/smaps_rollup here")
    run("growth.py", "--tiny", "--out", tmp_path)
    found = results(tmp_path, "growth")
    assert [(row["kind"], row["rows"]) for row in found["rows"]] == [
        ("texts", 40),
        ("texts", 400),
        ("pictures", 40),
        ("pictures", 400),
    ]
    assert limits(found) == [1.1, 1.1]
    assert all(50 < row["held_mb"] < row["whole_mb"] <= row["resident_mb"] + 1 for row in found["rows"])


@pytest.mark.acceptance
def test_a_suite_is_held_against_its_cells_one_by_one(run: Run, results: Results, tmp_path: Path) -> None:
    run("suite_sharing.py", "--tiny", "--out", tmp_path)
    found = results(tmp_path, "suite_sharing")
    assert arms(found) == ["A", "B", "C"] and [row["cells"] for row in found["rows"]] == [2, 2, 2]
    assert found["same_scores"] and all(row["processor_seconds"] > 1 for row in found["rows"])
    assert limits(found) == [None, 2.0]


@pytest.mark.acceptance
def test_every_command_is_started_and_timed(run: Run, results: Results, tmp_path: Path) -> None:
    run("startup.py", "--tiny", "--out", tmp_path)
    seconds = {row["start"]: row["seconds"] for row in results(tmp_path, "startup")["rows"]}
    assert {"python -c pass", 'python -c "import torch"', "graft --help", "graft list"} <= set(seconds)
    assert seconds["python -c pass"] < seconds["graft train, to the first step"]
    assert (tmp_path / "runs" / "first-step" / "checkpoints").is_dir()


@pytest.mark.acceptance
def test_a_step_is_held_against_the_measured_peak_of_the_machine(run: Run, results: Results, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="one of the models is transformers'")
    page = run("device.py", "--tiny", "--out", tmp_path)
    found = results(tmp_path, "device")
    assert arms(found) == ["rows in memory", "graft train"] * 2
    assert found["peaks"]["fp32"]["flops"] > 0 and all(0 < line["ratio"] < 1 for line in found["acceptance"])
    # 1.82 billion multiply-adds at 224 pixels (He et al. 2016), two operations each, about three times for forward and
    # backward, at 64 pixels: 0.89 GFLOP, less the gradient that the input does not get.
    line = next(line for line in page.splitlines() if line.startswith("| resnet18 | "))
    assert 0.80 < float(line.split("|")[4]) < 0.92
