"""Has pytest run graftwork's checks on an installed plugin, in a process of its own, and says what came of it.

The checks are `graftwork.testing.check_installed`; this file knows none of them, and imports neither pytest nor torch.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from graftwork.errors import UsageError

MODULE = "graftwork.testing.check_installed"
PLUGIN = "GRAFTWORK_CHECK_PLUGIN"
"""The environment variable that tells the checks which plugin they are about."""

_OUTCOMES = "GRAFTWORK_CHECK_OUTCOMES"  # as in outcomes.py, which imports pytest


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Args:
        entry: what it is about, `backbone my-net`; empty when it is about the plugin as a whole.
        check: which rule does not hold, in words.
        message: how that showed.
        traceback: as pytest prints it.
    """

    entry: str
    check: str
    message: str
    traceback: str = ""

    def line(self) -> str:
        """The fault on one line."""
        return ": ".join(part for part in (self.entry, self.check, " ".join(self.message.split())) if part)


@dataclass(frozen=True)
class Checked:
    """What the checks of one plugin came to.

    Args:
        plugin: its name.
        passed: how many checks hold.
        skipped: checks that do not apply, with the reason, as `entry: check: reason`.
        faults: checks that do not hold.
    """

    plugin: str
    passed: int = 0
    skipped: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def check_plugin(name: str) -> Checked:
    """Run every check on one installed plugin.

    Raises:
        UsageError: pytest is not installed.
    """
    if find_spec("pytest") is None:
        raise UsageError("graft plugin check needs pytest", hint="pip install pytest")
    with tempfile.TemporaryDirectory(prefix="graftwork-check-") as folder:
        home = Path(folder)
        outcomes = home / "outcomes.jsonl"
        # -P: neither a module beside the user nor one in the folder of the check may hide an installed one.
        command = [
            sys.executable, "-P", "-m", "pytest", "--pyargs", MODULE, "-q", "--tb=short", "--color=no", "--capture=fd",
            "-c", os.devnull, "--rootdir", folder, "--basetemp", str(home / "scratch"), "-p", "no:cacheprovider",
            "-p", "graftwork.scaffold.outcomes",
        ]  # fmt: skip
        environment = _environment(name, outcomes)
        with (home / "output.txt").open("w+", encoding="utf-8", errors="replace") as output:
            done = subprocess.run(
                command,
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            )
            output.seek(0)
            said = output.read()
        lines = outcomes.read_text(encoding="utf-8").splitlines() if outcomes.is_file() else []
    return judge(name, [json.loads(line) for line in lines], done.returncode, said)


def _environment(name: str, outcomes: Path) -> dict[str, str]:
    """This process's variables without what would change how pytest runs: other people's options and plugins."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")}
    if kept.get("PYTHONPATH"):  # the checks run in another folder
        kept["PYTHONPATH"] = os.pathsep.join(
            str(Path(part).absolute()) for part in kept["PYTHONPATH"].split(os.pathsep) if part
        )
    return {**kept, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", PLUGIN: name, _OUTCOMES: str(outcomes)}


def judge(plugin: str, events: Sequence[Mapping[str, Any]], code: int, said: str) -> Checked:
    """From the events of the checks and pytest's exit code to what holds and what does not.

    Args:
        said: what pytest printed, for an end that no event explains.
    """
    started = {event["id"]: event for event in events if event["event"] == "start"}
    faults = [
        Fault(event["entry"], event["check"], event["message"], event["traceback"])
        for event in events
        if event["event"] == "fault"
    ]
    failed = {event["id"] for event in events if event["event"] == "fault"}
    passed = {event["id"] for event in events if event["event"] == "passed"} - failed
    skips = {event["id"]: event["message"] for event in events if event["event"] == "skipped"}
    running = [event for key, event in started.items() if key not in failed | passed | set(skips)]
    if code < 0 or running:
        last = running[-1] if running else {"entry": "", "check": "the checks as a whole"}
        faults.append(Fault(last["entry"], last["check"], f"the process ended by {_ending(code)}", said))
    elif not faults and (code != 0 or not passed):
        faults.append(Fault("", "the checks as a whole", _unexplained(code, said), said))
    skipped = tuple(
        ": ".join(part for part in (started[key]["entry"], started[key]["check"], reason) if part)
        for key, reason in skips.items()
        if key in started
    )
    return Checked(plugin, len(passed), skipped, tuple(faults))


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _unexplained(code: int, said: str) -> str:
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "")
    if code in (0, 5):
        return "there was nothing to check"
    return f"pytest ended with exit code {code}{f' ({last})' if last else ''}"
