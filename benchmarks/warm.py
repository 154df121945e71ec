"""Processes that start at once: forks of one that has imported everything heavy. For the tiny modes and their tests only.

Importing torch and its neighbours takes several seconds, a tiny training less than one. A fork is as separate as a process
that was started (memory, environment, standard output), but not fresh: nothing is measured with it. The process that forks
must have one thread and must not have called backward, which PyTorch refuses in the fork then.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HEAVY = ("torchvision", "transformers", "datasets", "accelerate", "sklearn", "torchmetrics", "graftwork.run")


def available() -> bool:
    """Whether this process can be forked: elsewhere than on Linux, and once a GPU is in use, libraries do not survive it."""
    torch = sys.modules.get("torch")
    return sys.platform == "linux" and not (torch is not None and torch.cuda.is_initialized())


def run(command: Sequence[str], stdout: Path, stderr: Path, environment: Mapping[str, str]) -> int:
    """Run `python SCRIPT …` or `python -m MODULE …` in a fork of this process to its end; its exit code.

    Args:
        command: the interpreter is the running one, whatever its first word says.
        stdout, stderr: written anew; may be the same file.
        environment: variables beside those of this process.
    """
    for name in HEAVY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    arguments = (list(command[1:]), stdout, stderr, dict(environment))
    process = multiprocessing.get_context("fork").Process(target=_child, args=arguments)
    process.start()
    process.join()
    return process.exitcode or 0


def _child(words: list[str], stdout: Path, stderr: Path, environment: dict[str, str]) -> None:
    for number, place in ((1, stdout), (2, stderr)):
        target = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        os.dup2(target, number)
    os.environ.update(environment)
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = words, str(Path(words[0]).parent)
        runpy.run_path(words[0], run_name="__main__")


class Server:
    """A process that waits to be forked, started with the first command and ended by `close`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, command: Sequence[str], stdout: Path, stderr: Path, environment: Mapping[str, str]) -> int:
        """As the function `run`, from a process that has done nothing else."""
        if self._process is None:
            command_of_server = [sys.executable, str(Path(__file__).resolve())]
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self._process = subprocess.Popen(command_of_server, text=True, **pipes)
        assert self._process.stdin is not None and self._process.stdout is not None
        asked = {"command": list(command), "stdout": str(stdout), "stderr": str(stderr)}
        self._process.stdin.write(json.dumps(asked | {"environment": dict(environment)}) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the process; a command that still runs is waited for."""
        if self._process is not None:
            self._process.communicate()


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        print(run(asked["command"], Path(asked["stdout"]), Path(asked["stderr"]), asked["environment"]), flush=True)


if __name__ == "__main__":
    main()
