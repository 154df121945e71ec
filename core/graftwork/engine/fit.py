"""The loop: runs any plan on any model on any device, from any step on.

Read `Fit.run` from top to bottom: it is the order in which things happen. No domain, modality or label appears here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graftwork.data.loader import load_batches
from graftwork.data.sampler import BatchSpec, Sampler
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
from graftwork.engine.step import Stepper, own_random_state
from graftwork.engine.terms import start_terms, tell_of_pieces
from graftwork.errors import RunFailed
from graftwork.interfaces import EpochRecord, Examples, FitRecord, Metrics, Model, Phase, Plan, StepRecord
from graftwork.interfaces.observer import read_only
from graftwork.log import say
from graftwork.machine.device import Device
from graftwork.states.fill import ready
from graftwork.states.phases import PhaseData, PhaseStates
from graftwork.states.views import in_view


@dataclass(frozen=True)
class FitData:
    """What is fitted on and what chooses the best epoch.

    Args:
        train: training rows, augmented.
        validation: validation rows.
        strata: class index of each training row; read only where classes are balanced.
        metrics: gives fresh metrics.
        primary_metric: the validation metric to choose by; higher is better.
    """

    train: Examples
    validation: Examples
    strata: Sequence[int]
    metrics: Callable[[], Metrics]
    primary_metric: str


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


def sampler_of(data: FitData, settings: FitSettings, device: Device) -> Sampler:
    """The batches of a fit."""
    return Sampler(
        len(data.train),
        settings.batch_size,
        settings.seed,
        tuple(data.strata) if settings.balanced else None,
        device.rank,
        device.world,
        data.train.sizes() if settings.bucketing or settings.batch_units else None,
        settings.batch_units,
    )


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
        self.sampler = sampler_of(fitting.data, settings, device)
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
        last_epoch = first_epoch + phase.epochs - 1
        stream = self._stream(rows, progress.epoch, progress.batch, last_epoch)
        while progress.epoch <= last_epoch and not progress.stopped:
            self.model.train()
            self._train_epoch(stream, rows, wrapped, index, phase, first_epoch)
            last = progress.epoch == last_epoch
            if last:
                stream.close()  # loader processes hold memory that the evaluation may need
            self._close_epoch(phase, rows.validation, last_of_phase=last)
        stream.close()

    def _rows(self, index: int) -> PhaseData:
        """What a phase trains from; the time to compute it counts."""
        if self.states is None:
            return PhaseData(self.data.train, self.data.validation)
        started = time.monotonic()
        found = self.states.data(self.model, index, lambda: self._interrupt.asked)
        # Before the seconds of the epoch that a resumed run is in.
        self.progress.seconds += time.monotonic() - started
        return found

    def _train_epoch(
        self,
        stream: Iterator[Any],
        rows: PhaseData,
        wrapped: Callable[..., Any],
        index: int,
        phase: Phase,
        first_epoch: int,
    ) -> None:
        progress = self.progress
        steps = phase.epochs * self.sampler.batches
        started = time.monotonic() - progress.epoch_seconds
        elapsed_before = progress.seconds - progress.epoch_seconds
        for spec in self.sampler.epoch(progress.epoch, progress.batch):
            batch = ready(next(stream), rows.train, self.model, self.device)
            lr = learning_rate(phase, (progress.epoch - first_epoch) * self.sampler.batches + spec.index, steps)
            set_rates(self.optimizer, phase, lr)
            loss = self.stepper.step(wrapped, batch, progress.step + 1)
            progress.step += 1
            progress.batch += 1
            progress.loss_rows += len(spec.all_rows)
            self._loss_sum += loss.to(self._loss_sum.dtype) * len(spec.all_rows)
            if self.ema:
                self.ema.update(progress.step)
            progress.epoch_seconds = time.monotonic() - started
            progress.seconds = elapsed_before + progress.epoch_seconds
            if self.observers:
                self._tell_step(spec, index, loss, lr)
            if self._over_budget():
                progress.stopped = "budget"
                break
            if progress.batch < self.sampler.batches:  # an epoch's last step has its checkpoint after the evaluation
                asked = self._asked_to_stop()
                if asked or self.resumable.due(progress.step):
                    self._checkpoint()
                if asked:
                    raise KeyboardInterrupt

    def _close_epoch(self, phase: Phase, validation: Examples, last_of_phase: bool) -> None:
        """Evaluate, keep the best, write the epoch down, and leave a checkpoint where it is time for one."""
        progress = self.progress
        self.stepper.settle()
        started = time.monotonic()
        train_seconds = progress.epoch_seconds
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
        progress.seconds += time.monotonic() - started
        record = EpochRecord(
            epoch=progress.epoch + 1,
            phase=phase.name,
            train_loss=self._train_loss(),
            val=values,
            seconds=train_seconds + time.monotonic() - started,
            samples_per_second=progress.loss_rows / max(train_seconds, 1e-9),
        )
        progress.history.append(record.to_json())
        if (last_of_phase or progress.stopped) and progress.frozen:
            progress.proofs.append(check_untrained(self.model, phase, progress.frozen))
        progress.epoch += 1
        progress.batch = progress.loss_rows = 0
        progress.epoch_seconds = 0.0
        self._loss_sum = self._zero()
        if self.settings.patience and progress.bad_epochs >= self.settings.patience and not progress.stopped:
            progress.stopped = "early stop"
        # Before the checkpoint: a run that is killed in between tells of the epoch again, instead of never.
        self.observers.call("epoch_end", record)
        asked = self._asked_to_stop()
        if last_of_phase or progress.stopped or asked or self.resumable.due_after_epoch():
            self._checkpoint()
        self.record(progress.history)
        if asked:
            raise KeyboardInterrupt

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

    def _stream(self, rows: PhaseData, epoch: int, batch: int, last_epoch: int) -> Any:
        """All batches from a position to the end of an epoch, loaded ahead across the epochs between."""
        count = len(self.data.train)

        def specs() -> Iterator[BatchSpec]:
            for number in range(epoch, last_epoch + 1):
                for spec in self.sampler.epoch(number, batch if number == epoch else 0):
                    yield in_view(spec, rows.views, count)

        workers = 0 if rows.train.cheap else self.settings.workers
        return load_batches(rows.train, specs(), self.settings.seed, workers, self.device.pins)

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
        total = self.plan.epochs * self.sampler.batches
        say(f"resuming after step {self.progress.step} of {total} (epoch {self.progress.epoch + 1})")

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
            steps=self.plan.epochs * self.sampler.batches,
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
