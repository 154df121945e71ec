"""Rows of tensors on disk, found by a digest of what they were made from; memory-mapped, and shared between runs.

An entry is a folder with `about.json` (for people; its time of change is the last use) and whole segments. A segment is
written beside the entries and renamed into its own when it is complete, so a process that is killed leaves nothing that
anybody would read, and two processes that write the same rows only waste a little.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork.cache.entries import ABOUT, PARTIAL
from graftwork.cache.room import touch

SEGMENT = "segment-"
_TRIES = 20
_META = "meta.json"
_DIGESTS = "digests.npy"

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.int8, torch.int16, torch.int32,
        torch.int64, torch.bool,
    )
}  # fmt: skip

Columns = Mapping[str, Tensor | Sequence[Tensor]]
"""Tensors of some rows by name: one [B, …], or B that may differ in size (not in their number of dimensions)."""


@dataclass(frozen=True)
class _Column:
    """One tensor of every row of a segment.

    Args:
        values: all rows' elements, one after the other.
        shapes: [rows, dimensions], as stored.
        starts: [rows + 1], elements.
        channels_last: whether rows are stored as [H, W, C] though they are [C, H, W].
        uniform: whether all rows have one shape.
    """

    values: Tensor
    shapes: NDArray[np.int64]
    starts: NDArray[np.int64]
    channels_last: bool
    uniform: bool

    def row(self, index: int) -> Tensor:
        flat = self.values[int(self.starts[index]) : int(self.starts[index + 1])]
        return flat.reshape(self.shapes[index].tolist())


@dataclass(frozen=True)
class _Segment:
    digests: NDArray[np.bytes_]
    columns: dict[str, _Column]
    nbytes: int


class StoredRows:
    """Some rows of a store, in the order in which they were asked for.

    Args:
        segments: where they lie.
        places: [rows, 2], segment and row in it.
    """

    def __init__(self, segments: Sequence[_Segment], places: NDArray[np.int64]) -> None:
        self._segments = segments
        self._places = places
        self._torch_places = torch.from_numpy(np.ascontiguousarray(places[:, 1]))
        self._one = len(segments) == 1

    @classmethod
    def together(cls, parts: Sequence[StoredRows]) -> StoredRows:
        """Rows of several entries, one after the other."""
        segments = [segment for part in parts for segment in part._segments]
        before = np.cumsum([0, *(len(part._segments) for part in parts)])
        places = [part._places + np.array([number, 0]) for part, number in zip(parts, before[:-1], strict=True)]
        return cls(segments, np.concatenate(places))

    def __len__(self) -> int:
        return len(self._places)

    def gather(self, rows: Sequence[int]) -> dict[str, Tensor | list[Tensor]]:
        """Tensors of these rows by name: [B, …] where they are all of one shape, otherwise one a row."""
        found: dict[str, Tensor | list[Tensor]] = {}
        for name, column in self._segments[0].columns.items() if self._segments else ():
            if self._one and column.uniform:
                shaped = column.values.reshape(len(column.shapes), *column.shapes[0].tolist())
                taken = shaped.index_select(0, self._torch_places[list(rows)])
                found[name] = taken.permute(0, 3, 1, 2) if column.channels_last else taken
            else:
                found[name] = self._row_by_row(name, rows)
        return found

    def _row_by_row(self, name: str, rows: Sequence[int]) -> Tensor | list[Tensor]:
        columns = [segment.columns[name] for segment in self._segments]
        taken = [columns[segment].row(index) for segment, index in self._places[list(rows)].tolist()]
        last = columns[0].channels_last
        if all(tensor.shape == taken[0].shape for tensor in taken):
            stacked = torch.stack(taken)
            return stacked.permute(0, 3, 1, 2) if last else stacked
        return [tensor.permute(2, 0, 1) for tensor in taken] if last else taken


class Lookup:
    """All rows of a store by their digests."""

    def __init__(self, segments: Sequence[_Segment]) -> None:
        self._segments = segments
        self._index = _Index(segments)

    def __len__(self) -> int:
        return sum(len(segment.digests) for segment in self._segments)

    def get(self, digests: Sequence[bytes] | NDArray[np.bytes_]) -> list[dict[str, Tensor] | None]:
        """Tensors of each row by name, None where it is not there."""
        return [
            {name: column.row(row) for name, column in self._segments[segment].columns.items()}
            if segment >= 0
            else None
            for segment, row in self._index.find(digests).tolist()
        ]

    def has(self, digests: Sequence[bytes] | NDArray[np.bytes_]) -> NDArray[np.bool_]:
        """Which of these rows are there."""
        return self._index.find(digests)[:, 0] >= 0


class RowStore:
    """One entry of a cache of rows.

    Args:
        folder: of the entry, `$GRAFTWORK_CACHE/KIND/KEY`; made when something is written.
        about: what it holds, plain facts for people.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder = folder
        self.about = about

    def missing(self, digests: Sequence[bytes] | NDArray[np.bytes_]) -> list[int]:
        """The positions of the rows that are not there."""
        places = _Index(self._segments(in_memory=0)).find(digests)
        return np.flatnonzero(places[:, 0] < 0).tolist()

    def open(self, digests: Sequence[bytes] | NDArray[np.bytes_], in_memory: int = 0) -> StoredRows | None:
        """These rows, or None when one is missing (another process may have cleared the cache).

        Args:
            in_memory: bytes; an entry that is not larger is read into memory at once instead of page by page.
        """
        segments = self._segments(in_memory)
        places = _Index(segments).find(digests)
        if (places < 0).any():
            return None
        used, places[:, 0] = np.unique(places[:, 0], return_inverse=True)
        touch(self.folder)
        return StoredRows([segments[number] for number in used], places)

    def lookup(self) -> Lookup:
        """The rows that are there now, where not all that are asked for need be."""
        touch(self.folder)
        return Lookup(self._segments(in_memory=0))

    def _segments(self, in_memory: int) -> list[_Segment]:
        """Every whole segment; one that is damaged or going away at this moment counts as absent."""
        found = []
        with suppress(OSError):  # cleared at this moment, or below a folder that may not be searched
            folders = sorted(self.folder.glob(f"{SEGMENT}*"))
            size = sum(path.stat().st_size for folder in folders for path in folder.glob("*.bin"))
            for folder in folders:
                with suppress(OSError, ValueError, KeyError, TypeError, RuntimeError):
                    found.append(_read_segment(folder, size <= in_memory))
        return found

    @contextmanager
    def writing(self) -> Iterator[SegmentWriter]:
        """A new segment; it is there when the block ends, unless an exception ends it.

        Raises:
            OSError: the disk is full or the folder cannot be written.
        """
        partial = self.folder.parent / f"{PARTIAL}{os.getpid()}-{uuid.uuid4().hex[:12]}"
        partial.mkdir(parents=True)
        try:
            writer = SegmentWriter(partial)
            try:
                yield writer
                if writer.rows:
                    writer.finish()
                    self._take_in(partial)
            finally:
                writer.close()
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _take_in(self, partial: Path) -> None:
        target = f"{SEGMENT}{uuid.uuid4().hex[:12]}"
        for left in reversed(range(_TRIES)):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / ABOUT).is_file():
                with suppress(FileNotFoundError):
                    (self.folder / ABOUT).write_text(json.dumps(dict(self.about), indent=1) + "\n", encoding="utf-8")
            try:
                partial.rename(self.folder / target)
                return
            except FileNotFoundError:  # the entry was cleared between the two calls
                if not left:
                    raise

    @contextmanager
    def filling(self, waiting: Any = None) -> Iterator[None]:
        """While one process fills an entry, others that would compute the same wait for it.

        A process that is killed lets go of it. Nothing depends on the lock but the work that it saves.

        Args:
            waiting: called when there is somebody to wait for.
        """
        try:
            import fcntl
        except ImportError:  # no such locks on Windows: the same rows may be computed twice
            yield
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with (self.folder.parent / f".lock-{self.folder.name}").open("w") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if waiting is not None:
                    waiting()
                fcntl.lockf(file, fcntl.LOCK_EX)
            yield

    def discard(self) -> None:
        """Remove everything that the entry holds."""
        shutil.rmtree(self.folder, ignore_errors=True)


