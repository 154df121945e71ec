"""What a row's label is: one class, several classes, or a number; encoded, and renumbered for a trained model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from graftwork.classification.forms import SEPARATOR, LabelForm, form_of
from graftwork.classification.notation import notation_of
from graftwork.classification.unlabelled import without_secret_labels
from graftwork.data.columns import add_column, encode_labels, label_text
from graftwork.data.names import class_name, same_numbers
from graftwork.errors import DataError
from graftwork.interfaces import DataRequest, Facts, Finding, Tables

if TYPE_CHECKING:
    from datasets import Dataset

_BATCH = 10_000
_SHOWN = 5
_OF_NUMBERS = 20
"""Classes; more, all of them fractions, are a measure and no classes."""
_FEW_NUMBERS = 5
"""Classes; more, all of them numbers, are a measure where most are of one row."""
_NUMBER = re.compile(r"[-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][-+]?\d+)?")


def encode(splits: Mapping[str, Dataset], labels: str, request: DataRequest, findings: Sequence[Finding]) -> Tables:
    """The splits with `label` encoded as `labels` says; what was seen on the way is added to the findings.

    Raises:
        DataError: no row has a usable label, or the column is of another kind.
    """
    where = request.source
    splits, secret = without_secret_labels(splits)
    names: tuple[str, ...] = ()
    if labels == "single":
        encoded, names, found = _single(splits, where)
    elif labels == "multi":
        encoded, names, found = _multi(splits, str(request.options.get("label_separator") or SEPARATOR), where)
    else:
        encoded, found = _numbers(splits, where)
    return Tables(encoded, (*findings, *secret, *found), names)


def renumber(tables: Tables, facts: Facts, labels: str) -> Tables:
    """Labelled rows for a model that is trained already: classes as its facts number them.

    Raises:
        DataError: the data has classes that the model does not know.
    """
    if labels == "number":
        return tables
    names = tuple(facts["classes"])
    index = {class_name(name): number for number, name in enumerate(names)}
    index |= {name: number for number, name in enumerate(names)}
    # `1.0` is the model's `1`, and the other way round.
    same = same_numbers([*tables.names, *names])
    index |= {name: index[other] for name, other in same.items() if other in index and name not in index}
    index |= {other: index[name] for name, other in same.items() if name in index and other not in index}
    used: set[int] = set()
    for rows in tables.splits.values():
        for values in _batches(rows):
            used.update(*values) if labels == "multi" else used.update(values)
    strangers = sorted(tables.names[old] for old in used if tables.names[old] not in index)
    if strangers:
        hint = f"It knows {', '.join(names[:12])}{', …' if len(names) > 12 else ''}"
        raise DataError(f"has classes that the model does not know: {', '.join(strangers[:12])}", hint=hint)
    new = [index.get(name, -1) for name in tables.names]
    splits = tables.splits
    if new != list(range(len(new))):
        renumbered = _renumber_many(new) if labels == "multi" else _renumber_one(new)
        splits = {split: _relabelled(rows, renumbered) for split, rows in splits.items()}
    return Tables(splits, tables.findings, names)


def _single(splits: Mapping[str, Dataset], where: str) -> tuple[dict[str, Dataset], tuple[str, ...], list[Finding]]:
    for rows in splits.values():
        if _inner(rows) is not None:
            raise DataError(
                "its label column holds lists", where=where, hint="--set task_options.labels=multi reads them"
            )
    encoded, names, found = encode_labels(splits, where)
    rows = sum(map(len, encoded.values()))
    if _are_numbers(names, rows):
        message = f"{len(names):,} classes of {rows:,} rows that are all numbers; --set task_options.labels=number learns numbers"
        found = [*found, Finding("labels-look-like-numbers", "warning", message, names[:_SHOWN], len(names))]
    form, _ = form_of([names], SEPARATOR)
    parted = [name for name in names if len(form.parts(name)) > 1]
    if form.printed or form.separator != SEPARATOR or (parted and _come_again(parted, names)):
        message = f"{len(parted):,} of {len(names):,} classes look like several; --set task_options.labels=multi reads them so"
        found = [*found, Finding("labels-look-like-several", "warning", message, tuple(parted[:_SHOWN]), len(parted))]
    return encoded, names, found


def _are_numbers(names: Sequence[str], rows: int) -> bool:
    """Whether classes are a measure: very many, all of them numbers and some fractions; or nearly one a row."""
    if not names or not all(_NUMBER.fullmatch(name) for name in names):
        return False
    fractions = any(not name.lstrip("+-").isdecimal() for name in names)
    return (len(names) > _OF_NUMBERS and fractions) or (len(names) > _FEW_NUMBERS and 2 * len(names) > rows)


def _come_again(parted: Sequence[str], names: Sequence[str]) -> bool:
    """Whether most of what parted names consist of are names too."""
    parts = [part.strip() for name in parted for part in name.split(SEPARATOR)]
    return sum(part in names for part in parts) >= 0.8 * len(parts)


def _multi(
    splits: Mapping[str, Dataset], separator: str, where: str
) -> tuple[dict[str, Dataset], tuple[str, ...], list[Finding]]:
    declared = {tuple(inner.names) for rows in splits.values() if hasattr(inner := _inner(rows), "names")}
    if len(declared) > 1:
        raise DataError("its splits declare different class names", where=where)
    known: tuple[str, ...] = next(iter(declared), ())

    cells = (values for rows in splits.values() for values in _batches(rows))
    form, findings = (LabelForm(separator), []) if known else form_of(cells, separator)

    def names_of(value: Any) -> list[str]:
        """A row's labels by name, each once."""
        if not known:
            return form.names(value)
        texts = []
        for part in form.parts(value):
            if isinstance(part, int):
                texts += [known[part]] if 0 <= part < len(known) else []
            elif (name := label_text(part)) is not None:
                texts.append(name)
        return list(dict.fromkeys(texts))

    if not known:
        seen: set[str] = set()
        for rows in splits.values():
            for values in _batches(rows):
                seen.update(name for value in values for name in names_of(value))
        whole = all(re.fullmatch(r"-?\d+", name) for name in seen)
        known_names = tuple(sorted(seen, key=lambda name: (int(name), name)) if whole else sorted(seen))
    else:
        known_names = known
    if not known_names:
        raise DataError("no row has a label", where=where)
    index = {name: number for number, name in enumerate(known_names)}
    strangers = _Strangers(index)

    def numbers(values: list[Any]) -> pa.Array:
        encoded = [sorted(strangers.known(names_of(value))) for value in values]
        return pa.array(encoded, pa.list_(pa.int64()))

    encoded = {split: _relabelled(rows, numbers) for split, rows in splits.items()}
    return encoded, known_names, [*findings, *strangers.findings()]


