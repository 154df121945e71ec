"""The examples as a stranger would have them: built and installed as distributions of their own, in a folder of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("graftwork-timm", "graftwork-tables", "graftwork-bss")


@pytest.fixture(scope="session")
def installed(command: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which pip installed them; beside it nothing of their sources is importable."""
    target = tmp_path_factory.mktemp("installed")
    # With hatchling at hand (an extra of graftwork's) no network is needed.
    build = ["--no-build-isolation"] if find_spec("hatchling") else []
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", *build]
    done = command([*pip, "--target", target, *(EXAMPLES / name for name in NAMES)])
    assert done.code == 0, done.stderr
    return target


@pytest.fixture
def stranger(installed: Path, tmp_path: Path, command: Callable[..., Any]) -> Callable[..., Any]:
    """Runs a command in an empty folder with the examples installed."""

    def call(*words: Any) -> Any:
        return command(words, cwd=tmp_path, env={"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"})

    return call
