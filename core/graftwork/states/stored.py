"""States of rows for whoever has a backbone and rows, and neither a head nor a plan: scores, features, solved heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch

from graftwork.data.sampler import Sizes, as_columns
from graftwork.interfaces import Backbone, Batch, Examples
from graftwork.interfaces.extractor import Extractor
from graftwork.machine.generator import restoring_cpu_generator
from graftwork.states.examples import SameSizePieces, StateExamples, of_one_size
from graftwork.states.fill import Columns, Filler, Rows, put_together
from graftwork.states.stores import Keeping, bytes_of, going_without, has_room, mostly_there, part_of
from graftwork.states.views import draws


def stored_states(
    backbone: Backbone,
    needs: frozenset[str],
    cut: int,
    rows: Rows,
    keeping: Keeping,
    *,
    reads: frozenset[str] = frozenset(),
    view: int | None = None,
    asked: Callable[[], bool] = lambda: False,
) -> Examples:
    """Rows as what the first stages make of them, to be read as often as one likes; in batches on the CPU, with `state`,
    `targets`, and as `inputs` what is in `reads`.

    They are what a phase with so many frozen stages trains from, to the bit, in the same entries of the cache: a run with
    a head of these needs finds what is left here, and the other way round. Where all stages are behind the state, it is the
    needed features. Summaries of stages that are needed (`stage2`) lie beside it as `summary/2`. Where states may not or
    cannot be kept, batches are computed when they are read.

    Args:
        backbone: with its weights; moved to the device and into the memory format that it runs fastest in.
        needs: names of features and, as `stageK`, of summaries.
        cut: stages, 1 to all.
        rows: with the digests of their content.
        keeping: what the states depend on beside these, and where they are computed.
        reads: names of inputs that are wanted beside the state.
        view: a fixed view of rows that may be augmented, 0 for each as it is; None for rows that never are.
        asked: whether the user wants to stop; what was computed by then stays.

    Raises:
        ValueError: the backbone has no such feature or stage, or the rows are other ones at every look.
        KeyboardInterrupt: the user wants to stop.
        RunFailed: not even one row fits into memory.
    """
    extractor = Extractor(backbone, needs, reads)
    stages = len(backbone.stages())
    if extractor.lacking or not 1 <= cut <= stages:
        lacking = ", ".join(extractor.lacking) or f"a state after {cut} stages"
        raise ValueError(f"the backbone has {stages} stages, {sorted(backbone.provides)}, and not {lacking}")
    _, seen = part_of(rows, view)
    varies, mixes = draws(seen.examples) if len(seen.examples) else (False, False)
    if mixes or (varies and view is None):
        raise ValueError("the rows are augmented or mixed anew at every look: their states cannot be had once for all")
    backbone.to(keeping.device.torch_device)
    if backbone.channels_last:
        backbone.to(memory_format=torch.channels_last)
    filler = keeping.filler(extractor, asked)
    with restoring_cpu_generator():  # a loader draws a number when it starts
        kept = _kept(filler, keeping, rows, cut, view) if keeping.allowed and len(seen.examples) else None
    return ComputedStates(seen.examples, filler, cut) if kept is None else kept


def _kept(filler: Filler, keeping: Keeping, rows: Rows, cut: int, view: int | None) -> Examples | None:
    """The rows from the cache, filled where they are missing; None where it cannot hold them."""
    part, seen = part_of(rows, view)
    try:
        stores = keeping.stores(filler.extractor, (cut,), part)
        fits = mostly_there(stores[cut], seen)
        if not fits:
            fits = has_room(int(bytes_of(filler, seen, (cut,))[cut]), stores.values())
        if keeping.device.broadcast(fits):
            return StateExamples([filler.fill(stores, seen, cut)], rows.examples)
    except OSError as error:
        going_without(error)
    return None


class ComputedStates(Examples):
    """Rows whose states are computed when a batch of them is collated, size by size: as kept ones, to the bit.

    Args:
        source: the rows.
        filler: who computes, in this process.
        cut: stages.
    """

    cheap: ClassVar[bool] = True
    """No loader process: what computes is here, and on the device."""

    def __init__(self, source: Examples, filler: Filler, cut: int) -> None:
        self._source = source
        self._filler = filler
        self._cut = cut
        sizes = source.sizes()
        self._sizes = None if sizes is None else as_columns(sizes)
        self.evaluated_together = source.evaluated_together  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self._source)

    def sizes(self) -> Sizes | None:
        return self._source.sizes()

    def load(self, row: int) -> Any:
        return self._source.load(row)

    def collate(self, rows: Sequence[int], examples: Sequence[Any]) -> Batch:
        sizes = None if self._sizes is None else self._sizes[list(rows)]
        pieces = []
        for positions in of_one_size(range(len(rows)), sizes, self._filler.batch):
            picked = [examples[position] for position in positions]
            pieces.append((positions, self._source.collate([rows[position] for position in positions], picked)))
        return put_together(SameSizePieces(tuple(rows), tuple(pieces)), self._compute, self._source)

    def _compute(self, piece: Batch, count: int) -> Columns:
        columns = self._filler.compute(piece, count, (self._cut,))[self._cut]
        return {name: [value.cpu() for value in values] for name, values in columns.items()}
