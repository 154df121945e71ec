"""The observer tensorboard, read back by TensorBoard's own reader."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from track_runs import EPOCHS, STEPS, At, run, run_killed

pytest.importorskip("tensorboard", reason="the extra track is not installed")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EVERY_STEP: dict[str, Any] = {"observers": ["tensorboard"], "observer_options": {"tensorboard.every": 1}}


def read(out: Path) -> EventAccumulator:
    found = EventAccumulator(str(out / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    return found


def curve(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in events.Scalars(tag)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    run(out, EVERY_STEP)
    return out


def test_steps_and_epochs_and_the_test_are_curves(whole: Path) -> None:
    events = read(whole)
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((whole / "summary.json").read_text())
    ends = [STEPS // EPOCHS * (epoch + 1) for epoch in range(EPOCHS)]
    assert [step for step, _ in curve(events, "train/loss")] == list(range(1, STEPS + 1))
    assert [step for step, _ in curve(events, "train/lr")] == list(range(1, STEPS + 1))
    assert curve(events, "epoch/number") == [(end, index + 1) for index, end in enumerate(ends)]
    for name, value in lines[0]["val"].items():
        points = curve(events, f"validation/{name}")
        assert [step for step, _ in points] == ends
        assert points[0][1] == pytest.approx(value, rel=1e-6)
        assert curve(events, f"test/{name}") == [(STEPS, pytest.approx(summary["test"][name], rel=1e-6))]


def test_the_plan_is_there_as_text_and_the_settings_as_hyper_parameters(whole: Path) -> None:
    from tensorboard.plugins.hparams.metadata import EXPERIMENT_TAG, SESSION_END_INFO_TAG, SESSION_START_INFO_TAG
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    events = read(whole)
    (text,) = events.Tensors("plan/text_summary")
    assert b"plan: full, 3 epochs" in text.tensor_proto.string_val[0]
    content = events.PluginTagToContent("hparams")
    assert {EXPERIMENT_TAG, SESSION_START_INFO_TAG, SESSION_END_INFO_TAG} <= set(content)
    values = HParamsPluginData.FromString(content[SESSION_START_INFO_TAG]).session_start_info.hparams
    assert values["seed"].number_value == 3 and values["strategy"].string_value == "full"
    assert values["head_options.dropout"].number_value == 0.2
    assert not any(name.startswith("observer") for name in values)
    (metric,) = HParamsPluginData.FromString(content[EXPERIMENT_TAG]).experiment.metric_infos
    assert metric.name.tag == "validation/accuracy"


@pytest.mark.acceptance
@pytest.mark.parametrize("after", [2, 8])
def test_a_killed_and_resumed_run_shows_every_point_once(whole: Path, after: int, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_killed(out, EVERY_STEP, after)
    run(out, EVERY_STEP, resume=True)
    events, expected = read(out), read(whole)
    assert events.Tags()["scalars"] == expected.Tags()["scalars"]
    for tag in expected.Tags()["scalars"]:
        if "per_second" not in tag:
            assert curve(events, tag) == curve(expected, tag), tag
    assert len(list((out / "tensorboard").iterdir())) == 2, "a file a process"


def test_an_epoch_is_on_disk_when_its_checkpoint_is(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_killed(out, EVERY_STEP, 8)
    events = read(out)
    assert [step for step, _ in curve(events, "validation/accuracy")] == [4]
    assert [step for step, _ in curve(events, "train/loss")][:6] == [1, 2, 3, 4, 5, 6]


def test_a_failed_run_closes_its_file(tmp_path: Path) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", EVERY_STEP, observers=[At(5, fail)])
    assert [step for step, _ in curve(read(tmp_path / "run"), "train/loss")] == [1, 2, 3, 4]


def test_a_loss_that_is_no_number_is_a_point_too(tmp_path: Path) -> None:
    from graftwork.interfaces import FitRecord, Spec, StepRecord
    from graftwork_track.tensorboard_events import build

    observer = build(Spec("tensorboard", {"every": 1}))
    plan = {"strategy": "full", "epochs": 1, "phases": []}
    observer.fit_start(FitRecord(9, 1, 8, "cpu", "fp32", "accuracy", plan=plan, folder=str(tmp_path)))
    observer.step_end(StepRecord(1, 0, 1, (0,), lambda: float("nan"), 0.1))
    observer.failure("step 1: loss is nan")
    assert math.isnan(curve(read(tmp_path), "train/loss")[0][1])


def test_without_the_library_one_line_says_how_to_get_it_before_anything_starts(tmp_path: Path, graft: Any) -> None:
    broken = tmp_path / "path" / "tensorboard"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError(\"No module named 'tensorboard'\")\n")
    path = os.pathsep.join(filter(None, [str(broken.parent), os.environ.get("PYTHONPATH", "")]))
    words = ("--task", "image-classification", "--data", "sample:digits", "--observer", "tensorboard")
    done = graft("train", *words, "--out", tmp_path / "run", env={"PYTHONPATH": path})
    assert done.code == 2
    (line,) = done.errors
    assert "pip install 'graftwork[track]'" in line and "No module named 'tensorboard'" in line
    assert "Traceback" not in done.stderr and "epoch" not in done.stderr
    assert not (tmp_path / "run" / "config.yaml").exists()
