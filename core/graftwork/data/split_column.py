"""A table that says in a column which split each row belongs to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from graftwork.data.arrow import column_of
from graftwork.data.splits import SPLITS, canonical_split
from graftwork.interfaces.data import Finding

if TYPE_CHECKING:
    from datasets import Dataset

NAMES = (
    "split",
    "splits",
    "set",
    "subset",
    "partition",
    "phase",
    "usage",
    "data_split",
    "split_name",
    "dataset",
    "fold",
)
"""What such a column is called, in lower case."""

_SHOWN = 5


def split_by_column(
    splits: Mapping[str, Dataset], taken: Collection[str]
) -> tuple[Mapping[str, Dataset], list[Finding]]:
    """Rows that come as one split, by the column that says which each belongs to.

    That is a column with a usual name in which every row has a split's usual name (`train`, `Valid`, `TEST`), and train is among
    them. Without one, everything stays.

    Args:
        splits: rows as they were read.
        taken: columns that mean something else.
    """
    if set(splits) != {"train"}:
        return splits, []
    rows = splits["train"]
    for name in rows.column_names:
        if name.strip().lower() not in NAMES or name in taken or getattr(rows.features[name], "dtype", "") != "string":
            continue
        values = column_of(rows, name).to_pylist()
        meant = {value: canonical_split(value or "") for value in set(values)}
        named = set(meant.values())
        if None not in named and "train" in named and len(named) > 1:
            homes = np.array([meant[value] for value in values])
            left = rows.remove_columns(name)
            found = {split: left.select(np.flatnonzero(homes == split)) for split in SPLITS if split in named}
            sizes = ", ".join(f"{len(part):,} {split}" for split, part in found.items())
            message = f"rows are in the splits that the column {name!r} says: {sizes}"
            return found, [Finding("splits-from-column", "note", message, (name,), len(rows))]
        if "train" in named:
            others = tuple(sorted(str(value) for value, split in meant.items() if split is None))
            message = f"the column {name!r} is not used for splits, since it holds other values than train, validation and test"
            return splits, [Finding("split-column-not-used", "warning", message, others[:_SHOWN], len(others))]
    return splits, []
