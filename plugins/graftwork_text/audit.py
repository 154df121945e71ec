"""A look at every text before a step is spent: what cannot be used is taken out, what is odd is named.

A text is looked at in `look`, near duplicates are found in `near`; class counts and duplicates are counted in
`graftwork.data.audit`. How texts compare with a backbone's longest input is told in `lengths`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from graftwork.data.arrow import Texts, column_of
from graftwork.data.audit import check_classes, check_duplicates, check_groups, first_rows
from graftwork.data.columns import add_column
from graftwork.data.fingerprint import CONTENT
from graftwork.interfaces import Finding, Tables
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
    "html": ("html-markup", "note", "texts with HTML tags or entities"),
}


@dataclass(frozen=True)
class _Labels:
    """Labels in the form that the checks of the core take: a number for every row, and what each number is called."""

    codes: dict[str, NDArray[np.int64]]
    names: Sequence[str]


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
    if labels == "single":
        codes = {split: column_of(rows, "label").to_numpy() for split, rows in splits.items()}
        coded = _Labels(codes, tables.names)
        findings += check_classes(codes, tables.names)
    elif labels == "multi":
        coded = _label_sets(splits, tables.names)
        findings += _check_multi(splits, tables.names, origins, coded)
    else:
        coded = _distinct_numbers(splits)
        findings += _check_numbers(splits, origins)
    findings += check_duplicates(contents, coded.codes, origins, coded.names)  # type: ignore[arg-type]
    findings += check_groups(
        {split: rows["group"][:] for split, rows in splits.items() if "group" in rows.column_names}
    )
    findings += check_near_texts({split: rows for split, rows in splits.items() if len(rows)}, contents)
    findings += _frequent(tables.splits, looks)
    return replace(tables, splits=splits), findings + traits


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


def _label_lists(rows: Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All labels of a split in one row, and how many each row has."""
    lists = column_of(rows, "label").combine_chunks()
    counts = np.asarray(lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)
    return lists.flatten().to_numpy(zero_copy_only=False).astype(np.int64), counts


def _label_sets(splits: Mapping[str, Dataset], names: Sequence[str]) -> _Labels:
    known: dict[tuple[int, ...], int] = {}
    codes = {}
    for split, rows in splits.items():
        flat, counts = _label_lists(rows)
        stops = np.cumsum(counts)
        codes[split] = np.fromiter(
            (
                known.setdefault(tuple(flat[stop - count : stop].tolist()), len(known))
                for stop, count in zip(stops.tolist(), counts.tolist(), strict=True)
            ),
            dtype=np.int64,
            count=len(counts),
        )
    return _Labels(codes, [", ".join(names[label] for label in labels) or "no label" for labels in known])


def _distinct_numbers(splits: Mapping[str, Dataset]) -> _Labels:
    values = {split: column_of(rows, "label").to_numpy() for split, rows in splits.items()}
    distinct = np.unique(np.concatenate(list(values.values()))) if values else np.empty(0)
    names = _Numbers(distinct)
    return _Labels({split: np.searchsorted(distinct, column) for split, column in values.items()}, names)


class _Numbers(Sequence[str]):
    """Numbers by what they read."""

    def __init__(self, values: NDArray[np.float64]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, row: Any) -> Any:
        return f"{self.values[row]:g}"


def _check_multi(
    splits: Mapping[str, Dataset], names: Sequence[str], origins: Mapping[str, Sequence[str]], coded: _Labels
) -> list[Finding]:
    lists = {split: _label_lists(rows) for split, rows in splits.items()}
    flat = {split: labels for split, (labels, _) in lists.items()}
    # One class alone is something to learn here, as long as some rows lack it.
    findings = [found for found in check_classes(flat, names) if found.code != "one-class-only"]  # type: ignore[arg-type]
    sets = {int(code) for codes in coded.codes.values() for code in np.unique(codes)}
    if len(sets) == 1:
        message = f"every row has the same labels ({coded.names[sets.pop()]}); there is nothing to learn"
        findings.append(Finding("constant-label", "error", message, (), sum(map(len, splits.values()))))
    none = {split: counts == 0 for split, (_, counts) in lists.items()}
    return [
        *findings,
        *_found("rows-without-labels", "note", "rows without any label, which is taken as such", splits, none),
    ]


def _check_numbers(splits: Mapping[str, Dataset], origins: Mapping[str, Sequence[str]]) -> list[Finding]:
    """A label that never varies, and values more than three interquartile ranges outside the quartiles (Tukey 1977)."""
    values = {split: column_of(rows, "label").to_numpy() for split, rows in splits.items() if len(rows)}
    if not values:
        return []
    train = values.get("train", next(iter(values.values())))
    if float(train.min()) == float(train.max()):
        message = f"the label of every training row is {train[0]:g}; there is nothing to learn"
        return [Finding("constant-label", "error", message, (), len(train))]
    low, high = np.quantile(train, [0.25, 0.75])
    reach = 3 * (high - low)
    if not reach:
        return []
    out = {split: (column < low - reach) | (column > high + reach) for split, column in values.items()}
    count = sum(int(rows.sum()) for rows in out.values())
    if not count:
        return []
    named = tuple(f"{split}: {origins[split][row]} ({values[split][row]:g})" for split, row in first_rows(out))
    message = f"labels far outside {low:g} to {high:g}, where half of the training rows lie: {count:,}"
    return [Finding("label-outlier", "note", message, named, count)]


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
