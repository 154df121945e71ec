"""Evaluation: every row of a split once, without gradients, in the training precision."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch

from graftwork.data.loader import load_batches
from graftwork.data.sampler import one_size_each
from graftwork.errors import RunFailed
from graftwork.interfaces import Batch, Examples, Metrics, Model, Predictions
from graftwork.interfaces.batch import sliced
from graftwork.machine.device import Device, trim_memory
from graftwork.machine.memory import is_out_of_memory
from graftwork.states.fill import ready

WIDER = 4
"""How many times the training batch is evaluated at once on an accelerator: without gradients it takes less memory."""

TRIM_SECONDS = 1.0
"""How often free memory is given back where rows differ in size: blocks of falling sizes leave glibc's heap in pieces."""


def predictions(
    model: Model, examples: Examples, device: Device, batch_size: int, workers: int = 0
) -> Iterator[tuple[Predictions, Batch]]:
    """Predictions batch by batch with the batch they belong to; this process's share where there are several.

    Batches hold `batch_size` rows, or as many as these examples like to be evaluated together where that is more; on an
    accelerator, which larger batches keep busier, `WIDER` times as many. What does not fit is split, and the batches after
    it start at the size that did.

    Rows that differ in size never share a batch, so none is padded and what is said of a row does not depend on its company;
    they do not come in order.

    Raises:
        RunFailed: not even one row fits into memory.
    """
    wider = 1 if device.torch_device.type == "cpu" else WIDER
    size = max(batch_size * wider, examples.evaluated_together)
    sizes = examples.sizes()
    specs = one_size_each(len(examples), size, device.rank, device.world, sizes)
    trimmed = time.monotonic()
    for batch in load_batches(examples, specs, 0, workers, device.pins):
        moved = ready(batch, examples, model, device)
        start = 0
        while start < len(moved):
            micro = moved.slice(start, min(start + size, len(moved)))
            found = _attempt(model, micro, device, size > 1)
            if found is not None:
                start += len(micro)
                yield found, micro
                continue
            device.empty_cache()
            if len(micro) == 1:
                raise RunFailed("not even one row fits into memory", hint="Use a smaller input size or another device")
            size = -(-len(micro) // 2)
        if sizes is not None and time.monotonic() - trimmed > TRIM_SECONDS:
            trim_memory()
            trimmed = time.monotonic()


def _attempt(model: Model, batch: Batch, device: Device, pairs: bool) -> Predictions | None:
    """What the model says of a batch; None where that does not fit into memory.

    Args:
        pairs: whether two rows may fit: a row alone then stands twice on the CPU, whose convolutions round otherwise for one
            row than for any other number of them. That moves scores by 1e-6, and with it what a detector takes for an object.
    """
    alone = pairs and len(batch) == 1 and device.torch_device.type == "cpu"
    try:
        with device.autocast():
            found = model.predict(batch.twice() if alone else batch)
        return sliced(found, 0, 1) if alone else found
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    return _attempt(model, batch, device, False) if alone else None


def evaluate(
    model: Model,
    examples: Examples,
    metrics: Metrics,
    device: Device,
    batch_size: int,
    workers: int = 0,
    seen: Callable[[Predictions, Batch], None] | None = None,
) -> dict[str, float]:
    """Metrics over all rows of a split.

    Args:
        seen: also given every batch's predictions, for those who keep them.
    """
    with torch.random.fork_rng(devices=[]):
        for found, batch in predictions(model, examples, device, batch_size, workers):
            metrics.update(found, batch)
            if seen is not None:
                seen(found, batch)
        return {name: float(value) for name, value in metrics.compute().items()}
