"""Writes interfaces.md, beside this file, from the docstrings of what a plugin sees: `python docs/make_reference.py`.

Reads sources and imports nothing, so annotations stand on the page as they stand in the code.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

CORE = Path(__file__).parents[1] / "core" / "graftwork"
PAGE = Path(__file__).with_name("interfaces.md")

HEAD = """# The interfaces

What a plugin sees, from the docstrings. Everything here is imported from `graftwork.interfaces` unless it says otherwise;
[versioning](versioning.md) says what of it stays. [Writing a plugin](plugins.md) has the hooks with whole examples.

This page is written by `python docs/make_reference.py`; a test compares it with the code.
"""

GROUPS: dict[str, tuple[str, ...]] = {
    "Tasks and data": ("Task", "DataRequest", "Inputs", "Tables", "Facts", "Finding", "Examples", "Metrics", "Evaluation"),
    "What flows through a model": ("Batch", "State", "Features", "Outputs", "Targets", "Predictions"),
    "Backbones": ("Backbone", "ImageInput", "TextInput", "InputFacts"),
    "Heads and models": ("Head", "Model"),
    "Strategies": (
        "Strategy", "Plan", "Phase", "Group", "PlanContext", "Term", "Stream", "LABELLED", "Items", "Solver", "Teacher",
        "OpenTeacher", "stage_groups",
    ),
    "Observers": ("Observer", "FitRecord", "StepRecord", "EpochRecord"),
    "Builder of a report": ("Section", "Text", "Table", "Figure", "Pictures", "Passages"),
    "Builders": (
        "Spec", "TaskBuilder", "BackboneBuilder", "HeadBuilder", "StrategyBuilder", "DatasetBuilder", "ObserverBuilder",
        "Opener", "Pretrained",
    ),
}  # fmt: skip
"""Headings, and the names below each; every public name stands below one of them."""

Node = ast.ClassDef | ast.FunctionDef | ast.Assign
_SECTION = re.compile(r"^(Args|Returns|Raises|Example):$")


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page's text.

    Raises:
        KeyError: a public name stands in no group, or a group's name is not public.
    """
    nodes = {name: node for file in sorted((CORE / "interfaces").glob("*.py")) for name, node in _definitions(file)}
    public = set(_public_names(CORE / "interfaces" / "__init__.py"))
    grouped = {name for names in GROUPS.values() for name in names}
    if public != grouped:
        raise KeyError(f"in no group: {sorted(public - grouped)}; not public: {sorted(grouped - public)}")
    parts = [HEAD]
    for title, names in GROUPS.items():
        parts.append(f"## {title}\n")
        parts += [_described(name, *nodes[name]) for name in names]
    parts += ["## The kit\n", *_kit()]
    parts += ["## Errors\n", "From `graftwork`. The command line prints each as one line.\n", *_errors()]
    return "\n".join(parts).rstrip() + "\n"


def _public_names(file: Path) -> list[str]:
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    return []


