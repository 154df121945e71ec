"""Looks at image files that earlier runs have kept: a file that holds the same is not decoded again to see that it can be."""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from graftwork import __version__
from graftwork.cache.room import cache_folder, make_room
from graftwork.cache.rows import RowStore, SegmentWriter
from graftwork.errors import UsageError
from graftwork.vision.decode import PIXEL_LIMIT, decoders
from graftwork.vision.look import LIKENESS, Look, Looks, digest_of, look_at, traits_of

if TYPE_CHECKING:
    from datasets import Dataset

KIND = "looks"
FORMAT = 4
"""Of what is kept; another number when the same libraries begin to show other things through changes of ours."""

WORTH_SECONDS = 0.5
"""Looking that took less than this leaves nothing behind."""

_RECORD = np.dtype([("size", "<i4", 2), ("traits", "<u2"), ("likeness", "u1", LIKENESS), ("levels", "<f8", 2)])
_TOGETHER = 1000
_BATCH = 256


class EarlierLooks:
    """What is known of image files, by the digest of what they hold; only of those that can be used.

    The files are still read, for the digest: times of change do not say what a file holds.
    """

    def __init__(self) -> None:
        about = {"what": "looks at pictures", "format": FORMAT, "graftwork": __version__, "most": PIXEL_LIMIT}
        about |= decoders()
        key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
        self._store = RowStore(cache_folder(KIND) / key, about)
        self._known = self._store.lookup()
        self._likely = len(self._known) > 0
        self._started = time.monotonic()

    def look_at_all(self, rows: Dataset) -> Looks:
        """A look at the column `image` of every row, in threads: Pillow decodes outside the interpreter's lock."""
        images = rows.select_columns("image")
        with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            warnings.simplefilter("ignore")  # odd metadata and large pictures: what matters is in the findings
            batches = (batch["image"] for batch in images.iter(batch_size=_BATCH))
            return Looks.gather(len(images), (self.look_at(cells, pool) for cells in batches))

    def look_at(self, cells: Sequence[Mapping[str, Any] | None], pool: Executor) -> list[Look]:
        """Looks at image cells, earlier ones where there are.

        Files that are likely to be known are read by one thread: threads that do no more than that wait for one another, and
        take three times as long. As soon as most files of a batch are new, every file is read once and decoded at once.
        """
        if not self._likely:
            return list(pool.map(look_at, cells))
        found = self._find([digest_of(cell) for cell in cells])
        new = [place for place, look in enumerate(found) if look is None]
        self._likely = 2 * len(new) <= len(cells)
        looked = dict(zip(new, pool.map(look_at, [cells[place] for place in new]), strict=True))
        return [looked[place] if look is None else look for place, look in enumerate(found)]

    def _find(self, contents: Sequence[str | None]) -> list[Look | None]:
        found: list[Look | None] = []
        for content, row in zip(contents, self._known.get([(c or "").encode() for c in contents]), strict=True):
            if content is None or row is None:
                found.append(None)
                continue
            record = row["look"].numpy().view(_RECORD)[0]
            width, height = record["size"].tolist()
            traits = traits_of(int(record["traits"]))
            low, high = record["levels"].tolist()
            found.append(Look(None, "", content, width, height, traits, record["likeness"].tobytes(), (low, high)))
        return found

    def keep(self, looks: Iterable[Looks]) -> None:
        """Keep those that are new, if they took long enough to be worth it."""
        if time.monotonic() - self._started < WORTH_SECONDS:
            return
        new = [some for some in looks if len(self._new(some))]
        if new:
            with suppress(OSError, UsageError), self._store.filling():
                self._known = self._store.lookup()  # the other processes of this run have seen the same
                self._add([(some, self._new(some)) for some in new])

    def _add(self, new: Sequence[tuple[Looks, NDArray[np.int64]]]) -> None:
        needed = sum(len(rows) for _, rows in new) * _RECORD.itemsize
        if needed and make_room(needed, self._store.folder.name):
            with self._store.writing() as writer:
                for some, rows in new:
                    for start in range(0, len(rows), _TOGETHER):
                        self._write(writer, some, rows[start : start + _TOGETHER])

    def _new(self, looks: Looks) -> NDArray[np.int64]:
        """The rows whose files can be used and were not known."""
        usable = np.delete(np.arange(len(looks)), list(looks.problems))
        some = [usable[start : start + _TOGETHER] for start in range(0, len(usable), _TOGETHER)]
        return np.concatenate([usable[:0], *(rows[~self._known.has(_digests(looks, rows))] for rows in some)])

    def _write(self, writer: SegmentWriter, looks: Looks, rows: NDArray[np.int64]) -> None:
        records = np.zeros(len(rows), _RECORD)
        records["size"], records["traits"] = looks.sizes[rows], looks.traits[rows]
        records["likeness"] = looks.likenesses(rows)
        records["levels"] = looks.levels[rows]
        as_bytes = records.view(np.uint8).reshape(len(rows), -1)
        writer.add(_digests(looks, rows), {"look": torch.from_numpy(as_bytes)})


def _digests(looks: Looks, rows: NDArray[np.int64]) -> NDArray[np.bytes_]:
    return np.asarray(looks.content.take(rows).to_numpy(zero_copy_only=False), dtype=np.bytes_)
