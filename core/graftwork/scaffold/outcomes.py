"""A pytest plugin that writes down what each check did, a JSON line an event; `checking` has pytest load it and reads the file.

Events: `start`, `passed`, `skipped` (with its reason) and `fault` (with what was raised). The file is flushed at each, so that it
says which check was running when the process died.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from typing import Any, TextIO

import pytest

VARIABLE = "GRAFTWORK_CHECK_OUTCOMES"
"""The environment variable that names the file."""


class Outcomes:
    """Writes the events.

    Args:
        stream: where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def _write(self, **event: Any) -> None:
        self._stream.write(json.dumps(event) + "\n")
        self._stream.flush()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._write(event="start", **_place(item))
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self._write(event="skipped", id=report.nodeid, message=reason.removeprefix("Skipped: "))
        elif report.passed and report.when == "call":
            self._write(event="passed", id=report.nodeid)

    def pytest_exception_interact(self, node: pytest.Item | pytest.Collector, call: Any, report: Any) -> None:
        """Called for whatever fails: a check, its fixtures, or collecting the checks."""
        raised = call.excinfo.value
        # A rewritten assert adds "assert …" on lines of its own; what it says in words comes first.
        said = str(raised).partition("\nassert ")[0] or str(raised)
        kind = "" if isinstance(raised, AssertionError | pytest.fail.Exception) else f"{type(raised).__name__}: "
        self._write(event="fault", message=kind + said, traceback=str(report.longrepr), **_place(node))


def _place(node: Any) -> dict[str, str]:
    """Which entry and which check: the class says the one (by `about`, else by its name), the method the other."""
    owner = getattr(node, "cls", None)
    about = getattr(owner, "about", getattr(owner, "__name__", ""))
    return {"id": node.nodeid, "entry": str(about), "check": node.name.removeprefix("test_").replace("_", " ")}


def pytest_configure(config: pytest.Config) -> None:
    path = os.environ[VARIABLE]
    stream = open(path, "a", encoding="utf-8")  # noqa: SIM115, PTH123 (open for as long as pytest runs)
    config.add_cleanup(stream.close)
    config.pluginmanager.register(Outcomes(stream), "graftwork-outcomes")
