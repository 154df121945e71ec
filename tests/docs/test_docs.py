"""README and docs say what is so: commands parse, links lead somewhere, the example plugins work, tables match the code."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from graftwork import hookspecs
from graftwork.cli.app import application
from graftwork.cli.reserved import NAMES as RESERVED

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHELL = ("sh", "bash", "console")

pytestmark = pytest.mark.skipif(not (ROOT / "README.md").is_file(), reason="an installation without the repository")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Command:
    """A `graft` command as a page shows it."""

    page: str
    words: tuple[str, ...]
    whole: bool


def commands_in(page: Path) -> Iterator[Command]:
    """Commands in shell blocks are whole; those inside a sentence may leave out what the sentence is not about."""
    text = page.read_text(encoding="utf-8")
    for language, body in BLOCK.findall(text):
        if language in SHELL:
            for line in body.replace("\\\n", " ").splitlines():
                yield from _graft(name_of(page), line, whole=True)
    for inline in re.findall(r"`([^`\n]+)`", BLOCK.sub("", text)):
        yield from _graft(name_of(page), inline, whole=False)


def _graft(page: str, line: str, whole: bool) -> Iterator[Command]:
    for part in re.split(r"&&|;|\|", line):
        if "graft" not in part:
            continue  # inline code need not be a command line: `0 '` is not one
        words = shlex.split(part, comments=True)
        module = [index for index in range(len(words) - 1) if words[index : index + 2] == ["-m", "graftwork"]]
        if words[:1] == ["graft"]:
            yield Command(page, tuple(words[1:]), whole)
        elif module:
            yield Command(page, tuple(words[module[0] + 2 :]), whole)


COMMANDS = sorted({command for page in PAGES for command in commands_in(page)}, key=str)


def test_the_pages_show_commands() -> None:
    assert len(COMMANDS) > 20
    assert {command.words[0] for command in COMMANDS if command.words} >= {"quickstart", "train", "inspect", "predict"}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.page}: graft {' '.join(command.words)}")
def test_every_command_on_a_page_exists_with_its_options(command: Command) -> None:
    group = application()
    words = list(command.words)
    if not words or words[0].startswith("-"):
        assert set(words) <= {name for parameter in group.params for name in parameter.opts} | {"--help", "-h"}
        return
    assert words[0] in group.commands, f"graft has no command {words[0]}"
    if words[0] in RESERVED:
        return
    parser = group.commands[words[0]]
    while len(words) > 1 and words[1] in getattr(parser, "commands", {}):
        parser, words = parser.commands[words[1]], words[1:]
    if len(words) > 1 and "run" in getattr(parser, "commands", {}):  # `graft bench SUITE` is `graft bench run SUITE`
        parser = parser.commands["run"]
    if command.whole:
        with parser.make_context(words[0], words[1:]):
            return
    known = {name for parameter in parser.params for name in parameter.opts} | {"--help", "-h", "--debug"}
    used = {word.partition("=")[0] for word in words[1:] if word.startswith("-") and word != "-"}
    assert used <= known, f"graft {words[0]} has no option {', '.join(used - known)}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_and_path_on_a_page_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    prose = BLOCK.sub("", text)
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        found = (page.parent / path).resolve() if path else page
        if not found.exists() or (anchor and anchor not in _anchors(found)):
            wrong.append(target)
    for path in re.findall(
        r"`((?:core|plugins|tests|docs|benchmarks|engine|cli|strategies|data|\.ci)/[\w./-]*)`", prose
    ):
        if not any((root / path).exists() for root in (ROOT, ROOT / "core" / "graftwork")):
            wrong.append(path)
    for path in re.findall(r"`(graftwork(?:_images|_text|_detection|_segmentation|_track)?/[\w./-]*)`", prose):
        if not any((root / path).exists() for root in (ROOT / "core", ROOT / "plugins")):
            wrong.append(path)
    assert not wrong


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def readme_block(title: str) -> list[str]:
    """The lines of the first shell block after a bold title."""
    after = (ROOT / "README.md").read_text(encoding="utf-8").partition(f"**{title}**")[2]
    block: str = next(body for language, body in BLOCK.findall(after) if language == "sh")
    return block.splitlines()


def test_continuous_integration_runs_the_readmes_second_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    setup, *commands = readme_block("Two")
    assert setup.startswith("python3 -m venv")  # the script makes its environment elsewhere
    assert commands == ["pip install -e '.[dev]'", "pytest"]
    positions = [script.index(command) for command in commands]
    assert positions == sorted(positions)


def test_continuous_integration_runs_the_readmes_first_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert readme_block("One")[1:] == ["pip install '.[minilm]'", "graft quickstart"]
    assert "-m graftwork quickstart" in script


def test_the_ci_script_is_valid_and_executable() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_the_second_command_stands_on_the_contributing_page_too() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert "\n".join(readme_block("Two")) in text


def test_every_hook_has_a_heading() -> None:
    hooks = {name for name in vars(hookspecs) if name.startswith("graftwork_")}
    text = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^### `(graftwork_\w+)`$", text, re.MULTILINE)) == hooks


def test_every_strategy_stands_in_the_readme() -> None:
    from graftwork.catalogue import first_party_registry, read_registry

    strategies = read_registry(first_party_registry()).strategies
    wanted = {name if entry.argument is None else f"{name}:K" for name, entry in strategies.items()}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.partition("## Choosing a strategy")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z][^`]*)` \|", table, re.MULTILINE)) == wanted


# The audit's codes


_MAKERS = ("Finding", "named", "_named", "_found")


def codes_in_code() -> set[str]:
    """First arguments of Finding(…) and of the helpers that make findings, and the tables that feed them."""
    shared = [
        file
        for folder in ("classification", "data", "vision")
        for file in (ROOT / "core/graftwork" / folder).glob("*.py")
    ]
    sources = [*shared, *(ROOT / "plugins").glob("*/*.py")]
    found: set[str] = set()
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            called = getattr(node, "func", None)
            if getattr(called, "id", "") in _MAKERS or getattr(called, "attr", "") == "found":  # Seen.found
                found |= _text(node.args[:1])
            elif isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple):
                rows = [row.elts for row in node.iter.elts if isinstance(row, ast.Tuple)]
                found |= {code for row in rows if len(row) == 4 for code in _text(row[:1])}
    from graftwork.vision import audit
    from graftwork_detection import findings
    from graftwork_segmentation import audit as masks
    from graftwork_text import audit as texts

    found |= {"input-not-checked"}  # by the core itself, in runs/data.py
    return (
        found
        | set(audit._PROBLEMS)
        | set(masks._LEFT_OUT)
        | set(findings.CODES)
        | {code for code, _ in audit._TRAITS.values()}
        | {code for code, _ in masks._TRAITS.values()}
        | {code for code, _, _ in texts._TRAITS.values()}
    )


def _text(nodes: Sequence[ast.expr]) -> set[str]:
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_every_finding_of_the_audit_is_described_and_no_other() -> None:
    pages = [ROOT / "docs" / name for name in ("bring-your-data.md", "boxes.md", "masks.md")]
    texts = [page.read_text(encoding="utf-8").partition("## What `graft inspect` names")[2] for page in pages]
    told = re.findall(r"^\| `([a-z-]+)` \| (?:error|warning|note)", "\n".join(texts), re.MULTILINE)
    assert set(told) == codes_in_code()


# The example plugins of docs/plugins.md, taken off the page and run


@dataclass(frozen=True)
class Examples:
    """The example plugins, installed into a folder."""

    folders: tuple[Path, ...]

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(map(str, self.folders))
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, cwd=ROOT / "tests")


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    """Files as the page shows them, and beside each package what an installer writes."""
    home = tmp_path_factory.mktemp("examples")
    text = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    for _, body in BLOCK.findall(text):
        first, _, rest = body.partition("\n")
        if re.fullmatch(r"# graftwork-\w+/\S+", first):
            file = home / first.removeprefix("# ")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(rest, encoding="utf-8")
    folders = sorted(home.iterdir())
    for folder in folders:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        (info / "METADATA").write_text(head, encoding="utf-8")
        points = "\n".join(f"{name} = {value}" for name, value in project["entry-points"]["graftwork"].items())
        (info / "entry_points.txt").write_text(f"[graftwork]\n{points}\n", encoding="utf-8")
    return Examples(tuple(folders))


def test_the_example_plugins_are_whole(examples: Examples) -> None:
    assert [folder.name for folder in examples.folders] == ["graftwork-biases", "graftwork-patchnet"]
    states = json.loads(examples.run("-m", "graftwork", "doctor", "--json").stdout)["plugins"]
    assert {
        name: state["state"] for name, state in states.items() if name in ("graftwork-biases", "graftwork-patchnet")
    } == {
        "graftwork-biases": "ok",
        "graftwork-patchnet": "ok",
    }


def test_the_example_backbone_passes_the_conformance_kit(examples: Examples) -> None:
    tests = examples.folders[1] / "tests"
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", tests)
    done = examples.run("-m", "pytest", *options, tests)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and " failed" not in done.stdout


@pytest.fixture(scope="module")
def example_run(examples: Examples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run with the example strategy on the example backbone."""
    out = tmp_path_factory.mktemp("run") / "run"
    settings = ("--limit-train", "40", "--epochs", "1", "--workers", "0", "--device", "cpu")
    data = ("--task", "image-classification", "--data", "sample:digits")
    parts = ("--strategy", "biases", "--backbone", "patchnet")
    done = examples.run("-m", "graftwork", "train", *data, *parts, *settings, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


def test_the_example_strategy_trains_biases_and_head_and_nothing_else(example_run: Path) -> None:
    plan = json.loads((example_run / "plan.json").read_text(encoding="utf-8"))
    groups = {group["name"]: group["parameters"] for group in plan["phases"][0]["groups"]}
    assert groups == {"biases": 3 * 32, "head": 32 * 10 + 10}


def test_the_registry_of_the_example_backbone_counts_its_parameters(examples: Examples, example_run: Path) -> None:
    listed = json.loads(examples.run("-m", "graftwork", "list", "backbones", "--json").stdout)
    (entry,) = [entry for entry in listed if entry["name"] == "patchnet"]
    total = json.loads((example_run / "summary.json").read_text(encoding="utf-8"))["parameters"]["total"]
    assert entry["parameters"] == total - (32 * 10 + 10)


def test_the_page_on_run_directories_names_every_file_and_every_field(example_run: Path) -> None:
    text = (ROOT / "docs" / "run-directory.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`([^`\s]+)`", text))
    files = {file.relative_to(example_run).as_posix() for file in example_run.rglob("*") if file.is_file()}
    assert files <= told
    wanted: set[str] = set()
    for name in ("summary.json", "plan.json", "data.json", "model.json"):
        wanted |= set(_load(example_run / name))
    wanted |= set(json.loads((example_run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0]))
    plan, summary = _load(example_run / "plan.json"), _load(example_run / "summary.json")
    wanted |= {*plan["phases"][0], *plan["settings"][0], *plan["weights"], *summary["proofs"], *summary["val"]}
    assert wanted <= told


def _load(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value
