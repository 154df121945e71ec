"""Files that appear whole or not at all. Light: no torch."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from pathlib import Path
from typing import Any

from graftwork.errors import RunFailed


def write_file(path: Path, data: bytes) -> None:
    """Write a file so that after a crash it is there wholly or not at all: temporary name, flush, fsync, rename, fsync.

    Raises:
        RunFailed: no space left, or the folder cannot be written; what was there before is untouched.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        what = "no space left on the device" if full else f"cannot be written ({error.strerror})"
        hint = "Free some space, then run the same command with --resume; the checkpoint before is intact"
        raise RunFailed(what, where=str(path), hint=hint) from None


def write_json(path: Path, value: Any) -> None:
    """Write plain data as JSON, as `write_file` does."""
    write_file(path, (json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n").encode())


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
