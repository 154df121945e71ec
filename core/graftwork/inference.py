"""A trained model at work: evaluate it on labelled data, predict for new inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.artifact import load_artifact
from graftwork.catalogue import Catalogue
from graftwork.config import RunConfig
from graftwork.engine.device import Device, keep_freed_memory
from graftwork.engine.evaluate import evaluate as evaluate_model
from graftwork.engine.evaluate import predictions
from graftwork.engine.precision import choose
from graftwork.errors import DataError, UsageError
from graftwork.interfaces import Batch, DataRequest, Examples, Facts, Model, Predictions, Spec, Task
from graftwork.parts import Parts
from graftwork.run_files import PREDICTIONS, RunDirectory

if TYPE_CHECKING:
    from datasets import Dataset

BATCH_SIZE = 64


def keep_predictions(
    task: Task,
    model: Model,
    examples: Examples,
    rows: Dataset,
    facts: Facts,
    device: Device,
    config: RunConfig,
    directory: RunDirectory,
    split: str,
) -> dict[str, float]:
    """Evaluate a split and keep what was predicted, row by row, as `predictions/SPLIT.parquet` and `.json`."""
    kept: list[dict[str, Any]] = []
    origins = rows["origin"]

    def keep(found: Predictions, batch: Batch) -> None:
        for row, decoded in zip(batch.rows.tolist(), task.decode(found, facts), strict=True):
            kept.append({"row": row, "origin": origins[row], **decoded})

    metrics = task.metrics(facts, device.torch_device)
    size = max(config.batch_size, BATCH_SIZE)
    values = evaluate_model(model, examples, metrics, device, config.precision, size, seen=keep)
    details = metrics.details()
    kept = device.gather(kept)
    if device.is_main:
        write_predictions(directory, split, kept, details)
    return values


def write_predictions(
    directory: RunDirectory, split: str, kept: Sequence[Mapping[str, Any]], details: Mapping[str, Any]
) -> None:
    """Write predictions as Parquet (nested values as JSON text) and details as JSON."""
    import json

    import pyarrow
    import pyarrow.parquet

    folder = directory.path / PREDICTIONS
    folder.mkdir(exist_ok=True)
    plain = [
        {
            key: json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
            for key, value in row.items()
        }
        for row in sorted(kept, key=lambda row: int(row["row"]))
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(plain), folder / f"{split}.parquet")
    RunDirectory(folder).write_json(f"{split}.json", details)


def evaluate(
    run: Path,
    data: str,
    split: str,
    columns: Mapping[str, str],
    catalogue: Catalogue,
    device: str = "auto",
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Metrics of a trained model on a split of labelled data, whose classes must be the model's.

    Raises:
        DataError: no such split, or classes that the model does not know.
    """
    keep_freed_memory()
    parts = Parts(catalogue)
    artifact = load_artifact(run, parts)
    task = artifact.task
    options = artifact.card["task"]["options"]
    request = DataRequest(data, columns, None, options, lambda name: parts.plugins.build("datasets", name, Spec(name)))
    tables = task.read(request)
    if split not in tables.splits:
        raise DataError(f"{data} has no split {split!r}", hint=f"It has {', '.join(tables.splits)}: pass --split")
    one = type(tables)({split: tables.splits[split]}, tables.findings, tables.names)
    one = task.align(one, artifact.facts)
    for finding in one.findings:
        if finding.level != "note":
            say(f"data: {finding.message}")
    place = Device(device)
    precision, _ = choose("auto", place.torch_device)
    model = artifact.model.to(place.torch_device)
    examples = task.examples(one.splits[split], model.backbone.input, artifact.facts, False)
    metrics = task.metrics(artifact.facts, place.torch_device)
    values = evaluate_model(model, examples, metrics, place, precision, BATCH_SIZE)
    return {
        "run": str(run),
        "data": data,
        "split": split,
        "rows": len(examples),
        "metrics": values,
        "details": metrics.details(),
    }


def predict(run: Path, inputs: Sequence[str], catalogue: Catalogue, device: str = "auto") -> Iterator[dict[str, Any]]:
    """Predictions for new inputs, one dict each, in order.

    Raises:
        UsageError: nothing was given.
        DataError: an input cannot be read.
    """
    if not inputs:
        raise UsageError("nothing to predict", hint="Give files or folders after the run")
    keep_freed_memory()
    artifact = load_artifact(run, Parts(catalogue))
    rows = artifact.task.read_inputs(inputs, artifact.facts)
    place = Device(device)
    precision, _ = choose("auto", place.torch_device)
    model = artifact.model.to(place.torch_device)
    examples = artifact.task.examples(rows, model.backbone.input, artifact.facts, False)
    origins = rows["origin"]
    waiting: dict[int, dict[str, Any]] = {}
    following = 0
    for found, batch in predictions(model, examples, place, precision, BATCH_SIZE):
        waiting |= zip(batch.rows.tolist(), artifact.task.decode(found, artifact.facts), strict=True)
        while following in waiting:  # rows that differ in size come out of order
            yield {"input": origins[following], **waiting.pop(following)}
            following += 1
