"""Which rows a run has used, by what they hold: so that what it was trained on is known again in other data, under other names.

`rows.safetensors` in the run directory: 8 bytes a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graftwork.data.splits import UNLABELLED
from graftwork.errors import DataError
from graftwork.files.atomic import write_file
from graftwork.interfaces import Tables, Task
from graftwork.log import say

if TYPE_CHECKING:
    from datasets import Dataset

    from graftwork.runs.data import RunData

ROWS = "rows.safetensors"
LEFT_OUT = "left_out"
"""Training rows that `--limit-train` did not take: neither trained on nor part of the test split."""

Keys = NDArray[np.uint64]


def keys_of(contents: Iterable[str]) -> Keys:
    """64 bits of a hash of each row's content, [rows]: two of a million rows in a million are taken for one another once in
    ten million times."""
    return np.frombuffer(b"".join(blake2b(text.encode(), digest_size=8).digest() for text in contents), "<u8")


@dataclass(frozen=True)
class Known:
    """Rows that a run has used.

    Args:
        keys: of the rows by split, sorted; LEFT_OUT among the splits.
    """

    keys: Mapping[str, Keys]

    def have(self, keys: Keys, *splits: str) -> NDArray[np.bool_]:
        """Which of these rows are in one of the run's splits, [rows]."""
        found = np.zeros(len(keys), dtype=bool)
        for split in splits:
            found |= np.isin(keys, self.keys.get(split, np.empty(0, np.uint64)))
        return found


def keep_rows(folder: Path, data: RunData) -> None:
    """Write down which rows a run uses.

    Args:
        folder: of the run.
    """
    from safetensors.numpy import save

    keys = {split: np.unique(keys_of(data.task.contents(rows))) for split, rows in data.tables.splits.items()}
    if len(data.every) > len(data.tables.splits["train"]):
        keys[LEFT_OUT] = np.setdiff1d(keys_of(data.task.contents(data.every)), keys["train"])
    write_file(folder / ROWS, save(keys, {"format": "graftwork-rows/1"}))


def known_rows(run: Path) -> Known | None:
    """The rows of a run, or None where it kept none: a run of graftwork 0.1, or a model that was copied without its run."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return Known(load(((run if run.is_dir() else run.parent) / ROWS).read_bytes()))
    except (OSError, SafetensorError, ValueError):
        return None


@dataclass(frozen=True)
class Measured:
    """Rows to measure on.

    Args:
        rows: of the data.
        trained_on: how many of them the model was trained on; None where that cannot be known.
        left_out: rows of the data that were passed over, since the model was trained on them or its best epoch chosen by them.
    """

    rows: Dataset
    trained_on: int | None
    left_out: int


def rows_to_measure(task: Task, tables: Tables, split: str, known: Known | None, source: str) -> Measured:
    """The rows of a split; where the data has no such split, those of its training rows that are in the run's own one.

    Of data without splits, `test` is all that the run has neither trained on nor chosen its epoch by: its own test rows, and
    rows that it has never met.

    Args:
        source: the data, for messages.

    Raises:
        DataError: there is no such row.
    """
    if split not in tables.splits:
        return _own_split(task, tables, split, known, source)
    rows = tables.splits[split]
    if known is None:
        say(f"data: {_NOT_KNOWN}, so figures may be of rows that it was trained on")
        return Measured(rows, None, 0)
    keys = keys_of(task.contents(rows))
    trained, chosen = known.have(keys, "train", UNLABELLED), known.have(keys, "validation")
    chosen &= ~trained
    if trained.any():
        say(f"data: the model was trained on {_of(trained)} of these {len(rows):,} rows, so the figures are too good")
    if chosen.any():
        say(
            f"data: {_of(chosen)} of these {len(rows):,} rows have chosen its best epoch, so the figures are optimistic"
        )
    return Measured(rows, int(trained.sum()), 0)


_NOT_KNOWN = (
    f"which rows the model was trained on cannot be known without the run's {ROWS} (graftwork 0.1 kept none, and a model "
    "copied without its run has none)"
)


def _own_split(task: Task, tables: Tables, split: str, known: Known | None, source: str) -> Measured:
    there = ", ".join(tables.splits)
    rows = tables.splits.get("train")
    if rows is None or split not in ("validation", "test"):
        raise DataError(f"{source} has no split {split!r}", hint=f"It has {there}: pass --split")
    if known is None:
        hint = f"It has {there}: --split train measures on all of train"
        raise DataError(f"{source} has no split {split!r}, and {_NOT_KNOWN}", hint=hint)
    keys = keys_of(task.contents(rows))
    used = known.have(keys, "train", "validation", UNLABELLED, LEFT_OUT)
    wanted = known.have(keys, "validation") if split == "validation" else ~used
    if not wanted.any():
        why = (
            "no row of the run's validation split is in it"
            if split == "validation"
            else f"the run has trained on all of its {len(rows):,} rows, or chosen its best epoch by them"
        )
        hint = f"It has {there}: --split train measures on all of train"
        raise DataError(f"{source} has no split {split!r}, and {why}", hint=hint)
    own = known.have(keys, split) & wanted
    parts = [(own, f"of the run's own {split} split"), (wanted & ~own, "that the run has not met")]
    measured = " and ".join(f"{_of(which)} rows {what}" for which, what in parts if which.any())
    rest = f"; left out are {_of(~wanted)} that are in its other splits" if not wanted.all() else ""
    say(f"data: no split {split!r} here: measured on {measured}{rest}")
    return Measured(rows.select(np.flatnonzero(wanted)), 0, int((~wanted).sum()))


def _of(which: NDArray[np.bool_]) -> str:
    return f"{int(which.sum()):,}"
