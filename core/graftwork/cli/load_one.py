"""Loads one plugin and says what it came to: what a process that `loading` starts does. Also holds code against registry."""

from __future__ import annotations

import io
import json
import os
import sys
import time
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TextIO

from graftwork.catalogue import KINDS, load_catalogue
from graftwork.errors import GraftworkError
from graftwork.plugins import Plugins, cause_of
from graftwork.plugins.effects import changes, process_state

_SLOW = 1.0  # seconds of an import that are worth a word
_HEAVY = frozenset({"torch", "torchvision", "transformers", "datasets"})


class _Heard(io.StringIO):
    """Keeps what is printed and passes it on at once: of a process that crashes, its last words are all there is."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(text)
        self.stream.flush()
        return super().write(text)


def answer(name: str, path: str) -> None:
    """Load a plugin, write what it came to as JSON, and end the process, whatever threads the plugin has started."""
    try:
        found = _load(name)
    except BaseException as error:  # the answer is all that the parent gets
        found = {"problem": f"cannot be loaded ({cause_of(error)})", "at": "load", "notes": []}
    Path(path).write_text(json.dumps(found), encoding="utf-8")
    os._exit(0)


def _load(name: str) -> dict[str, Any]:
    import numpy  # noqa: F401  (so that what a plugin does to its random state is seen)

    plugins = Plugins(load_catalogue())
    problem, notes, changed = _import(plugins, name)
    if problem is not None:
        return {"problem": problem, "at": "load", "notes": notes}
    before = process_state(environment=False)
    problem = problem_of(plugins, name)
    changed += changes(before, process_state(environment=False))
    if changed:
        notes.append(f"loading it changes {', '.join(changed)}")
    return {"problem": problem, "at": "hooks", "notes": notes}


def _import(plugins: Plugins, name: str) -> tuple[str | None, list[str], list[str]]:
    """Import the plugin alone; what failed, what should not be so, and what of the process was changed."""
    problem, printed, stderr = None, _Heard(sys.stderr), sys.stderr
    before, known, started = process_state(), set(sys.modules), time.monotonic()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("default")
        sys.stderr = printed  # where `Plugins` sends what a plugin prints
        try:
            plugins.load(name)
        except GraftworkError as error:
            problem = _without_name(error, name)
        finally:
            sys.stderr = stderr
    seconds = time.monotonic() - started
    notes = []
    if seconds > _SLOW:
        notes.append(f"its import takes {seconds:.1f} seconds")
    if heavy := sorted(_HEAVY & (sys.modules.keys() - known)):
        notes.append(f"its import brings {', '.join(heavy)}, which belongs inside the hooks")
    if text := printed.getvalue().strip():
        notes.append(f"its import prints {text.splitlines()[0][:80]!r}")
    if warned:
        notes.append(f"its import warns: {' '.join(str(warned[0].message).split())[:120]}")
    return problem, notes, changes(before, process_state())


def problem_of(plugins: Plugins, name: str) -> str | None:
    """What is wrong with a plugin's code, held against what its registry.yaml says; None when nothing is."""
    wrong: list[str] = []
    for kind in KINDS:
        if kind == "suites":  # data alone
            continue
        entries = {
            key.removeprefix(f"{name}:"): entry
            for key, entry in plugins.catalogue.entries[kind].items()
            if entry.plugin == name
        }
        try:
            supplied = plugins.builders(kind, name)
            openers = plugins.builders("openers", name) if kind == "backbones" else {}
        except GraftworkError as error:
            return _without_name(error, name)
        wrong += _differences(kind, set(entries), supplied)
        if kind == "backbones":
            wrong += _differences("openers", {key for key, entry in entries.items() if entry.opens}, openers)
    return "; ".join(wrong) or None


def _differences(kind: str, listed: Collection[str], supplied: Mapping[str, Any]) -> list[str]:
    found = []
    lacking, strange = sorted(set(listed) - supplied.keys()), sorted(supplied.keys() - set(listed))
    dead = sorted(name for name in listed if name in supplied and not callable(supplied[name]))
    if lacking:
        found.append(f"supplies no builder for {kind} {_some(lacking)}, which its registry.yaml lists")
    if strange:
        found.append(f"supplies {kind} {_some(strange)}, which its registry.yaml does not list")
    if dead:
        found.append(f"supplies {kind} {_some(dead)} as something that cannot be called")
    return found


def _some(names: list[str]) -> str:
    return f"{', '.join(names[:5])}{', …' if len(names) > 5 else ''}"


def _without_name(error: GraftworkError, name: str) -> str:
    return str(error).removeprefix(f"plugin {name!r} ")
