"""In which form the labels of a row that has several stand: lists, printed lists, parted text, 0 and 1 for each class."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from graftwork.classification.unlabelled import lacking
from graftwork.data.arrow import column_of
from graftwork.data.columns import add_column, label_text
from graftwork.errors import DataError
from graftwork.interfaces import Finding

if TYPE_CHECKING:
    from datasets import Dataset

_PRINTED = re.compile(r"\[.*\]|\(.*\)|\{.*\}|set\(\)|array\(.*\)", re.DOTALL)
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"", re.DOTALL)
_JSON_LIST = re.compile(r'\[\s*(?:"(?:[^"\\]|\\.)*"\s*,?\s*)*\]')
_VECTOR = re.compile(r"[01](?:\.0*)?(?:([ ,;|])[01](?:\.0*)?)(?:\1[01](?:\.0*)?)*")
_BITS = {"0": False, "1": True, "false": False, "true": True, "0.0": False, "1.0": True}
_SEPARATORS = (";", ",")
SEPARATOR = "|"
"""Between the labels of a row that has several in one text, where the user says nothing else."""

_DISTINCT = 10_000
_SHOWN = 5


@dataclass(frozen=True)
class LabelForm:
    """How a cell says several labels.

    Args:
        separator: between labels in a text.
        printed: whether a text is a list as a program prints it.
        vector: whether a cell has a 0 or a 1 for every class.
    """

    separator: str
    printed: bool = False
    vector: bool = False

    def parts(self, value: Any) -> list[Any]:
        """What a cell consists of, before it is made names."""
        if isinstance(value, str):
            return printed_parts(value) if self.printed else value.split(self.separator)
        return [] if value is None else value if isinstance(value, list) else [value]

    def names(self, value: Any) -> list[str]:
        """A cell's labels by name, each once."""
        parts = self.parts(value)
        if self.vector:
            return [str(place) for place, part in enumerate(parts) if _bit(part)]
        return list(dict.fromkeys(name for part in parts if (name := label_text(part)) is not None))


def printed_parts(text: str) -> list[str]:
    """The members of a list as Python, JSON or numpy print it."""
    inner = text.strip().removeprefix("array").removeprefix("set").strip("()")
    inner = inner.strip()[1:-1] if inner.strip()[:1] in "[{(" else inner
    if quoted := _QUOTED.findall(inner):
        return [re.sub(r"\\(.)", r"\1", one or other) for one, other in quoted]
    parts = inner.split(",") if "," in inner else inner.split()
    return [part.strip() for part in parts if part.strip() not in ("", "None", "nan", "null")]


def form_of(batches: Iterable[Sequence[Any]], separator: str) -> tuple[LabelForm, list[Finding]]:
    """Look at every label and tell in which form they are.

    Args:
        batches: cells of all splits.
        separator: as the user said it, or the usual one.
    """
    seen = _Cells()
    cells: list[Any] = []
    for batch in batches:
        for value in batch:
            if seen.add(value):
                cells.append(value)
    _refuse_some_lists(cells)
    form, findings = _of_texts([cell for cell in cells if isinstance(cell, str)], separator)
    lengths, bits, twice = set(), True, False
    for cell in cells:
        parts = form.parts(cell)
        lengths.add(len(parts))
        values = [_bit(part) for part in parts]
        bits = bits and None not in values
        twice = twice or len(set(values)) < len(values)
    if bits and twice and len(lengths) == 1 and (length := lengths.pop()) > 1:
        message = (
            f"labels are {length:,} values of 0 or 1, one for every class; classes are called by their place, from 0"
        )
        findings = [Finding("labels-are-vectors", "note", message, (), length)]
        return LabelForm(form.separator, form.printed, True), findings
    return form, findings


def _refuse_some_lists(cells: Sequence[Any]) -> None:
    """Refuse lists among plain texts, as JSON may have them in one column; as text they would be classes of their own."""
    lists = [cell for cell in cells if isinstance(cell, str) and _JSON_LIST.fullmatch(cell)]
    if lists and not all(isinstance(cell, str) and _PRINTED.fullmatch(cell.strip()) for cell in cells):
        what = f"its label column holds lists in some rows (such as {lists[0][:60]}) and plain values in others"
        hint = "Write lists in all rows, with --set task_options.labels=multi, or in none"
        raise DataError(what, hint=hint)


