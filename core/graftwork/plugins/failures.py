"""What went wrong when a plugin was last loaded, remembered so that `graft list` can say it without loading anything.

A memory, not a verdict: the next command that needs the plugin tries again, success is remembered as well, and another
version or changed code is another plugin.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from graftwork.cache.entries import cache_root
from graftwork.catalogue.usable import PluginState
from graftwork.errors import GraftworkError

FILE = "plugin-faults.json"
_LONGEST = 600  # characters of a cause
_MOST = 200  # plugins; the oldest are forgotten


@dataclass(frozen=True)
class LoadFailure:
    """Why a plugin failed when it was last loaded.

    Args:
        cause: in words.
        stamp: what the plugin was then.
        at: `load` for its import, `hooks` for what came after.
        when: day and time, as people write it.
    """

    cause: str
    stamp: str
    at: str
    when: str = ""


def stamp(state: PluginState) -> str:
    """What a plugin is: its version, and when the newest of its own modules was changed."""
    newest = 0
    for path in state.folder.rglob("*.py") if state.folder else ():
        with suppress(OSError):
            newest = max(newest, path.stat().st_mtime_ns)
    return f"{state.version} {newest}"


def remembered() -> dict[str, LoadFailure]:
    """Of every plugin that failed when it was last loaded, by name."""
    try:
        path = cache_root() / FILE
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return {name: LoadFailure(**fault) for name, fault in found.items() if all(map(_is_text, fault.values()))}
    except (GraftworkError, OSError, ValueError, TypeError, AttributeError, RecursionError):  # not what we wrote
        return {}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def failure_of(state: PluginState, known: Mapping[str, LoadFailure]) -> LoadFailure | None:
    """What is remembered of a plugin as it is now."""
    fault = known.get(state.name)
    return fault if fault is not None and fault.stamp == stamp(state) else None


def remember(found: Mapping[str, LoadFailure | None]) -> None:
    """Remember what loading plugins came to; None for one that works. Where nothing can be written, nothing is remembered."""
    known = remembered()
    changed = {name: fault for name, fault in known.items() if name not in found}
    now = time.strftime("%Y-%m-%d %H:%M")
    for name, fault in found.items():
        if fault is not None:
            changed[name] = LoadFailure(fault.cause[:_LONGEST], fault.stamp, fault.at, now)
    if changed == known:
        return
    kept = {name: asdict(fault) for name, fault in list(changed.items())[-_MOST:]}
    with suppress(GraftworkError, OSError):
        root = cache_root()
        root.mkdir(parents=True, exist_ok=True)
        temporary = root / f".{FILE}.{os.getpid()}"
        temporary.write_text(json.dumps(kept, indent=1), encoding="utf-8")
        temporary.replace(root / FILE)
