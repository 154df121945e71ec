"""A fit put together from graftwork's own parts over rows that lie in memory: the engine alone, without reading or decoding.

What is measured with it stands in `engine_overhead` and `device`.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from graftwork import run
from graftwork.catalogue import load_catalogue
from graftwork.config import RunConfig, override_layer
from graftwork.config.check import resolve_and_check
from graftwork.engine.batches import FitData, sampler_of
from graftwork.engine.checkpoint import CheckpointStore
from graftwork.engine.observers import Observers
from graftwork.engine.settings import FitSettings
from graftwork.interfaces import Examples, Model, Observer
from graftwork.machine.device import Device
from graftwork.runs.values import Planned


class Kept(Examples):
    """Rows that were loaded once, in advance, and lie in memory.

    Args:
        examples: rows that are the same whenever they are loaded.
        rows: how many of them, the first ones; all when None.
    """

    cheap = True

    def __init__(self, examples: Examples, rows: int | None = None) -> None:
        count = len(examples) if rows is None else min(rows, len(examples))
        self._examples = examples
        self.loaded = [examples.load(row) for row in range(count)]
        self.evaluated_together = examples.evaluated_together  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self.loaded)

    def sizes(self) -> Any:
        sizes = self._examples.sizes()
        return None if sizes is None else sizes[: len(self)]

    def load(self, row: int) -> Any:
        return self.loaded[row]

    def collate(self, rows: Sequence[int], examples: Sequence[Any]) -> Any:
        return self._examples.collate(rows, examples)


@dataclass(frozen=True)
class InMemory:
    """A planned run whose rows lie in memory, on its device."""

    planned: Planned

    @property
    def device(self) -> Device:
        return self.planned.fitting.device

    @property
    def model(self) -> Model:
        return self.planned.fitting.model

    @property
    def settings(self) -> FitSettings:
        return self.planned.fitting.settings

    @property
    def config(self) -> RunConfig:
        return self.planned.resolved.config

    @property
    def data(self) -> FitData:
        return self.planned.fitting.data

    def batches(self, epoch: int = 0) -> list[tuple[int, ...]]:
        """The row numbers of every batch of an epoch."""
        return [spec.all_rows for spec in sampler_of(self.data, self.settings, self.device).epoch(epoch)]

    def again(self) -> InMemory:
        """The same with a model of its own, so that one start serves several fits."""
        fitting = replace(self.planned.fitting, model=copy.deepcopy(self.model))
        return InMemory(replace(self.planned, fitting=fitting))

    def fit(self, observers: Sequence[Observer] = ()) -> list[dict[str, Any]]:
        """Train the model by its plan; one record an epoch, as in metrics.jsonl. Checkpoints are thrown away."""
        with tempfile.TemporaryDirectory() as folder:
            return run.fit(self.planned, CheckpointStore(Path(folder)), Observers(observers)).progress.history


def assemble(
    flags: Mapping[str, Any], options: Sequence[str] = (), rows: int | None = None, validation: int | None = None
) -> InMemory:
    """A run as `graft train` plans it, with its rows in memory.

    Args:
        flags: settings by name, as RunConfig has them.
        options: values for `--set`.
        rows, validation: how many rows are kept of the two splits; all when None.
    """
    catalogue = load_catalogue()
    given = {"workers": 0, "compile": "off", "cache": "off", "checkpoint_seconds": 3600.0, **flags}
    resolved = resolve_and_check([override_layer(given, options)], catalogue)
    device = Device(resolved.config.device, resolved.config.precision)
    device.set_up()
    planned = run.settle(run.assemble(resolved, catalogue), device)
    fitting = planned.fitting
    data = replace(
        fitting.data, train=Kept(fitting.data.train, rows), validation=Kept(fitting.data.validation, validation)
    )
    return InMemory(replace(planned, fitting=replace(fitting, data=data, states=None)))
