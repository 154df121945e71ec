"""Observers that keep what a run does where people look at runs: CSV files, TensorBoard, MLflow.

Imports only the hook marker; everything else is imported inside the hook.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from graftwork import hookimpl

if TYPE_CHECKING:
    from graftwork.interfaces import ObserverBuilder


@hookimpl
def graftwork_observers() -> Mapping[str, ObserverBuilder]:
    from graftwork_track import csv_tables, mlflow_runs, tensorboard_events

    return {
        "csv": csv_tables.build,
        "tensorboard": tensorboard_events.build,
        "mlflow": mlflow_runs.build,
    }
