"""JSON files of a model's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from graftwork import UsageError


def read_object(folder: Path, name: str, where: str) -> dict[str, Any] | None:
    """The object in a JSON file of a folder; None where there is no such file.

    Raises:
        UsageError: it is damaged, or no object.
    """
    found = read(folder, name, where)
    if found is not None and not isinstance(found, dict):
        raise UsageError(f"{name} cannot be read (no JSON object)", where=where)
    return found


def read(folder: Path, name: str, where: str) -> Any:
    """What a JSON file of a folder holds; None where there is no such file.

    Raises:
        UsageError: it is damaged.
    """
    path = folder / name
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{name} cannot be read ({line(error)})", where=where) from None


def line(error: BaseException) -> str:
    """The first line of a library's message."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:120].rstrip(".")
