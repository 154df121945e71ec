"""The examples in `examples/`: each installs from a distribution of its own, and passes its own tests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from graftwork.catalogue import first_party_registry

EXAMPLES = first_party_registry().parent / "examples"


@pytest.mark.acceptance  # test_examples_in_use trains with them each time
@pytest.mark.parametrize("name", ["graftwork-timm", "graftwork-tables", "graftwork-bss"])
def test_an_example_passes_its_own_tests_as_it_is_installed(name: str, stranger: Callable[..., Any]) -> None:
    words = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-c", EXAMPLES / name / "pyproject.toml"]
    done = stranger(sys.executable, "-m", "pytest", *words, EXAMPLES / name / "tests")
    assert done.code == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
