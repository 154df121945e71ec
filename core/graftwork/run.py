"""Assembles and executes one run: read `execute` as the table of contents of the system."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from graftwork.catalogue import Catalogue
from graftwork.catalogue.versions import versions
from graftwork.config import Resolved, RunConfig
from graftwork.console import format_plan
from graftwork.data.loader import load_batches
from graftwork.data.sampler import Sampler, in_order
from graftwork.data.seeds import INIT, derive
from graftwork.engine.checkpoint import CheckpointStore
from graftwork.engine.decide import compile_for_run, decide_by_trial
from graftwork.engine.evaluate import evaluate
from graftwork.engine.fit import Fit, FitData, sampler_of
from graftwork.engine.observers import Observers
from graftwork.engine.proofs import check_same_predictions, comparable
from graftwork.engine.resumable import Progress
from graftwork.engine.settings import FitSettings
from graftwork.errors import DataError, UsageError
from graftwork.files.atomic import write_file
from graftwork.interfaces import (
    Finding,
    Model,
    Observer,
    Plan,
    PlanContext,
    Spec,
    Strategy,
    Task,
)
from graftwork.interfaces.observer import read_only
from graftwork.machine.compiling import leave_uncompiled
from graftwork.machine.device import Device, keep_freed_memory, trim_memory
from graftwork.machine.precision import choose, set_up_math
from graftwork.models.artifact import check_reload, save_artifact
from graftwork.models.build import Builder, Starting
from graftwork.report import write_report
from graftwork.runs.data import RunData, inspect, read_data
from graftwork.runs.directory import CHECKPOINTS, CONFIG, DATA, PLAN, REPORT, SUMMARY, RunDirectory
from graftwork.runs.predict import write_predictions
from graftwork.runs.states import facts_of_rows, prefixes_of
from graftwork.states.fill import Rows
from graftwork.states.phases import Prefixes

__all__ = ["execute", "inspect", "versions"]

Say = Callable[[str], None]


def execute(
    resolved: Resolved,
    catalogue: Catalogue,
    out: Path,
    *,
    resume: bool = False,
    observers: Sequence[Observer] = (),
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Run one configuration to its end; the content of summary.json.

    Args:
        resolved: from `check.resolve_and_check`.
        catalogue: of this installation.
        out: the run directory.
        resume: go on with the run in `out`, or start it when there is none.
        observers: beside those that the configuration names.
        say: takes lines for the user.
    """
    directory = RunDirectory(out)
    if resume and directory.finished():
        say(f"{out} holds a finished run: nothing to resume")
        summary: dict[str, Any] = directory.read_json(SUMMARY)
        return summary
    device = Device(resolved.config.device)
    try:
        # In every process, so that a missing library ends all of them; the main one's are used.
        named = Builder(catalogue).observers(resolved.config, say if device.is_main else lambda line: None)
        if not device.is_main:
            return _execute(resolved, catalogue, directory, device, resume, Observers((), say), lambda line: None)
        with directory.locked(resume):
            watchers = Observers([*observers, *named], say)
            with watchers.told_of_failure():
                summary = _execute(resolved, catalogue, directory, device, resume, watchers, say)
            if watchers:
                watchers.call("run_end", read_only(summary))
            return summary
    finally:
        device.close()


