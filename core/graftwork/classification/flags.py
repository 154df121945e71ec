"""Labels that stand in columns of 0 and 1, one a class: `picture, square, disc`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from graftwork.data.arrow import column_of
from graftwork.data.columns import add_column
from graftwork.errors import DataError
from graftwork.interfaces import Finding

if TYPE_CHECKING:
    from datasets import Dataset

_MEANT: Mapping[str, bool] = {
    **dict.fromkeys(("0", "0.0", "false"), False),
    **dict.fromkeys(("1", "1.0", "true"), True),
}
LABEL = "label"


def flag_columns(splits: Mapping[str, Dataset], taken: Sequence[str]) -> list[str]:
    """The columns of every split that hold nothing but 0 and 1 (or true and false), in their order.

    Args:
        taken: columns that are something else.
    """
    names: list[str] = []
    for number, rows in enumerate(splits.values()):
        here = [name for name in rows.column_names if name not in taken and _flags_of(rows, name) is not None]
        names = here if number == 0 else [name for name in names if name in here]
    return names


def labels_from_flags(
    splits: Mapping[str, Dataset], names: Sequence[str], kind: str, where: str
) -> tuple[dict[str, Dataset], Finding]:
    """The rows with `label` from columns of 0 and 1, which are taken away: class names, in a list for `multi`.

    Raises:
        DataError: one class a row is wanted, and some rows have none or several.
    """
    told = ", ".join(name.strip() for name in names[:10]) + (", …" if len(names) > 10 else "")
    labelled = {}
    classes = np.array([name.strip() for name in names], dtype=object)
    for split, rows in splits.items():
        flags = np.stack([np.asarray(_flags_of(rows, name)) for name in names], axis=1)
        if kind == "single":
            others = np.flatnonzero(flags.sum(axis=1) != 1)
            if len(others):
                raise DataError(
                    f"its columns of 0 and 1 ({told}) give {len(others):,} of {len(rows):,} rows no class or several",
                    where=f"{where} ({split})",
                    hint="For several classes a row: --set task_options.labels=multi. For one: --column label=NAME",
                )
            column = pa.array(classes[flags.argmax(axis=1)].tolist(), pa.string())
        else:
            column = pa.array([classes[row].tolist() for row in flags], pa.list_(pa.string()))
        labelled[split] = add_column(rows.remove_columns(list(names)), LABEL, column)
    return labelled, Finding("guessed-columns", "note", f"columns of 0 and 1 were taken as classes: {told}")


def _flags_of(rows: Dataset, name: str) -> list[bool] | None:
    """What each row says; None where the column holds something else."""
    column = column_of(rows, name)
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type) or not len(column):
        return None
    if not {_plain(value) for value in column[:100].to_pylist()} <= set(_MEANT):
        return None
    values = [_plain(value) for value in column.to_pylist()]
    return [_MEANT[value] for value in values] if set(values) <= set(_MEANT) else None


def _plain(value: object) -> str:
    return str(value).strip().lower()
