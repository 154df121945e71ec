"""Where graftwork keeps what can be made again, and how it writes there. Light: imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp


def cache_folder(kind: str) -> Path:
    """The folder of one kind of cached files: KIND in $GRAFTWORK_CACHE, or in ~/.cache/graftwork; made when missing."""
    root = os.environ.get("GRAFTWORK_CACHE")
    folder = (Path(root).expanduser() if root else Path.home() / ".cache" / "graftwork") / kind
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_once(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a file that appears under its name whole or not at all.

    Concurrent processes each write a file of their own and the last one wins; a process that is killed leaves only a
    file with a dot in front, which nothing reads.

    Args:
        path: the final name; its folder exists.
        write: writes the file whose path it is given; it exists, empty.
    """
    handle, name = mkstemp(dir=path.parent, prefix=f".{path.name}-")
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
