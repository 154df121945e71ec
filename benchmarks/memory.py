"""Peak memory of a command with all its children, and how much of it the system could take back at any moment.

Linux only: everything is read from /proc.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from arms import others_share, processor_seconds
from measure import Row, busy_seconds

SAMPLED = 0.02
"""Seconds between two looks at a command's processes."""

RISE = 1.01
"""A closer look is taken where the rough numbers have risen by this factor: it walks through every page of a process, and
fifty times a second it would slow down what it looks at."""

_MB = 1024
_PARTS = ("Pss_Anon", "Pss_Shmem", "Pss_File", "Pss", "Rss")


def watch(command: Sequence[object], environment: Mapping[str, str], log: Path) -> Row:
    """Run a command; peaks over its process tree in MB, sampled, and seconds.

    `held_mb` is what the processes hold for themselves (anonymous and shared memory): it can't be taken back. `whole_mb`
    adds the pages of mapped files (Arrow tables, weights, kept states), which are page cache: the system drops them
    when it needs them. Both count a page that several processes share once (proportional set size); `resident_mb` is what
    `top` shows, where it counts for each. From /proc/PID/smaps_rollup.

    Raises:
        SystemExit: it failed; the end of its log says why.
    """
    everything, ours, began = busy_seconds(), _spent(), time.perf_counter()
    peaks: dict[str, int] = {}
    rough: dict[str, float] = {}
    words = [str(word) for word in command]
    with log.open("w", encoding="utf-8") as out:
        given = {**os.environ, **environment}
        with subprocess.Popen(words, env=given, stdout=out, stderr=subprocess.STDOUT) as process:
            while process.poll() is None:
                _note(peaks, rough, process.pid)
                time.sleep(SAMPLED)
    if process.returncode:
        tail = "".join(log.read_text(encoding="utf-8").splitlines(keepends=True)[-5:])
        raise SystemExit(f"exit code {process.returncode}, see {log}:\n{tail}")
    seconds = time.perf_counter() - began
    return {
        "held_mb": round(peaks.get("held", 0) / _MB),
        "whole_mb": round(peaks.get("Pss", 0) / _MB),
        "mapped_files_mb": round(peaks.get("Pss_File", 0) / _MB),
        "resident_mb": round(peaks.get("Rss", 0) / _MB),
        "seconds": seconds,
        "taken_by_others": others_share(everything, _spent() - ours, seconds),
    }


def _spent() -> float:
    """Processor seconds of the commands and of looking at them."""
    return processor_seconds() + time.process_time()


def _note(peaks: dict[str, int], rough: dict[str, float], pid: int) -> None:
    """Raise the peaks to what the processes take now, where that may be more than before."""
    members = family(pid)
    risen = False
    for name in ("RssAnon", "RssShmem", "VmRSS"):
        kilobytes = sum(_fields(member, "status").get(name, 0) for member in members)
        if kilobytes > RISE * rough.get(name, 0):
            rough[name], risen = kilobytes, True
    if not risen:
        return
    now = dict.fromkeys((*_PARTS, "held"), 0)
    for member in members:
        found = _fields(member, "smaps_rollup")
        for name in _PARTS:
            now[name] += found.get(name, 0)
    now["held"] = now["Pss_Anon"] + now["Pss_Shmem"]
    for name, kilobytes in now.items():
        peaks[name] = max(peaks.get(name, 0), kilobytes)


def family(pid: int) -> list[int]:
    """A process and all that it has started, directly or not."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text(encoding="ascii").split()]
    except OSError:  # it ended meanwhile
        return []
    return [pid, *(member for child in children for member in family(child))]


def _fields(pid: int, file: str) -> dict[str, int]:
    """Kilobytes by name, from a file of /proc/PID; nothing of a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
