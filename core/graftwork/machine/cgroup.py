"""What the control group allows this process: memory and processor time. Reads the kernel's files and imports no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")

_CODE = 512 * 2**20
"""Bytes of file pages in use that count as taken: libraries. They could be dropped, and every step would read them again."""


@dataclass(frozen=True)
class MemoryLimit:
    """The control group that leaves the least memory.

    Args:
        limit: bytes that its processes may hold together.
        left: bytes of it that nobody holds, never below 0; file pages that the kernel may drop count as nobody's.
        where: the file that says so.
    """

    limit: int
    left: int
    where: str


def memory_limit(root: Path = ROOT) -> MemoryLimit | None:
    """The strictest memory limit of this process's control group and those around it, or None.

    Reads both versions of control groups: `memory.max` and `memory.high` (beyond which the kernel stops a process again and
    again), `memory.limit_in_bytes`.
    """
    found = [limit for folder in _folders("memory", root) for limit in _limits(folder)]
    return min(found, key=lambda limit: limit.left, default=None)


def cpu_quota(root: Path = ROOT) -> float | None:
    """Cores' worth of processor time that the control groups allow, or None: the smallest of them."""
    found: list[float] = []
    for folder in _folders("cpu", root):
        quota, period = [*(_content(folder / "cpu.max") or "").split(), "", ""][:2]
        if not quota:
            quota, period = _content(folder / "cpu.cfs_quota_us") or "", _content(folder / "cpu.cfs_period_us") or ""
        if quota.isdecimal() and period.isdecimal() and int(period):
            found.append(int(quota) / int(period))
    return min(found, default=None)


def usable_cores() -> int:
    """Cores that this process may keep busy: those it may run on, within the control groups' quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    quota = cpu_quota()
    return cores if quota is None else min(cores, max(1, int(quota)))


def _limits(folder: Path) -> Iterator[MemoryLimit]:
    used = _number(folder / "memory.current")
    if used is None:
        used = _number(folder / "memory.usage_in_bytes")
    if used is None:
        return
    stat = dict(line.split() for line in (_content(folder / "memory.stat") or "").splitlines() if line.count(" ") == 1)
    inactive, active = (int(stat.get(f"total_{name}", stat.get(name, 0))) for name in ("inactive_file", "active_file"))
    used -= min(used, inactive + max(0, active - _CODE))
    stated = {name: _number(folder / name) for name in ("memory.max", "memory.high", "memory.limit_in_bytes")}
    # Version 1 tells of the groups around a container, too, whose own files are not there.
    if "hierarchical_memory_limit" in stat:
        stated["memory.stat"] = int(stat["hierarchical_memory_limit"])
    for name, limit in stated.items():
        if limit is not None and limit < _physical():  # version 1 says "no limit" with a number near 2**63
            yield MemoryLimit(limit, max(0, limit - used), str(folder / name))


def _folders(controller: str, root: Path) -> Iterator[Path]:
    """The folders of this process's control groups that may limit it, each from its own up to the mounted one."""
    paths: dict[str, str] = {}
    for line in (_content(root / "proc/self/cgroup") or "").splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" or controller in controllers.split(","):
            paths["cgroup2" if number == "0" else "cgroup"] = path
    for line in (_content(root / "proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in paths:
            continue
        if kind[0] == "cgroup" and controller not in kind[2].split(","):
            continue
        top = root / fields[4].lstrip("/")
        # A container sees its own group mounted, under a path that only the host has.
        inside = paths[kind[0]].removeprefix(fields[3].rstrip("/")).strip("/")
        folder = top / inside
        if ".." in inside.split("/") or not folder.is_dir():
            folder = top
        yield folder
        while folder != top:
            folder = folder.parent
            yield folder


def _physical() -> int:
    """Bytes of memory that the machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _number(path: Path) -> int | None:
    content = _content(path) or ""
    return int(content) if content.isdecimal() else None


def _content(path: Path) -> str | None:
    try:
        return path.read_bytes().decode(errors="replace").strip()
    except OSError:
        return None
