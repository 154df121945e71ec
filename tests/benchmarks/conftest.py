"""What the benchmarks' tests share: running a script at its tiniest size, and reading what it wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))  # scripts import what they share from beside themselves

Run = Callable[..., str]
Results = Callable[[Path, str], dict[str, Any]]
FRESH = {"growth.py", "startup.py", "suite_sharing.py", "everything.py"}
"""Scripts that start and measure processes that must be fresh, or start the other scripts."""


def _results(out: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
    page = (out / f"{name}.md").read_text(encoding="utf-8")
    assert page.startswith("# ")
    assert str(out) not in page + json.dumps(found), "where folders lie on this machine is nobody's business"
    assert found["environment"]["torch"] == torch.__version__
    return found


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Runs a benchmark and gives its stdout; its stderr is shown when it fails.

    Each is a process of its own; where freshness does not matter it is forked from one that has imported torch and all,
    because that takes longer than most tiny benchmarks.
    """
    import warm

    server, places = warm.Server(), tmp_path_factory.mktemp("said")

    def call(script: str, *words: object) -> str:
        command = [sys.executable, str(BENCHMARKS / script), *map(str, words)]
        environment = {"OMP_NUM_THREADS": "1"}
        out, error = places / "stdout", places / "stderr"
        if script in FRESH or not warm.available():
            with out.open("w", encoding="utf-8") as stdout, error.open("w", encoding="utf-8") as stderr:
                code = subprocess.run(
                    command, stdout=stdout, stderr=stderr, env=os.environ | environment, check=False, timeout=300
                ).returncode
        else:
            code = server.run(command, out, error, environment)
        assert code == 0, error.read_text(encoding="utf-8")[-3000:]
        return out.read_text(encoding="utf-8")

    yield call
    server.close()


@pytest.fixture(scope="session")
def results() -> Results:
    """Reads NAME.json of a folder of results, and looks at NAME.md."""
    return _results
