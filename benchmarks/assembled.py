"""A fit put together from graftwork's own parts over rows that lie in memory: the engine alone, without reading or decoding.

What is measured with it stands in `engine_overhead` and `device`. Where `run.execute` in the core changes, this follows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from graftwork.catalogue import load_catalogue
from graftwork.config import RunConfig, override_layer
from graftwork.config.check import resolve_and_check
from graftwork.engine.checkpoint import CheckpointStore
from graftwork.engine.fit import Fit, FitData, sampler_of
from graftwork.engine.observers import Observers
from graftwork.engine.settings import FitSettings
from graftwork.interfaces import Examples, Model, Observer, PlanContext
from graftwork.machine.device import Device, keep_freed_memory
from graftwork.machine.precision import choose, set_up_math
from graftwork.models.build import Builder
from graftwork.runs.data import read_data


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
class Assembled:
    """What a fit is made of, on its device."""

    config: RunConfig
    settings: FitSettings
    device: Device
    model: Model
    data: FitData

    def batches(self, epoch: int = 0) -> list[tuple[int, ...]]:
        """The row numbers of every batch of an epoch."""
        return [spec.all_rows for spec in sampler_of(self.data, self.settings, self.device).epoch(epoch)]

    def fit(self, observers: Sequence[Observer] = ()) -> list[dict[str, Any]]:
        """Train the model by its strategy's plan; one record an epoch, as in metrics.jsonl. Checkpoints are thrown away."""
        strategy = Builder(load_catalogue()).strategy(self.config)
        sampler = sampler_of(self.data, self.settings, self.device)
        config = self.config
        context = PlanContext(
            config.epochs,
            config.lr,
            config.weight_decay,
            config.schedule,
            config.warmup,
            sampler.rows,
            sampler.batches,
        )
        plan = strategy.plan(self.model, context)
        watched = Observers(observers, lambda line: None)
        with tempfile.TemporaryDirectory() as folder:
            store = CheckpointStore(Path(folder), lambda line: None)
            history: list[dict[str, Any]] = []

            def record(lines: list[dict[str, Any]]) -> None:
                history[:] = lines

            Fit(
                self.model,
                plan,
                self.data,
                self.settings,
                self.device,
                store,
                watched,
                record,
                lambda line: None,
            ).run(False)
        return history


def assemble(
    flags: Mapping[str, Any], options: Sequence[str] = (), rows: int | None = None, validation: int | None = None
) -> Assembled:
    """The parts of a run, with its rows in memory.

    Args:
        flags: settings by name, as RunConfig has them.
        options: values for `--set`.
        rows, validation: how many rows are kept of the two splits; all when None.
    """
    catalogue = load_catalogue()
    config = resolve_and_check([override_layer(flags, options)], catalogue).config
    device = Device(config.device)
    keep_freed_memory()
    set_up_math(device.torch_device)
    builder = Builder(catalogue)
    task = builder.task(config.task, config.task_options)
    found = read_data(task, config, builder)
    backbone, head = builder.backbone_spec(config), builder.head_spec(config)
    model = builder.model(backbone, head, found.facts, config.seed)
    builder.load_weights(model, config, backbone.name)
    splits, facts, input = found.tables.splits, found.facts, model.backbone.input
    data = FitData(
        train=Kept(task.examples(splits["train"], input, facts, True), rows),
        validation=Kept(task.examples(splits["validation"], input, facts, False), validation),
        strata=(),
        metrics=lambda: task.metrics(facts, device.torch_device),
        primary_metric=task.primary_metric,
    )
    model.to(device.torch_device)
    if model.backbone.channels_last:
        model.to(memory_format=torch.channels_last)
    precision, _ = choose(config.precision, device.torch_device)
    settings = replace(FitSettings.of(config, precision, 0), checkpoint_seconds=3600.0)
    return Assembled(config, settings, device, model, data)
