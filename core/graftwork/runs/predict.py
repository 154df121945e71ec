"""A trained model at work: loaded once, it evaluates labelled data and predicts for new inputs as often as it is asked."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graftwork.catalogue import Catalogue
from graftwork.config.forms import parse_form
from graftwork.data.arrow import release_unused
from graftwork.data.splits import row_keys
from graftwork.data.tables import written_as
from graftwork.engine.evaluate import evaluate, predictions
from graftwork.errors import DataError, UsageError
from graftwork.files.atomic import write_json
from graftwork.interfaces import Batch, DataRequest, Examples, Facts, Inputs, Predictions
from graftwork.interfaces.inputs import BESIDE
from graftwork.log import say
from graftwork.machine.device import Device, keep_freed_memory
from graftwork.models.artifact import Artifact, load_artifact
from graftwork.models.build import Builder
from graftwork.runs.data import samples_of
from graftwork.runs.known import Known, known_rows, rows_to_measure
from graftwork.runs.readable import ReadableExamples, readable_rows

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset
    from PIL.Image import Image as PictureImage

_LINES = 1_000  # predictions that become a table together


class Predictor:
    """A trained model on its device.

    Args:
        artifact: the model with its task and facts.
        device: where it is moved to.
    """

    def __init__(self, artifact: Artifact, device: Device) -> None:
        self.artifact = artifact
        self.device = device
        artifact.model.to(device.torch_device)

    def examples(self, rows: Dataset) -> Examples:
        """Rows as the model takes them, each read once."""
        artifact = self.artifact
        return artifact.task.examples(rows, artifact.model.backbone.input, artifact.facts, False).read_once()

    def predict(
        self, inputs: Sequence[str], draw: bool = False, threshold: float | None = None
    ) -> Iterator[dict[str, Any]]:
        """Predictions for new inputs, one dict each, in order; values of type bytes are the content of files (PNG).

        Args:
            inputs: files, folders or texts, as the task reads them; as `Inputs` they also say what becomes of one that cannot be
                read, and which columns of tables are meant.
            draw: whether to give each input with its prediction drawn on it, as `drawn`, where the task can.
            threshold: the score, 0 to 1, from which on something counts as found, in place of the one that the training has
                decided; predictions tell which it was.

        Raises:
            UsageError: nothing was given, nothing is drawn by this task, or it decides by no threshold.
            DataError: an input cannot be read, and `Inputs.refuse` raises it.
        """
        if not inputs:
            raise UsageError("nothing to predict", hint="Give files or folders after the run")
        given = replace(Inputs.of(inputs), trained_columns=self.artifact.columns)
        task, facts = self.artifact.task, self.artifact.facts
        if threshold is not None:
            if not task.decides:
                raise UsageError("this model decides by no threshold", hint="Leave --threshold out")
            facts = {**facts, "threshold": threshold}

        def refuse(origin: str, error: DataError) -> None:
            given.refuse(DataError(error.what, where=origin, hint=error.hint))

        rows, readable = readable_rows(task.read_inputs(given, facts), self.examples, refuse)
        if readable is None:
            return
        origins = row_keys(rows)
        given.taken(origins)
        examples = ReadableExamples(readable, lambda row, error: refuse(origins[row], error))
        waiting: dict[int, dict[str, Any]] = {}
        following = 0
        for found, batch in predictions(self.artifact.model, examples, self.device, 1):
            waiting |= zip(batch.rows.tolist(), task.decode(found, facts), strict=True)
            while following in waiting or following in examples.lost:  # rows that differ in size come out of order
                prediction = waiting.pop(following, None)
                if prediction is not None:
                    told = {"input": origins[following], **_carried(rows, following, task.carried), **prediction}
                    told |= {"drawn": self._drawn(rows[following], prediction, facts)} if draw else {}
                    told |= {"threshold": facts["threshold"]} if "threshold" in facts else {}
                    told |= {BESIDE: rows[following][BESIDE]} if BESIDE in rows.column_names else {}
                    yield told
                following += 1

    def _drawn(self, row: Mapping[str, Any], prediction: Mapping[str, Any], facts: Facts) -> bytes:
        picture = self.artifact.task.draw(row, prediction, facts)
        if picture is None:
            name = self.artifact.card["task"]["name"]
            raise UsageError(f"task {name!r} draws no predictions", hint="Leave --draw out")
        return _png(picture)

    def evaluate(self, request: DataRequest, split: str, known: Known | None = None) -> dict[str, Any]:
        """Metrics on a split of labelled data, whose classes must be the model's: `rows`, `metrics`, `details`.

        `trained_on` says on how many of these rows the model was trained (None: not known), `left_out` how many of the data's
        were passed over for it.

        Args:
            request: what to read; its options are the task's.
            split: of the data, or of the run where the data has no such one, see `known.rows_to_measure`.
            known: the rows of the run; None where it kept none.

        Raises:
            DataError: no such split, or classes that the model does not know.
        """
        task, facts = self.artifact.task, self.artifact.facts
        tables = task.read(request)
        chosen = rows_to_measure(task, tables, split, known, request.source)
        one = task.align(type(tables)({split: chosen.rows}, tables.findings, tables.names), facts)
        for finding in one.findings:
            if finding.level != "note":
                say(f"data: {finding.message}")
        examples = self.examples(one.splits[split])
        metrics = task.metrics(facts, self.device.torch_device)
        values = evaluate(self.artifact.model, examples, metrics, self.device, 1)
        about = {"rows": len(examples), "trained_on": chosen.trained_on, "left_out": chosen.left_out}
        return {**about, "metrics": values, "details": metrics.details()}

    def test(self, rows: Dataset, examples: Examples, batch_size: int, out: Path) -> dict[str, float]:
        """Evaluate a split that a run has kept for its end, and keep what was predicted, row by row.

        Args:
            rows, examples: of the split.
            batch_size: of the training.
            out: file without its suffix; `.parquet` gets the predictions and `.json` the details of the metrics.
        """
        task, facts = self.artifact.task, self.artifact.facts
        lines = _Lines()
        origins = row_keys(rows)

        def take(found: Predictions, batch: Batch) -> None:
            for row, decoded in zip(batch.rows.tolist(), task.decode(found, facts), strict=True):
                lines.add({"row": row, "origin": origins[row], **decoded})

        metrics = task.metrics(facts, self.device.torch_device)
        values = evaluate(self.artifact.model, examples, metrics, self.device, batch_size, seen=take)
        details = metrics.details()
        tables = self.device.gather(lines.tables())
        if self.device.is_main:
            _write_tables(out, tables, details)
        return values


def _carried(rows: Dataset, row: int, names: Sequence[str]) -> dict[str, Any]:
    """The cells of a row under some names, those aside that are not there."""
    there = [name for name in names if name in rows.column_names]
    cells = rows.select_columns(there)[row] if there else {}
    return {name: value for name, value in cells.items() if value is not None}


@contextmanager
def open_predictor(
    run: Path, catalogue: Catalogue, requested: str = "auto", data_options: Mapping[str, Any] | None = None
) -> Iterator[tuple[Predictor, Builder]]:
    """A run's trained model on a device until the block ends; threads and memory stay within what the control group allows,
    as in training. Tables are read meanwhile as the run's were, as far as they are written so.

    Args:
        run: its directory, or a folder with the artifact's two files.
        catalogue: of this installation.
        requested: device.
        data_options: how tables are written, over what was said of the run's.

    Raises:
        UsageError: the files are missing, damaged or hostile, or the device is not there.
    """
    keep_freed_memory()
    builder = Builder(catalogue)
    artifact = load_artifact(run, builder)
    device = Device(requested)
    try:
        device.fit_threads()
        predictor = Predictor(artifact, device)
        device.bound_memory()
        with written_as(parse_form(data_options or {}, artifact.card.get("about", {}).get("data_options"))):
            yield predictor, builder
    finally:
        device.close()


def evaluate_run(
    run: Path,
    data: str,
    split: str,
    columns: Mapping[str, str],
    catalogue: Catalogue,
    device: str = "auto",
    data_options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What `graft evaluate` shows: metrics of a trained model on a split of labelled data."""
    with open_predictor(run, catalogue, device, data_options) as (predictor, builder):
        options = predictor.artifact.card["task"]["options"]
        request = DataRequest(data, columns, None, options, samples_of(builder))
        found = predictor.evaluate(request, split, known_rows(run))
    return {"run": str(run), "data": data, "split": split, **found}


