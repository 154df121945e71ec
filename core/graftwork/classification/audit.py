"""The audit of labels, whatever is labelled and whatever a label is: class counts, constant labels, outlying numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftwork.data.audit import check_classes, first_rows
from graftwork.interfaces import Finding

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Coded:
    """Labels in the form that the checks of the core take: a number for every row, and what each number is called."""

    codes: dict[str, NDArray[np.int64]]
    names: Sequence[str]


def check_labels(
    labels: Mapping[str, pa.ChunkedArray], names: Sequence[str], kind: str, origins: Mapping[str, Sequence[str]]
) -> tuple[Coded, list[Finding]]:
    """What the labels show, and a number for every row that is equal where labels are.

    Args:
        labels: the column `label` of every split: class indices, lists of them, or numbers.
        names: of the classes.
        kind: `single`, `multi` or `number`.
        origins: what each row is called.
    """
    if kind == "single":
        codes = {split: column.to_numpy() for split, column in labels.items()}
        return Coded(codes, names), check_classes(codes, names)
    if kind == "multi":
        coded = _label_sets(labels, names)
        return coded, _check_multi(labels, names, origins, coded)
    return _distinct_numbers(labels), _check_numbers(labels, origins)


def _label_lists(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All labels of a split in one row, and how many each row has."""
    lists = column.combine_chunks()
    counts = np.asarray(lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)
    return lists.flatten().to_numpy(zero_copy_only=False).astype(np.int64), counts


def _label_sets(labels: Mapping[str, pa.ChunkedArray], names: Sequence[str]) -> Coded:
    known: dict[tuple[int, ...], int] = {}
    codes = {}
    for split, column in labels.items():
        flat, counts = _label_lists(column)
        stops = np.cumsum(counts)
        codes[split] = np.fromiter(
            (
                known.setdefault(tuple(flat[stop - count : stop].tolist()), len(known))
                for stop, count in zip(stops.tolist(), counts.tolist(), strict=True)
            ),
            dtype=np.int64,
            count=len(counts),
        )
    return Coded(codes, [", ".join(names[label] for label in one) or "no label" for one in known])


def _distinct_numbers(labels: Mapping[str, pa.ChunkedArray]) -> Coded:
    values = {split: column.to_numpy() for split, column in labels.items()}
    distinct = np.unique(np.concatenate(list(values.values()))) if values else np.empty(0)
    names = _Numbers(distinct)
    return Coded({split: np.searchsorted(distinct, column) for split, column in values.items()}, names)


class _Numbers(Sequence[str]):
    """Numbers by what they read."""

    def __init__(self, values: NDArray[np.float64]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, row: Any) -> Any:
        return f"{self.values[row]:g}"


def _check_multi(
    labels: Mapping[str, pa.ChunkedArray], names: Sequence[str], origins: Mapping[str, Sequence[str]], coded: Coded
) -> list[Finding]:
    lists = {split: _label_lists(column) for split, column in labels.items()}
    flat = {split: values for split, (values, _) in lists.items()}
    # One class alone is something to learn here, as long as some rows lack it.
    findings = [found for found in check_classes(flat, names) if found.code != "one-class-only"]  # type: ignore[arg-type]
    sets = {int(code) for codes in coded.codes.values() for code in np.unique(codes)}
    if len(sets) == 1:
        message = f"every row has the same labels ({coded.names[sets.pop()]}); there is nothing to learn"
        findings.append(Finding("constant-label", "error", message, (), sum(map(len, labels.values()))))
    none = {split: counts == 0 for split, (_, counts) in lists.items()}
    count = sum(int(rows.sum()) for rows in none.values())
    if count:
        named = tuple(f"{split}: {origins[split][row]}" for split, row in first_rows(none))
        message = f"rows without any label, which is taken as such: {count:,}"
        findings.append(Finding("rows-without-labels", "note", message, named, count))
    return findings


def _check_numbers(labels: Mapping[str, pa.ChunkedArray], origins: Mapping[str, Sequence[str]]) -> list[Finding]:
    """A label that never varies, and values more than three interquartile ranges outside the quartiles (Tukey 1977)."""
    values = {split: column.to_numpy() for split, column in labels.items() if len(column)}
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
