"""The loop: runs any plan on any model on any device, from any step on.

Read `Fit.run` from top to bottom: it is the order in which things happen. No domain, modality or label appears here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graftwork.data.sampler import BatchSpec
from graftwork.engine.batches import FitData, PhaseBatches
from graftwork.engine.checkpoint import CheckpointStore
from graftwork.engine.ema import Ema, averaged_weights
from graftwork.engine.evaluate import evaluate
from graftwork.engine.interrupt import Interrupt, graceful
from graftwork.engine.observers import Observers
from graftwork.engine.optimizer import (
    build_optimizer,
    check_plan,
    enter_phase,
    learning_rate,
    set_rates,
)
from graftwork.engine.proofs import check_untrained, untrained_digest
from graftwork.engine.resumable import Progress, Resumable
from graftwork.engine.settings import FitSettings
from graftwork.engine.solving import solve_head
from graftwork.engine.step import Stepper, own_random_state
from graftwork.engine.terms import start_terms, tell_of_pieces
from graftwork.errors import RunFailed
from graftwork.interfaces import EpochRecord, Examples, FitRecord, Model, Phase, Plan, Solver, StepRecord
from graftwork.interfaces.observer import read_only
from graftwork.log import say
from graftwork.machine.device import Device
from graftwork.states.phases import PhaseData, PhaseStates


@dataclass(frozen=True)
class Fitting:
    """All that one fit needs, settled.

    Args:
        model: with its starting weights, on the device.
        plan: what to train, when.
        data: rows and metrics.
        settings: resolved values.
        device: where to run.
        states: what each phase trains from; None where all read their rows as they are.
    """

    model: Model
    plan: Plan
    data: FitData
    settings: FitSettings
    device: Device
    states: PhaseStates | None = None


@dataclass(frozen=True)
class Place:
    """A phase in its plan.

    Args:
        first_epoch: of the run, from 0.
        batches: of its steps.
    """

    index: int
    phase: Phase
    first_epoch: int
    batches: PhaseBatches

    @property
    def end(self) -> int:
        """The epoch after its last."""
        return self.first_epoch + self.phase.epochs


class Fit:
    """One fit of a model by a plan.

    Args:
        fitting: what to fit, and how.
        store: the run's checkpoints.
        observers: who watches.
        record: takes the history (a list of EpochRecord as JSON) after every epoch.
    """

    def __init__(
        self,
        fitting: Fitting,
        store: CheckpointStore,
        observers: Observers,
        record: Callable[[list[dict[str, Any]]], None] = lambda history: None,
    ) -> None:
        model, plan, settings, device = fitting.model, fitting.plan, fitting.settings, fitting.device
        check_plan(plan, model)
        self.model = model
        self.plan = plan
        self.data = fitting.data
        self.settings = settings
        self.device = device
        self.states = fitting.states
        self.store = store
        self.observers = observers
        self.record = record
        self.batches = [
            PhaseBatches(phase, index, fitting.data, settings, device) for index, phase in enumerate(plan.phases)
        ]
        start_terms(plan, model, settings.seed)
        tell_of_pieces(plan, settings, device.world)
        self.optimizer = build_optimizer(plan, model, settings.optimizer, settings.momentum)
        self.ema = Ema(model, settings.ema) if settings.ema else None
        self.stepper = Stepper(model, self.optimizer, device, settings.grad_clip, settings.seed, settings.micro_batch)
        self.resumable = Resumable(
            model,
            self.optimizer,
            self.ema,
            self.stepper.scaler,
            store,
            settings.checkpoint_seconds,
            settings.checkpoint_steps,
        )
        self.progress = Progress(micro_batch=settings.micro_batch)
        self._interrupt = Interrupt()
        self._loss_sum = self._zero()

    def run(self, resume: bool) -> Progress:
        """Train to the end of the plan, an early stop or the budget; the model then holds the best weights.

        Raises:
            RunFailed: a loss was not finite, memory ran out for a single row, a frozen stage moved, the disk is full.
        """
        if resume:
            self._restore()
        if self.observers:
            self.observers.call("fit_start", self._fit_record())
        with own_random_state(), graceful() as self._interrupt:
            while self.progress.epoch < self.plan.epochs and not self.progress.stopped:
                self._train_phase(*self._phase_at(self.progress.epoch))
        best_file = self.device.broadcast(self.progress.best_file)
        if best_file is None:
            raise RunFailed("the budget ended before anything could be evaluated", hint="Give a larger --budget")
        self.model.load_state_dict(self.store.load_best(best_file))
        self.observers.call("fit_end", self.progress.stopped or "finished")
        return self.progress

    def _train_phase(self, index: int, phase: Phase, first_epoch: int) -> None:
        """Train to the end of a phase, from wherever in it the run is."""
        progress = self.progress
        wrapped = self._enter(phase, progress.epoch == first_epoch and progress.batch == 0)
        rows = self._rows(index)
        at = Place(index, phase, first_epoch, self.batches[index])
        if phase.solver is not None:
            self._solve(phase.solver, rows)
            self._close_epoch(at, rows.validation, following=at.end)
            return
        loaded = at.batches.load(rows, progress.epoch, progress.batch, first_epoch, at.end - 1)
        while progress.epoch < at.end and not progress.stopped:
            self.model.train()
            cut_short = self._train_epoch(loaded, rows, wrapped, at)
            following = at.end if cut_short else progress.epoch + 1
            if following == at.end:
                loaded.close()  # loader processes hold memory that the evaluation may need
            self._close_epoch(at, rows.validation, following)
        loaded.close()

    def _rows(self, index: int) -> PhaseData:
        """What a phase trains from; the time to compute it counts."""
        if self.states is None:
            return PhaseData(self.data.train, self.data.validation)
        started = time.monotonic()
        found = self.states.data(self.model, index, lambda: self._interrupt.asked)
        # Before the seconds of the epoch that a resumed run is in.
        self.progress.seconds += time.monotonic() - started
        return found

    def _train_epoch(self, loaded: Iterator[Any], rows: PhaseData, wrapped: Callable[..., Any], at: Place) -> bool:
        """Steps to the end of the epoch; whether the budget ended in a phase that is not evaluated, and so only the phase."""
        progress, phase, steps = self.progress, at.phase, at.batches.steps
        started = time.monotonic() - progress.epoch_seconds
        elapsed_before = progress.seconds - progress.epoch_seconds
        for spec in at.batches.specs(progress.epoch, progress.batch):
            batches = at.batches.ready(next(loaded), rows, self.model)
            lr = learning_rate(phase, (progress.epoch - at.first_epoch) * steps + spec.index, phase.epochs * steps)
            set_rates(self.optimizer, phase, lr)
            loss = self.stepper.step(wrapped, batches, progress.step + 1)
            progress.step += 1
            progress.batch += 1
            progress.loss_rows += len(spec.all_rows)
            self._loss_sum += loss.to(self._loss_sum.dtype) * len(spec.all_rows)
            if self.ema:
                self.ema.update(progress.step)
            progress.epoch_seconds = time.monotonic() - started
            progress.seconds = elapsed_before + progress.epoch_seconds
            if self.observers:
                self._tell_step(spec, at.index, loss, lr)
            if self._over_budget():
                if not phase.head_loss:
                    return True
                progress.stopped = "budget"
                break
            if progress.batch < steps:  # an epoch's last step has its checkpoint after the evaluation
                asked = self._asked_to_stop()
                if asked or self.resumable.due(progress.step):
                    self._checkpoint()
                if asked:
                    raise KeyboardInterrupt
        return False

    def _solve(self, solver: Solver, rows: PhaseData) -> None:
        """Ask the head for its own tensors, from what the frozen stages make of the training rows as they are."""
        started = time.monotonic()
        solved = solve_head(self.model, rows, self.data.train, solver, self.settings.batch_size, self.device)
        if self.ema:
            self.ema.put({f"head.{name}": value for name, value in solved.items()})
        progress = self.progress
        progress.step += 1
        progress.loss_rows = len(self.data.train)
        progress.epoch_seconds = time.monotonic() - started
        progress.seconds += progress.epoch_seconds

    def _close_epoch(self, at: Place, validation: Examples, following: int) -> None:
        """Evaluate, keep the best, write the epoch down, and leave a checkpoint where it is time for one.

        Args:
            following: the epoch (from 0) to go on with.
        """
        progress, phase = self.progress, at.phase
        self.stepper.settle()
        started = time.monotonic()
        train_seconds = progress.epoch_seconds
        last = following == at.end
        due = last or bool(progress.stopped) or (following - at.first_epoch) % phase.evaluate_every == 0
        values = self._evaluate(validation) if due and phase.head_loss else {}
        progress.seconds += time.monotonic() - started
        record = EpochRecord(
            epoch=progress.epoch + 1,
            phase=phase.name,
            train_loss=None if phase.solver is not None else self._train_loss(),
            val=values,
            seconds=train_seconds + time.monotonic() - started,
            samples_per_second=progress.loss_rows / max(train_seconds, 1e-9),
        )
        progress.history.append(record.to_json())
        if (last or progress.stopped) and progress.frozen:
            progress.proofs.append(check_untrained(self.model, phase, progress.frozen))
        progress.epoch = following
        progress.batch = progress.loss_rows = 0
        progress.epoch_seconds = 0.0
        self._loss_sum = self._zero()
        if self.settings.patience and progress.bad_epochs >= self.settings.patience and not progress.stopped:
            progress.stopped = "early stop"
        # Before the checkpoint: a run that is killed in between tells of the epoch again, instead of never.
        self.observers.call("epoch_end", record)
        asked = self._asked_to_stop()
        if last or progress.stopped or asked or self.resumable.due_after_epoch():
            self._checkpoint()
        self.record(progress.history)
        if asked:
            raise KeyboardInterrupt

    def _evaluate(self, validation: Examples) -> dict[str, float]:
        """Validation metrics of the averaged weights where there are any; the best so far are remembered."""
        self.observers.call("evaluation_start", len(self.data.validation))
        with averaged_weights(self.ema):
            values = evaluate(
                self.model,
                validation,
                self.data.metrics(),
                self.device,
                self.settings.batch_size,
                # On the CPU they would take the model's cores, and decode again what this process has kept.
                0 if validation.cheap or self.device.torch_device.type == "cpu" else self.settings.workers,
            )
            self._keep_if_best(values)
        if self.observers:
            self.observers.call("evaluation_end", read_only(values))
        return values

    def _keep_if_best(self, values: dict[str, float]) -> None:
        value = values[self.data.primary_metric]
        if math.isnan(value):
            value = -math.inf  # a metric without a value is worse than any, and must not stay the best for ever
        progress = self.progress
        if progress.best_value is not None and not value > progress.best_value:
            progress.bad_epochs += 1
            return
        progress.best_value, progress.best_epoch, progress.bad_epochs = value, progress.epoch + 1, 0
        if self.device.is_main:
            self.resumable.keep_best(progress.epoch + 1)

    def _train_loss(self) -> float:
        """Mean over the epoch's rows; each process has summed up its share."""
        total = self._loss_sum if self.device.world == 1 else self.device.total({"loss": self._loss_sum})["loss"]
        return float(total) / max(1, self.progress.loss_rows)

    def _enter(self, phase: Phase, at_start: bool) -> Callable[..., Any]:
        """Freeze and thaw for the epoch; note what stays as it is when the phase begins."""
        enter_phase(self.model, phase)
        if at_start:
            self.progress.bad_epochs = 0
            self.progress.frozen = untrained_digest(self.model, phase)
        return self.device.wrap(self.model)

    def _phase_at(self, epoch: int) -> tuple[int, Phase, int]:
        """The phase of an epoch (from 0), its index and its first epoch."""
        first = 0
        for index, phase in enumerate(self.plan.phases):
            if epoch < first + phase.epochs:
                return index, phase, first
            first += phase.epochs
        raise IndexError(epoch)

    def _asked_to_stop(self) -> bool:
        """Whether the user interrupted the main process; all stop at the same step, or the next all-reduce would wait."""
        return bool(self.device.broadcast(self._interrupt.asked))

    def _over_budget(self) -> bool:
        if self.settings.budget is None:
            return False
        return bool(self.device.broadcast(self.progress.seconds >= self.settings.budget))

    def _checkpoint(self) -> None:
        self.stepper.settle()
        self.progress.micro_batch = self.stepper.micro_batch
        if self.device.is_main:
            path = self.resumable.save(self.progress, self._loss_sum)
            self.observers.call("checkpoint", path, self.progress.step)
        self.resumable.saved()

    def _restore(self) -> None:
        found = self.resumable.restore()
        if found is None:
            say("nothing to resume from yet: starting at the first step")
            return
        self.progress, loss_sum = found
        self._loss_sum = loss_sum.to(self.device.torch_device)
        self.stepper.micro_batch = self.progress.micro_batch
        self.record(self.progress.history)
        total = self._steps
        say(f"resuming after step {self.progress.step} of {total} (epoch {self.progress.epoch + 1})")

    @property
    def _steps(self) -> int:
        """Of the whole run; a head that is solved is one."""
        return sum(
            1 if phase.solver is not None else phase.epochs * batches.steps
            for phase, batches in zip(self.plan.phases, self.batches, strict=True)
        )

    def _zero(self) -> Tensor:
        # float64: the sum of an epoch's losses must not depend on where it was interrupted; MPS has no float64.
        device = self.device.torch_device
        return torch.zeros((), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)

    def _tell_step(self, spec: BatchSpec, phase: int, loss: Tensor, lr: float) -> None:
        shown = loss * self.device.world  # the mean over this process's rows stands for that over all
        record = StepRecord(self.progress.step, phase, self.progress.epoch + 1, spec.all_rows, shown.item, lr)
        self.observers.call("step_end", record)

    def _fit_record(self) -> FitRecord:
        return FitRecord(
            steps=self._steps,
            epochs=self.plan.epochs,
            batch_size=self.settings.batch_size,
            device=str(self.device.torch_device),
            precision=self.device.precision,
            primary_metric=self.data.primary_metric,
            done_steps=self.progress.step,
            done_epochs=self.progress.epoch,
            plan=self.plan.describe(self.model),
            folder=self.observers.folder,
            settings=self.observers.settings,
        )
