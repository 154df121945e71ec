"""Loads plugins in processes of their own, for `graft doctor`: one that hangs, crashes or leaves is a line, not the end.

This is the parent's side; `load_one` is what such a process runs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SECONDS = 20.0
"""How long a plugin may take to load. Its heavy imports stand inside its hooks, and torch alone may take seconds."""
_WAITED = 0.02  # seconds between two looks at the processes

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from graftwork.cli.load_one import answer; answer(sys.argv[2], sys.argv[3])"
)


@dataclass(frozen=True)
class Loaded:
    """What loading a plugin came to.

    Args:
        problem: why it does not work; None when it does.
        at: `load` when its import failed, `hooks` when what came after did.
        notes: what works but should not be so.
    """

    problem: str | None = None
    at: str = "load"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Child:
    name: str
    process: subprocess.Popen[bytes]
    answer: Path
    said: Path
    started: float


def examine(names: Sequence[str], seconds: float = SECONDS, at_once: int | None = None) -> dict[str, Loaded]:
    """Load plugins, each in a process of its own, several at a time.

    Args:
        names: of plugins that are in use.
        seconds: how long one may take.
        at_once: how many processes; by default two a core, since one that hangs needs no core.
    """
    places = at_once or min(16, 2 * (os.cpu_count() or 1))
    waiting = list(reversed(names))
    running: list[_Child] = []
    found: dict[str, Loaded] = {}
    with tempfile.TemporaryDirectory(prefix="graftwork-doctor-") as folder:
        try:
            while waiting or running:
                while waiting and len(running) < places:
                    running.append(_start(waiting.pop(), Path(folder)))
                time.sleep(_WAITED)
                for child in list(running):
                    if child.process.poll() is not None:
                        found[child.name] = _verdict(child)
                    elif time.monotonic() - child.started > seconds:
                        _end(child)
                        found[child.name] = Loaded(f"did not load within {seconds:g} seconds")
                    else:
                        continue
                    running.remove(child)
        finally:
            for child in running:
                _end(child)
    return {name: found[name] for name in names}


def _start(name: str, folder: Path) -> _Child:
    answer, said = folder / f"{name}.json", folder / f"{name}.txt"
    with said.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(sys.path), name, str(answer)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # so that what it starts can be ended with it
        )
    return _Child(name, process, answer, said, time.monotonic())


def _end(child: _Child) -> None:
    if hasattr(os, "killpg"):
        with suppress(OSError):
            os.killpg(child.process.pid, signal.SIGKILL)
    child.process.kill()
    child.process.wait()


def _verdict(child: _Child) -> Loaded:
    """What a process that has ended left behind."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        facts = json.loads(child.answer.read_text(encoding="utf-8"))
        return Loaded(facts["problem"], facts["at"], tuple(facts["notes"]))
    code = child.process.returncode
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    lines = child.said.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((f": {line.strip()[:300]}" for line in reversed(lines) if line.strip()), "")
    return Loaded(f"ends the process that loads it ({how}{last})")
