"""Checks of labelled data that need no domain: class counts, class names, duplicates by content.

What a row contains is not looked at here: a plugin brings content hashes.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.data.names import looks_missing
from graftwork.interfaces.data import Finding

FEW_ROWS = 5
"""Rows; a class with fewer in training is reported."""

IMBALANCE = 3.0
"""Largest class by smallest, in training; from here on reported, from ten times on as a warning."""

_SHOWN = 5

Labels = Mapping[str, Sequence[int]]


def check_classes(labels: Labels, names: Sequence[str]) -> list[Finding]:
    """Empty classes, classes with few rows, one class only, classes that are missing in a split, and similar names.

    Args:
        labels: class index of every row, by split.
        names: class names by index.
    """
    counts = {
        split: np.bincount(np.asarray(rows, dtype=np.int64), minlength=len(names)) for split, rows in labels.items()
    }
    total = np.sum(list(counts.values()), axis=0) if counts else np.zeros(len(names), dtype=np.int64)
    present = [index for index in range(len(names)) if total[index]]
    findings = similar_names(names)
    missing = [f"{names[index]} ({total[index]:,} rows)" for index in present if looks_missing(names[index])]
    message = "classes called as other programs write a missing value; empty the label of these rows if they have none"
    findings += _named("class-like-missing", "warning", message, missing)
    if len(present) < 2:
        only = f"only one class, {names[present[0]]!r}" if present else "no class"
        findings.append(
            Finding("one-class-only", "error", f"the data has {only}; at least two are needed", (), len(present))
        )
        return findings
    findings += _named(
        "empty-class", "warning", "classes without any row", [names[i] for i in range(len(names)) if not total[i]]
    )
    findings += _missing_in_splits(counts, present, names)
    train = counts.get("train")
    if train is not None:
        few = [f"{names[i]} ({train[i]})" for i in present if 0 < train[i] < FEW_ROWS]
        findings += _named("few-rows", "warning", f"classes with fewer than {FEW_ROWS} training rows", few)
        findings += _imbalance(train, names)
    return findings


def similar_names(names: Sequence[str]) -> list[Finding]:
    """Class names that differ only by letter case, white space or Unicode form."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike["".join(sign for sign in unicodedata.normalize("NFKC", name).casefold() if not _is_blank(sign))].append(
            name
        )
    groups = [" / ".join(map(repr, group)) for group in alike.values() if len(group) > 1]
    return _named(
        "similar-class-names",
        "warning",
        "classes that differ only by letter case or white space, and may be one",
        groups,
    )


def _is_blank(sign: str) -> bool:
    return sign.isspace() or unicodedata.category(sign) == "Cf"


def check_duplicates(
    contents: Mapping[str, Sequence[str]],
    labels: Labels,
    origins: Mapping[str, Sequence[str]],
    names: Sequence[str],
) -> list[Finding]:
    """Rows with equal content, each told once: in several splits (leakage); else with different labels; else within a split.

    Args:
        contents: a hash of every row's content, by split.
        labels: class index of every row, by split.
        origins: what every row is called, by split.
        names: class names by index.
    """
    # Of most rows eight bytes are kept: only what shares them with another row is worth an entry.
    short = {split: np.fromiter(map(hash, column), np.int64, len(column)) for split, column in contents.items()}
    values, counts = np.unique(np.concatenate([np.empty(0, np.int64), *short.values()]), return_counts=True)
    repeated = values[counts > 1]
    places: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for split, column in short.items():
        for row in np.flatnonzero(np.isin(column, repeated)).tolist():
            places[contents[split][row]].append((split, row))
    across: list[str] = []
    within: list[str] = []
    torn: list[str] = []
    leaked: dict[str, int] = defaultdict(int)
    leaked_torn = 0
    for group in (group for group in places.values() if len(group) > 1):
        told = " = ".join(_place(split, row, labels, origins, names) for split, row in group[:3])
        splits = [split for split, _ in group]
        differ = len({labels[split][row] for split, row in group}) > 1
        if len(set(splits)) > 1:
            across.append(told)
            leaked_torn += differ
            for split in set(splits) - {"train" if "train" in splits else splits[0]}:
                leaked[split] += splits.count(split)
        else:
            (torn if differ else within).append(told)
    share = ", ".join(f"{count:,} of {len(contents[split]):,} {split} rows" for split, count in leaked.items())
    torn_too = f", {leaked_torn:,} of them with different labels" if leaked_torn else ""
    return [
        *_named(
            "duplicate-across-splits",
            "warning",
            f"contents that occur in several splits ({share}){torn_too}, which is leakage",
            across,
        ),
        *_named("duplicate-with-other-label", "warning", "contents with different labels", torn),
        *_named("duplicate-within-split", "note", "contents that occur more than once within a split", within),
    ]


