"""Names of files whose bytes are no UTF-8: how they are written where text is wanted, and found again."""

from __future__ import annotations

import os
import re
from pathlib import Path


def shown(path: str | Path) -> str:
    """A path as it can be printed and written: bytes that are no UTF-8 as `\\xe4`.

    Example:
        >>> shown("tr\\udce4in.csv")
        'tr\\\\xe4in.csv'
    """
    if is_text(path):
        return str(path)
    try:
        return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a pair, which no file's name has
        return str(path).encode("utf-8", "backslashreplace").decode()


def meant(path: str) -> str:
    """The path that `shown` was given, where it is that of a file; else the text itself."""
    if "\\x" not in path or os.path.lexists(path):
        return path
    written = re.sub(
        rb"\\x([0-9a-f]{2})", lambda byte: bytes([int(byte[1], 16)]), path.encode("utf-8", "surrogateescape")
    )
    return os.fsdecode(written) if os.path.lexists(written) else path


def is_text(path: str | Path) -> bool:
    """Whether a path is UTF-8 through and through."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True
