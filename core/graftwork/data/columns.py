"""A table's columns under canonical names, and its labels as class indices."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftwork.data.arrow import column_of, dataset_of, distinct_values
from graftwork.data.choosing import choose_columns
from graftwork.data.choosing import guess_columns as guess_columns
from graftwork.data.headers import without_headers
from graftwork.data.names import class_name, same_numbers
from graftwork.data.objects import field_of, fields_of, refuse_objects
from graftwork.data.split_column import split_by_column
from graftwork.data.splits import row_keys
from graftwork.errors import DataError, UsageError, did_you_mean
from graftwork.interfaces.data import Finding

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

LABEL_NAMES = ("label", "labels", "class", "category", "target")
"""Usual names of a label column, most likely first."""

OWN_ORIGIN = "origin (column)"
"""What a data set's own column `origin` is called here: `origin` are the names of rows."""

_SHOWN = 5


def own_origin_aside(rows: Dataset) -> Dataset:
    """Rows of other people, whose own column `origin` must not be taken for names of rows, with that column as `OWN_ORIGIN`."""
    if "origin" not in rows.column_names:
        return rows
    if OWN_ORIGIN in rows.column_names:
        rows = rows.rename_column(OWN_ORIGIN, f"{OWN_ORIGIN} 2")
    return rows.rename_column("origin", OWN_ORIGIN)


def with_origin(rows: Dataset, name: str) -> Dataset:
    """The rows with `origin` as `NAME row N`, N from 1; an `origin` column that is there already is kept."""
    if "origin" in rows.column_names:
        return rows
    import pyarrow as pa
    from pyarrow import compute

    numbers = pa.array(np.arange(1, len(rows) + 1)).cast(pa.string())
    return add_column(rows, "origin", compute.binary_join_element_wise(f"{name} row ", numbers, ""))


def add_column(rows: Dataset, name: str, values: Sequence[Any] | pa.Array) -> Dataset:
    """The rows with one more column of text or numbers, a value a row; a column of that name is replaced.

    `Dataset.add_column` would first copy all data of a selection (a split is one), which for images in Parquet is all of
    them; here the column is laid beside the untouched data and the same rows are selected again.
    """
    import pyarrow as pa

    if name in rows.column_names:
        return add_column(rows, "_new", values).remove_columns(name).rename_column("_new", name)
    column = values if isinstance(values, pa.Array) else pa.array(list(values))
    # They are uint64, and rows in a row start at a number that datasets then makes a float of.
    chosen = None if rows._indices is None else rows._indices.column(0).to_numpy().astype(np.int64)
    if chosen is None:
        return _beside(rows, name, column)
    if not len(chosen) or len(np.unique(chosen)) < len(chosen):
        return _beside(rows.flatten_indices(), name, column)
    source = np.full(len(rows.data), -1)
    source[chosen] = np.arange(len(chosen))
    return _beside(rows, name, column.take(pa.array(source, mask=source < 0))).select(chosen)


def _beside(rows: Dataset, name: str, column: pa.Array) -> Dataset:
    """All the data that `rows` chose from, with a column as long as that data."""
    from datasets import Features
    from datasets.table import InMemoryTable, concat_tables

    added = InMemoryTable.from_pydict({name: column})
    features = Features({**rows.features, **Features.from_arrow_schema(added.schema)})
    return dataset_of(concat_tables([rows.data, added], axis=1), features, rows)


