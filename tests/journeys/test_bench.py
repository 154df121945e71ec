"""`graft bench` as a user runs it: a suite, killed and resumed, a cell that fails, the page, and two result sets compared."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SUITE = """version: 1
summary: Two domains, small
settings: {epochs: 2}
data:
  digits:
    task: image-classification
    data: "sample:digits"
    chance: 0.1
    settings: {limit_train: 100, batch_size: 20, checkpoint_steps: 3}
  messages: {task: text-classification, data: "sample:messages", settings: {limit_train: 70}}
backbones:
  graftnet-s: {tasks: [image-classification]}
  graftext-s: {tasks: [text-classification]}
strategies:
  scratch: {data: [digits]}
  probe: {strategy: linear-probe, sweep: {lr: [0.01, 0.001]}, data: [digits]}
  full: {settings: {epochs: 6}}
seeds: 2
"""
CELLS = 10
FULL, FULL_CELLS = ("--only", "strategy=full"), 4


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("suite") / "two-domains.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def whole(suite: Path, graft: Callable[..., Any]) -> Path:
    """The suite run without a break, two cells at a time."""
    out = suite.parent / "whole"
    ran = graft("bench", suite, "--out", out, "--workers", "2")
    assert ran.code == 0, ran.stderr
    assert f"{CELLS}/{CELLS}" in ran.stderr
    assert str(out / "report.html") in ran.stdout
    assert "gain" in ran.stdout and "lr=0.0" not in ran.stdout  # a sweep is one line, the point that validation chose
    assert ran.stdout.count("graftnet-s") == 3
    return out


def table(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def scores(out: Path) -> list[list[str]]:
    """Everything in the table of full fine-tuning that is a score, or says what was scored, to the last digit."""
    said = ("folder", "state", "metric", "best_epoch", "fingerprint", "parameters_trained", "train_rows")
    return [
        [value for name, value in row.items() if name in said or "score" in name or name.startswith(("test.", "val."))]
        for row in table(out)
        if row["strategy"] == "full"
    ]


def test_a_plan_says_what_would_run_and_runs_nothing(suite: Path, graft: Callable[..., Any], tmp_path: Path) -> None:
    ran = graft("bench", suite, "--plan", "--workers", "2", cwd=tmp_path)
    assert ran.code == 0 and ran.stderr == ""
    assert f"{CELLS} cells" in ran.stdout and "2 at a time" in ran.stdout
    assert list(tmp_path.iterdir()) == []
    plan = json.loads(graft("bench", suite, "--plan", "--json", "--only", "strategy=full", cwd=tmp_path).stdout)
    assert [cell["strategy"] for cell in plan["cells"]] == ["full"] * 4
    assert plan["seconds"] > 0 and plan["bytes"] > 0 and plan["missing"] == []


@pytest.mark.acceptance
def test_the_table_has_what_repeats_a_cell(whole: Path, graft: Callable[..., Any], tmp_path: Path) -> None:
    rows = table(whole)
    assert len(rows) == CELLS and {row["state"] for row in rows} == {"finished"}
    (row,) = [row for row in rows if row["folder"] == "digits.graftnet-s.full.all.seed1"]
    config = tmp_path / "config.json"  # JSON is YAML
    config.write_text(row["settings"])
    again = graft(
        "train", "--config", config, "--out", tmp_path / "again", "--json", env={"OMP_NUM_THREADS": row["threads"]}
    )
    assert again.code == 0, again.stderr
    assert str(json.loads(again.stdout)["test"]["accuracy"]) == row["score"]


@pytest.mark.acceptance
def test_killed_in_the_middle_and_resumed_it_is_the_same_table(
    suite: Path, whole: Path, graft: Callable[..., Any], graft_path: Path
) -> None:
    out = suite.parent / "killed"
    words = [graft_path, "bench", suite, "--out", out, "--workers", "2", *FULL]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 200
    while not any(".full." in path.parent.name for path in out.glob("cells/*/metrics.jsonl")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    running = [
        path.parent for path in out.glob("cells/*/cell.json") if json.loads(path.read_text())["state"] == "running"
    ]
    assert running, "the kill came between two cells"
    _wait_for_the_end_of(out)

    refused = graft("bench", suite, "--out", out)
    assert refused.code == 2 and "--resume" in refused.errors[0]
    changed = suite.with_name("changed.yaml")
    changed.write_text(SUITE.replace("epochs: 6", "epochs: 7"))
    other = graft("bench", changed, "--out", out, *FULL, "--resume")
    assert other.code == 2 and "was begun with epochs 6" in other.errors[0]

    # With another number of workers, too: cells keep the threads that they began with.
    ran = graft("bench", suite, "--out", out, "--workers", "1", *FULL, "--resume")
    assert ran.code == 0, ran.stderr
    assert len(scores(out)) == FULL_CELLS and scores(out) == scores(whole)
    attempts = {path.parent.name: json.loads(path.read_text())["attempts"] for path in out.glob("cells/*/cell.json")}
    assert {name for name, count in attempts.items() if count > 1} == {folder.name for folder in running}
    again = graft("bench", suite, "--out", out, *FULL, "--resume")
    assert again.code == 0 and f"{FULL_CELLS} of {FULL_CELLS} cells have their result" in again.stderr
    same = graft("bench", "compare", whole, out)
    assert same.code == 0 and "identical" in same.stdout


def _wait_for_the_end_of(out: Path) -> None:
    """Cells end with the process that started them."""
    deadline = time.monotonic() + 20
    while _processes_in(out):
        assert time.monotonic() < deadline, "a cell went on without the benchmark"
        time.sleep(0.05)


def _processes_in(out: Path) -> list[int]:
    """Processes whose output goes into a cell's log."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            target = str((folder / "fd" / "1").readlink())
        except OSError:
            continue
        if target.startswith(str(out)):
            found.append(int(folder.name))
    return found


