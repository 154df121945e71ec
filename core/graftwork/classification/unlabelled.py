"""Splits that bring no labels though others do: a `test.csv` to be predicted, a test split with -1 for every label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from graftwork.data.arrow import column_of
from graftwork.data.choosing import guess_columns
from graftwork.data.columns import label_text
from graftwork.interfaces import Finding

if TYPE_CHECKING:
    from datasets import Dataset

_NONE = frozenset({"-1", "-1.0"})
"""What GLUE and others write where a label is kept secret."""


def without_label_column(
    splits: Mapping[str, Dataset], given: str | None, guesses: Mapping[str, Sequence[str]]
) -> tuple[dict[str, Dataset], list[Finding]]:
    """Without those splits that lack the label column that others have.

    Args:
        splits: as they were read.
        given: the label column as the user named it.
        guesses: usual names by canonical column, `label` among them.
    """
    labelled = {
        split: rows
        for split, rows in splits.items()
        if (given in rows.column_names if given else "label" in guess_columns(rows.column_names, guesses))
    }
    if not labelled or len(labelled) == len(splits):
        return dict(splits), []
    return labelled, lacking(split for split in splits if split not in labelled)


def without_secret_labels(splits: Mapping[str, Dataset]) -> tuple[dict[str, Dataset], list[Finding]]:
    """Without those splits whose every label is -1, where the others have no such label and whole numbers alone.

    Args:
        splits: with a column `label`, not encoded.
    """
    if len(splits) < 2 or any(pa.types.is_nested(rows.data.column("label").type) for rows in splits.values()):
        return dict(splits), []
    seen = {
        split: {label_text(value) for value in column_of(rows, "label").unique().to_pylist()} - {None}
        for split, rows in splits.items()
    }
    secret = [split for split, values in seen.items() if values and values <= _NONE]
    others = {value for split, values in seen.items() if split not in secret for value in values}
    if not secret or not others or not all(_is_no_less_than_nothing(value) for value in others):
        return dict(splits), []
    told = lacking(secret, "splits whose every label is -1, which says none, not used")
    return {split: rows for split, rows in splits.items() if split not in secret}, told


def lacking(
    splits: Iterable[str], message: str = "splits whose table has no column of labels, not used"
) -> list[Finding]:
    """The finding for splits without labels."""
    named = tuple(splits)
    return [Finding("unlabelled-split", "warning", f"{message}: {len(named)}", named, len(named))]


def _is_no_less_than_nothing(value: str | None) -> bool:
    try:
        return value is not None and float(value) >= 0
    except ValueError:
        return False
