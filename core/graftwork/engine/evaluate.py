"""Evaluation: every row of a split once, without gradients, in the training precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from graftwork.data.loader import load_batches
from graftwork.data.sampler import in_order
from graftwork.engine.device import Device
from graftwork.engine.memory import is_out_of_memory
from graftwork.engine.precision import autocast
from graftwork.errors import RunFailed
from graftwork.interfaces import Batch, Examples, Metrics, Model, Predictions


def predictions(
    model: Model, examples: Examples, device: Device, precision: str, batch_size: int, workers: int = 0
) -> Iterator[tuple[Predictions, Batch]]:
    """Predictions batch by batch with the batch they belong to; this process's share where there are several.

    Batches hold `batch_size` rows, or as many as these examples like to be evaluated together where that is more.

    Rows that differ in size come in batches of like size, so not in order.
    """
    together = max(batch_size, examples.evaluated_together)
    specs = in_order(len(examples), together, device.rank, device.world, examples.sizes())
    pin = device.torch_device.type == "cuda"
    for batch in load_batches(examples, specs, 0, workers, pin):
        moved = batch.to(device.torch_device)
        yield from _predict(model, moved, device, precision, len(moved))


def _predict(
    model: Model, batch: Batch, device: Device, precision: str, size: int
) -> Iterator[tuple[Predictions, Batch]]:
    for micro in batch.split(size):
        found = _attempt(model, micro, device, precision)
        if found is not None:
            yield found, micro
            continue
        device.empty_cache()
        if len(micro) == 1:
            raise RunFailed("not even one row fits into memory", hint="Use a smaller input size or another device")
        yield from _predict(model, micro, device, precision, -(-len(micro) // 2))


def _attempt(model: Model, batch: Batch, device: Device, precision: str) -> Predictions | None:
    try:
        with autocast(precision, device.torch_device):
            return model.predict(batch)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    return None


def evaluate(
    model: Model,
    examples: Examples,
    metrics: Metrics,
    device: Device,
    precision: str,
    batch_size: int,
    workers: int = 0,
    seen: Callable[[Predictions, Batch], None] | None = None,
) -> dict[str, float]:
    """Metrics over all rows of a split.

    Args:
        seen: also given every batch's predictions, for those who keep them.
    """
    with torch.random.fork_rng(devices=[]):
        for found, batch in predictions(model, examples, device, precision, batch_size, workers):
            metrics.update(found, batch)
            if seen is not None:
                seen(found, batch)
        return {name: float(value) for name, value in metrics.compute().items()}
