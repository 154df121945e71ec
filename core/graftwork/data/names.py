"""The one place that makes class names, of folders, of cells and of declared names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_WHOLE = re.compile(r"([-+]?\d+)(?:\.0*)?")

MISSING = frozenset({"nan", "none", "null", "na", "n/a", "#n/a", "<na>", "nat", "nil", "\\n", "undefined", "missing"})
"""What other programs write in place of no value, in lower case."""


def class_name(text: str) -> str:
    """A class's name: without white space around it, and composed (NFC), since é may be one letter or e with an accent."""
    return unicodedata.normalize("NFC", text).strip()


def same_numbers(names: Iterable[str]) -> dict[str, str]:
    """Names that are the same whole number as another one, written with a point (`1.0` beside `1`), and that other one."""
    known = set(names)
    return {
        name: found[1] for name in known if (found := _WHOLE.fullmatch(name)) and found[1] != name and found[1] in known
    }


def looks_missing(name: str) -> bool:
    """Whether a class is called as other programs write no value."""
    return name.lower() in MISSING