def _execute(
    resolved: Resolved,
    catalogue: Catalogue,
    directory: RunDirectory,
    device: Device,
    resume: bool,
    watchers: Observers,
    say: Say,
) -> dict[str, Any]:
    started = time.monotonic()
    keep_freed_memory()
    set_up_math(device.torch_device)
    device.fit_threads(say)
    builder = Builder(catalogue)
    config = resolved.config
    task = builder.task(config.task, config.task_options)
    data = read_data(task, config, builder)
    chance = float(task.chance(data.facts))  # a task that cannot say it fails here, and not after hours of training
    _say_findings(data.findings, say)
    _check_same_data(directory, data, resume)

    backbone, head = builder.backbone_spec(config), builder.head_spec(config)
    model = builder.model(backbone, head, data.facts, config.seed)
    starting = builder.load_weights(model, config, backbone.name)
    if starting.report is not None:
        say(f"weights {starting.source}: {starting.report}")
    data = _hold_against_input(task, data, model, say)
    train_rows = data.tables.splits["train"]
    row_facts = facts_of_rows(task, data.facts)
    fit_data = FitData(
        train=task.examples(train_rows, model.backbone.input, row_facts, True),
        validation=task.examples(data.tables.splits["validation"], model.backbone.input, row_facts, False),
        strata=task.strata(train_rows) if config.imbalance == "sampler" else (),
        metrics=lambda: task.metrics(data.facts, device.torch_device),
        primary_metric=task.primary_metric,
    )
    strategy = builder.strategy(config)
    _prepare(strategy, model, fit_data, config.seed)
    model.to(device.torch_device)
    model.lay_out()

    device.bound_memory(say)
    resolved = _ask_machine(resolved, device)
    config = resolved.config
    sampler = sampler_of(fit_data, FitSettings.of(config, config.precision, 0), device)
    plan = _plan(strategy, model, config, sampler)
    if sampler.sizes is not None:
        say(f"batches of rows of like size: {sampler.padding():.1%} of what they hold is padding")
    parameters = _parameters(plan, model)
    prefixes = prefixes_of(config, catalogue, task, model, backbone, data, fit_data, device, say)
    choices = prefixes.choose(model, plan)
    computed = next((phase for phase, choice in zip(plan.phases, choices, strict=True) if not choice.kept), None)
    kept = any(choice.kept for choice in choices)
    resolved = decide_by_trial(resolved, model, plan, computed, fit_data.train, sampler, device, say, not kept)
    config = resolved.config
    settings = FitSettings.of(config, config.precision, int(config.workers))
    prefixes.workers = settings.workers
    described = plan.describe(model)
    for phase, choice in zip(described["phases"], choices, strict=True):
        phase["rows"] = choice.to_json()
    say(format_plan(described))
    if device.is_main and not (resume and (directory.path / CONFIG).is_file()):
        _write_start(directory, resolved, described, starting, data)

    if config.compile == "on":
        compile_for_run(model, plan.phases[0], fit_data.train, sampler, device, config)
    store = CheckpointStore(directory.path / CHECKPOINTS, say)
    record = directory.write_history if device.is_main else lambda history: None
    if watchers:
        watchers.introduce(str(directory.path), config.model_dump(mode="json"))
    progress = Fit(model, plan, fit_data, settings, device, store, watchers, record, say, prefixes).run(resume)
    if progress.stopped:
        say(
            f"stopped by {progress.stopped} after epoch {progress.epoch}: keeping the best, epoch {progress.best_epoch}"
        )

    trim_memory()
    leave_uncompiled(model.backbone)
    proofs = {"frozen": progress.proofs} | _finish(strategy, model, fit_data, device, directory)
    data, val = _decide(task, model, data, fit_data, device, settings, progress)
    test = _final_test(task, model, data, prefixes, device, config, directory)
    trim_memory()
    seconds = time.monotonic() - started
    summary = _summary(config, task, parameters, data, device, progress, val, test, chance, seconds)
    if device.is_main:
        task_options = catalogue.task(config.task).complete(config.task_options)
        task_spec = Spec(catalogue.qualified("tasks", config.task), task_options)
        about = {key: summary[key] for key in ("val", "test", "best_epoch", "seed", "strategy", "versions", "data")}
        about["weights"] = starting.source
        save_artifact(directory.path, model, task_spec, backbone, head, data.facts, about)
        proof = _prove_reload(directory, builder, model, task, data)
        summary["proofs"] = proofs | {"artifact": proof}
        directory.write_json(SUMMARY, summary)
        write_report([directory.path], directory.path / REPORT, catalogue, data)
        store.clear()
    return summary


def _say_findings(findings: Sequence[Finding], say: Say) -> None:
    errors = [finding.message for finding in findings if finding.level == "error"]
    if errors:
        raise DataError("; ".join(errors), hint="graft inspect shows every finding")
    for finding in findings:
        if finding.level == "warning":
            where = f" ({', '.join(finding.where[:3])})" if finding.where else ""
            say(f"data: {finding.message}{where}")


def _check_same_data(directory: RunDirectory, data: RunData, resume: bool) -> None:
    if resume and (directory.path / DATA).is_file():
        stored = directory.read_json(DATA).get("fingerprint")
        if stored != data.fingerprint:
            raise UsageError(
                "the data has changed since this run began, so it cannot be resumed exactly",
                where=str(directory.path),
                hint="Put the data back, or start a new run with another --out",
            )


def _hold_against_input(task: Task, data: RunData, model: Model, say: Say) -> RunData:
    """What the backbone's input does to the rows, told and kept with the other findings."""
    found = task.audit_input(data.tables, model.backbone.input)
    _say_findings(found, say)
    return data.with_findings(found)


def _prepare(strategy: Strategy, model: Model, data: FitData, seed: int) -> None:
    """Let the strategy change the model; what it draws (adapters) is a function of the seed."""
    if type(strategy).prepare is Strategy.prepare:
        return
    (batch,) = load_batches(data.train, in_order(min(len(data.train), 2), 2), seed, 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(INIT, seed, 2))
        strategy.prepare(model, batch)


def _finish(strategy: Strategy, model: Model, data: FitData, device: Device, directory: RunDirectory) -> dict[str, Any]:
    """Let the strategy undo what it did to the model, and prove that the model predicts as before."""
    if type(strategy).finish is Strategy.finish:
        return {}
    size = min(len(data.validation), 16)
    (batch,) = load_batches(data.validation, in_order(size, size), 0, 0)
    batch = batch.to(device.torch_device)
    before = comparable(model, batch)
    files = strategy.finish(model)
    proof = check_same_predictions(before, comparable(model, batch))
    if device.is_main:
        for name, content in files.items():
            path = directory.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, content)
    return {"finish": proof}


