"""Labelled data for a model that is trained already: masks under the class numbers that its facts give."""

from __future__ import annotations

from graftwork.interfaces import Facts, Tables
from graftwork.vision.audit import to_measure_on
from graftwork_segmentation.audit import audit_segmentation
from graftwork_segmentation.masks import remap


def align(tables: Tables, facts: Facts) -> Tables:
    """The tables with the model's class numbers, audited; that a class is rare or absent says nothing against measuring.

    Raises:
        DataError: the masks have classes that the model does not know, or no picture can be used.
    """
    classes = tuple(facts["classes"])
    splits = {split: remap(rows, tables.names, classes) for split, rows in tables.splits.items()}
    audited, found = audit_segmentation(Tables(splits, tables.findings, classes))
    return to_measure_on(tables, audited, found, facts)
