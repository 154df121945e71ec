"""Where the states of some rows are kept, and under what: whoever asks for the same states comes to the same entry.

The key of an entry is everything that a state depends on, so whoever asks for the same state finds it: the next epoch,
the next phase, the next run, another head, another seed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from graftwork.cache.room import cache_folder, make_room
from graftwork.cache.rows import RowStore
from graftwork.data.sampler import as_columns
from graftwork.interfaces import Examples
from graftwork.interfaces.extractor import Extractor
from graftwork.log import say
from graftwork.machine.device import Device
from graftwork.models.weights import tensors_sha256
from graftwork.states.examples import SameSizeExamples
from graftwork.states.fill import Filler, Rows
from graftwork.states.views import View

KIND = "states"
FORMAT = 2
EVALUATION = "evaluation"
"""The part of rows that are never augmented, whatever split they belong to."""


@dataclass(frozen=True)
class Keeping:
    """What states depend on beside the backbone and the rows, and how they are computed and kept.

    Args:
        identity: everything beside the backbone that the states depend on, as plain data: task and options, versions; see
            `runs.states.identity_of`.
        about: facts for people, for `graft cache list`.
        allowed: whether states may be kept.
        batch: rows a forward pass, at most.
        device: where to compute.
        workers: loader processes.
    """

    identity: Mapping[str, Any]
    about: Mapping[str, Any]
    allowed: bool
    batch: int
    device: Device
    workers: int = 0

    def filler(self, extractor: Extractor, asked: Callable[[], bool] = lambda: False) -> Filler:
        """Who computes the states.

        Args:
            asked: whether the user wants to stop.
        """
        return Filler(extractor, self.device, self.batch, self.workers, asked)

    def stores(self, extractor: Extractor, cuts: Collection[int], part: str) -> dict[int, RowStore]:
        """Where the states of a part of the rows are kept, by cut.

        Args:
            part: as `part_of` names it.
        """
        backbone = extractor.backbone
        facts = {
            "format": FORMAT,
            "identity": self.identity,
            "input": backbone.input.to_json(),
            "needs": sorted(extractor.needs),
            "reads": sorted(extractor.reads),
            "part": part,
            "precision": self.device.precision,
            "device": self.device.describe(),
        }
        stores = {}
        for cut in cuts:
            whole = {**facts, "cut": cut, "weights": tensors_sha256(extractor.tensors(cut))}
            key = hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()[:32]
            boundary = f"after stage {cut} of {len(backbone.stages())}"
            about = {**self.about, "boundary": boundary, "part": part, "precision": self.device.precision}
            stores[cut] = RowStore(cache_folder(KIND) / key, about)
        return stores


def part_of(rows: Rows, view: int | None) -> tuple[str, Rows]:
    """How the states of rows are told apart from those of other looks at them, and the rows in that look.

    Args:
        view: the number of a fixed view; None for rows that are never augmented.
    """
    if view is None:
        return EVALUATION, rows
    return f"training view {view}", Rows(View(rows.examples, view, rows.digests), rows.digests)


def mostly_there(store: RowStore, rows: Rows) -> bool:
    """Whether more than half of the rows are kept already."""
    return 2 * len(store.missing(rows.digests)) < len(rows.digests)


def has_room(nbytes: int, stores: Collection[RowStore]) -> bool:
    """Whether so many bytes fit into the cache and on the disk, beside what these stores hold."""
    try:
        cache_folder(KIND)
        return make_room(nbytes, *(store.folder.name for store in stores))
    except OSError:
        return False


def bytes_of(filler: Filler, rows: Rows, cuts: Collection[int]) -> dict[int, float]:
    """Bytes that the states of rows take by cut, from what is made of two of them; looks at two rows."""
    examples = rows.examples
    looked = tuple(range(min(2, len(examples))))
    if not looked:
        return dict.fromkeys(cuts, 0.0)
    sizes = examples.sizes()
    share = len(examples) / len(looked)
    if sizes is not None:
        areas = as_columns(sizes).prod(axis=1)
        share = float(areas.sum()) / max(1.0, float(areas[list(looked)].max() * len(looked)))
    found = filler.look(examples, looked, cuts)
    return {cut: sum(_nbytes(value) for value in columns.values()) * share for cut, columns in found.items()}


def by_size(examples: Examples) -> Examples:
    """Rows whose batches are collated size by size, where they differ in size."""
    sizes = examples.sizes()
    if sizes is None or len(np.unique(as_columns(sizes), axis=0)) == 1:
        return examples
    return SameSizeExamples(examples, sizes)


def going_without(error: OSError) -> None:
    """Say why states are not kept."""
    say(f"states cannot be kept ({error.strerror or error}): going on without")


def _nbytes(value: Tensor | Sequence[Tensor]) -> int:
    return value.nbytes if isinstance(value, Tensor) else sum(tensor.nbytes for tensor in value)
