"""The one place that makes class names, of folders, of cells and of declared names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_WHOLE = re.compile(r"([-+]?\d+)(?:\.0*)?")
_UNSEEN = r"[\s\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
_AROUND = re.compile(f"^{_UNSEEN}+|{_UNSEEN}+$")

MISSING = frozenset({"nan", "none", "null", "na", "n/a", "#n/a", "<na>", "nat", "nil", "\\n", "undefined", "missing"})
"""What other programs write in place of no value, in lower case."""


def bare(text: str) -> str:
    """Text without white space and invisible characters (zero width, byte order marks) around it."""
    return _AROUND.sub("", text) if not text.isascii() else text.strip()


def class_name(text: str) -> str:
    """A class's name: with nothing invisible around it, and composed (NFC), since é may be one letter or e with an accent."""
    return bare(unicodedata.normalize("NFC", text))


def same_numbers(names: Iterable[str]) -> dict[str, str]:
    """Names that are the same whole number as another one, written with a point (`1.0` beside `1`), and that other one."""
    known = set(names)
    return {
        name: found[1] for name in known if (found := _WHOLE.fullmatch(name)) and found[1] != name and found[1] in known
    }


def looks_missing(name: str) -> bool:
    """Whether a class is called as other programs write no value."""
    return name.lower() in MISSING
