"""The observer mlflow, read back by MLflow's own client."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from track_runs import EPOCHS, STEPS, At, run, run_killed

pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
pytest.importorskip("sqlalchemy", reason="the extra mlflow is not installed")
pytest.importorskip("alembic", reason="the extra mlflow is not installed")
from mlflow import MlflowClient
from mlflow.entities import Run

EVERY_STEP: dict[str, Any] = {"observers": ["mlflow"], "observer_options": {"mlflow.every": 1}}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database for several runs: to make one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('database') / 'all.db'}"


def tracked(address: str, experiment: str) -> dict[str, Any]:
    """Settings of a run that is tracked there."""
    options = {"mlflow.every": 1, "mlflow.uri": address, "mlflow.experiment": experiment}
    return {"observers": ["mlflow"], "observer_options": options}


def only_run(client: MlflowClient, experiment: str = "image-classification") -> Run:
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    (only,) = client.search_runs([found.experiment_id])
    return only


def in_folder(out: Path) -> str:
    """Where a run is tracked that names no address."""
    return f"sqlite:///{out / 'mlflow.db'}"


def curve(client: MlflowClient, of: Run, name: str) -> list[tuple[int, float]]:
    points = client.get_metric_history(of.info.run_id, name)
    return sorted((point.step, point.value) for point in points)


def curves(client: MlflowClient, of: Run) -> dict[str, list[tuple[int, float]]]:
    return {name: curve(client, of, name) for name in of.data.metrics if "per_second" not in name}


@pytest.fixture(scope="module", autouse=True)
def no_address() -> Any:
    """The tests choose the address themselves."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    here = tmp_path_factory.mktemp("here")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        run(out, EVERY_STEP)
    assert not list(here.iterdir()), "nothing is left where the command was given"
    return out


def test_steps_and_epochs_and_the_test_are_metrics(whole: Path) -> None:
    client = MlflowClient(in_folder(whole))
    found = only_run(client)
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((whole / "summary.json").read_text())
    ends = [STEPS // EPOCHS * (epoch + 1) for epoch in range(EPOCHS)]
    assert [step for step, _ in curve(client, found, "train/loss")] == list(range(1, STEPS + 1))
    for name in lines[0]["val"]:
        expected = [(end, line["val"][name]) for end, line in zip(ends, lines, strict=True)]
        assert curve(client, found, f"validation/{name}") == expected
        assert curve(client, found, f"test/{name}") == [(STEPS, summary["test"][name])]
    assert [value for _, value in curve(client, found, "epoch/train_loss")] == [line["train_loss"] for line in lines]


def test_settings_are_parameters_and_the_run_says_how_it_ended(whole: Path) -> None:
    found = only_run(MlflowClient(in_folder(whole)))
    assert found.info.status == "FINISHED" and found.info.run_name == "run"
    assert found.data.params["seed"] == "3" and found.data.params["head_options.dropout"] == "0.2"
    assert found.data.params["budget"] == "none"
    assert not any(name.startswith("observer") for name in found.data.params)
    assert "plan: full, 3 epochs" in found.data.tags["mlflow.note.content"]
    assert found.data.tags["graftwork.folder"] == str(whole)


@pytest.mark.acceptance
@pytest.mark.parametrize("after", [2, 8])
def test_a_killed_and_resumed_run_is_one_run_with_every_point_once(
    whole: Path, address: str, after: int, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    settings = tracked(address, f"killed after {after}")
    run_killed(out, settings, after)
    client = MlflowClient(address)
    before = only_run(client, f"killed after {after}")
    assert before.info.status == "RUNNING"
    assert len(curve(client, before, "train/loss")) == after - 1, "all that was told is on disk"
    run(out, settings, resume=True)
    found = only_run(client, f"killed after {after}")
    assert found.info.run_id == before.info.run_id and found.info.status == "FINISHED"
    expected = MlflowClient(in_folder(whole))
    assert curves(client, found) == curves(expected, only_run(expected))


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [(KeyboardInterrupt, "KILLED", "interrupted"), (OSError, "FAILED", "no space left")],
)
def test_a_run_that_ends_before_its_time_is_marked_and_goes_on_as_running(
    error: type[BaseException], status: str, message: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    settings = {**tracked(address, status), "epochs": 1}
    with monkeypatch.context() as patch:

        def fail(*arguments: Any) -> None:
            raise error("no space left")

        patch.setattr("graftwork.runs.ending.save_artifact", fail)
        with pytest.raises(error):
            run(out, settings)
    client = MlflowClient(address)
    cut = only_run(client, status)
    assert cut.info.status == status and cut.data.tags["graftwork.failure"] == message
    run(out, settings, resume=True)
    found = only_run(client, status)
    assert found.info.run_id == cut.info.run_id and found.info.status == "FINISHED"
    assert [step for step, _ in curve(client, found, "train/loss")] == [1, 2, 3, 4]


def test_runs_share_a_database_and_an_experiment_by_the_options(address: str, tmp_path: Path) -> None:
    for name in ("first", "second"):
        run(tmp_path / name, {**tracked(address, "digits"), "epochs": 1})
    client = MlflowClient(address)
    found = client.get_experiment_by_name("digits")
    assert found is not None
    assert {one.info.run_name for one in client.search_runs([found.experiment_id])} == {"first", "second"}
    assert not (tmp_path / "first" / "mlflow.db").exists()


def test_the_address_of_the_environment_is_taken(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "of the environment")
    run(tmp_path / "run", {"observers": ["mlflow"], "epochs": 1})
    assert only_run(MlflowClient(address), "of the environment").info.status == "FINISHED"


def test_a_run_that_another_server_does_not_know_begins_anew_there(address: str, tmp_path: Path) -> None:
    out = tmp_path / "run"

    def fail() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(out, tracked(address, "moved"), observers=[At(5, fail)])
    other = f"sqlite:///{tmp_path / 'other.db'}"
    run(out, tracked(other, "moved"), resume=True)
    client = MlflowClient(other)
    first, *_, last = [step for step, _ in curve(client, only_run(client, "moved"), "train/loss")]
    assert first > 3 and last == STEPS, "from the checkpoint on"


def test_a_server_that_cannot_be_reached_costs_the_tracking_and_not_the_run(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    out = tmp_path / "run"
    options = {"observers": ["mlflow"], "observer_options": {"mlflow.uri": "http://127.0.0.1:9"}}
    run(out, options)
    (warning,) = [line for line in said if "switched off" in line]
    assert warning.startswith("observer 'mlflow' failed in fit_start (MlflowException: ")
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


WORDS = ("--task", "image-classification", "--data", "sample:digits", "--observer", "mlflow")


def test_a_folder_as_the_address_is_refused_in_one_line_before_anything_starts(tmp_path: Path, graft: Any) -> None:
    done = graft("train", *WORDS, "--out", tmp_path / "run", env={"MLFLOW_TRACKING_URI": str(tmp_path / "mlruns")})
    assert done.code == 2, done.stderr
    (line,) = done.errors
    assert "observer_options.mlflow.uri=sqlite:///" in line
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_without_the_library_one_line_says_how_to_get_it_before_anything_starts(tmp_path: Path, graft: Any) -> None:
    broken = tmp_path / "path" / "mlflow"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError(\"No module named 'mlflow'\")\n")
    path = os.pathsep.join(filter(None, [str(broken.parent), os.environ.get("PYTHONPATH", "")]))
    done = graft("train", *WORDS, "--out", tmp_path / "run", env={"PYTHONPATH": path})
    assert done.code == 2
    (line,) = done.errors
    assert "pip install 'graftwork[mlflow]'" in line and "No module named 'mlflow'" in line
