"""How numbers are written as text: with a point or a decimal comma, with thousands parted or not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from graftwork.errors import DataError
from graftwork.interfaces import Finding

_LIKE = re.compile(r"[-+]?[\d.,][\d.,'’\s]*(?:[eE][-+]?\d+)?")
_SHOWN = 5


@dataclass(frozen=True)
class Notation:
    """How numbers are written.

    Args:
        decimal: the sign before the fraction.
        thousands: the sign that may part thousands, beside blanks and apostrophes; "" where nothing does.
    """

    decimal: str = "."
    thousands: str = ""

    def fits(self, text: str) -> bool:
        """Whether text is a number in this notation."""
        part, decimal = re.escape(self.thousands), re.escape(self.decimal)
        grouped = rf"[1-9]\d{{0,2}}(?P<part>[{part}'’\s])\d{{3}}(?:(?P=part)\d{{3}})*"
        whole = rf"(?:\d+|{grouped})"
        return bool(re.fullmatch(rf"[-+]?(?:{whole}(?:{decimal}\d*)?|{decimal}\d+)(?:[eE][-+]?\d+)?", text))

    def number(self, value: Any) -> float:
        """A cell's number, NaN where it is none."""
        if isinstance(value, str) and self.thousands and self.fits(value.strip()):
            value = re.sub(rf"[{re.escape(self.thousands)}'’\s]", "", value).replace(self.decimal, ".")
        try:
            return float(value)
        except (TypeError, ValueError):
            return float("nan")


_PLAIN = Notation()
_POINT = Notation(".", ",")
_COMMA = Notation(",", ".")


def notation_of(values: Iterable[Any], where: str) -> tuple[Notation, list[Finding]]:
    """The one notation that all numbers of a column fit, and what it means for those that a program would not read.

    Args:
        values: cells; those that are no text, and text that is like no number, do not count.
        where: the source, for messages.

    Raises:
        DataError: no notation fits all, or two fit that read other numbers.
    """
    counts = Counter(value.strip() for value in values if isinstance(value, str))
    texts = [text for text in counts if _LIKE.fullmatch(text) and any(sign.isdigit() for sign in text)]
    odd = [text for text in texts if _PLAIN.number(text) != _PLAIN.number(text)]
    if not odd:
        return _PLAIN, []
    fitting = [notation for notation in (_POINT, _COMMA) if all(map(notation.fits, texts))]
    if not fitting:
        raise _several_notations(texts, odd, where)
    unsure = next((text for text in texts if _POINT.number(text) != _COMMA.number(text)), None)
    if len(fitting) > 1 and unsure is not None:
        one, other = _POINT.number(unsure), _COMMA.number(unsure)
        what = f"its labels are numbers that may be read in two ways ({unsure}: {one:g} or {other:g})"
        raise DataError(what, where=where, hint="Write them with a point, and with nothing between thousands")
    count = sum(counts[text] for text in odd)
    if fitting[0] == _COMMA and any("," in text for text in odd):
        message = f"numbers with a decimal comma, read so: {count:,}"
        return _COMMA, [Finding("decimal-commas", "note", message, tuple(odd[:_SHOWN]), count)]
    message = f"numbers whose thousands are parted, read so: {count:,}"
    return fitting[0], [Finding("parted-thousands", "note", message, tuple(odd[:_SHOWN]), count)]


def _several_notations(texts: Sequence[str], odd: Sequence[str], where: str) -> DataError:
    """Numbers that are written in several ways, or in one that nobody knows."""
    known = sorted(text for text in texts if "." in text and text not in odd)
    strange = [text for text in odd if not _POINT.fits(text) and not _COMMA.fits(text)]
    if strange:
        what = f"its labels are numbers of which some cannot be read ({', '.join(strange[:_SHOWN])})"
        hint = "Write these with a point and nothing else, or empty the cells of rows that are to be left out"
        return DataError(what, where=where, hint=hint)
    example = known[0] if known else next((text for text in odd if not _COMMA.fits(text)), odd[-1])
    other = next((text for text in odd if text != example and not _POINT.fits(text)), odd[0])
    what = f"its labels are numbers with a comma ({other}) and with a point ({example})"
    return DataError(what, where=where, hint="Write all of them with a point")
