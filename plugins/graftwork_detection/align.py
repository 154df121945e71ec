"""Labelled data for a detector that is trained already: objects under the class numbers that its facts give."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graftwork.errors import DataError
from graftwork.interfaces import Facts, Tables
from graftwork.vision.audit import to_measure_on
from graftwork_detection.audit import audit_detection

if TYPE_CHECKING:
    from datasets import Dataset


def align(tables: Tables, facts: Facts) -> Tables:
    """The tables with the model's class numbers, audited; that a class is rare or absent says nothing against measuring.

    Raises:
        DataError: the data has objects of classes that the model does not know, or no picture that can be read.
    """
    classes = list(facts["classes"])
    index = {name: number for number, name in enumerate(classes)}
    new = [index.get(name, -1) for name in tables.names]
    splits = {split: _renumbered(rows, new) for split, rows in tables.splits.items()}
    strangers = sorted(
        {
            tables.names[old]
            for rows in tables.splits.values()
            for objects in rows["objects"][:]
            for old in objects["category"]
            if new[old] < 0
        }
    )
    if strangers:
        hint = f"It knows {', '.join(classes[:12])}"
        raise DataError(f"has classes that the model does not know: {', '.join(strangers[:12])}", hint=hint)
    audited, found = audit_detection(Tables(splits, tables.findings, tuple(classes)))
    return to_measure_on(tables, audited, found, facts)


def _renumbered(rows: Dataset, new: list[int]) -> Dataset:
    from datasets import Dataset

    objects = [{**row, "category": [new[old] for old in row["category"]]} for row in rows["objects"][:]]
    column = Dataset.from_dict({"objects": objects}, features=rows.select_columns(["objects"]).features)
    return _beside(rows, column)


def _beside(rows: Dataset, column: Dataset) -> Dataset:
    from datasets import concatenate_datasets

    return concatenate_datasets([rows.remove_columns("objects"), column], axis=1)