def test_interrupted_it_says_how_to_go_on(suite: Path, graft_path: Path) -> None:
    out = suite.parent / "interrupted"
    words = [graft_path, "bench", suite, "--out", out, "--workers", "1", "--only", "strategy=full"]
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 100
    while not list(out.glob("cells/*/metrics.jsonl")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the cells too
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"graft: interrupted; go on with: graft bench {suite} --out {out} --only strategy=full --resume" in stderr
    assert "Traceback" not in stderr
    assert _processes_in(out) == []


@pytest.mark.acceptance
def test_a_cell_that_fails_stops_no_other(graft: Callable[..., Any], tmp_path: Path) -> None:
    suite = tmp_path / "one-fails.yaml"
    suite.write_text(
        "version: 1\nsettings: {epochs: 1, limit_train: 60}\ndata:\n"
        "  bad: {task: text-classification, data: bad.csv, settings: {columns: {text: text, label: label}}}\n"
        '  messages: {task: text-classification, data: "sample:messages"}\n'
        "backbones: {graftext-s: }\nstrategies: {linear-probe: }\n"
    )
    lost = graft("bench", suite, "--out", tmp_path / "out", "--data-root", tmp_path)
    assert lost.code == 3 and "bad.csv: no such file or folder" in lost.errors[0] and "--data-root" in lost.errors[0]
    (tmp_path / "bad.csv").write_text("text,label\n" + "a word,same\n" * 30)
    ran = graft("bench", suite, "--out", tmp_path / "out", "--data-root", tmp_path)
    assert ran.code == 1
    assert "1 of 2 cells failed" in ran.errors[0] and "--resume" in ran.errors[0]
    assert {row["data"]: row["state"] for row in table(tmp_path / "out")} == {"bad": "failed", "messages": "finished"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "bad.graftext-s.linear-probe.all.seed0" in page and "class" in page
    # Mended, it is tried again, and only it.
    (tmp_path / "bad.csv").write_text("text,label\n" + "a word,one\nb word,two\n" * 30)
    mended = graft("bench", suite, "--out", tmp_path / "out", "--data-root", tmp_path, "--resume", "--json")
    assert mended.code == 0, mended.stderr
    result = json.loads(mended.stdout)
    assert [entry["data"] for entry in result["entries"]] == ["bad", "messages"] and result["failures"] == []


@pytest.mark.acceptance
def test_the_page_is_written_anew_on_request(whole: Path, graft: Callable[..., Any]) -> None:
    page = whole / "report.html"
    before = page.read_text()
    page.unlink()
    ran = graft("bench", "report", whole)
    assert ran.code == 0 and ran.stdout.strip() == str(page)
    assert page.read_text() == before
    assert "Two domains, small" in before and "lr=0.01" in before
    assert (whole / "results.md").read_text().count("|") > 20


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing-like-it"], "unknown suite"),
        (["smok"], "Did you mean smoke?"),
        (["smoke", "--on", "slurm"], "--on local or --on ray"),
        (["smoke", "--only", "strategy=fall"], "no cell has the strategy 'fall'"),
        (["report", "/nowhere"], "bench.json"),
        (["compare", "/nowhere", "/nowhere"], "/nowhere"),
        (["transfer-small", "--data-root", "/nowhere"], "/nowhere"),
    ],
)
def test_wrong_usage_is_one_line(graft: Callable[..., Any], tmp_path: Path, words: list[str], said: str) -> None:
    ran = graft("bench", *words, cwd=tmp_path)
    assert ran.code in (2, 3)
    assert len(ran.errors) == 1 and said in ran.errors[0] and "Traceback" not in ran.stderr
    assert list(tmp_path.iterdir()) == []
