"""A trained model at work: evaluate it on labelled data, predict for new inputs."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graftwork.catalogue import Catalogue
from graftwork.config import RunConfig
from graftwork.data.arrow import release_unused
from graftwork.data.splits import row_keys
from graftwork.engine.evaluate import evaluate as evaluate_model
from graftwork.engine.evaluate import predictions
from graftwork.errors import DataError, RunFailed, UsageError
from graftwork.interfaces import Batch, DataRequest, Examples, Facts, Model, Predictions, Task
from graftwork.machine.device import Device, keep_freed_memory
from graftwork.machine.precision import choose
from graftwork.models.artifact import load_artifact
from graftwork.models.build import Builder
from graftwork.runs.data import samples_of
from graftwork.runs.directory import PREDICTIONS, RunDirectory

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset
    from PIL.Image import Image as PictureImage

_LINES = 1_000  # predictions that become a table together


def write_predictions(
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
    lines = _Lines()
    origins = row_keys(rows)

    def keep(found: Predictions, batch: Batch) -> None:
        for row, decoded in zip(batch.rows.tolist(), task.decode(found, facts), strict=True):
            lines.add({"row": row, "origin": origins[row], **decoded})

    metrics = task.metrics(facts, device.torch_device)
    values = evaluate_model(model, examples, metrics, device, config.precision, config.batch_size, seen=keep)
    details = metrics.details()
    tables = device.gather(lines.tables())
    if device.is_main:
        _write_tables(directory, split, tables, details)
    return values


class _Lines:
    """Predictions as they come, held in Arrow: as Python objects they take many times the memory, and between the tensors
    of a forward pass they leave holes in the heap into which no tensor fits. Nested values become JSON text."""

    def __init__(self) -> None:
        self._new: list[dict[str, Any]] = []
        self._tables: list[pa.Table] = []

    def add(self, line: Mapping[str, Any]) -> None:
        import json

        self._new.append(
            {
                key: json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
                for key, value in line.items()
            }
        )
        if len(self._new) == _LINES:
            self._close()

    def tables(self) -> list[pa.Table]:
        """All lines."""
        self._close()
        return self._tables

    def _close(self) -> None:
        import pyarrow

        if self._new:
            self._tables.append(pyarrow.Table.from_pylist(self._new))
            self._new = []


def _write_tables(directory: RunDirectory, split: str, tables: Sequence[pa.Table], details: Mapping[str, Any]) -> None:
    """Write predictions, in the order of rows, as Parquet and details as JSON."""
    import pyarrow
    import pyarrow.parquet

    folder = directory.path / PREDICTIONS
    folder.mkdir(exist_ok=True)
    # A column of which some lines have nothing is of no type there, and a number may have been whole by chance.
    table = pyarrow.concat_tables(tables, promote_options="permissive") if tables else pyarrow.table({})
    if tables and (np.diff(table["row"].to_numpy()) < 0).any():
        table = table.sort_by("row")
    # Absolute: pyarrow takes `partial:1/…` for a URI.
    pyarrow.parquet.write_table(table, (folder / f"{split}.parquet").absolute())
    del table
    release_unused()
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
    builder = Builder(catalogue)
    artifact = load_artifact(run, builder)
    task = artifact.task
    options = artifact.card["task"]["options"]
    request = DataRequest(data, columns, None, options, samples_of(builder))
    tables = task.read(request)
    if split not in tables.splits:
        raise DataError(f"{data} has no split {split!r}", hint=f"It has {', '.join(tables.splits)}: pass --split")
    one = type(tables)({split: tables.splits[split]}, tables.findings, tables.names)
    one = task.align(one, artifact.facts)
    for finding in one.findings:
        if finding.level != "note":
            say(f"data: {finding.message}")
    model = artifact.model
    examples = task.examples(one.splits[split], model.backbone.input, artifact.facts, False).read_once()
    with _placed(model, device, say) as (place, precision):
        metrics = task.metrics(artifact.facts, place.torch_device)
        values = evaluate_model(model, examples, metrics, place, precision, 1)
    return {
        "run": str(run),
        "data": data,
        "split": split,
        "rows": len(examples),
        "metrics": values,
        "details": metrics.details(),
    }


def predict(
    run: Path,
    inputs: Sequence[str],
    catalogue: Catalogue,
    device: str = "auto",
    draw: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[dict[str, Any]]:
    """Predictions for new inputs, one dict each, in order; values of type bytes are the content of files (PNG).

    Args:
        draw: whether to give each input with its prediction drawn on it, as `drawn`, where the task can.
        say: takes lines for the user.

    Raises:
        UsageError: nothing was given.
        DataError: an input cannot be read.
    """
    if not inputs:
        raise UsageError("nothing to predict", hint="Give files or folders after the run")
    keep_freed_memory()
    artifact = load_artifact(run, Builder(catalogue))
    task, model = artifact.task, artifact.model
    rows = task.read_inputs(inputs, artifact.facts)
    examples = task.examples(rows, model.backbone.input, artifact.facts, False).read_once()
    origins = row_keys(rows)
    waiting: dict[int, dict[str, Any]] = {}
    following = 0
    with _placed(model, device, say) as (place, precision):
        for found, batch in predictions(model, examples, place, precision, 1):
            waiting |= zip(batch.rows.tolist(), task.decode(found, artifact.facts), strict=True)
            while following in waiting:  # rows that differ in size come out of order
                prediction = waiting.pop(following)
                if draw:
                    picture = task.draw(rows[following], prediction, artifact.facts)
                    if picture is None:
                        name = artifact.card["task"]["name"]
                        raise UsageError(f"task {name!r} draws no predictions", hint="Leave --draw out")
                    prediction = prediction | {"drawn": _png(picture)}
                yield {"input": origins[following], **prediction}
                following += 1


@contextmanager
def _placed(model: Model, requested: str, say: Callable[[str], None]) -> Iterator[tuple[Device, str]]:
    """The device that a model is on until the block ends, and the precision there; threads and memory stay within what the
    control group allows, as in training."""
    place = Device(requested)
    try:
        place.fit_threads(say)
        model.to(place.torch_device)
        place.bound_memory(say)
        precision, _ = choose("auto", place.torch_device)
        yield place, precision
    finally:
        place.close()


def _png(picture: PictureImage) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def write_files(prediction: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The prediction with a path in place of every file's content, which is written there.

    Files are called after the input and what they are: `street.mask.png`; an input of the same name gets a number.

    Raises:
        RunFailed: they cannot be written.
    """
    stem = Path(str(prediction["input"])).stem[:100] or "input"
    told = dict(prediction)
    for name, content in prediction.items():
        if isinstance(content, bytes):
            path, number = folder / f"{stem}.{name}.png", 1
            while path.exists() and path.read_bytes() != content:
                number += 1
                path = folder / f"{stem}-{number}.{name}.png"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            except OSError as error:
                raise RunFailed(f"cannot be written ({error.strerror or error})", where=str(path)) from None
            told[name] = str(path)
    return told
