"""`graft doctor` loads every stranger's plugin in a process of its own: hangs, crashes and exits are lines."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from installed_plugins import strategy_registry, write_plugin

from graftwork.cli.loading import Loaded, examine
from graftwork.plugins.effects import changes, process_state

GOOD = """\
from graftwork import hookimpl

@hookimpl
def graftwork_strategies():
    return {"%s": print}
"""
CASES = {
    "graft-fine": "",
    "graft-raises": "raise RuntimeError('at import')",
    "graft-leaves": "import sys\nsys.exit(3)",
    "graft-killed": "import os\nos._exit(7)",
    "graft-crashes": "import os, signal\nprint('last words', flush=True)\nos.kill(os.getpid(), signal.SIGSEGV)",
    "graft-interrupts": "raise KeyboardInterrupt",
    "graft-hangs": "import subprocess, time\nsubprocess.Popen(['sleep', '100'])\ntime.sleep(100)",
    "graft-talks": "print('welcome')\nimport warnings\nwarnings.warn('is old', DeprecationWarning)",
    "graft-changes": "import os, random\nrandom.seed(0)\nos.environ['X_PLUGIN'] = '1'\nimport logging\nlogging.basicConfig()",
    "graft-lacks": "GOOD = None",
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Loaded]:
    folder = tmp_path_factory.mktemp("plugins")
    for name, code in CASES.items():
        text = f"{code}\n{GOOD % (name + '-other' if name == 'graft-lacks' else name + '-s')}"
        write_plugin(folder, name, strategy_registry(name, f"{name}-s"), text)
    sys.path.insert(0, str(folder))
    try:
        started = time.monotonic()
        found = examine(list(CASES), seconds=8)
        assert time.monotonic() - started < 60
    finally:
        sys.path.remove(str(folder))
    assert list(found) == list(CASES)
    return found


def test_a_good_plugin_has_no_problem_and_no_notes(loaded: dict[str, Loaded]) -> None:
    assert loaded["graft-fine"] == Loaded(None, "hooks", ())


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("graft-raises", "cannot be loaded (RuntimeError: at import)"),
        ("graft-leaves", "cannot be loaded (SystemExit: 3)"),
        ("graft-killed", "ends the process that loads it (exit code 7)"),
        ("graft-crashes", "ends the process that loads it (signal 11: last words)"),
        ("graft-interrupts", "cannot be loaded (KeyboardInterrupt)"),
        ("graft-hangs", "did not load within 8 seconds"),
        ("graft-lacks", "supplies no builder for strategies graft-lacks-s, which its registry.yaml lists; "
         "supplies strategies graft-lacks-other, which its registry.yaml does not list"),
    ],
)  # fmt: skip
def test_what_fails_is_named_with_its_cause(loaded: dict[str, Loaded], name: str, problem: str) -> None:
    assert (loaded[name].problem or "").startswith(problem), loaded[name]


def test_what_works_but_should_not_be_so_is_noted(loaded: dict[str, Loaded]) -> None:
    assert loaded["graft-talks"] == Loaded(None, "hooks", ("its import prints 'welcome'", "its import warns: is old"))
    assert loaded["graft-changes"].problem is None
    (note,) = loaded["graft-changes"].notes
    for what in ("the state of random", "the environment (X_PLUGIN)", "the handlers of the root logger"):
        assert what in note


def test_the_state_of_the_process_shows_what_is_changed_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np
    import torch

    before = process_state()
    assert changes(before, process_state()) == []
    state = torch.random.get_rng_state(), np.random.get_state()
    try:
        torch.set_default_dtype(torch.float64)
        np.random.seed(3)
        monkeypatch.setenv("X_PLUGIN", "1")
        found = changes(before, process_state())
    finally:
        torch.set_default_dtype(torch.float32)
        torch.random.set_rng_state(state[0])
        np.random.set_state(state[1])
    assert found == [
        "torch's default type (from torch.float32 to torch.float64)",
        "the state of numpy.random",
        "the environment (X_PLUGIN)",
    ]


def test_doctor_tells_all_of_it_and_list_remembers(
    graft: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("graft-fine", "graft-raises", "graft-talks"):
        write_plugin(tmp_path, name, strategy_registry(name, f"{name}-s"), f"{CASES[name]}\n{GOOD % (name + '-s')}")
    write_plugin(tmp_path, "graft-torn", "version: [")
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))
    path = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = graft("list", "plugins", env=path)
    assert "at import" not in done.stdout and "graft-raises" in done.stdout

    done = graft("doctor", "--json", env=path)
    assert done.code == 0, done.stderr
    found = json.loads(done.stdout)["plugins"]
    assert found["graft-fine"]["state"] == "ok" and found["graft-fine"]["notes"] == []
    assert found["graft-raises"]["state"].startswith("cannot be loaded (RuntimeError: at import). ")
    assert "not valid YAML" in found["graft-torn"]["state"]
    assert found["graft-talks"]["notes"][0] == "its import prints 'welcome'"
    assert found["graft-fine"]["origin"] == str(tmp_path)

    rows = {row["name"]: row for row in json.loads(graft("list", "plugins", "--json", env=path).stdout)}
    assert rows["graft-raises"]["state"] == "failed" and "at import" in rows["graft-raises"]["cause"]
    assert rows["graft-torn"]["state"] == "broken" and rows["graft-fine"]["state"] == "ok"
    done = graft("list", env=path)
    assert "plugin graft-raises cannot be loaded (RuntimeError: at import)" in done.stderr
    assert "plugin graft-torn could not be read" in done.stderr
