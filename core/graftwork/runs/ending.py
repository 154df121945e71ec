"""What follows the fit: the strategy undone, thresholds decided, the test split read for the first time, artifact and proofs."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from graftwork.catalogue.versions import versions
from graftwork.data.loader import load_batches
from graftwork.data.sampler import in_order
from graftwork.engine.evaluate import evaluate
from graftwork.engine.proofs import check_same_predictions, comparable
from graftwork.files.atomic import write_file
from graftwork.interfaces import Model, Plan, Spec, Strategy
from graftwork.machine.compiling import leave_uncompiled
from graftwork.machine.device import trim_memory
from graftwork.models.artifact import Artifact, check_reload, save_artifact
from graftwork.runs.data import RunData
from graftwork.runs.directory import PREDICTIONS, SUMMARY, RunDirectory
from graftwork.runs.predict import Predictor
from graftwork.runs.values import Fitted, Planned
from graftwork.states.fill import Rows


def conclude(fitted: Fitted, directory: RunDirectory, started: float) -> dict[str, Any]:
    """Make of the best weights what a run leaves; the content of summary.json.

    Args:
        directory: of the run; only the main process writes.
        started: when the run began, on the monotonic clock.

    Raises:
        RunFailed: a proof does not hold, or the disk is full.
    """
    planned, progress = fitted.planned, fitted.progress
    model, device = planned.fitting.model, planned.fitting.device
    parameters = _parameters(planned.fitting.plan, model)
    trim_memory()
    leave_uncompiled(model.backbone)
    proofs = {"frozen": progress.proofs} | _undo_strategy(planned, directory)
    data, val = _decide(fitted)
    test = _test(planned, data, directory)
    trim_memory()
    summary = {
        "primary_metric": data.task.primary_metric,
        "val": val,
        "test": test,
        **_facts_of_fit(fitted, parameters, time.monotonic() - started),
    }
    if device.is_main:
        summary["proofs"] = proofs | {"artifact": _keep_model(planned, data, summary, directory)}
        directory.write_json(SUMMARY, summary)
    return summary


def _undo_strategy(planned: Planned, directory: RunDirectory) -> dict[str, Any]:
    """Let the strategy undo what it did to the model, and prove that the model predicts as before."""
    strategy, fitting = planned.strategy, planned.fitting
    if type(strategy).finish is Strategy.finish:
        return {}
    model, validation = fitting.model, fitting.data.validation
    size = min(len(validation), 16)
    (batch,) = load_batches(validation, in_order(size, size), 0, 0)
    batch = batch.to(fitting.device.torch_device)
    before = comparable(model, batch)
    files = strategy.finish(model)
    proof = check_same_predictions(before, comparable(model, batch))
    if fitting.device.is_main:
        for name, content in files.items():
            path = directory.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, content)
    return {"finish": proof}


def _decide(fitted: Fitted) -> tuple[RunData, dict[str, float]]:
    """The data with facts that the task decides on the validation split, and the best epoch's metrics there."""
    progress, fitting, data = fitted.progress, fitted.planned.fitting, fitted.planned.assembled.data
    val = next(line["val"] for line in progress.history if line["epoch"] == progress.best_epoch)
    if not data.task.decides:
        return data, val
    metrics = fitting.data.metrics()
    val = evaluate(fitting.model, fitting.data.validation, metrics, fitting.device, fitting.settings.batch_size)
    return replace(data, facts=data.task.decide(metrics, data.facts)), val


def _test(planned: Planned, data: RunData, directory: RunDirectory) -> dict[str, float]:
    """The only reading of the test split."""
    rows = data.tables.splits.get("test")
    if rows is None:
        return {}
    fitting, config = planned.fitting, planned.resolved.config
    predictor = Predictor(Artifact(fitting.model, data.task, data.facts, {}), fitting.device)
    examples = predictor.examples(rows)
    # With compiled stages the states were made by a model that rounds otherwise than this one.
    if config.compile != "on" and fitting.states is not None:
        examples = fitting.states.evaluation(fitting.model, Rows(examples, data.digests["test"]))
    return predictor.test(rows, examples, config.batch_size, directory.path / PREDICTIONS / "test")


def _keep_model(planned: Planned, data: RunData, summary: dict[str, Any], directory: RunDirectory) -> str:
    """Save the artifact, load it back and compare its predictions; a sentence for the record."""
    assembled, model = planned.assembled, planned.fitting.model
    config, builder = planned.resolved.config, assembled.builder
    options = builder.catalogue.task(config.task).complete(config.task_options)
    task = Spec(builder.catalogue.qualified("tasks", config.task), options)
    about = {key: summary[key] for key in ("val", "test", "best_epoch", "seed", "strategy", "versions", "data")}
    about["weights"] = assembled.starting.source
    if config.data_options:
        about["data_options"] = config.data_options
    save_artifact(directory.path, model, task, assembled.backbone, assembled.head, data.facts, about)
    model.to("cpu").eval()
    rows = data.tables.splits["validation"]
    examples = data.task.examples(rows, model.backbone.input, data.facts, False)
    # Few: the weights are whole or not, and a large model takes seconds for more on a CPU.
    (batch,) = load_batches(examples, in_order(min(len(rows), 4), 4), 0, 0)
    return check_reload(directory.path, builder, model, batch)


def _parameters(plan: Plan, model: Model) -> dict[str, int]:
    """How many numbers the model has, adapters included, and how many of them any phase trains."""
    trained = {name for phase in plan.phases for group in phase.groups for name in group.parameters}
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return {"total": sum(sizes.values()), "trained": sum(sizes[name] for name in trained)}


def _facts_of_fit(fitted: Fitted, parameters: dict[str, int], seconds: float) -> dict[str, Any]:
    planned, progress = fitted.planned, fitted.progress
    config, device, data = planned.resolved.config, planned.fitting.device, planned.assembled.data
    rates = [line["samples_per_second"] for line in progress.history]
    return {
        "chance": planned.assembled.chance,
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
        "precision": device.precision,
        "peak_memory_bytes": device.peak_memory(),
        "parameters": parameters,
        "data": {"source": config.data, "fingerprint": data.fingerprint},
        **{f"{split}_rows": len(rows) for split, rows in data.tables.splits.items()},
        "seed": config.seed,
        "versions": versions(),
    }
