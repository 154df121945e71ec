"""Pixels that are the same in every epoch, kept so that a picture is decoded once: in memory, and beyond it on disk.

What is kept is what comes out of decoding and bringing to size, uint8. How that is done is the caller's business.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor

from graftwork import __version__
from graftwork.cache.entries import cache_root
from graftwork.cache.room import make_room
from graftwork.cache.rows import RowStore, StoredRows
from graftwork.data.fingerprint import CONTENT
from graftwork.errors import UsageError
from graftwork.vision.decode import decoders
from graftwork.vision.levels import NO_RANGES, Ranges, in_words

if TYPE_CHECKING:
    from datasets import Dataset

FORMAT = 2
"""Of what is stored; another number when the same libraries begin to give other pixels through changes of ours."""

SLOW_BYTES = 100e6
"""Bytes of pixels a second; pictures that are made more slowly than that (large photos) are read faster from any disk."""

MEMORY_SHARE = 2
"""Where pixels take at most one part in so many of this machine's memory, the operating system keeps what it has read once."""

OVERHEAD = 1024
"""Bytes that a tensor in memory takes beside its values."""

_LOOK_AGAIN = 20
"""A store is searched for what other processes have added after so many misses as one part in so many of the rows."""


class KeptPixels:
    """The pixels of a table's pictures.

    They are kept in memory up to a limit. When pictures that did not fit are asked for again, so that epochs repeat, and a
    store on disk pays, what is in memory moves there piece by piece. The store is mapped: loader processes, epochs and runs
    share it, each picture known by the digest of its file. Rows without digests stay in memory.

    Args:
        rows: the table; its column `content` where the audit has added it.
        made: how pixels come about, in words; with the versions of the libraries it is the name of the store's entry.
        memory: bytes, the most that is kept in memory, over all loader workers together; 0 for keeping nothing at all.
        ranges: by which deep levels become 8 bits.
    """

    def __init__(self, rows: Dataset, made: str, memory: int, ranges: Ranges = NO_RANGES) -> None:
        self._contents = rows.select_columns([CONTENT]) if CONTENT in rows.column_names else None
        self._levels = f"; {in_words(ranges)} become 0 to 255" if ranges else ""
        self._made = made + self._levels
        self._limit = memory
        self._rows = len(rows)
        self._forget()

    def _forget(self) -> None:
        self._memory: dict[int, Tensor] = {}
        self._held = 0  # bytes
        self._made_before = bytearray(self._rows)
        self._seconds = 0.0
        self._bytes = 0  # that were made in these seconds
        self._disk: _Shelf | None = None
        self._disk_pays: bool | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker starts with an empty memory rather than with a copy through a pipe.
        return {name: self.__dict__[name] for name in ("_contents", "_made", "_levels", "_limit", "_rows")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def remade(self, made: str) -> KeptPixels:
        """The same rows' pixels, made in another way; nothing of them is kept yet."""
        other = copy.copy(self)
        other._made = made + self._levels
        return other

    def read_once(self) -> KeptPixels:
        """The same rows' pixels, for a reader that asks for each of them once; nothing is kept."""
        other = copy.copy(self)
        other._limit = 0
        return other

    def get(self, row: int, make: Callable[[], Tensor]) -> Tensor:
        """The pixels of a row, uint8 [C, h, w], channels side by side in memory; not to be changed.

        Args:
            make: gives them; called when they are not kept.
        """
        pixels = self._memory.get(row)
        if pixels is None and self._contents is not None and self._limit:
            if self._disk is None:
                self._disk = _Shelf(self._contents, self._made)
            pixels = self._disk.get(row)
        return self._new(row, make) if pixels is None else pixels

    def _new(self, row: int, make: Callable[[], Tensor]) -> Tensor:
        start = time.perf_counter()
        pixels = channels_last(make())
        self._seconds += time.perf_counter() - start
        self._bytes += pixels.nbytes
        needed = pixels.nbytes + OVERHEAD
        worker = torch.utils.data.get_worker_info()
        limit = self._limit // (worker.num_workers if worker else 1)
        if self._memory and self._held + needed > limit and self._made_before[row]:
            self._move_to_disk()
        self._made_before[row] = 1
        # What is kept stays: throwing out the oldest would empty the memory once an epoch.
        if self._held + needed <= limit:
            # A crop is a view, and would keep the whole image alive.
            shared = pixels.untyped_storage().nbytes() > pixels.nbytes
            self._memory[row] = pixels.clone() if shared else pixels
            self._held += needed
        return pixels

    def _move_to_disk(self) -> None:
        if self._disk is None:
            return
        if self._disk_pays is None:
            each = self._held / len(self._memory)
            self._disk_pays = self._pays(int(each * self._rows)) and self._disk.has_room(int(each * self._rows))
        if self._disk_pays:
            self._disk_pays = self._disk.put(self._memory)
            if self._disk_pays:
                self._memory, self._held = {}, 0

    def _pays(self, expected: int) -> bool:
        """Whether pixels of so many bytes come faster from a disk, or from what the system keeps of it, than from files."""
        return expected * MEMORY_SHARE <= _machine_memory() or self._bytes < SLOW_BYTES * self._seconds


class _Shelf:
    """The part of a store that holds these rows."""

    def __init__(self, contents: Dataset, made: str) -> None:
        about = {
            "what": "decoded pictures", "made": made, "format": FORMAT, "graftwork": __version__, **decoders(),
            "torch": torch.__version__, "torchvision": torchvision.__version__,
            "processor": torch.backends.cpu.get_cpu_capability(),  # each kind has its own code for resizing
        }  # fmt: skip
        key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
        self._store = RowStore(cache_root() / "pictures" / key, about)
        self._contents = contents
        self._digests: NDArray[np.bytes_] | None = None
        self._rows: StoredRows | None = None
        self._places = np.full(len(contents), -1, dtype=np.int64)  # in _rows
        self._wait = 0  # misses before looking again
        self._seen = 0  # when the entry last changed, in nanoseconds

    def get(self, row: int) -> Tensor | None:
        """Pixels [3, h, w] of a row, None where they are not there."""
        place = int(self._places[row])
        if place < 0 and self._wait == 0:
            self._look()
            place = int(self._places[row])
        if place < 0 or self._rows is None:
            self._wait -= 1
            return None
        return self._rows.gather([place])["pixels"][0].permute(2, 0, 1)

    def has_room(self, needed: int) -> bool:
        """Whether so many bytes may be stored."""
        with suppress(OSError, UsageError):
            return make_room(needed, self._store.folder.name)
        return False

    def put(self, pixels: dict[int, Tensor]) -> bool:
        """Store the pixels of rows that nobody else has stored yet; False where that was not possible."""
        self._look()
        digests = self._all_digests()
        new = {bytes(digests[row]): row for row in pixels if self._places[row] < 0}
        try:
            with self._store.writing() as writer:
                for digest, row in new.items():
                    writer.add([digest], {"pixels": [pixels[row].permute(1, 2, 0)]})
        except OSError:
            return False
        self._look()
        return True

    def _look(self) -> None:
        """Find out which rows are there now."""
        self._wait = max(64, len(self._places) // _LOOK_AGAIN)
        try:
            changed = self._store.folder.stat().st_mtime_ns
        except OSError:
            return  # there is no entry; what is mapped stays readable
        if changed == self._seen:
            return
        digests = self._all_digests()
        there = np.ones(len(digests), dtype=bool)
        there[self._store.missing(digests)] = False
        rows = self._store.open(digests[there])
        if rows is not None:
            self._seen = changed
            self._rows = rows
            self._places = np.where(there, np.cumsum(there) - 1, -1)

    def _all_digests(self) -> NDArray[np.bytes_]:
        if self._digests is None:
            self._digests = np.array(self._contents[CONTENT][:], dtype=np.bytes_)
        return self._digests


def channels_last(image: Tensor) -> Tensor:
    """[3, H, W] with the channels of a pixel side by side in memory; a copy where they were not."""
    return image.permute(1, 2, 0).contiguous().permute(2, 0, 1)


def stack_channels_last(images: list[Tensor]) -> Tensor:
    """Images of one size [3, H, W] as a batch [B, 3, H, W] in channels_last, a copy.

    That is how convolutions like it, and how decoded pictures lie anyway: another order would be a slow copy more.
    """
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)


def _machine_memory() -> int:
    """Bytes; 0 where nobody says."""
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 0
