"""Keeps a run in MLflow: parameters, metrics, the plan as its description, and how it ended.

To the tracking server or database that the option `uri` or MLFLOW_TRACKING_URI names, else to `mlflow.db` in the run directory.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork import UsageError
from graftwork.console import format_plan
from graftwork.interfaces import EpochRecord, FitRecord, Observer, Spec, StepRecord
from graftwork_track.names import EPOCH, EPOCH_LOSS, LOSS, RATE, SPEED, due, flat, loss_of, missing, numbers

if TYPE_CHECKING:
    from mlflow import MlflowClient

MARKER = "mlflow-run.json"
"""In the run directory: which of MLflow's runs this is, so that a resumed one goes on with it."""

PARAMS_A_CALL = 100
"""As many as MLflow takes at once."""


def build(spec: Spec) -> MlflowObserver:
    """The observer; it connects when the run starts, and in the main process alone.

    Raises:
        UsageError: MLflow or what its databases need is not installed, or the address is a folder.
    """
    # A run tells its owner's server, not MLflow's makers; who wants to sets it to false.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        import alembic  # noqa: F401 (for databases; the small MLflow comes without them)
        import mlflow  # noqa: F401
        import sqlalchemy  # noqa: F401
    except ImportError as error:
        raise missing("mlflow", "mlflow", error) from None
    uri = spec.options["uri"] or os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri and _is_folder(uri) and os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() not in ("true", "1"):
        raise UsageError(
            "MLflow no longer takes a folder as its tracking address, and the address is one",
            hint="Give a server or a database, e.g. --set observer_options.mlflow.uri=sqlite:///runs/mlflow.db",
        )
    experiment = spec.options["experiment"] or os.environ.get("MLFLOW_EXPERIMENT_NAME", "")
    return MlflowObserver(spec.options["every"], uri, experiment)


def _is_folder(uri: str) -> bool:
    scheme, colon, _ = uri.partition(":")
    if not colon or len(scheme) == 1:  # `C:` is a drive
        return uri not in ("databricks", "databricks-uc", "uc")
    return scheme == "file"


class MlflowObserver(Observer):
    """One run of MLflow for one run directory, however often it is resumed.

    Args:
        every: steps from one point to the next; reading a loss waits for the device.
        uri: tracking address; empty for a database in the run directory.
        experiment: MLflow's experiment; empty for the task's name.
    """

    name = "mlflow"

    def __init__(self, every: int, uri: str, experiment: str) -> None:
        self.every = every
        self.uri = uri
        self.experiment = experiment
        self.client: MlflowClient | None = None
        self.run_id = ""
        self._step = self._told_step = self._told_epoch = 0

    def fit_start(self, record: FitRecord) -> None:
        from mlflow import MlflowClient

        folder = Path(record.folder).resolve()
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it tells of every table that it makes
        uri = self.uri or f"sqlite:///{(folder / 'mlflow.db').as_posix()}"
        if uri.startswith("sqlite"):  # else the file stays open after the run: MLflow keeps its connections for ever
            os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
        self.client = MlflowClient(uri)
        # MLflow's own default is a folder where the command was given.
        artifacts = None if self.uri else (folder / "mlflow").as_uri()
        self._step = record.done_steps
        known = self._known(folder)
        self.run_id = known or self._new(record, folder, artifacts)
        if known:
            self.client.update_run(known, status="RUNNING")
            # MLflow never forgets a point, and a resumed run tells the same numbers again: those are passed over.
            self._told_step, self._told_epoch = self._last(LOSS), self._last(EPOCH_LOSS)
        self._tell_settings(record)

    def step_end(self, record: StepRecord) -> None:
        self._step = record.step
        if due(record.step, self.every) and record.step > self._told_step:
            self._log({LOSS: record.loss(), RATE: record.lr})

    def epoch_end(self, record: EpochRecord) -> None:
        if self._step > self._told_epoch:
            own = {EPOCH: record.epoch, SPEED: record.samples_per_second, **loss_of(record)}
            self._log({**own, **numbers("validation", record.val)})

    def run_end(self, summary: Mapping[str, Any]) -> None:
        self._log(numbers("test", summary["test"]))
        self._end("FINISHED")

    def failure(self, message: str) -> None:
        if self.run_id and self.client is not None:
            self.client.set_tag(self.run_id, "graftwork.failure", message[:1000])
        self._end("KILLED" if message == "interrupted" else "FAILED")

    def _known(self, folder: Path) -> str:
        """The run that an earlier process began for this directory, if MLflow has it."""
        from mlflow.exceptions import MlflowException

        marker = folder / MARKER
        if not marker.is_file() or self.client is None:
            return ""
        run_id = str(json.loads(marker.read_text(encoding="utf-8"))["run_id"])
        try:
            return str(self.client.get_run(run_id).info.run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # another server than before
                return ""
            raise

    def _new(self, record: FitRecord, folder: Path, artifacts: str | None) -> str:
        assert self.client is not None
        name = self.experiment or record.task
        found = self.client.get_experiment_by_name(name)
        number = found.experiment_id if found else self.client.create_experiment(name, artifacts)
        run_id = str(self.client.create_run(number, run_name=folder.name).info.run_id)
        (folder / MARKER).write_text(json.dumps({"run_id": run_id}) + "\n", encoding="utf-8")
        return run_id

    def _tell_settings(self, record: FitRecord) -> None:
        """What is not there yet: MLflow refuses a parameter that changes."""
        from mlflow.entities import Param, RunTag

        assert self.client is not None
        there = self.client.get_run(self.run_id).data.params
        given = {_allowed(name): str(value) for name, value in flat(record.settings).items()}
        params = [Param(name, value) for name, value in given.items() if name not in there]
        for first in range(0, len(params), PARAMS_A_CALL):
            self.client.log_batch(self.run_id, params=params[first : first + PARAMS_A_CALL])
        note = f"```\n{format_plan(record.plan)}\n```"
        tags = {"mlflow.note.content": note, "graftwork.folder": str(Path(record.folder).resolve())}
        self.client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def _log(self, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        if self.client is not None and values:
            now = int(time.time() * 1000)
            metrics = [Metric(_allowed(name), value, now, self._step) for name, value in values.items()]
            self.client.log_batch(self.run_id, metrics=metrics)

    def _last(self, name: str) -> int:
        assert self.client is not None
        return max((point.step for point in self.client.get_metric_history(self.run_id, name)), default=0)

    def _end(self, status: str) -> None:
        if self.run_id and self.client is not None:
            self.client.set_terminated(self.run_id, status)


def _allowed(name: str) -> str:
    """A name in the characters that MLflow takes."""
    return re.sub(r"[^\w./: -]", "_", name)
