"""Every comparison runs to its end at its tiniest size, so that none of them rots."""

from __future__ import annotations

import json
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
def test_the_classic_script_and_graft_train_are_compared_on_the_same_weights(
    run: Run, results: Results, tmp_path: Path
) -> None:
    words = ("--tiny", "--out", tmp_path)
    assert "A classic script" in run("classic_vs_graft.py", *words)
    found = results(tmp_path, "classic_vs_graft")
    assert arms(found) == ["A", "B"] and limits(found) == [4.0, None]
    assert all(row["seconds"] >= row["fit_seconds"] > 0 for row in found["rows"])
    assert all(len(row["curve"]) == 1 for row in found["rows"])
    # The same command finds its runs again, and a question with other settings does not get their answer.
    run("classic_vs_graft.py", *words)
    assert results(tmp_path, "classic_vs_graft")["rows"] == found["rows"]
    with pytest.raises(AssertionError, match="other settings"):
        run("classic_vs_graft.py", *words, "--set", "batch_size=4")


@pytest.mark.acceptance
def test_the_trainer_as_it_comes_and_tuned_and_graft_train_are_compared_on_the_same_rows(
    run: Run, results: Results, tmp_path: Path
) -> None:
    pytest.importorskip("transformers", reason="the text benchmarks need transformers")
    pytest.importorskip("accelerate", reason="transformers' Trainer needs accelerate")
    assert "A transformers' Trainer" in run("text_vs_trainer.py", "--tiny", "--out", tmp_path)
    found = results(tmp_path, "text_vs_trainer")
    assert arms(found) == ["A", "T", "B", "C"] and limits(found) == [3.0, 1.3]
    assert all(row["train_rows"] == 20 and row["seconds"] > row["train_seconds"] > 0 for row in found["rows"])
    assert all(0 <= row["val_accuracy"] <= 1 and row["samples_per_second"] > 0 for row in found["rows"])
    assert [row["steps"] for row in found["rows"][:2]] == [3, 1]  # 8 rows a step against 32
    assert [row["rows a batch"] for row in found["padding"]] == [8, 32]
    first = found["padding"][0]
    assert 0 <= first["rows of like size"] < first["random"] < 1


def test_a_plain_detection_loop_and_graft_train_are_compared(run: Run, results: Results, tmp_path: Path) -> None:
    run("detection_loop_vs_graft.py", "--tiny", "--out", tmp_path)
    found = results(tmp_path, "detection_loop")
    assert arms(found) == ["A", "B"] and limits(found) == [2.0]
    plain, ours = (row["losses"][-1] for row in found["rows"])
    assert ours == pytest.approx(plain, rel=0.2)  # the same net and weights


@pytest.fixture(scope="module")
def overview(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of one comparison, run by the command that runs all of them."""
    out = tmp_path_factory.mktemp("everything")
    page = run("everything.py", "--tiny", "--only", "engine-overhead", "--out", out)
    assert (out / "overview.md").read_text(encoding="utf-8").strip() == page.strip()
    return out


def test_one_command_runs_what_is_asked_for_and_writes_one_page_over_all(run: Run, overview: Path) -> None:
    page = (overview / "overview.md").read_text(encoding="utf-8")
    assert "engine over a bare loop, graftnet-s" in page and "classic: not run" in page
    lines = json.loads((overview / "overview.json").read_text(encoding="utf-8"))
    assert [line["at_most"] for line in lines] == [1.03, 1.03]
    again = run("everything.py", "--tiny", "--page-only", "--out", overview)
    assert again.splitlines()[:12] == page.splitlines()[:12]


def test_the_engine_and_a_bare_loop_do_the_same_steps(results: Results, overview: Path) -> None:
    found = results(overview / "engine-overhead", "engine_overhead")
    assert arms(found) == list("ABBA") * 2 and limits(found) == [1.03, 1.03]
    bare, ours = ([row for row in found["rows"] if row["arm"] == arm] for arm in "AB")
    for plain, fit in zip(bare, ours, strict=True):
        assert plain["case"] == fit["case"] and fit["loss"] == pytest.approx(plain["loss"], rel=0.02)
    assert all(len(row["step_milliseconds"]) == len(row["processor_milliseconds"]) == 2 for row in found["rows"])
    assert all(used > 0 for row in found["rows"] for used in row["processor_milliseconds"])


@pytest.mark.acceptance
def test_a_linear_probe_is_compared_with_a_frozen_loop_and_with_its_second_run(
    run: Run, results: Results, tmp_path: Path
) -> None:
    run("linear_probe.py", "--tiny", "--out", tmp_path)
    found = results(tmp_path, "linear_probe")
    assert arms(found) == ["A", "B", "C"] and limits(found) == [15.0, 5.0, None, None]
    assert "batches of 32, SGD" in found["rows"][0]["settings"]
    # The second run has another seed, and the cache that the first has left.
    commands = [json.loads(file.read_text())["command"] for file in sorted(tmp_path.glob("runs/[BC]-*/result.json"))]
    seeds = [words[words.index("--seed") + 1] for words in commands]
    assert seeds == ["0", "1000"] and len(list(tmp_path.glob("runs/cache-*"))) == 1


@pytest.mark.acceptance
def test_training_from_the_cache_ends_with_the_same_weights(run: Run, results: Results, tmp_path: Path) -> None:
    run("partial_cached.py", "--tiny", "--out", tmp_path)
    found = results(tmp_path, "partial_cached")
    assert arms(found) == ["A", "B"] * 3 and limits(found) == [2.0] * 3
    assert [row["case"] for row in found["rows"][::2]] == ["resnet18", "resnet50", "minilm-l6"]
    assert found["same_weights"] is True
    assert [row["kept_mb"] > 0 for row in found["rows"]] == [False, True] * 3
    kept = {folder.name.split("-")[1] for folder in tmp_path.glob("runs/cache-*") if list(folder.glob("states/*"))}
    assert kept == {"B"}, "only the cached side keeps states"
