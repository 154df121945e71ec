"""The loop: frozen stages, early stop, budget, observers, interrupts, the locked test split, loss of a run on the way."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_toys import (
    CONTEXT,
    Accuracy,
    ToyBackbone,
    ToyExamples,
    copies,
    largest_difference,
    prepare,
    run_fit,
    toy_model,
)
from torch import Tensor

from graftwork import RunFailed
from graftwork.engine.checkpoint import CheckpointStore
from graftwork.interfaces import EpochRecord, Model, Observer, Spec, State, StepRecord
from graftwork.strategies import full, gradual, linear_probe, lp_ft, partial

FULL = full.build(Spec("full"))
LP_FT = lp_ft.build(Spec("lp-ft", {"probe_share": 0.5, "probe_lr_factor": 3.0}))


class Watcher(Observer):
    """Notes every call, and does something at a step."""

    def __init__(self, at: int = 0, action: Any = None) -> None:
        self.at = at
        self.action = action
        self.steps: list[StepRecord] = []
        self.epochs: list[EpochRecord] = []
        self.ends: list[str] = []
        self.checkpoints: list[int] = []

    def step_end(self, record: StepRecord) -> None:
        self.steps.append(record)
        if record.step == self.at:
            self.action()

    def epoch_end(self, record: EpochRecord) -> None:
        self.epochs.append(record)

    def checkpoint(self, path: str, step: int) -> None:
        self.checkpoints.append(step)

    def fit_end(self, reason: str) -> None:
        self.ends.append(reason)


@pytest.mark.parametrize("last", [0, 1, 2, 3])
def test_frozen_stages_do_not_move_batchnorm_statistics_included(last: int, tmp_path: Path) -> None:
    model = toy_model(norm=True)
    before = copies(model)
    strategy = partial.build(Spec("partial", argument=str(last))) if last else linear_probe.build(Spec("linear-probe"))
    fitted = run_fit(model, strategy, tmp_path)
    for name, value in model.state_dict().items():
        frozen = name.startswith("backbone.") and int(name.split(".")[2]) < 4 - last
        assert torch.equal(value, before[name]) == frozen, name
    assert len(fitted.progress.proofs) == 1 and "bit-identical" in fitted.progress.proofs[0]


def test_a_plugin_that_moves_a_frozen_stage_is_found_out(tmp_path: Path) -> None:
    class Leaky(ToyBackbone):
        def advance(self, index: int, state: State, needs: frozenset[str]) -> State:
            if index == 0:
                with torch.no_grad():
                    self.get_buffer("blocks.0.norm.running_mean").add_(1e-3)
            return super().advance(index, state, needs)

    base = toy_model(norm=True)
    model = Model(Leaky(norm=True), base.head)
    with pytest.raises(RunFailed, match="a frozen stage or weight changed in phase 'probe'"):
        run_fit(model, linear_probe.build(Spec("linear-probe")), tmp_path)


def test_the_model_ends_with_the_weights_of_the_best_epoch(tmp_path: Path) -> None:
    class Falling(Accuracy):
        """Best in the second epoch, whatever the model says."""

        values = iter([0.2, 0.9, 0.5, 0.1])

        def compute(self) -> dict[str, float]:
            return {"accuracy": next(Falling.values)}

    model = toy_model()
    seen: list[dict[str, Tensor]] = []

    class Keep(Observer):
        def evaluation_start(self, rows: int) -> None:
            seen.append(copies(model))

    fitted = run_fit(model, FULL, tmp_path, metrics=Falling, observers=[Keep()])
    assert fitted.progress.best_epoch == 2 and fitted.progress.epoch == 4
    assert largest_difference(copies(model), seen[1]) == 0.0
    assert largest_difference(copies(model), seen[3]) > 0.0


def test_epochs_without_progress_stop_the_run(tmp_path: Path) -> None:
    class Constant(Accuracy):
        def compute(self) -> dict[str, float]:
            return {"accuracy": 0.5}

    watcher = Watcher()
    context = replace(CONTEXT, epochs=50)
    fitted = run_fit(toy_model(), FULL, tmp_path, context=context, metrics=Constant, patience=3, observers=[watcher])
    assert fitted.progress.stopped == "early stop" and fitted.progress.epoch == 4 and fitted.progress.best_epoch == 1
    assert watcher.ends == ["early stop"]


def test_a_metric_that_is_not_a_number_counts_as_no_progress(tmp_path: Path) -> None:
    class Nothing(Accuracy):
        values = iter([float("nan"), 0.3, float("nan"), 0.2])

        def compute(self) -> dict[str, float]:
            return {"accuracy": next(Nothing.values)}

    assert run_fit(toy_model(), FULL, tmp_path, metrics=Nothing).progress.best_epoch == 2


def test_a_budget_ends_inside_an_epoch_with_the_best_model_evaluated(tmp_path: Path) -> None:
    watcher = Watcher(3, lambda: time.sleep(0.3))
    context = replace(CONTEXT, epochs=1000)
    fitted = run_fit(toy_model(), FULL, tmp_path, context=context, budget=0.25, observers=[watcher])
    progress = fitted.progress
    assert progress.stopped == "budget" and progress.step < 1000
    assert progress.best_epoch >= 1 and len(progress.history) == progress.epoch
    assert watcher.ends == ["budget"]


def test_an_observer_that_raises_is_switched_off_and_training_goes_on(tmp_path: Path) -> None:
    def fail() -> None:
        raise ValueError("no connection")

    bad, good = Watcher(2, fail), Watcher()
    fitted = run_fit(toy_model(), FULL, tmp_path, observers=[bad, good])
    assert len(bad.steps) == 2 and len(good.steps) == 16 and good.ends == ["finished"]
    assert fitted.said == ["observer 'observer' failed in step_end (ValueError: no connection): switched off"]
    alone = run_fit(toy_model(), FULL, tmp_path / "alone")
    assert largest_difference(copies(fitted.model), copies(alone.model)) == 0.0, "observers change nothing"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [2, 4, 9, 15])
@pytest.mark.parametrize("strategy", [FULL, LP_FT, gradual.build(Spec("gradual"))], ids=["full", "lp-ft", "gradual"])
def test_a_signal_leaves_a_checkpoint_from_which_the_run_ends_in_the_same_bits(
    strategy: Any, step: int, number: signal.Signals, tmp_path: Path
) -> None:
    options = {"ema": 0.8, "train": ToyExamples(32, noise=0.1)}
    whole = run_fit(toy_model(norm=True, dropout=0.3), strategy, tmp_path / "whole", **options)
    handler = signal.getsignal(number)
    stop = Watcher(step, lambda: os.kill(os.getpid(), number))
    with pytest.raises(KeyboardInterrupt):
        run_fit(toy_model(norm=True, dropout=0.3), strategy, tmp_path / "cut", observers=[stop], **options)
    assert signal.getsignal(number) is handler
    assert len(stop.steps) == step, "the step is finished, and no other is begun"
    watcher = Watcher()
    resumed = run_fit(
        toy_model(norm=True, dropout=0.3), strategy, tmp_path / "cut", resume=True, observers=[watcher], **options
    )
    assert largest_difference(copies(whole.model), copies(resumed.model)) == 0.0
    assert [record.step for record in watcher.steps] == list(range(step + 1, 17))
    for key in ("epoch", "phase", "train_loss", "val"):
        assert [line[key] for line in resumed.progress.history] == [line[key] for line in whole.progress.history]


def test_a_run_whose_loss_is_lost_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    model = toy_model()
    poison = Watcher(6, lambda: model.head.linear.weight.data.fill_(float("nan")))  # type: ignore[union-attr,operator]
    with pytest.raises(RunFailed, match="step 7: loss part 'class' is nan"):
        run_fit(model, FULL, tmp_path, observers=[poison], checkpoint_steps=5)
    fit = prepare(toy_model(), FULL, tmp_path)
    checkpoint = fit.store.load()
    assert checkpoint is not None and checkpoint.meta["step"] == 5
    assert all(bool(value.isfinite().all()) for value in checkpoint.tensors.values())


class SlowDisk(CheckpointStore):
    """Takes far longer for a file than a toy's epoch lasts."""

    def save(self, step: int, tensors: Mapping[str, Tensor], meta: dict[str, Any]) -> Path:
        time.sleep(0.2)
        return super().save(step, tensors, meta)


