"""The audit of labelled images: pictures (`graftwork.vision.audit`) and their classes."""

from __future__ import annotations

from dataclasses import replace

from graftwork.classification.audit import check_labels
from graftwork.data.arrow import column_of
from graftwork.data.splits import row_keys
from graftwork.interfaces import Finding, Tables
from graftwork.vision.audit import Seen, check_alike, check_shapes, see_pictures

NARROW = 6.0
"""Longer by shorter side; from here on a square crop sees little of an image."""


def audit_images(tables: Tables, kind: str = "single") -> tuple[Tables, list[Finding]]:
    """Decode every image once and check classes, duplicates and leakage.

    Args:
        tables: splits with `image`, `label` and `origin`, all splits already made.
        kind: of the labels: `single`, `multi` or `number`.

    Returns:
        The tables without rows that cannot be decoded, with a column `content`, and what was found.
    """
    seen = see_pictures(tables)
    splits = seen.tables.splits
    labels = {split: column_of(rows, "label") for split, rows in splits.items()}
    coded, found = check_labels(labels, tables.names, kind, {split: row_keys(rows) for split, rows in splits.items()})
    findings = [
        *seen.findings,
        *found,
        *check_alike(seen, coded.codes, coded.names),  # type: ignore[arg-type]
        *check_shapes(seen),
        *_narrow(seen),
    ]
    return replace(tables, splits=splits), findings


def _narrow(seen: Seen) -> list[Finding]:
    message = f"images {NARROW:g} times as long as wide, or more, of which a crop sees little"
    return seen.found(
        "narrow-image", "warning", message, lambda looks: looks.longer >= NARROW * looks.shorter, sizes=True
    )