def _decide(
    task: Task,
    model: Model,
    data: RunData,
    fit_data: FitData,
    device: Device,
    settings: FitSettings,
    progress: Progress,
) -> tuple[RunData, dict[str, float]]:
    """Facts that the task decides on the validation split, and the best epoch's metrics there."""
    val = next(line["val"] for line in progress.history if line["epoch"] == progress.best_epoch)
    if not task.decides:
        return data, val
    metrics = fit_data.metrics()
    val = evaluate(model, fit_data.validation, metrics, device, settings.precision, settings.batch_size)
    return replace(data, facts=task.decide(metrics, data.facts)), val


def _ask_machine(resolved: Resolved, device: Device) -> Resolved:
    """Decide what was left to the machine; what the user set stays."""
    config = resolved.config
    if config.device == "auto":
        resolved = resolved.replace("device", str(device.torch_device), device.reason)
    if config.precision == "auto":
        resolved = resolved.replace("precision", *choose("auto", device.torch_device))
    if config.batch_size < device.world:
        raise UsageError(f"batch size {config.batch_size} is smaller than the number of processes, {device.world}")
    return resolved


def _plan(strategy: Strategy, model: Model, config: RunConfig, sampler: Sampler) -> Plan:
    context = PlanContext(
        config.epochs,
        config.lr,
        config.weight_decay,
        config.schedule,
        config.warmup,
        sampler.rows,
        sampler.batches,
    )
    return strategy.plan(model, context)


def _write_start(
    directory: RunDirectory, resolved: Resolved, plan: dict[str, Any], starting: Starting, data: RunData
) -> None:
    """config.yaml comes last: it is what says that there is a run."""
    settings = [setting.to_json() for setting in resolved.settings.values()]
    directory.write_json(PLAN, {**plan, "settings": settings, "weights": starting.to_json()})
    directory.write_json(DATA, data.to_json(resolved.config.data))
    directory.write_config(resolved.config)


def _final_test(
    task: Task,
    model: Model,
    data: RunData,
    prefixes: Prefixes,
    device: Device,
    config: RunConfig,
    directory: RunDirectory,
) -> dict[str, float]:
    """The only reading of the test split."""
    rows = data.tables.splits.get("test")
    if rows is None:
        return {}
    examples = task.examples(rows, model.backbone.input, data.facts, False).read_once()
    if config.compile != "on":  # else the states were made by a compiled model, which rounds otherwise than this one
        examples = prefixes.evaluation(model, Rows(examples, data.digests["test"]))
    return write_predictions(task, model, examples, rows, data.facts, device, config, directory, "test")


def _prove_reload(directory: RunDirectory, builder: Builder, model: Model, task: Task, data: RunData) -> str:
    model.to("cpu").eval()
    rows = data.tables.splits["validation"]
    examples = task.examples(rows, model.backbone.input, data.facts, False)
    # Few: the weights are whole or not, and a large model takes seconds for more on a CPU.
    (batch,) = load_batches(examples, in_order(min(len(rows), 4), 4), 0, 0)
    return check_reload(directory.path, builder, model, batch)


def _parameters(plan: Plan, model: Model) -> dict[str, int]:
    """How many numbers the model has, adapters included, and how many of them any phase trains."""
    trained = {name for phase in plan.phases for group in phase.groups for name in group.parameters}
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return {"total": sum(sizes.values()), "trained": sum(sizes[name] for name in trained)}


def _summary(
    config: RunConfig,
    task: Task,
    parameters: dict[str, int],
    data: RunData,
    device: Device,
    progress: Progress,
    val: dict[str, float],
    test: dict[str, float],
    chance: float,
    seconds: float,
) -> dict[str, Any]:
    rates = [line["samples_per_second"] for line in progress.history]
    return {
        "primary_metric": task.primary_metric,
        "val": val,
        "test": test,
        "chance": chance,
        "best_epoch": progress.best_epoch,
        "epochs": progress.epoch,
        "stopped": progress.stopped,
        "seconds": round(seconds, 3),
        "fit_seconds": round(progress.seconds, 3),
        "samples_per_second": round(sum(rates) / len(rates), 3),
        "strategy": config.strategy,
        "backbone": config.backbone,
        "weights": config.weights,
        "head": config.head,
        "device": str(device.torch_device),
        "processes": device.world,
        "precision": config.precision,
        "peak_memory_bytes": device.peak_memory(),
        "parameters": parameters,
        "data": {"source": config.data, "fingerprint": data.fingerprint},
        **{f"{split}_rows": len(rows) for split, rows in data.tables.splits.items()},
        "seed": config.seed,
        "versions": versions(),
    }
