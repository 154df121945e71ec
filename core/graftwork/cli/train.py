"""`graft train`: flags to layers, layers to a checked configuration, and that to `run.execute`."""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graftwork.cli import Interrupted
from graftwork.cli.options import GROUP_BY, Column, Device, Json, Set, columns_of
from graftwork.console import duration, number, out, out_json, out_table
from graftwork.errors import UsageError
from graftwork.machine.garbage import importing

if TYPE_CHECKING:
    from graftwork.catalogue import Catalogue
    from graftwork.config import Resolved
    from graftwork.interfaces import Observer

Text = str | None
Count = int | None
Rate = float | None


def command(
    task: Annotated[
        Text, typer.Option("--task", metavar="T", help="The kind of problem, see graft list tasks.")
    ] = None,
    data: Annotated[Text, typer.Option("--data", metavar="D", help="A path, sample:NAME, hf:NAME, …")] = None,
    backbone: Annotated[Text, typer.Option(metavar="B", help="A catalogue name, or run:DIR.")] = None,
    weights: Annotated[Text, typer.Option(metavar="W", help="A weights name, a file, run:DIR, or none.")] = None,
    head: Annotated[Text, typer.Option(metavar="H", help="See graft list heads.")] = None,
    strategy: Annotated[
        Text, typer.Option(metavar="S", help="Degree of fine-tuning: full, lp-ft, partial:2, …")
    ] = None,
    epochs: Annotated[Count, typer.Option(metavar="N", help="Of all phases together.")] = None,
    batch_size: Annotated[Count, typer.Option(metavar="N", help="Rows an optimizer step.")] = None,
    batch_units: Annotated[
        Count,
        typer.Option(
            "--batch-tokens", "--batch-units", metavar="N", help="What a batch may hold, padded, in place of its rows."
        ),
    ] = None,
    lr: Annotated[Rate, typer.Option(metavar="X", help="Peak learning rate.")] = None,
    optimizer: Annotated[Text, typer.Option(metavar="adamw|sgd")] = None,
    weight_decay: Annotated[Rate, typer.Option(metavar="X")] = None,
    schedule: Annotated[Text, typer.Option(metavar="cosine|constant", help="After the warm-up.")] = None,
    warmup: Annotated[
        Rate, typer.Option(metavar="SHARE", help="Share of each phase with a rising rate, 0 to 1.")
    ] = None,
    grad_clip: Annotated[Rate, typer.Option(metavar="X", help="Largest gradient norm; 0 is off.")] = None,
    ema: Annotated[Rate, typer.Option(metavar="X", help="Decay of averaged weights; 0 is off.")] = None,
    patience: Annotated[
        Count, typer.Option(metavar="N", help="Epochs without progress before a stop; 0 is off.")
    ] = None,
    budget: Annotated[Text, typer.Option(metavar="TIME", help="Time for training: 90s, 10m, 1.5h.")] = None,
    imbalance: Annotated[
        Text, typer.Option(metavar="none|weights|sampler|focal", help="Help for rare classes.")
    ] = None,
    views: Annotated[
        Count, typer.Option(metavar="V", help="Fixed views of a row where first stages are frozen, so states are kept.")
    ] = None,
    cache: Annotated[Text, typer.Option(metavar="auto|off", help="Keep what frozen stages make of rows.")] = None,
    column: Column = None,
    group_by: Annotated[Text, typer.Option(metavar="COLUMN", help=GROUP_BY)] = None,
    limit_train: Annotated[
        Text, typer.Option(metavar="N|N/class", help="Use only so many training rows, or so many of each class.")
    ] = None,
    seed: Annotated[Count, typer.Option(metavar="N")] = None,
    device: Device = None,
    precision: Annotated[Text, typer.Option(metavar="auto|fp32|bf16|fp16")] = None,
    workers: Annotated[Text, typer.Option(metavar="auto|N", help="Loader processes; 0 loads in this one.")] = None,
    compiled: Annotated[
        Text, typer.Option("--compile", metavar="auto|on|off", help="Stages by torch.compile, where it pays back.")
    ] = None,
    micro_batch: Annotated[Count, typer.Option(metavar="N", help="Rows a forward pass, when memory is short.")] = None,
    where: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Run directory, else a new one in runs/.")
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings as YAML; flags are stronger.")] = None,
    observer: Annotated[
        list[str] | None, typer.Option("--observer", metavar="O", help="Who watches: csv, tensorboard, …; repeatable.")
    ] = None,
    assignments: Set = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Record where a few steps spend their time, in DIR/profile/.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    json: Json = False,
) -> None:
    """Fine-tune a model and leave a run directory: model, metrics, plan, report."""
    from graftwork.catalogue import load_catalogue
    from graftwork.config import file_layer, override_layer
    from graftwork.config.check import resolve_and_check
    from graftwork.runs.resuming import resolve_resumed

    flags = {
        "task": task, "data": data, "backbone": backbone, "weights": weights, "head": head, "strategy": strategy,
        "epochs": epochs, "batch_size": batch_size, "batch_units": batch_units, "lr": lr,
        "optimizer": optimizer, "weight_decay": weight_decay,
        "schedule": schedule, "warmup": warmup, "grad_clip": grad_clip, "ema": ema, "patience": patience,
        "budget": budget, "imbalance": imbalance, "views": views, "cache": cache,
        "columns": columns_of(column) or None, "group_by": group_by,
        "limit_train": limit_train, "seed": seed, "device": device, "precision": precision,
        "workers": int(workers) if workers and workers.isdecimal() else workers, "micro_batch": micro_batch,
        "compile": compiled, "observers": tuple(observer) if observer else None,
    }  # fmt: skip
    layers = [override_layer(flags, assignments or ())]
    if config is not None:
        layers.append(file_layer(config))
    catalogue = load_catalogue()
    resolved = resolve_resumed(layers, catalogue, where) if resume else resolve_and_check(layers, catalogue)
    if where is None:
        where = _new_directory(resolved.config.task)
    with terminate_as_interrupt():
        try:
            summary = _execute(resolved, catalogue, where, resume, profile)
        except KeyboardInterrupt:
            raise Interrupted(resume_command(where)) from None
    if _first_process():
        out_json({**summary, "out": str(where)}) if json else show_summary(summary, where)


