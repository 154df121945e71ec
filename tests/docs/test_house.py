"""The house stays as it is described: few loose modules, short functions, and plugins that use what is promised to them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "core" / "graftwork"
PROMISED = {
    "graftwork", "graftwork.hookspecs", "graftwork.interfaces", "graftwork.errors", "graftwork.testing", "graftwork.catalogue",
    "graftwork.console", "graftwork.log", "graftwork.cache.room", "graftwork.files.text", "graftwork.files.yaml",
}  # fmt: skip
LIBRARIES = ("graftwork.classification", "graftwork.vision", "graftwork.strategies", "graftwork.interfaces")
DATA = (
    "alike", "arrow", "audit", "columns", "fingerprint", "folders", "foreign", "groups", "names", "paths", "sources",
    "splits", "tables",
)  # fmt: skip

pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="an installation without the repository")


def functions(folder: Path) -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def is_option_list(path: Path, node: ast.AST) -> bool:
    """A command of the command line, whose parameters are its options."""
    return "cli" in path.parts and "typer." in ast.unparse(node)


def test_a_newcomer_finds_few_loose_modules_at_the_cores_top() -> None:
    assert len(list(CORE.glob("*.py"))) <= 9


def test_a_run_reads_as_a_table_of_contents() -> None:
    tree = ast.parse((CORE / "run.py").read_text(encoding="utf-8"))
    (execute,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "execute"]
    body = execute.body[1:]  # after the docstring
    assert (body[-1].end_lineno or 0) - body[0].lineno + 1 <= 30


def test_functions_can_be_held_in_the_head() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path, node in functions(CORE)
        if (node.end_lineno or 0) - node.lineno + 1 > 60 and not is_option_list(path, node)
    ]
    assert not long
    many = []
    for folder in (CORE, ROOT / "plugins", ROOT / "benchmarks", ROOT / "examples"):
        for path, node in functions(folder):
            names = [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            if len([name for name in names if name not in ("self", "cls")]) > 8 and not is_option_list(path, node):
                many.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert not many


def test_every_room_says_what_lives_in_it() -> None:
    for room in sorted(path for path in CORE.iterdir() if (path / "__init__.py").is_file()):
        words = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""
        assert len(words) > 40, f"{room.name}/__init__.py does not say what lives there"


def test_the_way_to_the_optimizer_step_leads_through_at_most_seven_files_that_are_there() -> None:
    page = (ROOT / "docs" / "how-the-engine-works.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\d\. `([\w/]+\.py)`", page, re.MULTILINE)
    assert 4 < len(listed) <= 7
    assert all((CORE / path).is_file() for path in listed), listed


def test_paths_in_the_docs_are_there() -> None:
    known = {path.relative_to(CORE).as_posix() for path in CORE.rglob("*.py")}
    rooms = {path.partition("/")[0] for path in known if "/" in path}
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/decisions/*.md")):
        if page.name == "CHANGELOG.md":
            continue
        for path in re.findall(r"`(?:core/graftwork/)?([a-z_]+/[\w/]+\.py)`", page.read_text(encoding="utf-8")):
            if path.partition("/")[0] in rooms:
                assert path in known or (ROOT / path).is_file(), f"{page.name} names {path}"


def test_plugins_and_examples_import_only_what_is_promised() -> None:
    strangers = []
    for path in [*ROOT.glob("plugins/*/**/*.py"), *ROOT.glob("examples/*/graftwork_*/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = node.module if isinstance(node, ast.ImportFrom) and not node.level else None
            if module is None or module.partition(".")[0] != "graftwork":
                continue
            library = any(module == name or module.startswith(f"{name}.") for name in LIBRARIES)
            data = module.startswith("graftwork.data.") and module.removeprefix("graftwork.data.") in DATA
            if not (module in PROMISED or library or data):
                strangers.append(f"{path.relative_to(ROOT)}: {module}")
    assert not strangers
    page = (ROOT / "docs" / "versioning.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in DATA), "docs/versioning.md lists what is promised"
