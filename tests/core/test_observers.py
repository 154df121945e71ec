"""Observers: what they are told and when, that they can change nothing, and that none of them ends a run."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_toys import CONTEXT, ToyExamples, copies, largest_difference, prepare, run_fit, toy_model
from track_runs import EPOCHS, STEPS, At, run

from graftwork.catalogue import Option, load_catalogue
from graftwork.config import RunConfig, file_layer, override_layer
from graftwork.config.check import check_observers
from graftwork.engine import fit as fit_module
from graftwork.engine.observers import Observers
from graftwork.errors import PluginError, UsageError
from graftwork.interfaces import EpochRecord, FitRecord, Observer, Spec, StepRecord
from graftwork.strategies import full

FULL = full.build(Spec("full"))
HOOKS = ["fit_start", "step_end", "evaluation_start", "evaluation_end", "epoch_end", "checkpoint", "fit_end"]


class Diary(Observer):
    """Notes every hook with its arguments."""

    name = "diary"

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattribute__(self, name: str) -> Any:
        if name in (*HOOKS, "run_end", "failure"):
            return lambda *arguments: self.calls.append((name, arguments))
        return super().__getattribute__(name)

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def of(self, event: str) -> list[Any]:
        return [arguments[0] for name, arguments in self.calls if name == event]


class Quits(BaseException):
    """Neither an Exception nor an interrupt."""


class Raises(Observer):
    """Raises in one hook, every time it is called."""

    name = "raises"

    def __init__(self, hook: str, error: type[BaseException]) -> None:
        self.raised = 0

        def fail(*arguments: Any) -> None:
            self.raised += 1
            raise error("no\nconnection")

        setattr(self, hook, fail)


class Strange(Observer):
    """Fails, and fails again when it is asked what failed."""

    @property
    def name(self) -> str:  # type: ignore[override]
        raise RuntimeError("no name")

    def fit_start(self, record: FitRecord) -> None:
        raise ValueError


def test_the_hooks_are_called_in_the_order_of_what_happens(tmp_path: Path) -> None:
    diary = Diary()
    run_fit(toy_model(), FULL, tmp_path, observers=[diary], context=replace(CONTEXT, epochs=1), checkpoint_steps=3)
    steps = ["step_end"] * 3 + ["checkpoint", "step_end"]
    closing = ["evaluation_start", "evaluation_end", "epoch_end", "checkpoint", "fit_end"]
    assert diary.names() == ["fit_start", *steps, *closing]
    assert diary.of("evaluation_start") == [16]
    (record,) = diary.of("epoch_end")
    assert diary.of("evaluation_end") == [record.val]


@pytest.mark.parametrize("error", [ValueError, SystemExit, Quits])
@pytest.mark.parametrize("hook", HOOKS)
def test_an_observer_that_raises_in_any_hook_is_switched_off_once_and_changes_no_bit(
    hook: str, error: type[BaseException], tmp_path: Path
) -> None:
    alone = run_fit(toy_model(norm=True, dropout=0.3), FULL, tmp_path / "alone")
    bad, good = Raises(hook, error), Diary()
    fitted = run_fit(toy_model(norm=True, dropout=0.3), FULL, tmp_path / "watched", observers=[bad, good])
    warning = f"observer 'raises' failed in {hook} ({error.__name__}: no connection): switched off"
    assert bad.raised == 1 and fitted.said == [warning]
    assert good.names().count("step_end") == 16 and good.names()[-1] == "fit_end"
    assert largest_difference(copies(fitted.model), copies(alone.model)) == 0.0


def test_an_interrupt_in_an_observer_is_an_interrupt(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_fit(toy_model(), FULL, tmp_path, observers=[Raises("step_end", KeyboardInterrupt)])


def test_an_observer_that_cannot_even_be_named_is_switched_off(tmp_path: Path) -> None:
    fitted = run_fit(toy_model(), FULL, tmp_path, observers=[Strange(), object()])  # type: ignore[list-item]
    assert len(fitted.said) == 2
    assert fitted.said[0] == "observer 'Strange' failed in fit_start (ValueError): switched off"
    assert "'object' failed in fit_start (AttributeError)" in fitted.said[1]


def test_what_an_observer_draws_at_random_changes_no_bit(tmp_path: Path) -> None:
    class Draws(Observer):
        def step_end(self, record: StepRecord) -> None:
            torch.manual_seed(record.step)
            torch.rand(3), np.random.rand(), random.random()

        def evaluation_start(self, rows: int) -> None:
            torch.manual_seed(0)

    options: dict[str, Any] = {"ema": 0.8, "train": ToyExamples(32, noise=0.1)}
    alone = run_fit(toy_model(norm=True, dropout=0.3), FULL, tmp_path / "alone", **options)
    watched = run_fit(toy_model(norm=True, dropout=0.3), FULL, tmp_path / "watched", observers=[Draws()], **options)
    assert largest_difference(copies(watched.model), copies(alone.model)) == 0.0


def test_an_observer_cannot_write_into_what_it_is_told(tmp_path: Path) -> None:
    refused: list[str] = []

    class Writes(Observer):
        def attempt(self, what: str, action: Any) -> None:
            try:
                action()
            except (TypeError, AttributeError, FrozenInstanceError):
                refused.append(what)

        def fit_start(self, record: FitRecord) -> None:
            self.attempt("plan", lambda: record.plan.__setitem__("epochs", 0))  # type: ignore[attr-defined]
            self.attempt("phase", lambda: record.plan["phases"][0].__setitem__("lr", 9.0))
            self.attempt("phases", lambda: record.plan["phases"].append({}))
            record.to_json()["plan"]["phases"].clear()

        def step_end(self, record: StepRecord) -> None:
            self.attempt("step", lambda: setattr(record, "step", 0))
            self.attempt("rows", lambda: record.rows.__setitem__(0, 1))  # type: ignore[attr-defined]
            record.loss.__self__.mul_(0)  # type: ignore[attr-defined]

        def evaluation_end(self, values: Mapping[str, float]) -> None:
            self.attempt("values", lambda: values.__setitem__("accuracy", 1.0))  # type: ignore[attr-defined]

        def epoch_end(self, record: EpochRecord) -> None:
            self.attempt("val", lambda: record.val.__setitem__("accuracy", 1.0))  # type: ignore[attr-defined]
            self.attempt("epoch", lambda: setattr(record, "train_loss", 0.0))
            record.to_json()["val"]["accuracy"] = 1.0

    alone = run_fit(toy_model(), FULL, tmp_path / "alone")
    watched = run_fit(toy_model(), FULL, tmp_path / "watched", observers=[Writes()])
    assert set(refused) == {"plan", "phase", "phases", "step", "rows", "values", "val", "epoch"}
    for key in ("train_loss", "val"):
        assert [line[key] for line in watched.progress.history] == [line[key] for line in alone.progress.history]
    assert largest_difference(copies(watched.model), copies(alone.model)) == 0.0


def test_a_loss_may_be_read_later_and_is_still_that_of_its_step(tmp_path: Path) -> None:
    at_once: list[float] = []

    class Reads(Observer):
        def step_end(self, record: StepRecord) -> None:
            at_once.append(record.loss())

    diary = Diary()
    run_fit(toy_model(), FULL, tmp_path, observers=[Reads(), diary])
    assert [record.loss() for record in diary.of("step_end")] == at_once
    assert len(set(at_once)) == 16


def test_without_observers_no_record_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **named: Any) -> None:
        raise AssertionError("built for nobody")

    for name in ("StepRecord", "FitRecord", "read_only"):
        monkeypatch.setattr(fit_module, name, refuse)
    run_fit(toy_model(), FULL, tmp_path / "alone")
    with pytest.raises(AssertionError, match="built for nobody"):
        run_fit(toy_model(), FULL, tmp_path / "watched", observers=[Diary()])


def test_whatever_a_checkpoint_contains_was_told_before_it_is_written(tmp_path: Path) -> None:
    """Else a kill right after it would leave a gap that no resumed run fills."""
    told: list[str] = []
    diary = Diary()
    fit = prepare(toy_model(), FULL, tmp_path, observers=[diary], checkpoint_steps=3)
    write = fit.store.save

    def save(step: int, tensors: Any, meta: Any) -> Path:
        told.append(f"{diary.names().count('step_end')} {diary.names().count('epoch_end')}")
        assert step == diary.names().count("step_end")
        assert len(meta["history"]) == diary.names().count("epoch_end")
        return write(step, tensors, meta)

    fit.store.save = save  # type: ignore[method-assign]
    fit.run(False)
    assert len(told) >= 5


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Diary]:
    """A whole run of the image task, watched from its start to its end."""
    out = tmp_path_factory.mktemp("watched") / "run"
    diary = Diary()
    run(out, {}, observers=[diary])
    return out, diary


def test_a_tracker_is_told_what_run_it_watches(watched: tuple[Path, Diary]) -> None:
    out, diary = watched
    (record,) = diary.of("fit_start")
    assert (record.steps, record.epochs, record.batch_size, record.done_steps) == (STEPS, EPOCHS, 10, 0)
    assert (record.task, record.backbone, record.strategy, record.seed) == (
        "image-classification", "graftnet-s", "full", 3,
    )  # fmt: skip
    assert Path(record.folder) == out and (out / "config.yaml").is_file()
    assert json.loads(json.dumps(record.to_json()))["settings"] == dict(file_layer(out / "config.yaml").values)
    assert record.settings["precision"] in ("fp32", "bf16"), "what the machine was asked is decided by then"


def test_the_end_of_a_run_comes_with_its_summary(watched: tuple[Path, Diary]) -> None:
    out, diary = watched
    assert diary.names()[-2:] == ["fit_end", "run_end"] and "failure" not in diary.names()
    (summary,) = diary.of("run_end")
    assert dict(summary["test"]) == json.loads((out / "summary.json").read_text())["test"]
    with pytest.raises(TypeError):
        summary["test"]["accuracy"] = 1.0


@pytest.mark.parametrize(
    ("action", "message"), [(KeyboardInterrupt, "interrupted"), (torch.OutOfMemoryError, "OutOfMemoryError")]
)
def test_what_ends_a_run_before_its_time_is_told(
    action: type[BaseException], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diary = Diary()

    def end(*arguments: Any) -> None:
        raise action

    # After the fit: an artifact that cannot be written is a failure too.
    monkeypatch.setattr("graftwork.runs.ending.save_artifact", end)
    with pytest.raises(action):
        run(tmp_path / "run", {"epochs": 1}, observers=[diary])
    assert diary.names()[-2:] == ["fit_end", "failure"] and diary.of("failure") == [message]


def test_nobody_is_told_of_the_failure_of_a_run_that_never_started(tmp_path: Path) -> None:
    diary = Diary()
    with pytest.raises(UsageError):
        run(tmp_path / "run", {"batch_units": 5}, observers=[diary])
    assert diary.names() == []


def test_an_observer_that_fails_leaves_a_run_with_the_same_model(
    watched: tuple[Path, Diary], tmp_path: Path, said: list[str]
) -> None:
    def fail() -> None:
        raise ConnectionError("refused")

    run(tmp_path / "run", {}, observers=[At(5, fail)])
    assert said.count("observer 'at' failed in step_end (ConnectionError: refused): switched off") == 1
    out, _ = watched
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()


# Settings


def problems(observers: tuple[str, ...] = (), **options: Any) -> list[str]:
    catalogue = load_catalogue()
    given = {key.replace("__", "."): value for key, value in options.items()}
    config = RunConfig(task="t", data="d", observers=observers, observer_options=given)
    return check_observers(config, catalogue)


def test_options_of_observers_are_checked_before_anything_starts() -> None:
    assert problems(("csv",), csv__every=5) == []
    assert problems(csv__every=5) == [], "set, and not switched on"
    assert problems(("csv",), csv__evry=5) == ["observer_options.csv.evry is not an option. Did you mean every?"]
    assert problems(("csv",), csv__every=0) == ["observer_options.csv.every must be at least 1, not 0"]
    assert problems(("csv", "csv")) == ["observer 'csv' is named twice"]
    (unknown,) = problems(("cvs",))
    assert unknown.startswith("unknown observer 'cvs'") and "csv" in unknown
    (unnamed,) = problems(("csv",), every=5)
    assert unnamed == "observer_options.every does not say which observer. Write observer_options.NAME.every"


def test_options_of_observers_are_set_by_name_and_merged(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("observers: [csv]\nobserver_options: {csv.every: 5}\n")
    layer = override_layer({}, ["observer_options.csv.every=2", "observer_options.mlflow.uri=sqlite:///a.db"])
    assert layer.values["observer_options"] == {"csv.every": 2, "mlflow.uri": "sqlite:///a.db"}
    assert file_layer(path).values == {"observers": ["csv"], "observer_options": {"csv.every": 5}}


def test_options_of_an_observer_that_does_not_watch_are_pointed_out(tmp_path: Path, said: list[str]) -> None:
    from graftwork.models.build import Builder

    config = RunConfig(task="t", data="d", observer_options={"csv.every": 5})
    assert Builder(load_catalogue()).observers(config) == []
    assert said == ["observer_options.csv has no effect: csv does not watch this run (--observer csv)"]


def test_every_observer_of_the_catalogue_has_options_with_a_default_that_fits() -> None:
    entries = load_catalogue().entries["observers"]
    assert {"csv", "tensorboard", "mlflow"} <= set(entries)
    for entry in entries.values():
        for option in entry.options.values():
            assert isinstance(option, Option) and option.check(option.default) is None


def test_an_observer_that_cannot_be_built_ends_the_run_before_it_starts(tmp_path: Path) -> None:
    from graftwork.models.build import Builder

    catalogue = load_catalogue()
    catalogue.entries["observers"]["lost"] = catalogue.entries["observers"]["csv"]
    config = RunConfig(task="t", data="d", observers=("lost",))
    with pytest.raises(PluginError, match="supplies no builder"):
        Builder(catalogue).observers(config)


def test_observers_tell_of_a_failure_only_after_a_start() -> None:
    diary = Diary()
    watchers = Observers([diary])
    with pytest.raises(ValueError), watchers.told_of_failure():
        raise ValueError("early")
    assert diary.names() == []