def _definitions(file: Path) -> Iterator[tuple[str, tuple[Node, str]]]:
    """Every name that a file defines at its top, with its node and its docstring."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    for place, node in enumerate(body):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name, (node, ast.get_docstring(node) or "")
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            # The aliases of the builders stand together above one docstring or none.
            yield node.targets[0].id, (node, _string(body[place + 1 : place + 2]))


def _string(body: Sequence[ast.stmt]) -> str:
    """The text of a statement that is nothing but a string."""
    if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        value = body[0].value.value
        if isinstance(value, str):
            lines = value.splitlines()
            return "\n".join([lines[0], *(line.strip() for line in lines[1:])]).strip()
    return ""


def _described(name: str, node: Node, text: str) -> str:
    """A heading, what it is, and its members."""
    if isinstance(node, ast.Assign):
        return f"### {name}\n\n```python\n{ast.unparse(node)}\n```\n" + (f"\n{_markdown(text)}\n" if text else "")
    if isinstance(node, ast.FunctionDef):
        return f"### {name}\n\n```python\n{_signature(node)}\n```\n\n{_markdown(text)}\n"
    members = "\n".join(_members(node))
    return f"### {name}\n\n```python\n{_class_line(node)}\n```\n\n{_markdown(text)}\n" + (
        f"\n{members}" if members else ""
    )


def _class_line(node: ast.ClassDef) -> str:
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    frozen = any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
    fields = [ast.unparse(item) for item in node.body if isinstance(item, ast.AnnAssign)] if frozen else []
    lines = ["@dataclass(frozen=True)"] if frozen else []
    lines.append(f"class {node.name}{f'({bases})' if bases else ''}:")
    return "\n".join([*lines, *(f"    {field}" for field in fields)])


def _members(node: ast.ClassDef) -> Iterator[str]:
    """Attributes with a docstring of their own, then public methods and properties."""
    for place, item in enumerate(node.body):
        if isinstance(item, ast.AnnAssign) and (text := _string(node.body[place + 1 : place + 2])):
            yield f"**`{ast.unparse(item)}`**\n\n{_markdown(text)}\n"
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and not item.name.startswith("_") and not item.name.startswith("test_"):
            decorators = {ast.unparse(decorator) for decorator in item.decorator_list}
            marks = [
                word for word, mark in (("abstractmethod", "to write"), ("property", "property")) if word in decorators
            ]
            told = " (must be written)" if "abstractmethod" in marks else " (a property)" if marks else ""
            text = ast.get_docstring(item) or ""
            yield f"**`{_signature(item)}`**{told}\n" + (f"\n{_markdown(text)}\n" if text else "")


def _signature(node: ast.FunctionDef) -> str:
    arguments = ast.unparse(node.args).removeprefix("self, ").removeprefix("self")
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{node.name}({arguments}){returns}"


def _markdown(docstring: str) -> str:
    """A docstring as Markdown: arguments and errors as a list, what is returned as a sentence, examples as code."""
    blocks: list[str] = []
    section = ""
    for line in docstring.splitlines():
        found = _SECTION.match(line)
        if found:
            section = found[1]
            blocks += ["", "```pycon"] if section == "Example" else [""]
        elif line and not line.startswith(" ") and section:
            blocks += ["```", "", line] if section == "Example" else ["", line]
            section = ""
        elif section in ("Args", "Raises") and re.match(r"^    \S", line):
            name, colon, rest = line.strip().partition(": ")
            mark = "raises " if section == "Raises" else ""
            names = ", ".join(f"`{part}`" for part in name.split(", "))
            blocks.append(f"- {mark}{names}: {rest}" if colon else f"- {line.strip()}")
        elif section == "Returns" and blocks and not blocks[-1] and line.strip():
            blocks.append(f"Returns: {line.strip()}")
        elif section in ("Args", "Raises"):
            blocks.append(f"  {line.strip()}".rstrip())
        else:
            blocks.append(line.strip() if section != "Example" else line.removeprefix("    "))
    if section == "Example":
        blocks.append("```")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(blocks)).strip()


def _kit() -> Iterator[str]:
    """The classes of graftwork.testing: what a subclass says, and what is then checked; of their bases too."""
    yield "From `graftwork.testing`: classes to subclass in a plugin's own tests.\n"
    yield "`graft plugin check` makes them from `registry.yaml`.\n"
    files = sorted((CORE / "testing").glob("*.py"))
    nodes = {name: node for file in files for name, (node, _) in _definitions(file) if isinstance(node, ast.ClassDef)}
    for name in _public_names(CORE / "testing" / "__init__.py"):
        if name in nodes:
            lineage = list(_lineage(name, nodes))
            fields = [ast.unparse(item) for node in lineage for item in node.body if isinstance(item, ast.AnnAssign)]
            code = "\n".join([f"class {name}:", *(f"    {field}" for field in fields)])
            yield f"### {name}\n\n```python\n{code}\n```\n\n{_markdown(ast.get_docstring(nodes[name]) or '')}\n"
            yield from dict.fromkeys(member for node in lineage for member in _members(node))
            methods = [item.name for node in lineage for item in node.body if isinstance(item, ast.FunctionDef)]
            checks = dict.fromkeys(method for method in methods if method.startswith("test_"))
            if checks:
                yield "Checks:\n\n" + "\n".join(f"- `{check}`" for check in checks) + "\n"


def _lineage(name: str, nodes: dict[str, ast.ClassDef]) -> Iterator[ast.ClassDef]:
    """A class and its bases, as far as they are the kit's, the class first."""
    yield nodes[name]
    for base in nodes[name].bases:
        if ast.unparse(base) in nodes:
            yield from _lineage(ast.unparse(base), nodes)


def _errors() -> Iterator[str]:
    public = _public_names(CORE / "__init__.py")
    for name, (node, text) in _definitions(CORE / "errors.py"):
        if name in public and isinstance(node, ast.ClassDef):
            yield _described(name, node, text)


if __name__ == "__main__":
    main()