def map_columns(
    splits: Mapping[str, Dataset],
    guesses: Mapping[str, Sequence[str]],
    columns: Mapping[str, str],
    group_by: str | None,
    where: str,
) -> tuple[dict[str, Dataset], list[Finding]]:
    """Only the canonical columns, `origin`, and `group` as text where wanted; other columns are named in a finding.

    Args:
        splits: rows as they were read.
        guesses: every canonical column that is needed, with usual names of it, most likely first.
        columns: canonical column to the source's column, as the user gave it.
        group_by: the source's column that becomes `group`.
        where: the source, for messages.

    Rows that come as one split are parted by a column that says their splits, see `graftwork.data.split_column`.

    A source's column may also be given by its number, from 1, and a field of a column of objects as `COLUMN.FIELD`.

    Raises:
        DataError: a column is missing; lists those that are there.
        UsageError: `columns` has a canonical name that is not wanted.
    """
    for canonical in columns:
        if canonical not in guesses:
            hint = did_you_mean(canonical, list(guesses))
            raise UsageError(
                f"unknown column {canonical!r} in --column", where=f"{canonical}={columns[canonical]}", hint=hint
            )
    mapped: dict[str, Dataset] = {}
    splits, findings = split_by_column(splits, {*columns.values(), group_by or ""})
    if any(OWN_ORIGIN in rows.column_names for rows in splits.values()):
        columns = {canonical: _own(source) for canonical, source in columns.items()}
        group_by = _own(group_by) if group_by else None
    for split, rows in splits.items():
        rows = _with_fields(rows, columns.values())
        fields = {field.name: [inner.name for inner in field.type] for field in rows.data.schema if _is_struct(field)}
        chosen = choose_columns(rows.column_names, guesses, columns, group_by, f"{where} ({split})", fields)
        if "label" in chosen:
            refuse_objects(rows, chosen["label"], where)
        rows, repeated = without_headers(rows, chosen)
        findings += repeated
        wanted = {source: canonical for canonical, source in chosen.items()}
        unused = [name for name in rows.column_names if name not in wanted and name != "origin"]
        kept = rows.select_columns([*wanted, "origin"] if "origin" in rows.column_names else list(wanted))
        renames = {source: canonical for source, canonical in wanted.items() if source != canonical}
        mapped[split] = _group_as_text(kept.rename_columns(renames) if renames else kept)
        findings += _column_findings(chosen, columns, unused)
    return mapped, list(dict.fromkeys(findings))


def taken_columns(
    splits: Mapping[str, Dataset], guesses: Mapping[str, Sequence[str]], columns: Mapping[str, str], where: str
) -> dict[str, str]:
    """Canonical column to the source's column, as `map_columns` takes them from the first split: what a model remembers."""
    names = _with_fields(next(iter(splits.values())), columns.values()).column_names
    own = OWN_ORIGIN in names
    chosen = choose_columns(
        names, guesses, {name: _own(source) if own else source for name, source in columns.items()}, None, where
    )
    return {canonical: "origin" if source == OWN_ORIGIN else source for canonical, source in chosen.items()}


def encode_labels(
    splits: Mapping[str, Dataset], where: str
) -> tuple[dict[str, Dataset], tuple[str, ...], list[Finding]]:
    """The column `label` as int64 class indices, and the class names.

    Names come from a ClassLabel feature; else they are the distinct values of all splits as `class_name` has them, sorted as
    numbers where all are whole numbers, else as text; `1.0` is `1` where there is a `1` too. Rows without a label (null, NaN,
    empty text, ClassLabel's -1) are left out and counted.

    Raises:
        DataError: a split's ClassLabel names differ from another's, labels are objects or lists, or no row has a label.
    """
    import pyarrow as pa

    for rows in splits.values():
        _refuse_nested(rows, where)
    declared = _declared_names(splits, where)
    texts = {split: _label_texts(rows, declared) for split, rows in splits.items()}
    findings: list[Finding] = []
    if declared is None:
        found = {text for distinct, _ in texts.values() for text in distinct if text is not None}
        same = same_numbers(found)
        names = tuple(_sorted_names(found - set(same)))
        if same:
            message = (
                f"classes that are one whole number, written with and without a point, taken as one: {len(same):,}"
            )
            findings.append(Finding("same-number-classes", "note", message, tuple(sorted(same))[:_SHOWN], len(same)))
    else:
        names, same = declared, {}
    index = {name: number for number, name in enumerate(names)}
    index |= {name: index[other] for name, other in same.items()}
    encoded: dict[str, Dataset] = {}
    missing: list[str] = []
    for split, rows in splits.items():
        distinct, places = texts[split]
        numbers = np.array([-1 if text is None else index[text] for text in distinct], dtype=np.int64)
        labels = numbers[places]
        keep = np.flatnonzero(labels >= 0)
        numbered = add_column(rows, "label", pa.array(labels))
        if len(keep) < len(rows):
            origins = row_keys(rows)
            missing += [f"{split}: {origins[row]}" for row in np.flatnonzero(labels < 0).tolist()]
        if len(keep):
            encoded[split] = numbered if len(keep) == len(rows) else numbered.select(keep)
    if not encoded:
        raise DataError("no row has a label", where=where)
    if missing:
        message = f"rows without a label, left out: {len(missing):,}"
        findings.append(Finding("missing-label", "warning", message, tuple(missing[:_SHOWN]), len(missing)))
    return encoded, names, findings


