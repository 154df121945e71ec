"""A look at every text before a step is spent: what cannot be used is taken out, what is odd is named.

A text is looked at in `look`, near duplicates are found in `near`; class counts and duplicates are counted in
`graftwork.data.audit`. How texts compare with a backbone's longest input is told in `lengths`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from graftwork.classification.audit import check_labels
from graftwork.classification.encode import renumber
from graftwork.data.arrow import Texts, column_of
from graftwork.data.audit import check_duplicates, check_groups, first_rows
from graftwork.data.columns import add_column
from graftwork.data.fingerprint import CONTENT
from graftwork.errors import DataError
from graftwork.interfaces import Facts, Finding, Tables
from graftwork_text.look import LONG, Looks, look_at
from graftwork_text.near import check_near_texts

if TYPE_CHECKING:
    from datasets import Dataset

FREQUENT, FREQUENT_ROWS = 0.01, 20
"""Share and number of a split's rows from which on one text is reported as frequent."""

_SHOWN = 5

_TRAITS: dict[str, tuple[str, Literal["warning", "note"], str]] = {
    "replacement": ("replacement-character", "warning", "texts with U+FFFD, where bytes were lost on the way"),
    "mojibake": ("mojibake", "warning", "texts that were decoded by a wrong encoding (Ã© for é)"),
    "nul": ("nul-byte", "warning", "texts with NUL bytes (kept as they are)"),
    "control": ("control-character", "warning", "texts with control characters"),
    "bidi": ("bidirectional-control", "note", "texts with characters that turn the direction of writing"),
    "invisible": ("invisible-character", "note", "texts with invisible characters (zero width, soft hyphen)"),
    "printed": ("printed-value", "warning", "texts as a program prints bytes or lists (b'…', ['…'])"),
    "missing": ("text-like-missing", "warning", "texts that stand for none (nan, None, #N/A, #NAME?), kept"),
    "html": ("html-markup", "note", "texts with HTML tags or entities"),
}


def audit_texts(tables: Tables, labels: str) -> tuple[Tables, list[Finding]]:
    """Look at every text once and check labels, duplicates and leakage.

    Args:
        tables: splits with `text`, maybe `text_pair`, `label` and `origin`, all splits already made.
        labels: `single`, `multi` or `number`.

    Returns:
        The tables without rows that hold no text, with a column `content` (a digest of each row's text, which
        `graftwork.data.fingerprint` takes), and what was found. A split that keeps no row is a finding of level `error`.
    """
    looks = {split: look_at(rows) for split, rows in tables.splits.items()}
    findings = _empty(tables.splits, looks)
    findings += [
        Finding(
            "split-without-usable-rows", "error", f"none of the {len(seen.empty):,} {split} rows has a text", (split,)
        )
        for split, seen in looks.items()
        if seen.empty.all()
    ]
    traits = _traits(tables.splits, looks)
    splits = {split: _keep(rows, looks[split]) for split, rows in tables.splits.items()}
    origins = {split: Texts(column_of(rows, "origin")) for split, rows in splits.items()}
    contents = {split: Texts(column_of(rows, CONTENT)) for split, rows in splits.items()}
    coded, found = check_labels(
        {split: column_of(rows, "label") for split, rows in splits.items()}, tables.names, labels, origins
    )
    findings += found
    findings += check_duplicates(contents, coded.codes, origins, coded.names)  # type: ignore[arg-type]
    findings += check_groups(
        {split: rows["group"][:] for split, rows in splits.items() if "group" in rows.column_names}
    )
    findings += check_near_texts({split: rows for split, rows in splits.items() if len(rows)}, contents)
    findings += _frequent(tables.splits, looks)
    return replace(tables, splits=splits), findings + traits


def align_texts(tables: Tables, facts: Facts, labels: str) -> Tables:
    """Labelled texts for a model that is trained already: labels as its facts number them, unusable rows taken out.

    Raises:
        DataError: the data has classes that the model does not know, or a split keeps no row.
    """
    audited, found = audit_texts(renumber(tables, facts, labels), labels)
    lost = [finding.message for finding in found if finding.code == "split-without-usable-rows"]
    if lost:
        raise DataError("; ".join(lost))
    # That a class is rare or absent here says nothing against measuring a model on it.
    told = tuple(finding for finding in found if finding.level != "error")
    return Tables(audited.splits, (*tables.findings, *told), audited.names)


def _keep(rows: Dataset, looks: Looks) -> Dataset:
    rows = add_column(rows, CONTENT, looks.content.combine_chunks())
    return rows.select(np.flatnonzero(~looks.empty)) if looks.empty.any() else rows


def _empty(splits: Mapping[str, Dataset], looks: Mapping[str, Looks]) -> list[Finding]:
    return _found(
        "empty-text",
        "warning",
        "rows without a text (nothing, or only what cannot be seen), left out",
        splits,
        {split: seen.empty for split, seen in looks.items()},
    )


def _traits(splits: Mapping[str, Dataset], looks: Mapping[str, Looks]) -> list[Finding]:
    findings = []
    for trait, (code, level, message) in _TRAITS.items():
        rows = {split: seen.traits[trait] & ~seen.empty for split, seen in looks.items()}
        findings += _found(code, level, message, splits, rows)
    long = {split: (seen.length > LONG) & ~seen.empty for split, seen in looks.items()}
    return [
        *findings,
        *_found(
            "very-long-text",
            "warning",
            f"texts of more than {LONG:,} characters, of which a model reads little",
            splits,
            long,
        ),
    ]


def _found(
    code: str,
    level: Literal["error", "warning", "note"],
    message: str,
    splits: Mapping[str, Dataset],
    which: Mapping[str, NDArray[np.bool_]],
) -> list[Finding]:
    count = sum(int(rows.sum()) for rows in which.values())
    if not count:
        return []
    named = [f"{split}: {splits[split][row]['origin']}" for split, row in first_rows(which)]
    return [Finding(code, level, f"{message}: {count:,}", tuple(named), count)]


def _frequent(splits: Mapping[str, Dataset], looks: Mapping[str, Looks]) -> list[Finding]:
    """One text that fills many rows: a placeholder, often."""
    findings = []
    for split, seen in looks.items():
        rows = np.flatnonzero(~seen.empty)
        _, first, counts = np.unique(seen.number[rows], return_index=True, return_counts=True)
        often = np.flatnonzero(counts >= max(FREQUENT_ROWS, FREQUENT * len(rows)))
        for place in often[np.argsort(-counts[often], kind="stable")][:_SHOWN].tolist():
            text = splits[split][int(rows[first[place]])]["text"]
            message = f"one text is in {counts[place]:,} of {len(rows):,} {split} rows: {text[:60]!r}"
            findings.append(Finding("frequent-text", "note", message, (text[:200],), int(counts[place])))
    return findings