class SegmentWriter:
    """Appends rows to the files of a segment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = 0
        self.nbytes = 0
        self._digests: list[NDArray[np.bytes_]] = []
        self._files: dict[str, Any] = {}
        self._dtypes: dict[str, torch.dtype] = {}
        self._last: dict[str, bool] = {}
        self._shapes: dict[str, list[Sequence[int]]] = {}

    def add(self, digests: Sequence[bytes] | NDArray[np.bytes_], columns: Columns) -> None:
        """Append rows.

        Raises:
            ValueError: other names, types or numbers of dimensions than before.
        """
        if self._files and columns.keys() != self._files.keys():
            raise ValueError(f"rows have {sorted(columns)}, those before had {sorted(self._files)}")
        for name, tensors in columns.items():
            self._add_column(name, tensors)
        self._digests.append(np.asarray(digests, dtype=np.bytes_))
        self.rows += len(digests)

    def _add_column(self, name: str, tensors: Tensor | Sequence[Tensor]) -> None:
        together = isinstance(tensors, Tensor)
        first = tensors[0]
        if name not in self._files:
            self._files[name] = (self.folder / f"{len(self._files)}.bin").open("wb")
            self._dtypes[name] = first.dtype
            # A map that is channels_last when it is computed has to be so when it is taken out: no conversion a step.
            self._last[name] = (
                isinstance(tensors, Tensor)
                and tensors.ndim == 4
                and not tensors.is_contiguous()
                and tensors.is_contiguous(memory_format=torch.channels_last)
            )
            self._shapes[name] = []
        shapes = self._shapes[name]
        for rows in [tensors] if together else [tensor.unsqueeze(0) for tensor in tensors]:
            assert isinstance(rows, Tensor)
            if rows.dtype != self._dtypes[name] or (shapes and rows.ndim - 1 != len(shapes[0])):
                raise ValueError(f"{name!r} of these rows has another type or number of dimensions")
            plain = rows.detach().cpu()
            plain = (plain.permute(0, 2, 3, 1) if self._last[name] else plain).contiguous()
            shapes += [plain.shape[1:]] * len(plain)
            raw = plain.flatten().view(torch.uint8).numpy()
            self._files[name].write(raw.data)
            self.nbytes += raw.nbytes

    def finish(self) -> None:
        """Everything on disk, in an order that leaves no segment that only looks whole."""
        columns = {}
        for name, file in self._files.items():
            file.flush()
            os.fsync(file.fileno())
            np.save(self.folder / f"{Path(file.name).stem}.npy", np.array(self._shapes[name], dtype=np.int64))
            dtype = str(self._dtypes[name]).removeprefix("torch.")
            columns[name] = {"file": Path(file.name).stem, "dtype": dtype, "channels_last": self._last[name]}
        np.save(self.folder / _DIGESTS, np.concatenate(self._digests))
        meta = {"rows": self.rows, "columns": columns, "bytes": self.nbytes}
        with (self.folder / _META).open("w", encoding="utf-8") as file:
            json.dump(meta, file)
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def _read_segment(folder: Path, in_memory: bool) -> _Segment:
    meta = json.loads((folder / _META).read_text(encoding="utf-8"))
    digests = np.load(folder / _DIGESTS)
    columns = {}
    for name, facts in meta["columns"].items():
        path = folder / f"{facts['file']}.bin"
        dtype = DTYPES[facts["dtype"]]
        shapes = np.load(folder / f"{facts['file']}.npy").reshape(len(digests), -1)
        starts = np.concatenate([[0], np.cumsum(shapes.prod(axis=1))]).astype(np.int64)
        if path.stat().st_size != int(starts[-1]) * dtype.itemsize or meta["rows"] != len(digests):
            raise ValueError(f"{path} is not as long as it should be")
        uniform = bool((shapes == shapes[:1]).all())
        columns[name] = _Column(
            _elements(path, int(starts[-1]), dtype, in_memory), shapes, starts, facts["channels_last"], uniform
        )
    return _Segment(digests, columns, meta["bytes"])


def _elements(path: Path, count: int, dtype: torch.dtype, in_memory: bool) -> Tensor:
    if count == 0:
        return torch.empty(0, dtype=dtype)
    if in_memory:
        return torch.from_numpy(np.fromfile(path, dtype=np.uint8)).view(dtype)
    # Private: nobody can change what others read.
    return torch.from_file(str(path), shared=False, size=count, dtype=dtype)


class _Index:
    """Where every row of some segments lies; as a dict it would take several times the memory."""

    def __init__(self, segments: Sequence[_Segment]) -> None:
        digests = [segment.digests for segment in segments]
        self._starts = np.cumsum([0, *(len(some) for some in digests)])
        together = digests[0] if len(digests) == 1 else np.concatenate([np.empty(0, "S1"), *digests])
        self._order = np.argsort(together, kind="stable")
        self._sorted = together[self._order]

    def find(self, digests: Sequence[bytes] | NDArray[np.bytes_]) -> NDArray[np.int64]:
        """Segment and row of each digest, [rows, 2]; -1 where it is not there."""
        asked = np.asarray(digests, dtype=np.bytes_)
        places = np.full((len(asked), 2), -1, dtype=np.int64)
        if len(self._sorted):
            near = np.minimum(np.searchsorted(self._sorted, asked), len(self._sorted) - 1)
            there = self._sorted[near] == asked
            flat = self._order[near[there]]
            places[there, 0] = np.searchsorted(self._starts, flat, side="right") - 1
            places[there, 1] = flat - self._starts[places[there, 0]]
        return places