def _with_fields(rows: Dataset, sources: Iterable[str]) -> Dataset:
    """With a column for every `COLUMN.FIELD` that is asked for."""
    import pyarrow as pa

    for source in sources:
        name, *fields = source.split(".")
        if source in rows.column_names or not fields or name not in rows.column_names:
            continue
        column = column_of(rows, name)
        for field in fields:
            if field not in (known := fields_of(column)):
                told = ", ".join(known) or "none"
                raise DataError(f"its column {name!r} has no field {field!r}; its fields: {told}", where=source)
            column = pa.chunked_array([field_of(column, field)])
        rows = add_column(rows, source, column.combine_chunks())
    return rows


def _is_struct(field: pa.Field) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_struct(field.type))


def _column_findings(chosen: Mapping[str, str], given: Mapping[str, str], unused: Sequence[str]) -> list[Finding]:
    findings = []
    guessed = {key: name for key, name in chosen.items() if key not in given and key not in (name, "group")}
    if guessed:
        told = ", ".join(f"{canonical}={source}" for canonical, source in guessed.items())
        findings.append(Finding("guessed-columns", "note", f"columns were taken by their usual names: {told}"))
    if unused:
        message = f"unused columns: {', '.join(unused[:10])}{', …' if len(unused) > 10 else ''}"
        findings.append(Finding("unused-columns", "note", message, tuple(unused), len(unused)))
    return findings


def _own(source: str) -> str:
    return OWN_ORIGIN if source == "origin" else source


def _group_as_text(rows: Dataset) -> Dataset:
    """The column `group` as text, null where a row has no value: it is in no group."""
    import pyarrow as pa

    if "group" not in rows.column_names:
        return rows
    values = [None if value in (None, "") else str(value) for value in rows["group"][:]]
    return add_column(rows, "group", pa.array(values, pa.string()))


def _declared_names(splits: Mapping[str, Dataset], where: str) -> tuple[str, ...] | None:
    from datasets import ClassLabel

    declared = {
        tuple(rows.features["label"].names)
        for rows in splits.values()
        if isinstance(rows.features["label"], ClassLabel)
    }
    if len(declared) > 1:
        raise DataError("its splits declare different class names", where=where)
    return next(iter(declared), None)


def _label_texts(rows: Dataset, names: tuple[str, ...] | None) -> tuple[list[str | None], NDArray[np.int64]]:
    """The distinct labels as text, None for one that says nothing, and which of them every row has."""
    values, places = distinct_values(column_of(rows, "label"))
    if names is not None:
        known = {name: name for name in names}
        return [
            known.get(value) if isinstance(value, str) else names[value] if value is not None and value >= 0 else None
            for value in values
        ], places
    return [label_text(value) for value in values], places


def label_text(value: Any) -> str | None:
    """A class's name from a cell, None where it says nothing: null, NaN, text without a letter.

    A whole number is written without a point.
    """
    if value is None or value != value:  # NaN, and NaT too
        return None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return class_name(text) or None


def _refuse_nested(rows: Dataset, where: str) -> None:
    import pyarrow as pa

    refuse_objects(rows, "label", where)
    if pa.types.is_nested(rows.data.column("label").type):
        raise DataError("its label column holds lists, and one class a row is wanted", where=where)


def _sorted_names(values: set[str]) -> list[str]:
    whole = all(re.fullmatch(r"-?\d+", value) for value in values)
    return sorted(values, key=lambda value: (int(value), value)) if whole else sorted(values)