class _Cells:
    """Distinct cells, as many as are needed to tell their form."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def add(self, value: Any) -> bool:
        """Whether a cell is a new one that says something."""
        key = repr(value)
        if (
            value is None
            or key in self._known
            or len(self._known) >= _DISTINCT
            or (value == "" or not str(value).strip())
        ):
            return False
        self._known.add(key)
        return True


def _of_texts(cells: Sequence[str], separator: str) -> tuple[LabelForm, list[Finding]]:
    plain = LabelForm(separator)
    if not cells:
        return plain, []
    if all(_PRINTED.fullmatch(cell.strip()) for cell in cells):
        message = "labels are lists as a program prints them, and read so"
        return LabelForm(separator, printed=True), [
            Finding("labels-are-printed-lists", "note", message, tuple(cells[:2]))
        ]
    if any(separator in cell for cell in cells):
        return plain, []
    vectors = [_VECTOR.fullmatch(cell.strip()) for cell in cells]
    if all(vectors) and len({match[1] for match in vectors if match}) == 1:
        assert vectors[0] is not None
        return LabelForm(vectors[0][1]), []
    for other in _SEPARATORS:
        parted = [cell for cell in cells if other in cell]
        if not parted:
            continue
        among = Counter(part for cell in cells for part in {part.strip() for part in cell.split(other)} - {""})
        parts = [part for cell in parted for part in {part.strip() for part in cell.split(other)} - {""}]
        again = sum(among[part] > 1 for part in parts)
        option = f"--set task_options.label_separator={other!r}"
        if parts and again >= 0.8 * len(parts) and separator == SEPARATOR:
            message = f"no label holds {separator!r}; many hold {other!r} between names that come again: parted there ({option})"
            return LabelForm(other), [
                Finding("guessed-label-separator", "warning", message, tuple(parted[:2]), len(parted))
            ]
        message = (
            f"no label holds {separator!r}, but {len(parted):,} hold {other!r}; if it parts several labels: {option}"
        )
        return plain, [Finding("labels-not-parted", "warning", message, tuple(parted[:_SHOWN]), len(parted))]
    return _of_words(cells, plain) if separator == SEPARATOR else (plain, [])


def _of_words(cells: Sequence[str], plain: LabelForm) -> tuple[LabelForm, list[Finding]]:
    """Whether blanks part labels: names of several words have them too, but these seldom share nearly all their words, which
    are fewer than the names, in names of one, two and three words."""
    words = [cell.split() for cell in cells]
    among = Counter(word for cell in words for word in set(cell))
    many = [cell for cell in words if len(cell) > 1]
    if len(among) >= len(cells) or len({len(cell) for cell in words}) < 2 or not many:
        return plain, []
    again = sum(among[word] > 1 for cell in many for word in cell)
    if again < 0.8 * sum(map(len, many)):
        return plain, []
    message = (
        f"no label holds {plain.separator!r}; {len(many):,} of {len(cells):,} are of words that come again: parted at blanks "
        "(--set 'task_options.label_separator= ')"
    )
    told = tuple(" ".join(cell) for cell in many[:2])
    return LabelForm(" "), [Finding("guessed-label-separator", "warning", message, told, len(many))]


def _bit(value: Any) -> bool | None:
    return _BITS.get(str(value).strip().lower())


def with_label_columns(
    splits: Mapping[str, Dataset], taken: Sequence[str], several: bool, where: str
) -> tuple[dict[str, Dataset], list[Finding]]:
    """Splits with a column `label` made of columns of 0 and 1, one a class; as they are where there are no such. A split that
    has none of these columns, though the first has, is left out.

    Args:
        splits: without a column that is the label by its name.
        taken: columns that are something else.
        several: whether a row may have several labels here, which are lists then.

    Raises:
        DataError: a row may have one label only, and some have another number of 1.
    """
    first = next(iter(splits.values()))
    names = [name for name in first.column_names if name not in (*taken, "origin", "label")]
    names = [name for name in names if _is_bits(first, name)]
    unlabelled = [split for split, rows in splits.items() if len(names) > 1 and not set(names) & set(rows.column_names)]
    splits = {split: rows for split, rows in splits.items() if split not in unlabelled}
    names = [name for name in names if all(_is_bits(rows, name) for rows in splits.values())]
    if len(names) < 2:
        return dict(splits), []
    told = f"{', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}"
    bits = {split: _bits_of(rows, names) for split, rows in splits.items()}
    if not several and not all((matrix.sum(axis=1) == 1).all() for matrix in bits.values()):
        what = f"has no column for 'label', but {len(names)} columns of 0 and 1 ({told})"
        raise DataError(
            what,
            where=where,
            hint="--set task_options.labels=multi takes each for a class; or name one with --column label=NAME",
        )
    made = {}
    for split, rows in splits.items():
        offsets = np.concatenate([[0], np.cumsum(bits[split].sum(axis=1))]).astype(np.int32)
        values = pa.array(np.array(names, dtype=object)[np.nonzero(bits[split])[1]], pa.string())
        labels = pa.ListArray.from_arrays(pa.array(offsets), values) if several else values
        made[split] = add_column(rows.remove_columns(names), "label", labels)
    message = f"{len(names)} columns of 0 and 1 are taken for a class each: {told}"
    found = [Finding("labels-from-columns", "note", message, tuple(names[:_SHOWN]), len(names))]
    return made, [*found, *(lacking(unlabelled) if unlabelled else [])]


def _bits_of(rows: Dataset, names: Sequence[str]) -> NDArray[np.bool_]:
    """[rows, names]."""
    return np.array([[_bit(value) for value in column_of(rows, name).to_pylist()] for name in names], dtype=bool).T


def _is_bits(rows: Dataset, name: str) -> bool:
    """Whether a column holds 0 and 1 alone."""
    if name not in rows.column_names:
        return False
    column = column_of(rows, name)
    if pa.types.is_nested(column.type):
        return False
    distinct = column.unique()
    return len(distinct) <= 4 and all(_bit(value) is not None for value in distinct.to_pylist())
