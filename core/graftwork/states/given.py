"""What teachers say of training rows: computed once for each fixed view, kept beside states, handed on with every batch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from graftwork.cache.room import cache_folder
from graftwork.cache.rows import RowStore, StoredRows
from graftwork.data.loader import load_batches
from graftwork.data.sampler import BatchSpec, Sizes
from graftwork.interfaces import Batch, Examples, Features, Model
from graftwork.interfaces.batch import pad_rows
from graftwork.models.weights import tensors_sha256
from graftwork.states.examples import SameSizePieces, of_one_size
from graftwork.states.fill import Rows
from graftwork.states.stored import stored_states
from graftwork.states.stores import KIND, Keeping, going_without

FORMAT = 1


@dataclass(frozen=True)
class TeacherRows:
    """A teacher, and the training rows as it wants to see them.

    Args:
        name: by which batches hold its outputs.
        model: on the device, in eval mode.
        rows: with the digests of their content.
        keeping: what its states depend on beside model and rows.
    """

    name: str
    model: Model
    rows: Rows
    keeping: Keeping

    def outputs(self, view: int | None) -> GivenRows:
        """What the head gives of every row in a fixed view; None for rows that stay the same by themselves.

        Raises:
            RunFailed: not even one row fits into memory.
        """
        try:
            store = self._store(view)
            missing = store.missing(self.rows.digests)
            if missing:
                with store.writing() as writer:
                    for numbers, found in self._compute(missing, view):
                        writer.add([self.rows.digests[number] for number in numbers], found)
            stored = store.open(self.rows.digests)
            if stored is not None:
                return GivenRows(stored)
        except OSError as error:
            going_without(error)
        rows: dict[int, dict[str, Tensor]] = {}
        for numbers, found in self._compute(range(len(self.rows.digests)), view):
            for place, number in enumerate(numbers):
                rows[number] = {name: values[place] for name, values in found.items()}
        return GivenRows([rows[number] for number in sorted(rows)])

    def _compute(self, numbers: Sequence[int], view: int | None) -> Iterator[tuple[tuple[int, ...], dict[str, Tensor]]]:
        """Row numbers, and the outputs of these rows on the CPU, [B, …] each."""
        head, stages = self.model.head, len(self.model.backbone.stages())
        states = stored_states(
            self.model.backbone, head.needs, stages, self.rows, self.keeping, reads=head.reads, view=view
        )
        device = self.keeping.device
        batches = list(of_one_size(numbers, self.rows.examples.sizes(), self.keeping.batch))
        specs = [BatchSpec(0, index, rows, rows) for index, rows in enumerate(batches)]
        for rows, loaded in zip(batches, load_batches(states, specs, 0, 0), strict=True):
            batch: Batch = loaded.to(device.torch_device)
            count = len(set(rows))  # a row alone stands twice
            with torch.no_grad(), device.autocast():
                features: Features = {**(batch.state or {}), **batch.inputs}
                found = head.outputs(features)
            yield rows[:count], {name: value[:count].float().cpu() for name, value in found.items()}

    def _store(self, view: int | None) -> RowStore:
        keeping, backbone = self.keeping, self.model.backbone
        part = "rows" if view is None else f"training view {view}"
        facts = {
            "format": FORMAT,
            "what": "outputs",
            "identity": keeping.identity,
            "input": backbone.input.to_json(),
            "weights": tensors_sha256(self.model.state_dict()),
            "part": part,
            "precision": keeping.device.precision,
            "device": keeping.device.describe(),
        }
        if not keeping.allowed:
            raise OSError(None, "as set")
        key = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:32]
        about = {**keeping.about, "what": "outputs of a teacher", "part": part, "precision": keeping.device.precision}
        return RowStore(cache_folder(KIND) / key, about)


class GivenRows:
    """A teacher's outputs of all rows in one view."""

    def __init__(self, rows: StoredRows | Sequence[Mapping[str, Tensor]]) -> None:
        self._rows = rows

    def of(self, numbers: Sequence[int]) -> list[dict[str, Tensor]]:
        """One dict a row."""
        if not isinstance(self._rows, StoredRows):
            return [dict(self._rows[number]) for number in numbers]
        found = self._rows.gather(numbers)
        return [{name: values[place] for name, values in found.items()} for place in range(len(numbers))]


class GivenExamples(Examples):
    """Training rows that come with what teachers say of them: view after view, number v * rows + r is row r in view v.

    Args:
        source: the rows, in their views.
        given: each teacher's outputs by view.
        rows: how many rows there are.
    """

    def __init__(self, source: Examples, given: Mapping[str, Sequence[GivenRows]], rows: int) -> None:
        self._source = source
        self._given = given
        self._rows = rows
        self.cheap = source.cheap  # type: ignore[misc]
        self.evaluated_together = source.evaluated_together  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self._source)

    def sizes(self) -> Sizes | None:
        return self._source.sizes()

    def view(self, number: int) -> Examples:
        return self._source.view(number)

    def join(self, name: str, values: Sequence[Tensor]) -> Tensor:
        return self._source.join(name, values)

    def load(self, row: int) -> Any:
        return self._source.load(row)

    def collate(self, rows: Sequence[int], examples: Sequence[Any]) -> Batch | SameSizePieces:
        found: Batch | SameSizePieces = self._source.collate(rows, examples)
        given = {}
        for name, views in self._given.items():
            each = [views[min(row // self._rows, len(views) - 1)].of([row % self._rows])[0] for row in rows]
            given[name] = {key: pad_rows([outputs[key] for outputs in each]) for key in each[0]}
        return replace(found, given=given)
