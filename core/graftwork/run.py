"""One run: read `execute` as the table of contents of the system; assemble, settle and fit are its chapters.

Each makes one frozen value from the one before, see `runs.values`. What follows the fit is `runs.ending`'s.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from graftwork.catalogue import Catalogue
from graftwork.config import Resolved, RunConfig
from graftwork.console import format_plan
from graftwork.data.loader import load_batches
from graftwork.data.sampler import Sampler, in_order
from graftwork.data.seeds import INIT, derive
from graftwork.data.splits import UNLABELLED
from graftwork.engine.batches import FitData, sampler_of
from graftwork.engine.checkpoint import CheckpointStore
from graftwork.engine.decide import compile_for_run, decide_by_trial
from graftwork.engine.fit import Fit, Fitting
from graftwork.engine.observers import Observers
from graftwork.engine.optimizer import check_plan
from graftwork.engine.settings import FitSettings
from graftwork.engine.terms import start_terms
from graftwork.errors import RunFailed, UsageError
from graftwork.interfaces import Finding, Model, Observer, OpenTeacher, PlanContext, Strategy
from graftwork.interfaces.observer import read_only
from graftwork.log import heard, muted, say
from graftwork.machine.device import Device
from graftwork.models.build import Builder
from graftwork.report import write_report
from graftwork.runs.data import RunData, read_data, tell_findings
from graftwork.runs.directory import CHECKPOINTS, REPORT, SUMMARY, RunDirectory
from graftwork.runs.ending import conclude
from graftwork.runs.known import keep_rows
from graftwork.runs.resuming import GIVEN_IN, check_same_data
from graftwork.runs.states import about_states, facts_of_rows, identity_of
from graftwork.runs.teachers import Teachers
from graftwork.runs.values import Assembled, Fitted, Planned
from graftwork.states.fill import Rows
from graftwork.states.phases import StateSource, choose_states


def execute(
    resolved: Resolved, catalogue: Catalogue, out: Path, *, resume: bool = False, observers: Sequence[Observer] = ()
) -> dict[str, Any]:
    """Run one configuration to its end; the content of summary.json.

    Args:
        resolved: from `config.check.resolve_and_check`, or `runs.resuming.resolve_resumed`.
        catalogue: of this installation.
        out: the run directory.
        resume: go on with the run in `out`, or start it when there is none.
        observers: beside those that the configuration names.
    """
    directory = RunDirectory(out)
    if resume and directory.finished():
        say(f"{out} holds a finished run: nothing to resume")
        return dict(directory.read_json(SUMMARY))
    started = time.monotonic()
    with _begun(resolved, catalogue, directory, resume, observers) as (device, watchers):
        assembled = assemble(resolved, catalogue)
        if resume:
            check_same_data(directory, assembled.data)
        planned = settle(assembled, device)
        say(format_plan(planned.described))
        if device.is_main and not (resume and directory.begun()):
            source = {**assembled.data.to_json(resolved.config.data), GIVEN_IN: str(Path.cwd())}
            keep_rows(out, assembled.data)
            directory.begin(planned.resolved, planned.described, assembled.starting.to_json(), source)
        store = CheckpointStore(out / CHECKPOINTS)
        fitted = fit(planned, store, watchers, directory, resume)
        summary = conclude(fitted, directory, started)
        if device.is_main:
            write_report([out], out / REPORT, catalogue, assembled.data)
            store.clear()
        watchers.call("run_end", read_only(summary))
    return summary


@contextmanager
def _begun(
    resolved: Resolved, catalogue: Catalogue, directory: RunDirectory, resume: bool, observers: Sequence[Observer]
) -> Iterator[tuple[Device, Observers]]:
    """This process's device and who watches it; in the main process the directory, which is locked and keeps the lines."""
    with ExitStack() as stack:
        device = Device(resolved.config.device, resolved.config.precision)
        stack.callback(device.close)
        stack.enter_context(muted(not device.is_main))
        # In every process, so that a missing library ends all of them; the main one's are used.
        named = Builder(catalogue).observers(resolved.config)
        watchers = Observers([*observers, *named] if device.is_main else ())
        if device.is_main:
            stack.enter_context(directory.locked(resume))
            stack.enter_context(heard(stack.enter_context(directory.log())))
        device.set_up()
        stack.enter_context(watchers.told_of_failure())
        yield device, watchers


