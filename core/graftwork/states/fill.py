"""Computes what frozen stages make of rows, and fills the entries of the prefix cache with it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork.cache.rows import RowStore, SegmentWriter, StoredRows
from graftwork.data.loader import load_batches
from graftwork.data.sampler import BatchSpec
from graftwork.errors import RunFailed
from graftwork.interfaces import Batch, Examples, Model
from graftwork.interfaces.extractor import Extractor
from graftwork.log import say
from graftwork.machine.cgroup import memory_limit
from graftwork.machine.device import Device
from graftwork.machine.memory import is_out_of_memory
from graftwork.states.examples import SameSizePieces, batch_of, columns_of, of_one_size

SEGMENT_SECONDS = 60.0
SEGMENT_BYTES = 1 << 30
"""What a killed process may lose of its work, and how much is on its way to the disk at once."""

SAY_SECONDS = 15.0
MEMORY_SHARE = 0.25
"""Of the free memory: entries up to this are read at once, larger ones page by page."""

Columns = dict[str, Any]
"""Tensors of rows by name, as `data.states.columns_of` makes them."""


@dataclass(frozen=True)
class Rows:
    """Rows of one split with the digests of their content, hexadecimal."""

    examples: Examples
    digests: Sequence[bytes] | NDArray[np.bytes_]


@dataclass
class Filler:
    """Computes states of rows after some of a backbone's stages, and puts them where they are kept.

    Args:
        extractor: a backbone on the device, and what is wanted of it.
        device: where to compute.
        batch: rows a forward pass, at most; becomes smaller when memory runs out.
        workers: loader processes.
        asked: whether the user wants to stop.
    """

    extractor: Extractor
    device: Device
    batch: int
    workers: int
    asked: Callable[[], bool] = lambda: False

    def fill(self, stores: Mapping[int, RowStore], rows: Rows, cut: int) -> StoredRows:
        """The kept rows after `cut` stages; what is missing is computed first, for the other cuts in the same pass.

        Args:
            stores: where the states after so many stages are kept; holds `cut`.

        Raises:
            KeyboardInterrupt: the user wants to stop; what was computed by then stays.
            RunFailed: not even one row fits into memory.
            OSError: the disk is full, or somebody clears the cache again and again.
        """
        memory = int(_free_memory() * MEMORY_SHARE)
        for _ in range(3):
            computed = self._complete(stores, rows)
            stored = stores[cut].open(rows.digests, memory)
            if stored is not None and (computed or self._still_true(stored, rows.examples, cut)):
                return stored
            if stored is not None:
                say("kept states are not what this model makes of these rows: computing them anew")
                stores[cut].discard()
        raise OSError(None, "the cache is cleared while it is being filled")

    def _complete(self, stores: Mapping[int, RowStore], rows: Rows) -> bool:
        """Compute what is missing; whether anything was."""
        missing = self.device.broadcast(_missing(stores, rows))
        if not missing:
            return False
        if self.device.world > 1:
            self._compute_missing(stores, rows, missing)
            self.device.barrier()
            return True
        with stores[min(stores)].filling(lambda: say("another run is computing these states: waiting for it")):
            missing = _missing(stores, rows)
            if missing:
                self._compute_missing(stores, rows, missing)
        return bool(missing)

    def _still_true(self, stored: StoredRows, examples: Examples, cut: int) -> bool:
        """Compute two rows again: what an earlier run left is believed when it is seen to be right."""
        for row in sorted({0, len(examples) - 1}):  # one by one: two rows may differ in size
            now = self.look(examples, (row, row), (cut,))[cut]
            kept = stored.gather([row])
            if now.keys() != kept.keys() or not all(_alike(now[name], kept[name]) for name in now):
                return False
        return True

    def look(self, examples: Examples, rows: tuple[int, ...], cuts: Collection[int]) -> dict[int, Columns]:
        """The columns of a few rows, by cut."""
        (batch,) = load_batches(examples, [BatchSpec(0, 0, rows, rows)], 0, 0)
        moved = batch.to(self.device.torch_device)
        return states_of(self.extractor, cuts, moved, len(rows), self.device)

    def _compute_missing(self, stores: Mapping[int, RowStore], rows: Rows, missing: Sequence[int]) -> None:
        """This process's share of the missing rows, segment by segment."""
        batches = list(of_one_size(missing, rows.examples.sizes(), self.batch))[self.device.rank :: self.device.world]
        specs = [BatchSpec(0, index, numbers, numbers) for index, numbers in enumerate(batches)]
        workers = 0 if rows.examples.cheap else self.workers
        stream = zip(batches, load_batches(rows.examples, specs, 0, workers, self.device.pins), strict=True)
        progress = _Progress(sum(len(set(numbers)) for numbers in batches))
        while progress.done < progress.total:
            with _segments(stores) as writers:
                segment = time.monotonic()
                for numbers, batch in stream:
                    count = len(set(numbers))  # a single row stands twice, see of_one_size
                    digests = [rows.digests[number] for number in numbers[:count]]
                    for cut, columns in self.compute(batch, count, stores).items():
                        writers[cut].add(digests, columns)
                    progress.add(count)
                    written = sum(writer.nbytes for writer in writers.values())
                    if time.monotonic() - segment > SEGMENT_SECONDS or written > SEGMENT_BYTES or self.asked():
                        break
            if self.asked():
                raise KeyboardInterrupt

    def compute(self, batch: Batch, count: int, cuts: Collection[int]) -> dict[int, Columns]:
        """The columns of the first `count` rows of a batch by cut, in as many pieces as memory asks for."""
        pieces: list[dict[int, Columns]] = []
        start = 0
        while start < count:
            piece = batch.slice(start, min(start + self.batch, len(batch)))
            found = self._attempt(piece, min(len(piece), count - start), cuts)
            if found is not None:
                pieces.append(found)
                start += len(piece)
                continue
            if self.batch == 1:
                hint = "Use a smaller input size or another device"
                raise RunFailed("not even one row fits into memory", hint=hint)
            self.batch = -(-min(self.batch, len(piece)) // 2)
            self.device.empty_cache()
        if len(pieces) == 1:
            return pieces[0]
        return {
            cut: {name: _joined([piece[cut][name] for piece in pieces]) for name in pieces[0][cut]} for cut in pieces[0]
        }

    def _attempt(self, piece: Batch, count: int, cuts: Collection[int]) -> dict[int, Columns] | None:
        try:
            moved = piece.to(self.device.torch_device)
            return states_of(self.extractor, cuts, moved, count, self.device)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        return None


class _Progress:
    """Says now and then how far a long computation is."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self._started = self._said = time.monotonic()

    def add(self, rows: int) -> None:
        self.done += rows
        now = time.monotonic()
        if now - self._said > SAY_SECONDS:
            self._said = now
            left = (now - self._started) / self.done * (self.total - self.done)
            say(f"computing states: {self.done:,} of {self.total:,} rows, about {left:.0f} s left")


@contextmanager
def _segments(stores: Mapping[int, RowStore]) -> Iterator[dict[int, SegmentWriter]]:
    """A new segment of each store; they are there when the block ends."""
    with ExitStack() as stack:
        yield {cut: stack.enter_context(store.writing()) for cut, store in stores.items()}


def _missing(stores: Mapping[int, RowStore], rows: Rows) -> list[int]:
    """Rows that some store lacks."""
    found: set[int] = set()
    for store in stores.values():
        found.update(store.missing(rows.digests))
    return sorted(found)


def states_of(
    extractor: Extractor, cuts: Collection[int], batch: Batch, rows: int, device: Device
) -> dict[int, Columns]:
    """Columns of the first rows of a batch that is on the device, with the states after so many stages, by cut."""
    modes = [(module, module.training) for module in extractor.backbone.modules()]
    extractor.backbone.eval()
    try:
        with device.autocast():
            found = extractor.states(batch.inputs, cuts)
    finally:
        for module, training in modes:
            module.training = training
    return {cut: columns_of(state, batch, rows, extractor.reads) for cut, state in found.items()}


def ready(loaded: Batch | SameSizePieces, examples: Examples, model: Model, device: Device) -> Batch:
    """A loaded batch on the device, as the model takes it.

    Args:
        examples: that it was loaded from.
    """
    if isinstance(loaded, Batch):
        return loaded.to(device.torch_device)
    extractor, cut = model.extractor, model.frozen_stages
    return put_together(
        loaded.to(device.torch_device),
        lambda piece, count: states_of(extractor, (cut,), piece, count, device)[cut],
        examples,
    )


def put_together(loaded: SameSizePieces, compute: Callable[[Batch, int], Columns], examples: Examples) -> Batch:
    """A batch of states from its pieces.

    Args:
        compute: the columns of the first so many rows of a piece.
        examples: that the pieces were loaded from.
    """
    columns: dict[str, list[Tensor]] = {}
    for positions, piece in loaded.pieces:
        count = len(set(positions))
        for name, values in compute(piece, count).items():
            rows = columns.setdefault(name, [torch.empty(0)] * len(loaded))
            for position, value in zip(positions[:count], values, strict=True):
                rows[position] = value
    return replace(batch_of(columns, loaded.rows, examples), given=loaded.given)


def _alike(now: Any, kept: Any) -> bool:
    """Equal but for the rounding of other kernels; `now` holds one row twice, `kept` once."""
    one, other = now[0].float().cpu(), kept[0].float()
    if one.shape != other.shape:
        return False
    tolerance = 0.02 * max(1e-3, float(one.abs().max()) if one.numel() else 0.0)
    return bool(((one - other).abs() <= tolerance).all())


def _free_memory() -> int:
    """Bytes that may be read into memory."""
    group = memory_limit()
    free: int = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 1 << 30
    return min(free, group.left) if group is not None else free


def _joined(pieces: Sequence[Any]) -> Any:
    if isinstance(pieces[0], Tensor):
        return torch.cat(list(pieces))
    return [tensor for piece in pieces for tensor in piece]
