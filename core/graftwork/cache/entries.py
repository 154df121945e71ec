"""What lies in the cache: listed, removed, and swept after processes that were killed. Light: imports nothing heavy.

Below the cache's folder stands one folder a kind; in it, each entry is a file, or a folder with `about.json` (plain facts;
its time of change is the last use). Names with a dot in front are work in progress or on its way out: nobody lists or
reads them. Links are never followed. How much may lie there is decided in room.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graftwork.errors import RunFailed, UsageError

GONE_AFTER = 600.0  # seconds; a process that is not here may be alive on another machine that shares the folder
FORGOTTEN_AFTER = 86_400.0  # seconds; long enough for a computer that slept over night in the middle of a download

ABOUT = "about.json"
PARTIAL = ".partial-"
TRASH = ".trash-"
LOCK = ".lock-"
WAY_OUT = "Set GRAFTWORK_CACHE to a folder of yours that can be read and written"


@dataclass(frozen=True)
class CacheEntry:
    """One thing in the cache.

    Args:
        kind: the folder it stands in: states, pictures, looks, tokens, tables, weights.
        key: its name there.
        path: a folder or a file; a link is never followed.
        bytes: of all its files.
        files: how many.
        used: last use, seconds since the epoch.
        about: what `about.json` says; empty for files.
        problem: why that cannot be read, or None.
    """

    kind: str
    key: str
    path: Path
    bytes: int
    files: int
    used: float
    about: Mapping[str, Any]
    problem: str | None = None


@dataclass(frozen=True)
class Leftovers:
    """What processes left that did not finish.

    Args:
        gone, gone_bytes: files and folders whose process is dead or that nobody has touched for long.
        alive, alive_bytes: those whose process may still write.
    """

    gone: int = 0
    gone_bytes: int = 0
    alive: int = 0
    alive_bytes: int = 0


def cache_root() -> Path:
    """$GRAFTWORK_CACHE, or ~/.cache/graftwork; it need not exist.

    Raises:
        UsageError: there is no home folder to go from.
    """
    root = os.environ.get("GRAFTWORK_CACHE") or "~/.cache/graftwork"
    try:
        return Path(root).expanduser()
    except RuntimeError:  # a container may run under a user whom its system does not know
        raise UsageError("nobody says where the home folder is", where=root, hint=WAY_OUT) from None


def nearest_folder() -> Path:
    """The cache's folder, or the one in which it would be made."""
    folder = cache_root().absolute()
    # Unlike Path.exists, which raises where a folder above may not be searched.
    while not os.path.exists(folder) and folder != folder.parent:  # noqa: PTH110
        folder = folder.parent
    return folder


def writable() -> bool:
    """Whether something can be kept."""
    folder = nearest_folder()
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def kinds() -> list[str]:
    """The kinds there are folders of. A link is none: what it leads to is not the cache's to list or to remove.

    Raises:
        UsageError: the cache's folder cannot be read.
    """
    return sorted(item.name for item in _items(cache_root()) if item.is_dir(follow_symlinks=False))


def linked() -> list[str]:
    """Links beside the kinds, which would be kinds if they were folders.

    Raises:
        UsageError: the cache's folder cannot be read.
    """
    return sorted(item.name for item in _items(cache_root()) if item.is_symlink())


def entries(of: Collection[str] | None = None) -> list[CacheEntry]:
    """Everything of some kinds, or of all, the most recently used first. What vanishes meanwhile is left out.

    Raises:
        UsageError: a folder of the cache cannot be read.
    """
    found = []
    for kind in kinds():
        if of is None or kind in of:
            for item in _items(cache_root() / kind):
                with suppress(FileNotFoundError):
                    found.append(_entry(kind, Path(item.path)))
    return sorted(found, key=lambda entry: (-entry.used, entry.kind, entry.key))


def _items(folder: Path, hidden: bool = False) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as items:
            yield from (item for item in items if item.name.startswith(".") == hidden)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"cannot be read ({error.strerror})", where=str(folder), hint=WAY_OUT) from None