def predict_with(
    run: Path,
    inputs: Sequence[str],
    catalogue: Catalogue,
    device: str = "auto",
    draw: bool = False,
    threshold: float | None = None,
    data_options: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """What `graft predict` shows: predictions of a trained model for new inputs, in order."""
    if not inputs:
        raise UsageError("nothing to predict", hint="Give files or folders after the run")
    with open_predictor(run, catalogue, device, data_options) as (predictor, _):
        yield from predictor.predict(inputs, draw, threshold)


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


def _write_tables(out: Path, tables: Sequence[pa.Table], details: Mapping[str, Any]) -> None:
    """Write predictions, in the order of rows, as Parquet and details as JSON."""
    import pyarrow
    import pyarrow.parquet

    out.parent.mkdir(exist_ok=True)
    # A column of which some lines have nothing is of no type there, and a number may have been whole by chance.
    table = pyarrow.concat_tables(tables, promote_options="permissive") if tables else pyarrow.table({})
    if tables and (np.diff(table["row"].to_numpy()) < 0).any():
        table = table.sort_by("row")
    # Absolute: pyarrow takes `partial:1/…` for a URI.
    pyarrow.parquet.write_table(table, out.with_suffix(".parquet").absolute())
    del table
    release_unused()
    write_json(out.with_suffix(".json"), details)


def _png(picture: PictureImage) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
