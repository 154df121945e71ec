"""What the benchmarks' tests share: running a script at its tiniest size, and reading what it wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))  # scripts import what they share from beside themselves

Run = Callable[..., str]
Results = Callable[[Path, str], dict[str, Any]]


def _run(script: str, *words: object) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def _results(out: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
    page = (out / f"{name}.md").read_text(encoding="utf-8")
    assert page.startswith("# ")
    assert str(out) not in page + json.dumps(found), "where folders lie on this machine is nobody's business"
    assert found["environment"]["torch"] == torch.__version__
    return found


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs a benchmark and gives its stdout; its stderr is shown when it fails."""
    return _run


@pytest.fixture(scope="session")
def results() -> Results:
    """Reads NAME.json of a folder of results, and looks at NAME.md."""
    return _results
