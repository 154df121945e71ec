"""docs/interfaces.md is what docs/make_reference.py writes today."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="an installation without the repository")


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_up_to_date(maker: ModuleType) -> None:
    written = (DOCS / "interfaces.md").read_text(encoding="utf-8")
    assert written == maker.page(), "run: python docs/make_reference.py"


def test_every_public_name_and_every_method_is_described(maker: ModuleType) -> None:
    from graftwork import interfaces

    page = maker.page()
    for name in interfaces.__all__:
        assert f"\n### {name}\n" in page
    for method in ("def read", "advance(index: int, state: State", "plan(model: Model, context: PlanContext) -> Plan"):
        assert method.removeprefix("def ") in page


def test_a_docstrings_sections_become_markdown(maker: ModuleType) -> None:
    text = "One thing.\n\nArgs:\n    a, b: both\n        of them.\n    c: one.\n\nReturns:\n    It is.\n\nRaises:\n    E: no."
    assert maker._markdown(text) == (
        "One thing.\n\n- `a`, `b`: both\n  of them.\n- `c`: one.\n\nReturns: It is.\n\n- raises `E`: no."
    )