def check_groups(groups: Mapping[str, Sequence[str | None]]) -> list[Finding]:
    """Groups (patients, cameras) that have rows in several splits, which only splits that the data brought can have.

    Args:
        groups: the group of every row, by split; None where it is in none.
    """
    homes: dict[str, list[str]] = defaultdict(list)
    for split, values in groups.items():
        for group in dict.fromkeys(values):
            if group is not None:
                homes[group].append(split)
    torn = [f"{group} ({', '.join(splits)})" for group, splits in homes.items() if len(splits) > 1]
    return _named("group-across-splits", "warning", "groups with rows in several splits, which is leakage", torn)


def first_rows(which: Mapping[str, NDArray[np.bool_]], count: int = _SHOWN) -> list[tuple[str, int]]:
    """Split and number of the first rows that are marked.

    Args:
        which: a mark for every row, by split.
        count: the most of them.
    """
    places = [(split, row) for split, rows in which.items() for row in np.flatnonzero(rows)[:count].tolist()]
    return places[:count]


def _missing_in_splits(
    counts: Mapping[str, NDArray[Any]], present: Sequence[int], names: Sequence[str]
) -> list[Finding]:
    lonely: list[str] = []
    missing: dict[str, list[str]] = defaultdict(list)
    for index in present:
        homes = [split for split, count in counts.items() if count[index]]
        if len(counts) > 1 and len(homes) == 1:
            lonely.append(f"{names[index]} (only {homes[0]})")
        for split in set(counts) - set(homes) if len(homes) > 1 else ():
            missing[split].append(names[index])
    findings = _named("label-in-one-split-only", "warning", "classes that occur in one split only", lonely)
    for split, absent in sorted(missing.items()):
        findings += _named("class-missing-in-split", "warning", f"classes without {split} rows", absent)
    return findings


def _imbalance(train: NDArray[Any], names: Sequence[str]) -> list[Finding]:
    order = sorted((int(count), name) for count, name in zip(train, names, strict=True) if count)
    if len(order) < 2 or order[-1][0] < IMBALANCE * order[0][0]:
        return []
    (small, smallest), (large, largest) = order[0], order[-1]
    message = (
        f"the largest class, {largest!r} ({large:,} training rows), has {large / small:.1f} times the rows of the smallest, "
        f"{smallest!r} ({small:,}); look at macro-F1, or use --imbalance"
    )
    level = "warning" if large >= 10 * small else "note"
    return [Finding("class-imbalance", level, message, (smallest, largest), len(order))]  # type: ignore[arg-type]


def _place(split: str, row: int, labels: Labels, origins: Mapping[str, Sequence[str]], names: Sequence[str]) -> str:
    return f"{split}: {origins[split][row]} ({names[labels[split][row]]})"


def _named(code: str, level: Any, message: str, things: Sequence[str]) -> list[Finding]:
    if not things:
        return []
    return [Finding(code, level, f"{message}: {len(things):,}", tuple(things[:_SHOWN]), len(things))]
