"""Suites that plugins ship: found without an import, held inside their package, checked by the kit."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from installed_plugins import write_plugin

from graftwork.bench.cells import expand
from graftwork.bench.suite import find_suite, load_suite
from graftwork.catalogue import load_catalogue, read_registry
from graftwork.cli import main
from graftwork.errors import UsageError
from graftwork.testing import PluginConformance

SUITE = """version: 1
summary: Two data sets
settings: {epochs: 5}
data:
  digits: {task: image-classification, data: "sample:digits"}
  messages: {task: text-classification, data: "sample:messages"}
backbones:
  graftnet-s: {tasks: [image-classification], settings: {weights: weights/mine.safetensors}}
  graftext-s: {data: [messages]}
strategies:
  scratch:
  full: {sweep: {lr: [0.001, 0.0003]}}
labels: [10/class, all]
"""

STRANGERS = """version: 1
plugins:
  graft-contest: {summary: suites alone, package: graft_contest, licence: Apache-2.0, requires-graftwork: ">=0.1"}
suites:
  contest: {plugin: graft-contest, summary: Two data sets, file: suites/contest.yaml}
"""


@pytest.fixture
def contest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package of a third party that ships a suite and no code, installed."""
    monkeypatch.syspath_prepend(str(tmp_path))
    home = write_plugin(tmp_path, "graft-contest", STRANGERS, "raise SystemExit('imported')")
    (home / "suites").mkdir()
    (home / "suites" / "contest.yaml").write_text(SUITE, encoding="utf-8")
    yield home
    sys.modules.pop("graft_contest", None)  # the next one lies elsewhere


@pytest.mark.parametrize("name", ["contest", "graft-contest:contest"])
def test_a_third_partys_suite_is_found_and_expands_without_its_package_being_imported(contest: Path, name: str) -> None:
    catalogue = load_catalogue()
    suite = load_suite(find_suite(name, catalogue))
    assert suite.path == contest / "suites" / "contest.yaml"
    weights = contest.parent / "weights" / "mine.safetensors"
    weights.parent.mkdir()
    weights.touch()
    assert {cell.suite for cell in expand(suite, catalogue, contest.parent)} == {"contest"}


def test_a_suite_whose_file_is_gone_is_one_line_that_names_file_and_plugin(contest: Path) -> None:
    (contest / "suites" / "contest.yaml").unlink()
    with pytest.raises(UsageError) as caught:
        find_suite("contest", load_catalogue())
    said = "plugin 'graft-contest' does not hold the file of its suite 'contest'. Reinstall it: "
    assert str(caught.value).startswith(f"{contest / 'suites' / 'contest.yaml'}: {said}")


def test_a_list_of_suites_says_where_their_files_are(contest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "suites", "--json"]) == 0
    found = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert found["contest"]["file"] == "suites/contest.yaml"
    assert found["contest"]["path"] == str(contest / "suites" / "contest.yaml")
    assert all(Path(entry["path"]).is_file() for entry in found.values())
    (contest / "suites" / "contest.yaml").unlink()
    assert main(["list", "suites", "--json"]) == 0
    assert {entry["name"]: entry["path"] for entry in json.loads(capsys.readouterr().out)}["contest"] is None


def test_a_plugin_of_suites_alone_passes_the_kit(contest: Path) -> None:
    (contest / "__init__.py").write_text("")
    kit = type("TestContest", (PluginConformance,), {"plugin": "graft-contest"})()
    kit.test_it_is_installed_and_can_be_read()
    kit.test_its_entry_point_loads()
    kit.test_suites_can_be_read_and_their_runs_resolve(contest.parent / "root")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("full: {", "ful: {", r"expanding the suite contest raises UsageError: .*Did you mean full"),
        (
            "epochs: 5",
            "epoch: 5",
            r"reading the suite contest raises UsageError: .*contest.yaml:3: unknown setting 'epoch'",
        ),
        ("epochs: 5", "head_options: {x: 1}", r"expanding the suite contest raises UsageError: .*x is not an option"),
    ],
)
def test_the_kit_tells_what_is_wrong_with_a_suite(contest: Path, old: str, new: str, said: str) -> None:
    (contest / "suites" / "contest.yaml").write_text(SUITE.replace(old, new), encoding="utf-8")
    kit = type("TestContest", (PluginConformance,), {"plugin": "graft-contest"})()
    with pytest.raises(AssertionError, match=said):
        kit.test_suites_can_be_read_and_their_runs_resolve(contest.parent / "root")


@pytest.mark.parametrize(
    "file",
    ["/etc/x.yaml", "../x.yaml", "a/../x.yaml", "x.yml", "x", "a//x.yaml", ".x.yaml", "a/.b/x.yaml", "x.yaml\\n", ""],
)
def test_a_suite_file_outside_of_its_package_is_refused_with_line_and_key(tmp_path: Path, file: str) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text(STRANGERS.replace("suites/contest.yaml", f'"{file}"'))
    with pytest.raises(UsageError, match=r"Write one such as suites/my-suite\.yaml") as caught:
        read_registry(path)
    assert str(caught.value).startswith(f"{path}:5: suites.contest.file: ")