def _entry(kind: str, path: Path) -> CacheEntry:
    facts = path.lstat()
    if not stat.S_ISDIR(facts.st_mode):
        linked = "a link, not followed" if stat.S_ISLNK(facts.st_mode) else None
        used = max(facts.st_mtime, facts.st_atime) if linked is None else facts.st_mtime
        return CacheEntry(kind, path.name, path, facts.st_size, 1, used, {}, linked)
    count, size, _ = _extent(path)
    used = facts.st_mtime
    about: Mapping[str, Any] = {}
    problem: str | None = None
    try:
        used = (path / ABOUT).lstat().st_mtime
        about = _about(path / ABOUT)
    except FileNotFoundError:
        path.lstat()  # it may be the entry that went, rather than its about.json
        problem = f"has no {ABOUT}"
    except (OSError, ValueError, RecursionError) as error:
        problem = f"{ABOUT}: {getattr(error, 'strerror', None) or error}"
    return CacheEntry(kind, path.name, path, size, count, used, about, problem)


def _about(path: Path) -> Mapping[str, Any]:
    # Neither a link out of the cache nor a pipe that never ends.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with open(handle, "rb") as file:  # noqa: PTH123 (a file descriptor)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("not a file")
        about = json.loads(file.read(1 << 20))
    if not isinstance(about, dict):
        raise ValueError("no mapping")
    return about


def _extent(path: Path) -> tuple[int, int, float]:
    """Files, bytes and the last change, of a file or of a folder with all that is in it; links are not followed."""
    count = size = 0
    changed = path.lstat().st_mtime
    pending = [path]
    if not path.is_dir() or path.is_symlink():
        return 1, path.lstat().st_size, changed
    while pending:
        with suppress(OSError), os.scandir(pending.pop()) as items:
            for item in items:
                with suppress(FileNotFoundError):
                    facts = item.stat(follow_symlinks=False)
                    changed = max(changed, facts.st_mtime)
                    if item.is_dir(follow_symlinks=False):
                        pending.append(Path(item.path))
                    else:
                        count, size = count + 1, size + facts.st_size
    return count, size, changed


def remove(entry: CacheEntry) -> bool:
    """Remove an entry: at one moment it is there as a whole, at the next it is not.

    Runs that have it open or mapped go on reading it; its bytes are free when they end.

    Returns:
        Whether it was there; otherwise another process has removed it.

    Raises:
        RunFailed: it cannot be removed, or not everything of it.
    """
    trash = entry.path.with_name(f"{TRASH}{os.getpid()}-{uuid.uuid4().hex[:12]}")
    try:
        entry.path.rename(trash)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise RunFailed(f"cannot be removed ({error.strerror})", where=str(entry.path)) from None
    obstacle = _delete(trash)
    if obstacle is not None:
        raise RunFailed(f"cannot be removed wholly ({obstacle.strerror})", where=str(trash))
    return True


def _delete(path: Path) -> OSError | None:
    """Delete a file, a link or a folder, also when another process does the same; why not, where something stays."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
            if path.is_dir():
                shutil.rmtree(path)  # says what stood in the way
        else:
            path.unlink()
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    return None


def sweep(of: Collection[str] | None = None, dry: bool = False) -> Leftovers:
    """Remove what processes left that were killed while they wrote or removed.

    Trash goes at once. What somebody was writing goes when nothing in it has changed for ten minutes and its process is
    not to be found here (it may run on another machine that shares the folder), and after a day in any case.

    Args:
        of: only these kinds.
        dry: only count.

    Raises:
        UsageError: a folder of the cache cannot be read.
    """
    counts = [0, 0, 0, 0]
    for kind in kinds():
        for item in _items(cache_root() / kind, hidden=True) if of is None or kind in of else ():
            path = Path(item.path)
            with suppress(FileNotFoundError):
                _, size, changed = _extent(path)
                if item.name.startswith(LOCK) and path.with_name(item.name.removeprefix(LOCK)).exists():
                    continue
                gone = _is_left(item.name, time.time() - changed) and (dry or _delete(path) is None)
                if gone or not item.name.startswith(LOCK):
                    counts[0 if gone else 2] += 1
                    counts[1 if gone else 3] += size
    return Leftovers(*counts)


def _is_left(name: str, age: float) -> bool:
    """Whether nobody is working on this any more.

    Args:
        age: seconds since its last change.
    """
    if name.startswith(TRASH) or age > FORGOTTEN_AFTER:
        return True
    process = re.match(rf"{re.escape(PARTIAL)}(\d+)-", name)
    return process is not None and age > GONE_AFTER and _is_gone(int(process[1]))


def _is_gone(process: int) -> bool:
    if os.name == "nt":  # signal 0 is Ctrl-C there
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