def assemble(resolved: Resolved, catalogue: Catalogue, data: RunData | None = None) -> Assembled:
    """A task with its data, and a model with its starting weights.

    Args:
        resolved: the configuration.
        catalogue: of this installation.
        data: read before by the same task from the same source, where another choice is assembled anew.

    Raises:
        DataError: the data cannot be trained on.
        UsageError: weights are missing, damaged or of another architecture; an option or a limit does not fit.
    """
    builder, config = Builder(catalogue), resolved.config
    if data is None:
        data = read_data(config, builder)
    chance = float(
        data.task.chance(data.facts)
    )  # a task that cannot say it fails here, and not after hours of training
    tell_findings(data.findings)
    backbone, head = builder.backbone_spec(config), builder.head_spec(config)
    model = builder.model(backbone, head, data.facts, config.seed)
    starting = builder.load_weights(model, config, backbone.name)
    if starting.report is not None:
        say(f"weights {starting.source}: {starting.report}")
    # What the backbone's input does to the rows, told and kept with the other findings.
    found = data.task.audit_input(data.tables, model.backbone.input)
    tell_findings(found)
    return Assembled(resolved, builder, data.with_findings(found), backbone, head, model, starting, chance)


def settle(assembled: Assembled, device: Device) -> Planned:
    """Everything that was left open, decided: by asking the machine, by the strategy, and by trying a few steps.

    The model is prepared by the strategy and moved to the device.

    Raises:
        UsageError: the model or the settings do not allow the strategy; more processes than rows in a batch.
    """
    resolved = _ask_machine(assembled.resolved, device)
    config, model = resolved.config, assembled.model
    rows = rows_of(assembled, device)
    strategy = assembled.builder.strategy(config)
    teachers = Teachers(assembled, device)
    _prepare(strategy, model, rows, config.seed, teachers.open)
    model.to(device.torch_device)
    model.lay_out()
    device.bound_memory()
    sampler = sampler_of(rows, FitSettings.of(config, 0), device)
    plan = strategy.plan(model, context_of(config, sampler))
    check_plan(plan, model)
    start_terms(plan, model, config.seed)
    if sampler.sizes is not None:
        say(f"batches of rows of like size: {sampler.padding():.1%} of what they hold is padding")
    source = _state_source(assembled, resolved, rows, device)
    states = choose_states(replace(source, teachers=teachers.rows()), model, plan).taught()
    rows = replace(rows, train=states.with_given(rows.train))
    resolved = decide_by_trial(
        resolved, model, plan, states.first_computed, rows.train, sampler, device, not states.any_kept
    )
    settings = FitSettings.of(resolved.config, int(resolved.config.workers))
    states = states.loaded_by(settings.workers)
    described = plan.describe(model)
    for phase, choice in zip(described["phases"], states.choices, strict=True):
        phase["rows"] = choice.to_json()
    fitting = Fitting(model, plan, rows, settings, device, states)
    return Planned(assembled, resolved, strategy, fitting, described)


def fit(
    planned: Planned,
    store: CheckpointStore,
    observers: Observers,
    directory: RunDirectory | None = None,
    resume: bool = False,
) -> Fitted:
    """Train to the end of the plan, an early stop or the budget; the model then holds the best weights.

    Args:
        store: the run's checkpoints.
        observers: who watches.
        directory: where the history is written; None where nobody wants it on disk.
        resume: go on from the newest checkpoint.

    Raises:
        RunFailed: a loss was not finite, memory ran out for a single row, a frozen stage moved, the disk is full.
    """
    fitting, config = planned.fitting, planned.resolved.config
    if config.compile == "on":
        sampler = sampler_of(fitting.data, fitting.settings, fitting.device)
        compile_for_run(fitting.model, fitting.plan.phases[0], fitting.data.train, sampler, fitting.device, config)
    record = directory.write_history if directory is not None and fitting.device.is_main else lambda history: None
    observers.introduce("" if directory is None else str(directory.path), config.model_dump(mode="json"))
    progress = Fit(fitting, store, observers, record).run(resume)
    if progress.stopped:
        say(
            f"stopped by {progress.stopped} after epoch {progress.epoch}: keeping the best, epoch {progress.best_epoch}"
        )
    return Fitted(planned, progress)