class Death(Exception):
    """Ends a fit wherever it is."""


def test_short_epochs_do_not_spend_their_time_on_checkpoints_and_go_on_from_the_last_to_the_same_bits(
    tmp_path: Path,
) -> None:
    context = replace(CONTEXT, epochs=12)
    whole = run_fit(toy_model(), FULL, tmp_path / "whole", context=context, checkpoint_seconds=0.0)
    evaluations = iter(range(1, 100))

    class Deadly(Accuracy):
        def compute(self) -> dict[str, float]:
            if next(evaluations) == 9:
                raise Death
            return super().compute()

    watcher = Watcher()
    cut = prepare(toy_model(), FULL, tmp_path / "cut", context=context, observers=[watcher], metrics=Deadly)
    cut.store = cut.resumable.store = SlowDisk(tmp_path / "cut")
    with pytest.raises(Death):
        cut.run(False)
    assert watcher.checkpoints == [4] and len(watcher.epochs) == 8, "one after the first epoch, none so soon after it"
    resumed = run_fit(toy_model(), FULL, tmp_path / "cut", context=context, resume=True)
    assert "resuming after step 4 of 48 (epoch 2)" in resumed.said
    assert largest_difference(copies(whole.model), copies(resumed.model)) == 0.0
    assert resumed.progress.best_epoch == whole.progress.best_epoch


