"""What is left to the machine to decide, decided by trying: loader processes, micro-batches, compiled stages.

All of it is settled before the first step and kept with the run's settings, each with its reason.
"""

from __future__ import annotations

import os

from graftwork.config import Resolved, RunConfig
from graftwork.data.loader import choose_workers, guess_workers
from graftwork.data.sampler import BatchSpec, Sampler, as_columns
from graftwork.engine.terms import coupling
from graftwork.engine.trial import Trial, without_trace
from graftwork.errors import RunFailed
from graftwork.interfaces import Batch, Examples, Model, Phase, Plan
from graftwork.log import say
from graftwork.machine.cgroup import usable_cores
from graftwork.machine.compiling import (
    Tried,
    check_can_compile,
    compile_stages,
    leave_uncompiled,
    verdict,
    why_not,
    worth_trying,
)
from graftwork.machine.device import Device
from graftwork.machine.memory import memory_left, reserve_memory

LONG = 60
"""Steps from which a run is long enough to measure a few first."""

LONG_TO_COMPILE = 500
"""Steps from which a run is looked at for compiling where nothing else is to be measured."""

LOADER = 96 * 2**20
"""Bytes that a loader process comes to hold for itself: what it writes to of the memory that it was born with."""

AHEAD = 5
"""Batches in shared memory for each loader: four that are ready, and one in use."""


def decide_by_trial(
    resolved: Resolved,
    model: Model,
    plan: Plan,
    computed: Phase | None,
    rows: Examples,
    sampler: Sampler,
    device: Device,
    all_computed: bool = True,
) -> Resolved:
    """The settings that were left open, settled by a few steps that leave no trace on the model.

    Args:
        resolved: with device and precision settled.
        model: with its starting weights, on the device.
        plan: of the whole run.
        computed: the first phase that runs whole steps; None where all of them train from kept states.
        rows: training rows.
        sampler: of the run.
        device: where it runs.
        all_computed: whether every phase runs whole steps; kept states are shared with runs that compile nothing.

    Raises:
        RunFailed: a step would have to be split, and a term couples the rows of a batch.
    """
    config = resolved.config
    on_accelerator = device.torch_device.type != "cpu"
    steps = plan.epochs * sampler.batches
    measuring = config.workers == "auto" and not rows.cheap and steps >= LONG
    bounded = config.micro_batch is None and memory_left() is not None
    if config.workers == "auto" and rows.cheap:
        resolved = resolved.replace("workers", 0, "loading these rows costs next to nothing")
    elif config.workers == "auto" and (not measuring or computed is None):
        resolved = resolved.replace("workers", *guess_workers(len(rows), usable_cores(), on_accelerator))
    if config.compile == "auto":
        measuring = measuring or (steps >= LONG_TO_COMPILE and all_computed)
        resolved = resolved.replace("compile", "off", "the run is too short for compiling to pay")
    if computed is None or not (measuring or bounded):
        return resolved
    specs = list(sampler.epoch(0))
    with without_trace(model, computed):
        trial = Trial(model, device, config.seed)
        if bounded:
            resolved = _by_memory(resolved, trial, plan, trial.load(rows, _largest(specs, sampler)))
        if measuring:
            resolved = _by_time(resolved, trial, rows, specs, steps, config.compile == "auto" and all_computed)
    return resolved


def _by_memory(resolved: Resolved, trial: Trial, plan: Plan, largest: Batch) -> Resolved:
    """Micro-batches where a step on the largest batch does not fit into what the control group leaves."""
    config = resolved.config
    workers = 1 if config.workers == "auto" else config.workers
    reserve_memory(workers * (LOADER + AHEAD * _bytes(largest)))
    fitting = trial.rows_that_fit(largest, _spoken_for(plan, trial.model, config))
    fitting = min((rows for rows in trial.device.gather([fitting]) if rows is not None), default=None)
    if fitting is None:
        return resolved
    if coupled := coupling(plan.terms):
        raise RunFailed(
            f"{fitting} of a batch's {len(largest)} rows fit into the memory that the control group leaves, and "
            f"{coupled} the rows of a batch: they are not split by themselves",
            hint=f"--micro-batch {fitting} lets it see so many at a time; or use a smaller --batch-size",
        )
    say(f"memory: a step runs in micro-batches of {fitting} rows")
    reason = "rows of which a step fits into the memory that the control group leaves"
    return resolved.replace("micro_batch", fitting, reason)


