"""Where graftwork keeps what can be made again, how it writes there, and how it stays within a limit. Imports nothing heavy."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile, mkstemp

from graftwork.cache.entries import (
    ABOUT,
    PARTIAL,
    WAY_OUT,
    cache_root,
    entries,
    nearest_folder,
    remove,
    sweep,
    writable,
)
from graftwork.errors import RunFailed, UsageError
from graftwork.log import say

LIMITED = ("states", "pictures", "looks", "tokens")
"""Kinds that the size limit counts and makes room from: they cost nothing but time. Downloads and unpacked tables do not."""

LIMIT = "GRAFTWORK_CACHE_LIMIT"
DEFAULT_LIMIT = 20 << 30  # bytes
DISK_SHARE = 4  # by default the limit is at most one part in so many of what is free or held
SPARED_FOR = 2 * 86_400.0  # seconds; times of access may be a day behind (relatime)

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_UNITS |= {"ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40}


def cache_folder(kind: str) -> Path:
    """The folder of one kind of cached files: KIND in $GRAFTWORK_CACHE, or in ~/.cache/graftwork; made when missing.

    The kinds of LIMITED cost nothing but time, so that a run goes on where they cannot be written: the user is told, once,
    and the folder is given all the same. What is there is found; whoever writes there gets an OSError and does without.

    Raises:
        UsageError: the folder of another kind, without which a run cannot go on, is missing and cannot be made.
    """
    folder = cache_root() / kind
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if kind in LIMITED:
            TemporaryFile(dir=folder).close()  # says what stands in the way, as rights alone do not
    except OSError as error:
        if kind not in LIMITED:
            raise UsageError(f"cannot be made ({error.strerror})", where=str(folder), hint=WAY_OUT) from None
        going_without(error)
    return folder


def going_without(error: OSError) -> None:
    """Tell the user that what could be used again is not kept, because it cannot be written; once a process, since several
    kinds and splits meet with the same."""
    _say_once(f"cache: {cache_root()} cannot be written ({error.strerror or error}): going on without. {WAY_OUT}")


@cache
def _say_once(line: str) -> None:
    say(line)


def write_once(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a file that appears under its name whole or not at all.

    Concurrent processes each write a file of their own and the last one wins; a process that is killed leaves only a
    file with a dot in front, which nothing reads and `sweep` removes.

    Args:
        path: the final name; its folder exists.
        write: writes the file whose path it is given; it exists, empty.
    """
    handle, name = mkstemp(dir=path.parent, prefix=f"{PARTIAL}{os.getpid()}-{path.name[:100]}-")
    os.close(handle)
    partial = Path(name)
    try:
        write(partial)
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def touch(path: Path) -> None:
    """Note that an entry, a file or a folder, is used now. Whoever finds one and reads it says so: what was not used for
    longest goes first."""
    with suppress(OSError):
        os.utime(path / ABOUT if path.is_dir() else path)


def size_limit(held: int) -> tuple[int, str]:
    """Bytes that the kinds of LIMITED may take together, and where the number comes from.

    Args:
        held: bytes that they take now.

    Raises:
        UsageError: $GRAFTWORK_CACHE_LIMIT is no size.
    """
    text = os.environ.get(LIMIT, "").strip()
    if text:
        return parse_size(text, LIMIT), f"{LIMIT}={text}"
    # Free and held together, so that the limit stays the same while the cache fills.
    share = (_free() + held) // DISK_SHARE
    if share < DEFAULT_LIMIT:
        return share, f"default, a quarter of what is free on this disk; {LIMIT} sets another"
    return DEFAULT_LIMIT, f"default; {LIMIT} sets another"


def parse_size(text: str, where: str) -> int:
    """Bytes of `20GB`, `1.5 TiB`, `500M` or a plain number.

    Raises:
        UsageError: anything else.

    >>> parse_size("1.5 KiB", "here")
    1536
    """
    found = re.fullmatch(r"(\d{1,18}(?:\.\d{1,9})?)\s*([kmgt]i?)?b?", text.strip(), re.IGNORECASE | re.ASCII)
    if found is None:
        hint = "Write 20GB, 500MB, 1TiB, a number of bytes, or 0 to keep nothing"
        raise UsageError(f"{text!r} is no size", where=where, hint=hint)
    return int(float(found[1]) * _UNITS[(found[2] or "").lower()])


def _free() -> int:
    """Free bytes of the file system that holds, or would hold, the cache."""
    try:
        return shutil.disk_usage(nearest_folder()).free
    except OSError:
        return 0


def make_room(needed: int, *keep: str) -> bool:
    """Remove the least recently used until `needed` more bytes fit, below the limit and on the disk.

    Takes from the kinds of LIMITED only. A file used in the last two days stays: another process of a run may open it by
    name at any time. A folder may go while a run reads from it, which harms nothing (the run has it mapped, and one that
    comes to open it finds it missing and makes it again); those in use are the most recently used and go last. Where
    not even everything would make enough room, only what is above the limit goes. Two processes that ask at the same time
    may both be told yes; the next one to ask brings the cache below the limit again.

    Args:
        needed: bytes.
        keep: keys of entries that stay, because they are being filled or are about to be read.

    Returns:
        Whether there is room now; False also where the cache cannot be read or written.

    Raises:
        UsageError: $GRAFTWORK_CACHE_LIMIT is no size.
    """
    size_limit(0)
    try:
        under_way = sweep(LIMITED).alive_bytes
        found = entries(LIMITED)
    except UsageError:
        return False
    total = under_way + sum(entry.bytes for entry in found)
    limit, _ = size_limit(total)
    recent = time.time() - SPARED_FOR
    # Asked this way round, one that another process removes at this moment counts as removed, not as staying.
    removable = [
        entry for entry in found if entry.key not in keep and not (entry.path.is_file() and entry.used > recent)
    ]
    most = sum(entry.bytes for entry in removable)
    fits = total - most + needed <= limit and needed <= _free() + most
    allowed = limit - needed if fits else limit
    for entry in reversed(removable):
        if total <= allowed and not (fits and _free() < needed):
            break
        with suppress(RunFailed):
            remove(entry)
            total -= entry.bytes
    return fits and total <= allowed and _free() >= needed and writable()