def test_the_caller_keeps_its_random_numbers(tmp_path: Path) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    run_fit(toy_model(dropout=0.5), FULL, tmp_path, train=ToyExamples(32, noise=0.1))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("workers", [1, 2])
def test_loader_workers_change_no_bit(workers: int, tmp_path: Path) -> None:
    context = replace(CONTEXT, epochs=1)
    options = {"context": context, "train": ToyExamples(24, noise=0.5)}
    here = run_fit(toy_model(), FULL, tmp_path / "0", **options)
    there = run_fit(toy_model(), FULL, tmp_path / "n", workers=workers, **options)
    assert largest_difference(copies(here.model), copies(there.model)) == 0.0


def test_validation_is_read_once_an_epoch_in_order_and_training_rows_once_an_epoch(tmp_path: Path) -> None:
    train_log: list[int] = []
    validation_log: list[int] = []
    run_fit(
        toy_model(), FULL, tmp_path, train=ToyExamples(32, log=train_log),
        validation=ToyExamples(16, seed=1, log=validation_log),
    )  # fmt: skip
    assert validation_log == list(range(16)) * 4
    for epoch in range(4):
        assert sorted(train_log[epoch * 32 : (epoch + 1) * 32]) == list(range(32))


def test_nothing_but_the_final_evaluation_reads_the_test_split(tmp_path: Path) -> None:
    """A whole run of the image task, with a diary of which split's pictures are decoded when."""
    from graftwork.catalogue import load_catalogue
    from graftwork.config import override_layer
    from graftwork.config.check import resolve_and_check
    from graftwork.run import execute
    from graftwork_images.examples import ImageExamples

    diary: list[tuple[str, int]] = []
    read = ImageExamples.load

    def noted(self: ImageExamples, row: int) -> Any:
        diary.append(("rows", len(self)))
        return read(self, row)

    class Note(Observer):
        def step_end(self, record: StepRecord) -> None:
            diary.append(("step", record.step))

        def fit_end(self, reason: str) -> None:
            diary.append(("fit ended", 0))

    values = {
        "task": "image-classification", "data": "sample:digits", "limit_train": 40, "backbone": "graftnet-s",
        "weights": "none", "epochs": 2, "batch_size": 20, "device": "cpu", "workers": 0, "patience": 1,
    }  # fmt: skip
    catalogue = load_catalogue()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageExamples, "load", noted)
        resolved = resolve_and_check([override_layer(values)], catalogue)
        summary = execute(resolved, catalogue, tmp_path / "run", observers=[Note()])
    assert (summary["train_rows"], summary["validation_rows"], summary["test_rows"]) == (40, 300, 497)
    end = diary.index(("fit ended", 0))
    assert ("rows", 497) not in diary[:end]
    assert diary[end:].count(("rows", 497)) == 497, "and it is read once"
    assert ("step", 4) in diary[:end] and not any(kind == "step" for kind, _ in diary[end:])