class _Strangers:
    """Labels by name that no ClassLabel declares: left out and counted."""

    def __init__(self, index: Mapping[str, int]) -> None:
        self.index = index
        self.unknown: dict[str, int] = {}

    def known(self, names: Sequence[str]) -> list[int]:
        for name in names:
            if name not in self.index:
                self.unknown[name] = self.unknown.get(name, 0) + 1
        return [self.index[name] for name in names if name in self.index]

    def findings(self) -> list[Finding]:
        if not self.unknown:
            return []
        message = f"labels that the data does not declare, left out: {sum(self.unknown.values()):,}"
        named = tuple(self.unknown)[:_SHOWN]
        return [Finding("undeclared-label", "warning", message, named, sum(self.unknown.values()))]


def _numbers(splits: Mapping[str, Dataset], where: str) -> tuple[dict[str, Dataset], list[Finding]]:
    encoded: dict[str, Dataset] = {}
    told: list[str] = []
    count = 0
    for rows in splits.values():
        if _inner(rows) is not None:
            raise DataError("its label column holds lists, not numbers", where=where)
    notation, commas = notation_of(
        (value for rows in splits.values() for values in _batches(rows) for value in values), where
    )
    for split, rows in splits.items():
        numbered = _relabelled(
            rows, lambda values: pa.array([notation.number(value) for value in values], pa.float64())
        )
        values = numbered.data.column("label").to_numpy()
        good = np.flatnonzero(np.isfinite(values))
        bad = np.flatnonzero(~np.isfinite(values))
        count += len(bad)
        for row in bad[: max(0, _SHOWN - len(told))].tolist():
            told.append(f"{split}: {numbered[row]['origin']}")
        if len(good):
            encoded[split] = numbered if len(good) == len(numbered) else numbered.select(good)
    if not encoded:
        cell = next((value for rows in splits.values() for values in _batches(rows) for value in values if value), None)
        shown = "" if cell is None else f" (such as {str(cell)[:40]!r})"
        hint = "Write plain numbers (3 for 3%), or leave out task_options.labels=number where labels are classes"
        raise DataError(f"no row's label is a finite number{shown}", where=where, hint=hint)
    if not count:
        return encoded, commas
    message = f"rows whose label is no finite number, left out: {count:,}"
    return encoded, [*commas, Finding("label-not-a-number", "warning", message, tuple(told), count)]


def _inner(rows: Dataset) -> Any:
    """The feature within a label column of lists; None where it holds no lists."""
    feature = rows.features["label"]
    if isinstance(feature, list):
        return feature[0]
    return getattr(feature, "feature", None)


def _batches(rows: Dataset) -> Iterator[list[Any]]:
    for batch in rows.select_columns("label").with_format("arrow").iter(batch_size=_BATCH):
        yield batch["label"].to_pylist()


def _renumber_one(new: Sequence[int]) -> Callable[[list[Any]], pa.Array]:
    return lambda values: pa.array([new[value] for value in values], pa.int64())


def _renumber_many(new: Sequence[int]) -> Callable[[list[Any]], pa.Array]:
    return lambda values: pa.array([sorted(new[v] for v in value) for value in values], pa.list_(pa.int64()))


def _relabelled(rows: Dataset, encode_batch: Callable[[list[Any]], pa.Array]) -> Dataset:
    """The rows with another `label`, made batch by batch; everything else stays where it lies."""
    column = pa.chunked_array([encode_batch(values) for values in _batches(rows)] or [encode_batch([])])
    return add_column(rows, "label", column.combine_chunks())
