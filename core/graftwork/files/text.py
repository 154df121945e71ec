"""Text files of any tool: UTF-8, or UTF-16 and UTF-32 as Windows writes them (PowerShell's `>`, Notepad's Unicode)."""

from __future__ import annotations

import codecs
import shlex
from pathlib import Path

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16's, which begins alike
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}


def encoding_of_mark(head: bytes) -> str | None:
    """The encoding that a byte order mark says; None where there is none.

    Example:
        >>> encoding_of_mark("{}".encode("utf-16")), encoding_of_mark(b"{}")
        ('utf-16', None)
    """
    return next((encoding for mark, encoding in _MARKS.items() if head.startswith(mark)), None)


def encoding_of_zeros(head: bytes) -> str | None:
    """UTF-16 without a mark, where every other byte is zero, as Latin letters have it; None for other text.

    Example:
        >>> encoding_of_zeros("names".encode("utf-16-be")), encoding_of_zeros(b"names")
        ('utf-16-be', None)
    """
    even, odd = head[::2].count(0) / max(1, len(head[::2])), head[1::2].count(0) / max(1, len(head[1::2]))
    if max(even, odd) > 0.4 and min(even, odd) < 0.1:
        return "utf-16-le" if odd > even else "utf-16-be"
    return None


def decode_text(data: bytes, errors: str = "strict") -> str:
    """Bytes of a text file, or its first ones, as text without a byte order mark.

    Raises:
        UnicodeDecodeError: it is neither UTF-8 nor UTF-16 or UTF-32; never unless `errors` is `strict`.
    """
    encoding = encoding_of_mark(data) or encoding_of_zeros(data[:4096]) or "utf-8"
    return data.decode(encoding, errors)


def read_text(path: Path) -> str:
    """A text file's text, without a byte order mark.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: as `decode_text`.
    """
    return decode_text(path.read_bytes())


def save_as_utf8(path: Path) -> str:
    """What to do with a text file in another encoding, as a hint."""
    old, new = shlex.quote(str(path)), shlex.quote(f"{path}.utf8")
    command = f"iconv -f WINDOWS-1252 -t UTF-8 {old} > {new} && mv {new} {old}"
    return f"Save it as UTF-8: {command} (for WINDOWS-1252 the encoding that it has, such as GBK)"
