"""The engine and the strategies know no domain: no task, modality or label stands in their code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import graftwork
from graftwork.catalogue import first_party_registry, read_registry

CORE = Path(graftwork.__file__).parent
FILES = sorted([*CORE.glob("engine/*.py"), *CORE.glob("strategies/*.py"), *CORE.glob("interfaces/model.py")])
WORDS = {"token", "pixel", "mask", "bbox", "boxes", "picture", "photo", "sentence", "detector", "segmenter", "label"}


def words_in_code(file: Path) -> Iterator[str]:
    """Words of names and of texts that are no docstrings; comments and docstrings may give examples."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    docs = {id(node.body[0].value) for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body
            and isinstance(node.body[0], ast.Expr)}  # fmt: skip
    for node in ast.walk(tree):
        texts = [getattr(node, field) for field in ("id", "attr", "arg", "name") if hasattr(node, field)]
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            texts.append(node.value)
        for text in texts:
            yield from re.findall(r"[a-z]+", str(text).lower())


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_no_domain_is_named(file: Path) -> None:
    registry = read_registry(first_party_registry())
    names = {part for task in registry.tasks for part in task.split("-")} | {
        entry.modality for entry in registry.tasks.values()
    }
    domains = (names | WORDS) - {"classification", "boxes"} | {f"{name}s" for name in names}
    found = domains & set(words_in_code(file))
    assert not found, f"{file.name} names {found}"
