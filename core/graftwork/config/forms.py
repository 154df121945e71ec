"""The setting `data_options`: how a table stands in its file, where that is not to be found out from the file itself."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from graftwork.errors import UsageError, did_you_mean

_DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
_QUOTES = {"none": "", "no": "", "double": '"', "single": "'"}
_YES_NO = {"yes": True, "true": True, "no": False, "false": False, "none": False}


@dataclass(frozen=True)
class TableForm:
    """What the user says of a CSV or TSV file; None is found out from its content.

    Args:
        delimiter: one character between the cells of a row.
        encoding: a name that Python knows, such as `cp1252`.
        header: whether the first row holds the columns' names; without, they are called 1, 2, 3 and so on.
        quote: one character around a cell that holds delimiters or line breaks; "" takes quotes as text.
        ragged: what is done with rows of more or fewer cells than the header: `refuse`, or `skip` and count.
        inherited: whether this was said of the data of a run, and the file is another one: what does not fit gives way.
    """

    delimiter: str | None = None
    encoding: str | None = None
    header: bool | None = None
    quote: str | None = None
    ragged: str = "refuse"
    inherited: bool = False


def parse_form(options: Mapping[str, Any], inherited: Mapping[str, Any] | None = None) -> TableForm:
    """The setting as a form.

    Args:
        options: as the user gave them.
        inherited: those of an earlier run; what is given anew wins.

    Raises:
        UsageError: an unknown option, or a value that it does not take.
    """
    if inherited and not options:
        return replace(_parsed(inherited), inherited=True)
    return _parsed({**(inherited or {}), **options})


def _parsed(options: Mapping[str, Any]) -> TableForm:
    readers = {"delimiter": _delimiter, "encoding": _encoding, "header": _header, "quote": _quote, "ragged": _ragged}
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name not in readers:
            raise UsageError(f"data_options.{name} is not an option", hint=did_you_mean(name, list(readers)))
        found[name] = readers[name](value)
    return TableForm(**found)


def _wrong(name: str, value: Any, wanted: str) -> UsageError:
    return UsageError(f"data_options.{name} is {value!r}", hint=f"Give {wanted}")


def _delimiter(value: Any) -> str:
    mark = _DELIMITERS.get(str(value).lower(), str(value))
    if len(mark) != 1 or not mark.isascii() or mark in "\"'\r\n\\" or mark.isalnum():
        raise _wrong("delimiter", value, "one character such as ; or |, or the word tab")
    return mark


def _encoding(value: Any) -> str:
    try:
        return codecs.lookup(str(value)).name
    except LookupError:
        raise _wrong("encoding", value, "a name such as utf-8, cp1252, utf-16 or gb18030") from None


def _header(value: Any) -> bool:
    if str(value).lower() not in _YES_NO:
        raise _wrong("header", value, "yes or no")
    return _YES_NO[str(value).lower()]


def _quote(value: Any) -> str:
    mark = _QUOTES.get(str(value).lower(), str(value))
    if mark not in ("", '"', "'"):
        raise _wrong("quote", value, "double, single, or none")
    return mark


def _ragged(value: Any) -> str:
    if value not in ("refuse", "skip"):
        raise _wrong("ragged", value, "refuse or skip")
    return str(value)
