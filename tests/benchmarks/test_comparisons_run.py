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


def test_the_classic_script_and_graft_train_are_compared_on_the_same_weights(
    run: Run, results: Results, tmp_path: Path
) -> None:
    words = ("--tiny", "--out", tmp_path)
    assert "A classic script" in run("classic_vs_graft.py", *words)
    found = results(tmp_path, "classic_vs_graft")
    assert arms(found) == ["A", "B"] and limits(found) == [4.0]
    assert all(row["seconds"] >= row["fit_seconds"] > 0 for row in found["rows"])
    assert all(len(row["curve"]) == 1 for row in found["rows"])
    # The same command finds its runs again, and a question with other settings does not get their answer.
    run("classic_vs_graft.py", *words)
    assert results(tmp_path, "classic_vs_graft")["rows"] == found["rows"]
    with pytest.raises(AssertionError, match="other settings"):
        run("classic_vs_graft.py", *words, "--set", "batch_size=4")


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


def test_the_engine_and_a_bare_loop_do_the_same_steps(run: Run, results: Results, tmp_path: Path) -> None:
    run("engine_overhead.py", "--tiny", "--out", tmp_path)
    found = results(tmp_path, "engine_overhead")
    assert arms(found) == ["A", "B", "A", "B"] and limits(found) == [1.03, 1.03]
    for bare, ours in zip(found["rows"][::2], found["rows"][1::2], strict=True):
        assert bare["case"] == ours["case"] and ours["loss"] == pytest.approx(bare["loss"], rel=0.02)


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


def test_training_from_the_cache_ends_with_the_same_weights(run: Run, results: Results, tmp_path: Path) -> None:
    run("partial_cached.py", "--tiny", "--out", tmp_path)
    found = results(tmp_path, "partial_cached")
    assert arms(found) == ["A", "B"] and limits(found) == [2.0, None, None]
    assert found["same_weights"] is True
    caches = {folder.name[6]: list(folder.glob("states/*")) for folder in tmp_path.glob("runs/cache-*")}
    assert caches["B"] and not caches.get("A"), "only the cached side keeps states"
