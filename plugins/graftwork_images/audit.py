"""The audit of labelled images: pictures (`graftwork.vision.audit`) and their classes."""

from __future__ import annotations

from dataclasses import replace

from graftwork.data.arrow import column_of
from graftwork.data.audit import check_classes
from graftwork.interfaces import Finding, Tables
from graftwork.vision.audit import Seen, check_alike, check_shapes, see_pictures

NARROW = 6.0
"""Longer by shorter side; from here on a square crop sees little of an image."""


def audit_images(tables: Tables) -> tuple[Tables, list[Finding]]:
    """Decode every image once and check classes, duplicates and leakage.

    Args:
        tables: splits with `image`, `label` and `origin`, all splits already made.

    Returns:
        The tables without rows that cannot be decoded, with a column `content`, and what was found.
    """
    seen = see_pictures(tables)
    labels = {split: column_of(rows, "label").to_numpy() for split, rows in seen.tables.splits.items()}
    findings = [
        *seen.findings,
        *check_classes(labels, tables.names),
        *check_alike(seen, labels, tables.names),
        *check_shapes(seen),
        *_narrow(seen),
    ]
    return replace(tables, splits=seen.tables.splits), findings


def _narrow(seen: Seen) -> list[Finding]:
    message = f"images {NARROW:g} times as long as wide, or more, of which a crop sees little"
    return seen.found(
        "narrow-image", "warning", message, lambda looks: looks.longer >= NARROW * looks.shorter, sizes=True
    )
