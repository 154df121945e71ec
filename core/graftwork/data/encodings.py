"""Which encoding a table is written in: by its first bytes, by what the user says, or by what all of its bytes can be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.errors import DataError
from graftwork.files.text import HEAD, UTF8, encoding_of_mark, encoding_of_zeros
from graftwork.interfaces.data import Finding

if TYPE_CHECKING:
    from graftwork.config.forms import TableForm
    from graftwork.data.streamed import Scan

_WESTERN = frozenset("àáâäåæçèéêëìíîïñòóôöøùúûüßœÀÁÄÅÆÇÈÉÊËÍÎÏÑÒÓÔÖØÙÚÛÜŒ")
_SIGNS = frozenset("“”„‚‘’‹›–—…•€£¥§°±²³µ·«»©®™¡¿½¼¾ªº\xa0")


def encoding_of(file: Path, found: Scan, form: TableForm) -> tuple[str, list[Finding]]:
    """The encoding of a text file: what the user says, what its first bytes say, UTF-8, or Windows-1252 with a warning.

    Raises:
        DataError: it is none of these; names the first line that is no UTF-8.
    """
    with file.open("rb") as stream:
        head = stream.read(HEAD)
    marked = encoding_of_mark(head)
    if marked is not None and marked != UTF8:
        return marked, []
    if form.encoding is not None and not (form.inherited and found.bad is None):
        return (UTF8 if form.encoding in ("utf-8", "utf-8-sig") else form.encoding), []
    if wide := encoding_of_zeros(head):
        return wide, []
    if found.bad is None:
        return UTF8, []
    line, byte, text = _first_bad(file)
    what = f"is not UTF-8 text (line {line} has the byte 0x{byte:02x})"
    if not _is_western(file):
        hint = "Save it as UTF-8, or name its encoding with --set data_options.encoding=NAME, such as cp1251 or gb18030"
        raise DataError(what, where=str(file), hint=hint)
    message = (
        f"{file.name} {what}; it was read as Windows-1252 ({text!r}). Another encoding is named by "
        "--set data_options.encoding=NAME"
    )
    return "cp1252", [Finding("guessed-encoding", "warning", message, (f"line {line}",), 1)]


def _first_bad(file: Path) -> tuple[int, int, str]:
    """The first line that is not UTF-8, its first byte that is not, and a bit of it as Windows-1252."""
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                near = line[max(0, error.start - 10) : error.start + 10]
                return number, line[error.start], near.decode("cp1252", "replace").strip()
    raise AssertionError("every line is UTF-8")


def _is_western(file: Path) -> bool:
    """Whether all bytes beyond ASCII are letters within Western European words, or signs between them, in Windows-1252.

    Other encodings of one byte a letter, and those of two, show as signs within words or as long runs of such bytes.
    """
    pairs = several = 0
    with file.open("rb") as stream:
        for line in stream:
            if line.isascii():
                continue
            try:
                text = line.decode("cp1252")
            except UnicodeDecodeError:
                return False
            for match in re.finditer(r"[^\x00-\x7f]+", text):
                run, before, after = match[0], text[: match.start()][-1:], text[match.end() :][:1]
                if not all(sign in _WESTERN or sign in _SIGNS for sign in run):
                    return False
                if len(run) == 1:
                    within = before.isalpha() and after.isalpha()
                    if within and run in _SIGNS - {"’", "·", "–", "—"}:
                        return False
                    if run.isupper() and before.islower():
                        return False
                pairs += 1
                several += len(run) > 2
    return several <= 0.05 * pairs
