"""How names of files are written on other machines: slashes, drives, accents, letter case, URLs; which two are the same."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from urllib.parse import unquote

_DRIVE = re.compile(r"[A-Za-z]:")
_QUERY = re.compile(r"[?&]d=([^&#]+)")  # Label Studio's /data/local-files/?d=folder/a.jpg
_CODE_PAGES = ("cp1252", "cp437")  # of Windows, and of its older archives
_LITERAL, _COMPOSED, _FOLDED, _DECODED = 3, 2, 1, 0


def parts_of(name: str) -> tuple[str, ...]:
    """The parts of a path of any machine, without drive, `.` and `..`.

    Example:
        >>> parts_of("C:\\\\data\\\\.\\\\a.jpg")
        ('data', 'a.jpg')
    """
    parts: list[str] = []
    for part in name.replace("\\", "/").split("/"):
        if part == "..":
            del parts[-1:]
        elif part.strip() not in ("", ".") and not (not parts and _DRIVE.fullmatch(part)):
            parts.append(part.strip())
    return tuple(parts)


def spelled(name: str) -> tuple[str, ...]:
    """What makes two names one: their parts, whichever way slashes and accents are written, and the drive."""
    drive = _DRIVE.match(name)
    return (drive[0] if drive else "", *(unicodedata.normalize("NFC", part) for part in parts_of(name)))


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


def readings(name: str) -> Iterator[tuple[str, ...]]:
    """The parts of a name, as it stands and as a URL."""
    readings = [name, name.partition("?")[0], *_QUERY.findall(name)]
    readings += [_unquoted(reading) for reading in readings]
    yield from filter(None, dict.fromkeys(map(parts_of, readings)))


def _unquoted(name: str) -> str:
    for _ in range(3):  # what was encoded twice
        decoded = unquote(name, errors="strict") if "%" in name and _is_quoted_text(name) else name
        if decoded == name:
            break
        name = decoded
    return name


def _is_quoted_text(name: str) -> bool:
    try:
        unquote(name, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


def _folded(part: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", part).casefold())


def part_key(part: str) -> str:
    """What two parts of paths have in common that may be meant by one another: letter case, accents and `%20` aside."""
    return part.lower() if part.isascii() and "%" not in part else _folded(_unquoted(part))


def keys_of_file(name: str) -> list[str]:
    """What a file's last part may be called; a name that is no UTF-8 also by what it is in Windows' code pages."""
    keys = [part_key(name)]
    if not is_text(name):
        for page in _CODE_PAGES:
            try:
                keys.append(part_key(os.fsencode(name).decode(page)))
            except UnicodeDecodeError:
                continue
    return keys


def shared_parts(parts: Sequence[str], path: Sequence[str], suffixes: Set[str]) -> tuple[int, int]:
    """How many last parts a name and a path share, and the least that one of them is alike."""
    count, level = 1, _level(parts[-1], path[-1])
    if suffixes and part_key(parts[-1]) == part_key(path[-1]).rpartition(".")[0]:
        level = _level(parts[-1], path[-1].rpartition(".")[0])  # named without its suffix
    for mine, theirs in zip(parts[-2::-1], path[-2::-1], strict=False):
        if part_key(mine) != part_key(theirs):
            break
        count, level = count + 1, min(level, _level(mine, theirs))
    return count, level


def _level(mine: str, theirs: str) -> int:
    if mine == theirs:
        return _LITERAL
    if unicodedata.normalize("NFC", mine) == unicodedata.normalize("NFC", theirs):
        return _COMPOSED
    return _FOLDED if _folded(mine) == _folded(theirs) else _DECODED


def is_whole(name: str, path: Path) -> bool:
    """Whether all of a name is at the end of a path; its suffix may be missing."""
    mine = spelled(name)[1:]
    return any(spelled(str(theirs))[1:][-len(mine) :] == mine for theirs in (path, path.with_suffix("")))


def leaves(name: str) -> bool:
    """Whether a name may lead out of the folder that it is looked for in."""
    slashed = name.replace("\\", "/")
    return slashed.startswith("/") or ".." in slashed.split("/") or _DRIVE.match(slashed) is not None
