"""Text files of any tool: UTF-8, or UTF-16 and UTF-32 as Windows writes them (PowerShell's `>`, Notepad's Unicode)."""

from __future__ import annotations

import codecs
import shlex
import unicodedata
from pathlib import Path

from graftwork.errors import DataError

UTF8 = "utf-8-sig"

HEAD = 4096
"""Bytes of a text by which its encoding is told."""

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16's, which begins alike
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: UTF8,
}


def encoding_of_mark(head: bytes) -> str | None:
    """The encoding that a byte order mark says; None where there is none.

    Example:
        >>> encoding_of_mark("{}".encode("utf-16")), encoding_of_mark(b"{}")
        ('utf-16', None)
    """
    return next((encoding for mark, encoding in _MARKS.items() if head.startswith(mark)), None)


def encoding_of_zeros(head: bytes) -> str | None:
    """UTF-16 without a mark, by where NUL bytes stand: every other one in Latin letters, blanks and line ends in other
    scripts. None for other text.

    Args:
        head: a text's first `HEAD` bytes, or all of them where it has fewer.

    Example:
        >>> encoding_of_zeros("names".encode("utf-16-be")), encoding_of_zeros(b"names")
        ('utf-16-be', None)
    """
    if len(head) % 2 or len(head) < 4:
        return None
    even, odd = head[::2].count(0) / len(head[::2]), head[1::2].count(0) / len(head[1::2])
    likely = "utf-16-le" if odd > even else "utf-16-be"
    if max(even, odd) > 0.4 and min(even, odd) < 0.1:
        return likely
    return likely if max(even, odd) > 0 == min(even, odd) and _is_only(head, likely) else None


def wide_encoding(head: bytes) -> str | None:
    """An encoding of two or four bytes a letter, by its mark or by its NUL bytes; None where it is neither."""
    marked = encoding_of_mark(head)
    return (marked if marked != UTF8 else None) or encoding_of_zeros(head)


def is_damaged(encoding: str) -> str:
    """What is wrong with a text that begins in an encoding in which it cannot be read to its end."""
    return f"is {encoding[:6].upper()} text that is damaged or cut short"


def _is_only(head: bytes, wide: str) -> bool:
    """Whether bytes are no UTF-8 text, NUL aside, but letters and signs in an encoding of two bytes a letter."""
    try:
        narrow = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        narrow = "\1"
    if not any(_is_control(letter) for letter in narrow if letter != "\0"):
        return False
    try:
        text = codecs.getincrementaldecoder(wide)().decode(head)
    except UnicodeDecodeError:
        return False
    return not any(_is_control(letter) for letter in text)


def _is_control(letter: str) -> bool:
    return letter not in "\t\n\r" and unicodedata.category(letter) in ("Cc", "Cn", "Co", "Cs")


def decode_text(data: bytes, errors: str = "strict") -> str:
    """Bytes of a text file, or its first ones, as text without a byte order mark.

    Raises:
        UnicodeDecodeError: it is neither UTF-8 nor UTF-16 or UTF-32; never unless `errors` is `strict`.
    """
    encoding = encoding_of_mark(data) or encoding_of_zeros(data[:HEAD]) or "utf-8"
    return data.decode(encoding, errors)


def read_text(path: Path) -> str:
    """A text file's text, without a byte order mark.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: as `decode_text`.
    """
    return decode_text(path.read_bytes())


def text_of(path: Path, purpose: str = "") -> str:
    """A text file's text, for a reader of data.

    Args:
        purpose: what it is read as, for the message: `as a list of images`.

    Raises:
        DataError: it cannot be read, or is in another encoding; with the command that converts it.
    """
    try:
        return read_text(path)
    except UnicodeDecodeError:
        raise DataError("is not UTF-8 text", where=str(path), hint=save_as_utf8(path)) from None
    except OSError as error:
        raise DataError(f"cannot be read{purpose and ' ' + purpose} ({error})", where=str(path)) from None


def save_as_utf8(path: Path) -> str:
    """What to do with a text file in another encoding, as a hint."""
    old, new = shlex.quote(str(path)), shlex.quote(f"{path}.utf8")
    command = f"iconv -f WINDOWS-1252 -t UTF-8 {old} > {new} && mv {new} {old}"
    return f"Save it as UTF-8: {command} (for WINDOWS-1252 the encoding that it has, such as GBK)"
