"""The observer csv: what is in its files, and that a killed and resumed run leaves the same ones."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from track_runs import EPOCHS, STEPS, At, run, run_killed

from graftwork.interfaces import FitRecord, Spec, StepRecord
from graftwork_track.csv_tables import build

EVERY_STEP: dict[str, Any] = {"observers": ["csv"], "observer_options": {"csv.every": 1}}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def timeless(path: Path) -> list[dict[str, str]]:
    """Rows without what a clock says."""
    return [{k: v for k, v in row.items() if k not in ("seconds", "samples_per_second")} for row in rows_of(path)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, graft: Callable[..., Any]) -> Path:
    """A run from its start to its end, by the command line."""
    out = tmp_path_factory.mktemp("whole") / "run"
    settings = "task=image-classification data=sample:digits limit_train=40 batch_size=10 epochs=3 backbone=graftnet-s"
    settings += " weights=none head_options.dropout=0.2 strategy=full seed=3 checkpoint_steps=3 checkpoint_seconds=1e9"
    settings += " workers=0 device=cpu observer_options.csv.every=1"
    words = [word for setting in settings.split() for word in ("--set", setting)]
    done = graft("train", *words, "--observer", "csv", "--out", out)
    assert done.code == 0, done.stderr
    return out


def test_every_step_has_its_row(whole: Path) -> None:
    rows = rows_of(whole / "steps.csv")
    assert list(rows[0]) == ["step", "epoch", "phase", "lr", "loss"]
    assert [int(row["step"]) for row in rows] == list(range(1, STEPS + 1))
    assert [int(row["epoch"]) for row in rows] == [1] * 4 + [2] * 4 + [3] * 4
    assert all(float(row["lr"]) > 0 for row in rows)


def test_every_epoch_has_its_row_as_in_metrics_jsonl(whole: Path) -> None:
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    rows = rows_of(whole / "epochs.csv")
    assert len(rows) == len(lines) == EPOCHS
    for row, line in zip(rows, lines, strict=True):
        val = {f"val_{name}": value for name, value in line.pop("val").items()}
        assert {name: str(value) for name, value in {**line, **val}.items()} == row


def test_the_losses_of_an_epochs_steps_average_to_its_training_loss(whole: Path) -> None:
    steps, epochs = rows_of(whole / "steps.csv"), rows_of(whole / "epochs.csv")
    for epoch in epochs:
        losses = [float(row["loss"]) for row in steps if row["epoch"] == epoch["epoch"]]
        assert sum(losses) / len(losses) == pytest.approx(float(epoch["train_loss"]), rel=1e-6)


@pytest.mark.parametrize("after", [pytest.param(2, marks=pytest.mark.acceptance), 9])
def test_a_killed_and_resumed_run_leaves_the_same_rows(whole: Path, after: int, tmp_path: Path) -> None:
    """Before the first checkpoint, and after a step that has one."""
    out = tmp_path / "run"
    run_killed(out, EVERY_STEP, after)
    assert len(rows_of(out / "steps.csv")) == after - 1, "all that was told is on disk"
    run(out, EVERY_STEP, resume=True)
    assert (out / "steps.csv").read_bytes() == (whole / "steps.csv").read_bytes()
    assert timeless(out / "epochs.csv") == timeless(whole / "epochs.csv")


@pytest.mark.acceptance
def test_a_run_is_resumed_by_the_command_line_with_other_observers(whole: Path, tmp_path: Path, graft: Any) -> None:
    out = tmp_path / "run"
    run_killed(out, EVERY_STEP, 8)
    done = graft("train", "--out", out, "--resume", "--set", "observers=")
    assert done.code == 0, done.stderr
    assert len(rows_of(out / "steps.csv")) == 7, "nobody watched the rest"
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_some_steps_are_kept_and_their_losses_alone_are_read(tmp_path: Path) -> None:
    read: list[int] = []

    def loss_of(step: int) -> Callable[[], float]:
        return lambda: read.append(step) or 0.5  # type: ignore[func-returns-value]

    observer = build(Spec("csv", {"every": 10}))
    plan = {"phases": [{"name": "all"}]}
    observer.fit_start(FitRecord(25, 1, 8, "cpu", "fp32", "accuracy", plan=plan, folder=str(tmp_path)))
    for step in range(1, 26):
        observer.step_end(StepRecord(step, 0, 1, (0,), loss_of(step), 0.1))
    assert read == [1, 10, 20]
    assert [row["step"] for row in rows_of(tmp_path / "steps.csv")] == ["1", "10", "20"]


def test_a_torn_last_row_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    path.write_text("step,epoch,phase,lr,loss\n1,1,all,0.1,2.5\n2,1,all,0.1,2.25\n3,1,all,0.1,1.1")
    observer = build(Spec("csv", {"every": 1}))
    plan = {"phases": [{"name": "all"}]}
    observer.fit_start(FitRecord(9, 1, 8, "cpu", "fp32", "accuracy", done_steps=2, plan=plan, folder=str(tmp_path)))
    observer.step_end(StepRecord(3, 0, 1, (0,), lambda: 1.125, 0.1))
    assert path.read_text().splitlines()[2:] == ["2,1,all,0.1,2.25", "3,1,all,0.1,1.125"]


def test_a_file_of_that_name_which_is_somebody_elses_stays_as_it_is(tmp_path: Path, said: list[str]) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "steps.csv").write_text("my,notes\n1,2\n")
    summary = run(out, {**EVERY_STEP, "epochs": 1})
    assert summary["epochs"] == 1 and (out / "steps.csv").read_text() == "my,notes\n1,2\n"
    (warning,) = [line for line in said if "switched off" in line]
    assert "not by this observer" in warning


def test_a_table_that_cannot_be_written_costs_its_rows_and_not_the_run(
    whole: Path, tmp_path: Path, said: list[str]
) -> None:
    out = tmp_path / "run"

    def replace_by_a_folder() -> None:
        (out / "steps.csv").unlink()
        (out / "steps.csv").mkdir()

    run(out, EVERY_STEP, observers=[At(5, replace_by_a_folder)])
    assert [line for line in said if "switched off" in line and "'csv' failed in step_end" in line]
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "graftwork")


@pytest.mark.acceptance
def test_of_two_processes_the_main_one_logs(tmp_path: Path, command: Callable[..., Any]) -> None:
    words = "train --task image-classification --data sample:digits --limit-train 40 --batch-size 10 --epochs 2 --device cpu"
    words += " --backbone graftnet-s --weights none --workers 0 --observer csv --set observer_options.csv.every=1"
    done = command([*TORCHRUN, *words.split(), "--out", tmp_path / "run"])
    assert done.code == 0, done.stderr[-3000:]
    steps, epochs = rows_of(tmp_path / "run" / "steps.csv"), rows_of(tmp_path / "run" / "epochs.csv")
    assert [int(row["step"]) for row in steps] == list(range(1, 9))
    losses = [float(row["loss"]) for row in steps[:4]]
    assert [row["epoch"] for row in epochs] == ["1", "2"]
    assert sum(losses) / 4 == pytest.approx(float(epochs[0]["train_loss"]), rel=0.2), "half of the rows stand for all"


def test_an_observer_that_cannot_be_built_ends_every_process(tmp_path: Path, command: Callable[..., Any]) -> None:
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    words = "train --task image-classification --data sample:digits --device cpu --observer mlflow"
    environment = {"MLFLOW_TRACKING_URI": str(tmp_path / "mlruns")}
    done = command([*TORCHRUN, *words.split(), "--out", tmp_path / "run"], env=environment, timeout=120)
    assert done.code != 0
    assert "observer_options.mlflow.uri" in done.stderr and "Timeout" not in done.stderr