def _by_time(
    resolved: Resolved, trial: Trial, rows: Examples, specs: list[BatchSpec], steps: int, compiling: bool
) -> Resolved:
    """Loader processes and compiled stages, by what a batch takes to load and to compute.

    Args:
        compiling: whether it is open if stages are compiled.
    """
    config, device = resolved.config, trial.device
    on_accelerator = device.torch_device.type != "cpu"
    found = trial.measure(rows, specs, config.micro_batch)
    # Still open where rows are cheap to load or nothing was measured: see above.
    if config.workers == "auto":
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        chosen = choose_workers(found.load_seconds, found.step_seconds, usable_cores(), on_accelerator, processes)
        resolved = resolved.replace("workers", *device.broadcast(chosen))
    worth = worth_trying(steps, found.step_seconds, device.torch_device.type)
    if compiling and device.broadcast(worth):
        say("compile: trying whether compiled stages pay in this run")
        choice = _try_compiling(trial, trial.load(rows, specs[0]), resolved.config.micro_batch, steps)
        resolved = resolved.replace("compile", *device.broadcast(choice))
    return resolved


def _try_compiling(trial: Trial, batch: Batch, micro_batch: int | None, steps: int) -> tuple[str, str]:
    lacking = why_not()
    if lacking is not None:
        return "off", lacking
    backbone = trial.model.backbone
    eager = trial.typical_step(batch, micro_batch)
    try:
        compile_stages(backbone)
        first = trial.whole_step(batch, micro_batch)
        compiled = trial.typical_step(batch, micro_batch)
    except Exception as error:  # whatever the compiler trips over: the model runs as it is
        return "off", f"compiling failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    finally:
        leave_uncompiled(backbone)
    return verdict(Tried(eager, compiled, first - compiled), steps)


def compile_for_run(
    model: Model, phase: Phase, rows: Examples, sampler: Sampler, device: Device, config: RunConfig
) -> None:
    """Compile a model's stages, by the first batch of the run wherever the run goes on.

    Code depends in its details on the sizes that it was compiled for, so a resumed run must not compile for those that it
    happens to meet first.

    Raises:
        UsageError: this machine cannot compile.
    """
    check_can_compile()
    compile_stages(model.backbone)
    with without_trace(model, phase):
        trial = Trial(model, device, config.seed)
        trial.whole_step(trial.load(rows, next(iter(sampler.epoch(0)))), config.micro_batch)


def _largest(specs: list[BatchSpec], sampler: Sampler) -> BatchSpec:
    """The batch of an epoch that holds the most."""
    if sampler.sizes is None:
        return max(specs, key=lambda spec: len(spec.rows))
    sizes = as_columns(sampler.sizes).prod(axis=1)
    return max(specs, key=lambda spec: len(spec.rows) * max((int(sizes[row]) for row in spec.rows), default=0))


def _bytes(batch: Batch) -> int:
    targets = batch.targets if isinstance(batch.targets, list) else [batch.targets]
    tensors = [*batch.inputs.values(), *(tensor for row in targets for tensor in row.values())]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _spoken_for(plan: Plan, model: Model, config: RunConfig) -> int:
    """Bytes that training comes to hold and a trial does not: the optimizer's state and averages. Terms have started: what
    they hold (starting weights, a teacher) is there."""
    sizes = {name: parameter.numel() * 4 for name, parameter in model.named_parameters()}
    trained = sum(
        sizes[name] for name in {name for phase in plan.phases for g in phase.groups for name in g.parameters}
    )
    moments = 2 if config.optimizer == "adamw" else 1
    averaged = sum(size for name, size in sizes.items() if not name.startswith("terms."))
    return trained * moments + (2 * averaged if config.ema else 0)