def _execute(resolved: Resolved, catalogue: Catalogue, where: Path, resume: bool, profile: bool) -> dict[str, Any]:
    """The heavy part, watched by the progress display and, where asked for, by the profiler."""
    with importing():
        from graftwork import run
        from graftwork.cli.progress import ProgressObserver
        from graftwork.engine.profile import ProfileObserver

    progress = ProgressObserver()
    try:
        observers: tuple[Observer, ...] = (progress,) if _first_process() else ()
        if profile and _first_process():
            observers = (*observers, ProfileObserver(where / "profile"))
        return run.execute(resolved, catalogue, where, resume=resume, observers=observers)
    finally:
        progress.close()


def _new_directory(task: str) -> Path:
    """runs/<task>-<time>, not there yet.

    Raises:
        UsageError: several processes, whose clocks would give several names.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("--out is missing", hint="Several processes need one run directory that all of them know")
    stem = Path("runs") / f"{task.replace(':', '-')}-{time.strftime('%Y%m%d-%H%M%S')}"
    candidate, number_of = stem, 1
    while candidate.exists():
        number_of += 1
        candidate = stem.with_name(f"{stem.name}-{number_of}")
    return candidate


def resume_command(where: Path) -> str | None:
    """The command that goes on with a run, or None when the run left nothing to go on with."""
    return f"graft train --out {shlex.quote(str(where))} --resume" if (where / "config.yaml").is_file() else None


def _first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM (a scheduler's way to say stop) ends the run like Ctrl-C: a checkpoint and the resume command are left."""

    def interrupt(signum: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def show_summary(summary: Mapping[str, Any], where: Path) -> None:
    """The end of a run for people: the metrics, and where everything is."""
    primary = summary.get("primary_metric")
    val, test = summary.get("val") or {}, summary.get("test") or {}
    names = sorted({*val, *test}, key=lambda name: (name != primary, name))
    plain = [name for name in names if isinstance(val.get(name, test.get(name)), int | float | None)]
    if plain:
        out_table(["metric", "val", "test"], [[name, number(val.get(name)), number(test.get(name))] for name in plain])
        out()
    facts = [("best epoch", number(summary.get("best_epoch")))]
    if summary.get("seconds") is not None:
        facts.append(("time", duration(float(summary["seconds"]))))
    for title, name in (("model", "model.safetensors"), ("report", "report.html")):
        if (where / name).is_file():
            facts.append((title, str(where / name)))
    for title, value in facts:
        out(f"{title:<11} {value}")