def rows_of(assembled: Assembled, device: Device) -> FitData:
    """What is fitted on, and what chooses the best epoch."""
    task, data, input = assembled.task, assembled.data, assembled.model.backbone.input
    splits = data.tables.splits
    train_rows, unlabelled = splits["train"], splits.get(UNLABELLED)
    facts = facts_of_rows(task, data.facts)
    return FitData(
        train=task.examples(train_rows, input, facts, True),
        validation=task.examples(splits["validation"], input, facts, False),
        strata=lambda: task.strata(train_rows),
        metrics=lambda: task.metrics(data.facts, device.torch_device),
        primary_metric=task.primary_metric,
        unlabelled=None if unlabelled is None else task.examples(unlabelled, input, facts, True),
    )


def context_of(config: RunConfig, sampler: Sampler) -> PlanContext:
    """What a strategy is told of the settings."""
    return PlanContext(
        epochs=config.epochs,
        lr=config.lr,
        weight_decay=config.weight_decay,
        schedule=config.schedule,
        warmup=config.warmup,
        rows=sampler.rows,
        steps_per_epoch=sampler.batches,
    )


def inspect(resolved: Resolved, catalogue: Catalogue) -> dict[str, Any]:
    """Audit data without training: what `graft inspect` shows. Findings of level `error` do not raise here.

    Args:
        resolved: whose backbone's input the rows are held against; one that was not set, as far as it can be had.
    """
    builder, config = Builder(catalogue), resolved.config
    data = read_data(config, builder)
    try:
        input = builder.backbone(builder.backbone_spec(config), config).input
    except (RunFailed, UsageError) as error:
        if resolved.explicit("backbone"):
            raise
        message = f"rows were not held against a backbone's input: {error}"
        more = [Finding("input-not-checked", "note", message, (), 0)]
    else:
        more = data.task.audit_input(data.tables, input)
    return data.with_findings(more).to_json(config.data)


def _prepare(strategy: Strategy, model: Model, data: FitData, seed: int, open: OpenTeacher) -> None:
    """Let the strategy change the model; what it draws (adapters) is a function of the seed."""
    if type(strategy).prepare is Strategy.prepare:
        return
    (batch,) = load_batches(data.train, in_order(min(len(data.train), 2), 2), seed, 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(INIT, seed, 2))
        strategy.prepare(model, batch, open)


def _ask_machine(resolved: Resolved, device: Device) -> Resolved:
    """Decide what was left to the machine; what the user set stays."""
    config = resolved.config
    if config.device == "auto":
        resolved = resolved.replace("device", str(device.torch_device), device.reason)
    if config.precision == "auto":
        resolved = resolved.replace("precision", device.precision, device.precision_reason)
    if config.batch_size < device.world:
        raise UsageError(f"batch size {config.batch_size} is smaller than the number of processes, {device.world}")
    return resolved


def _state_source(assembled: Assembled, resolved: Resolved, fit_data: FitData, device: Device) -> StateSource:
    """The rows whose states may be kept, and all that these depend on beside the model."""
    config, data, task = resolved.config, assembled.data, assembled.task
    code = (task, assembled.model.backbone, fit_data.train)
    facts = facts_of_rows(task, data.facts)
    return StateSource(
        train=Rows(fit_data.train, data.digests["train"]),
        validation=Rows(fit_data.validation, data.digests["validation"]),
        test=len(data.digests.get("test", ())),
        identity=identity_of(config, assembled.builder.catalogue, assembled.backbone, facts, code),
        about=about_states(config),
        views=config.views,
        allowed=config.cache == "auto",
        batch=max(config.batch_size, fit_data.train.evaluated_together),
        device=device,
    )
