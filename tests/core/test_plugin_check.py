"""`graft plugin check`: which plugins it takes, what it says of faults, and that nothing a plugin does can fool it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scaffolded import GRAFT, run, write_and_register

from graftwork.cli.plugin import plugins_of_folder
from graftwork.scaffold.checking import judge

Write = Callable[..., dict[str, Path]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes an installed plugin with changes to its files: (path, pattern, what takes its place)."""

    def call(kind: str, *changes: tuple[str, str, str], name: str | None = None) -> dict[str, Path]:
        folder = write_and_register(kind, tmp_path, name)
        for path, pattern, replacement in changes:
            text = (folder / path).read_text()
            changed = re.sub(pattern, replacement, text, count=1)
            assert changed != text, pattern
            (folder / path).write_text(changed)
        return {kind: folder}

    return call


@pytest.mark.acceptance
def test_a_sound_plugin_passes_and_inside_its_folder_it_need_not_be_named(write: Write) -> None:
    installed = write("observer")
    done = run([GRAFT, "plugin", "check", "--json"], installed, installed["observer"] / "tests")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ok"] and [plugin["plugin"] for plugin in found["plugins"]] == ["graftwork-my-observer"]
    assert found["plugins"][0]["passed"] > 3 and not found["plugins"][0]["faults"]


def test_a_fault_is_one_line_that_names_entry_and_rule_and_the_exit_code_is_4(write: Write, tmp_path: Path) -> None:
    installed = write("backbone", ("graftwork_my_backbone/registry.yaml", "parameters: 93472", "parameters: 93473"))
    done = run([GRAFT, "plugin", "check", "my-backbone"], installed, tmp_path)
    assert done.returncode == 4
    faults = [line for line in done.stdout.splitlines() if line.startswith("graftwork-my-backbone: ")]
    assert any("my-backbone" in line[23:] and "93" in line for line in faults[:-1]), done.stdout
    assert re.fullmatch(r"graftwork-my-backbone: \d+ of \d+ checks hold.*", faults[-1])
    assert done.stderr.splitlines()[-1].startswith("graft: error: graftwork-my-backbone: ")


def test_a_plugin_that_ends_the_process_is_caught_with_the_check_that_ran(write: Write, tmp_path: Path) -> None:
    ending = r"def build(spec: Spec) -> Observer:\n    import os\n    os._exit(0)\n"
    installed = write(
        "observer", ("graftwork_my_observer/observer.py", r"def build\(spec: Spec\) -> Observer:\n", ending)
    )
    done = run([GRAFT, "plugin", "check", "my-observer"], installed, tmp_path)
    assert done.returncode == 4
    assert "the process ended by exit code 0" in done.stdout


@pytest.mark.acceptance
def test_a_plugin_that_cannot_be_imported_is_a_fault_and_no_traceback(write: Write, tmp_path: Path) -> None:
    installed = write(
        "strategy",
        (
            "graftwork_my_strategy/__init__.py",
            "from graftwork import",
            "import nowhere_to_be_found\nfrom graftwork import",
        ),
    )
    done = run([GRAFT, "plugin", "check", "my-strategy"], installed, tmp_path)
    assert done.returncode == 4
    assert "nowhere_to_be_found" in done.stdout and "Traceback" not in done.stdout + done.stderr


def test_a_plugin_with_a_broken_registry_is_a_fault_without_running_anything(write: Write, tmp_path: Path) -> None:
    installed = write("strategy", ("graftwork_my_strategy/registry.yaml", "version: 1", "version: 2"))
    done = run([GRAFT, "plugin", "check", "my-strategy"], installed, tmp_path)
    assert done.returncode == 4
    assert "registry.yaml" in done.stdout and "0 of 1 checks hold" in done.stdout


@pytest.mark.acceptance
def test_options_of_somebody_elses_pytest_change_nothing(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = write("observer")
    folder = installed["observer"]
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -k nothing -n 4\n")
    (folder / "conftest.py").write_text("raise RuntimeError\n")
    (folder / "torch.py").write_text("raise RuntimeError\n")  # beside the user, not on the path
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k nothing")
    other = folder.parent / "elsewhere"
    folder.rename(other)
    (folder.parent / "site").mkdir()
    for path in [*other.glob("graftwork_my_observer*")]:
        path.rename(folder.parent / "site" / path.name)
    done = run([GRAFT, "plugin", "check", "my-observer"], {"observer": folder.parent / "site"}, other)
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_pytest_it_says_how_to_get_it(write: Write, tmp_path: Path) -> None:
    installed = write("observer")
    script = (
        "import sys\nfrom importlib import util\nfrom graftwork.scaffold import checking\n"
        "found = util.find_spec\n"
        "checking.find_spec = lambda name: None if name == 'pytest' else found(name)\n"
        "from graftwork.cli import main\nsys.exit(main(['plugin', 'check', 'my-observer']))"
    )
    done = run([sys.executable, "-c", script], installed, tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "graft: error: graft plugin check needs pytest. pip install pytest"


def test_a_plugin_that_is_not_there_gets_the_nearest_name(tmp_path: Path) -> None:
    done = run([GRAFT, "plugin", "check", "graftwork-imges"], {}, tmp_path)
    assert done.returncode == 2 and "Did you mean graftwork-images" in done.stderr
    (tmp_path / "pyproject.toml").write_text('[project.entry-points.graftwork]\ngraftwork-mine = "graftwork_mine"\n')
    done = run([GRAFT, "plugin", "check"], {}, tmp_path)
    assert done.returncode == 2 and "pip install -e" in done.stderr


@pytest.mark.parametrize("text", ["", "[", "[project]\nentry-points = 3\n", "project = 1\n", "\x00"])
def test_a_folder_with_any_other_pyproject_is_no_plugins_folder(text: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert plugins_of_folder(tmp_path) == []


def event(kind: str, number: int, **more: Any) -> dict[str, Any]:
    place = {"id": f"n{number}", "entry": "head x", "check": f"rule {number}"}
    return {"event": kind, "id": f"n{number}", **(place if kind in ("start", "fault") else {}), **more}


def test_a_check_that_passes_and_then_fails_to_clean_up_has_failed() -> None:
    fault = event("fault", 1, message="leaks", traceback="")
    found = judge("p", [event("start", 1), event("passed", 1), fault], 1, "")
    assert (found.passed, [f.line() for f in found.faults]) == (0, ["head x: rule 1: leaks"])


def test_a_process_that_died_names_the_check_that_ran() -> None:
    events = [event("start", 1), event("passed", 1), event("start", 2)]
    for code, ending in ((-11, "signal SIGSEGV"), (3, "exit code 3"), (0, "exit code 0")):
        found = judge("p", events, code, "")
        assert [fault.line() for fault in found.faults] == [f"head x: rule 2: the process ended by {ending}"]


def test_nothing_checked_is_no_success() -> None:
    assert judge("p", [], 0, "").faults
    assert judge("p", [], 5, "").faults[0].message == "there was nothing to check"
    assert "exit code 4 (ERROR: no such module)" in judge("p", [], 4, "\nERROR: no such module\n").faults[0].message


def test_skipped_checks_come_with_their_reason() -> None:
    events = [event("start", 1), event("passed", 1), event("start", 2), event("skipped", 2, message="no accelerator")]
    assert judge("p", events, 0, "").skipped == ("head x: rule 2: no accelerator",)
