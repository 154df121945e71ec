"""From a folder of photos to a model: the installed command in fresh processes, on real photos with real weights."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Trained = tuple[Path, dict[str, Any], str]
Graft = Callable[..., Any]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_training_leaves_everything_that_a_run_directory_must_hold(trained: Trained) -> None:
    out, summary, said = trained
    expected = {"config.yaml", "plan.json", "metrics.jsonl", "summary.json", "model.safetensors", "model.json"}
    assert expected | {"report.html", "predictions"} <= {path.name for path in out.iterdir()}
    assert not (out / "checkpoints").exists(), "checkpoints are pruned at success"
    assert summary["primary_metric"] == "accuracy" and {"accuracy", "macro_f1", "ece", "mcc"} <= set(summary["val"])
    assert 0 <= summary["test"]["accuracy"] <= 1 and summary["test_rows"] == 9
    assert summary["proofs"]["artifact"].endswith("bit-identically")
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 2
    assert "plan: full" in said and "50 tensors fitted" in said


def test_stdout_of_train_is_one_json_document_equal_to_the_summary(trained: Trained) -> None:
    out, printed, _ = trained
    stored = json.loads((out / "summary.json").read_text())
    assert printed == {**stored, "out": str(out)}


def test_config_of_a_run_repeats_it_to_the_same_bits(graft: Graft, trained: Trained, tmp_path: Path) -> None:
    out, summary, _ = trained
    again = graft("train", "--config", out / "config.yaml", "--out", tmp_path / "again", "--json")
    assert again.code == 0, again.stderr
    assert sha256(tmp_path / "again" / "model.safetensors") == sha256(out / "model.safetensors")
    assert json.loads(again.stdout)["val"] == summary["val"]


@pytest.mark.acceptance
def test_another_seed_gives_other_weights(graft: Graft, trained: Trained, tmp_path: Path) -> None:
    out, _, _ = trained
    other = graft(
        "train", "--config", out / "config.yaml", "--seed", 4, "--epochs", 1, "--out", tmp_path / "other", "--json"
    )
    assert other.code == 0, other.stderr
    assert json.loads(other.stdout)["seed"] == 4
    assert sha256(tmp_path / "other" / "model.safetensors") != sha256(out / "model.safetensors")


def test_evaluate_gives_the_test_metrics_of_the_run(graft: Graft, trained: Trained, photos: Path) -> None:
    out, summary, _ = trained
    done = graft("evaluate", out, "--data", photos, "--split", "test", "--device", "cpu", "--json")
    assert done.code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rows"] == 9 and found["metrics"]["accuracy"] == summary["test"]["accuracy"]


def test_predict_takes_files_and_folders_and_no_lines_of_stdin(graft: Graft, trained: Trained, photos: Path) -> None:
    out, _, _ = trained
    folder = photos / "test" / "hat"
    first, second, third = sorted(folder.glob("*.jpg"))
    lines = graft("predict", out, first, "-", "--json", "--device", "cpu", input=f"{second}\n")
    assert lines.code == 5 and "xargs" in lines.stderr and len(json.loads(lines.stdout)) == 1
    done = graft("predict", out, folder, first, second, third, "--json", "--device", "cpu")
    assert done.code == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [Path(row["input"]).name for row in rows] == [p.name for p in (first, second, third, first, second, third)]
    for row in rows:
        assert row["label"] in ("dress", "hat", "shoes")
        assert abs(sum(row["probabilities"].values()) - 1) < 1e-5
        assert row["confidence"] == max(row["probabilities"].values())
    for early, late in zip(rows[:3], rows[3:], strict=True):
        assert early["label"] == late["label"]


def test_predict_prints_one_line_an_input_for_people(graft: Graft, trained: Trained, photos: Path) -> None:
    out, _, _ = trained
    photo = next(iter((photos / "test" / "dress").iterdir()))
    done = graft("predict", out, photo, "--device", "cpu")
    assert done.code == 0, done.stderr
    (line,) = done.stdout.splitlines()
    name, label, confidence = line.split("\t")
    assert name.endswith(photo.name) and label in ("dress", "hat", "shoes") and 0 <= float(confidence) <= 1


def test_report_is_written_again_from_the_run_directory(graft: Graft, trained: Trained) -> None:
    out, _, _ = trained
    (out / "report.html").unlink()
    done = graft("report", out)
    assert done.code == 0, done.stderr
    page = (out / "report.html").read_text()
    assert "accuracy" in page and "<script src" not in page and not re.search(r'(src|href)="https?://', page)


def test_explain_names_where_settings_came_from(graft: Graft, trained: Trained) -> None:
    out, _, _ = trained
    plan = json.loads(graft("explain", out, "--json").stdout)
    origins = {row["name"]: row["origin"] for row in plan["settings"]}
    assert origins["batch_size"] == "--batch-size" and origins["lr"] == "recipe"
    assert plan["weights"]["fitted"] > 40 and plan["weights"]["missing"] == []
    people = graft("explain", out)
    assert people.code == 0 and "batch_size" in people.stdout


def test_inspect_counts_the_photos_before_a_step_is_spent(graft: Graft, photos: Path) -> None:
    done = graft("inspect", "--task", "image-classification", "--data", photos, "--json")
    assert done.code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rows"] == {"train": 18, "validation": 9, "test": 9}
    assert found["facts"]["classes"] == ["dress", "hat", "shoes"]


def test_a_run_is_the_backbone_of_the_next_one(graft: Graft, trained: Trained, photos: Path, tmp_path: Path) -> None:
    out, _, _ = trained
    done = graft(
        "train", "--task", "image-classification", "--data", photos, "--backbone", f"run:{out}", "--strategy",
        "linear-probe", "--epochs", 1, "--device", "cpu", "--precision", "fp32", "--out", tmp_path / "next", "--json",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    import torch
    from safetensors.torch import load_file

    before, after = load_file(out / "model.safetensors"), load_file(tmp_path / "next" / "model.safetensors")
    backbone = [name for name in before if name.startswith("backbone.")]
    assert backbone and all(torch.equal(before[name], after[name]) for name in backbone), "a probe keeps the backbone"
    card = json.loads((tmp_path / "next" / "model.json").read_text())
    assert card["backbone"] == {"name": "squeezenet1_0", "options": {"image_size": 64}}
    assert json.loads(done.stdout)["proofs"]["frozen"]


def test_a_budget_ends_the_run_cleanly_with_the_best_model_so_far(
    graft: Graft, settings: list[str], tmp_path: Path
) -> None:
    done = graft("train", *settings, "--epochs", 1000, "--budget", "1s", "--out", tmp_path / "run", "--json")
    assert done.code == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["stopped"] == "budget" and summary["epochs"] < 1000
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert "stopped by budget" in done.stderr


@pytest.mark.acceptance
def test_patience_stops_a_run_that_no_longer_improves(graft: Graft, settings: list[str], tmp_path: Path) -> None:
    words = [*settings, "--epochs", 500, "--patience", 2, "--lr", 1e-9, "--out", tmp_path / "run", "--json"]
    done = graft("train", *words)
    assert done.code == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["stopped"] == "early stop" and summary["epochs"] == summary["best_epoch"] + 2


@pytest.mark.acceptance
def test_an_interrupted_run_prints_the_command_that_finishes_it(
    graft: Graft, graft_path: Path, trained: Trained, tmp_path: Path
) -> None:
    whole, _, _ = trained
    out = tmp_path / "a run"  # the printed command must quote it
    words = [graft_path, "train", "--config", whole / "config.yaml", "--out", out]
    process = subprocess.Popen(list(map(str, words)), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    # The line before the first step: from here on a signal finds the loop at work.
    for line in process.stderr:
        if line.startswith("training "):
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert list((out / "checkpoints").glob("step-*.safetensors"))
    command = said.strip().splitlines()[-1].removeprefix("graft: interrupted; go on with: ")
    resumed = graft(*shlex.split(command)[1:])
    assert resumed.code == 0, resumed.stderr
    assert "resuming after step" in resumed.stderr
    assert sha256(out / "model.safetensors") == sha256(whole / "model.safetensors")
