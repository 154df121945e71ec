"""Installs the zoo and runs the kit on it, in a process of its own: plugins here spoil whatever process they are in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from zoo_faults import Fault, Plugin
from zoo_packages import CHANGES, plugin_of, write_packages

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Outcome:
    """What a check came to.

    Args:
        state: `passed`, `failed`, `skipped` or `error`.
        said: the first line of the failure, or the reason for skipping.
        seconds: that it took.
    """

    state: str
    said: str
    seconds: float


Outcomes = Mapping[Plugin, Mapping[str, Outcome]]
"""By plugin and name of the check."""


def install(folder: Path) -> str:
    """Install the zoo as pip does an editable one, and the packages beside it: the PYTHONPATH with which they are found."""
    write_packages(folder)
    info = folder / "graftwork_zoo-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: graftwork-zoo\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[graftwork]\ngraftwork-zoo = graftwork_zoo\n")
    places = [folder, HERE, HERE.parent / "core"]
    return os.pathsep.join([*map(str, places), *filter(None, [os.environ.get("PYTHONPATH")])])


def run_zoo(folder: Path, faults: Sequence[Fault], right: Mapping[Plugin, Sequence[str]]) -> Outcomes:
    """Run the check of each fault on the plugin that has it, and checks on the plugins that are right.

    Args:
        folder: an empty one, for what is installed and for the report.
        faults: their wrong plugins.
        right: plugins and their checks; all where none is named.
    """
    plugins = {plugin.test_class: plugin for plugin in [*(fault.wrong for fault in faults), *right]}
    checks = HERE / "zoo_checks.py"
    wanted = [f"{checks}::{fault.wrong.test_class}::{fault.check}" for fault in faults]
    for plugin, named in right.items():
        wanted += [f"{checks}::{plugin.test_class}::{check}" for check in named] or [f"{checks}::{plugin.test_class}"]
    report, settings = folder / "report.xml", folder / "pytest.ini"
    settings.write_text("[pytest]\n")  # a stranger's: none of this repository's
    variables = {
        **os.environ,
        "PYTHONPATH": install(folder),
        "GRAFTWORK_PLUGINS": ",".join(["graftwork-zoo", *map(plugin_of, CHANGES)]),
    }
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--noconftest", "--import-mode=importlib",
        "-c", str(settings), "--junitxml", str(report), "--basetemp", str(folder / "tmp"), *wanted,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=900)
    assert done.returncode in (0, 1), f"the kit could not be run:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    found: dict[Plugin, dict[str, Outcome]] = {plugin: {} for plugin in plugins.values()}
    for case in ElementTree.parse(report).iter("testcase"):
        plugin = plugins[case.get("classname", "").rpartition(".")[2]]
        found[plugin][case.get("name", "")] = _outcome(case)
    return found


def _outcome(case: ElementTree.Element) -> Outcome:
    seconds = float(case.get("time", "0"))
    for tag, state in (("failure", "failed"), ("error", "error"), ("skipped", "skipped")):
        part = case.find(tag)
        if part is not None:
            return Outcome(state, part.get("message", "").partition("\n")[0], seconds)
    return Outcome("passed", "", seconds)
