"""What `graft doctor` advises: lines only where something is to be gained on this machine. Imports no torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """What the advice depends on; None where it could not be found out.

    Args:
        cores: logical cores that this process may run on.
        physical_cores: of the machine.
        quota: cores' worth of time that the control group allows.
        threads: with which torch computes.
        shared_memory: bytes of /dev/shm.
        open_files: the soft limit.
        huge_pages: of the kernel for what was not asked for by name: `always`, `madvise` or `never`.
        compiler: a C++ compiler's path.
        gpu: whether the kernel has an NVIDIA driver.
        cuda: the CUDA version that torch was built for.
        environment: of this process.
    """

    cores: int | None = None
    physical_cores: int | None = None
    quota: float | None = None
    threads: int | None = None
    shared_memory: int | None = None
    open_files: int | None = None
    huge_pages: str | None = None
    compiler: str | None = None
    gpu: bool = False
    cuda: str | None = None
    environment: Mapping[str, str] | None = None


MINIMUM_SHARED = 2**30
"""Bytes of /dev/shm below which loader processes may not find room: containers get 64 MiB."""

MINIMUM_FILES = 1024

SLOWING = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")
"""Variables that keep torch from the processor's newer instructions."""


def this_machine(cores: int | None, quota: float | None, threads: int | None, cuda: str | None) -> Machine:
    """The machine that this runs on; what torch and the control group say is passed in."""
    return Machine(
        cores=cores,
        physical_cores=physical_cores(_content("/proc/cpuinfo") or ""),
        quota=quota,
        threads=threads,
        shared_memory=_shared_memory(),
        open_files=_open_files(),
        huge_pages=_chosen(_content("/sys/kernel/mm/transparent_hugepage/enabled") or ""),
        compiler=next(filter(None, map(shutil.which, (os.environ.get("CXX") or "g++", "clang++"))), None),
        gpu=Path("/proc/driver/nvidia/version").exists(),
        cuda=cuda,
        environment=dict(os.environ),
    )


def advise(machine: Machine) -> dict[str, str]:
    """Advice by what it is about."""
    found = {
        "threads": _threads(machine),
        "instructions": _instructions(machine),
        "shared memory": None,
        "open files": None,
        "compiler": None,
        "gpu": None,
    }
    if machine.shared_memory is not None and machine.shared_memory < MINIMUM_SHARED:
        found["shared memory"] = (
            f"loader processes send batches through /dev/shm, which has {machine.shared_memory // 2**20} MiB: start the "
            "container with --shm-size 2g, or train with --workers 0"
        )
    if machine.open_files is not None and machine.open_files < MINIMUM_FILES:
        found["open files"] = f"a process may open {machine.open_files} files, loaders need more: ulimit -n 4096"
    if machine.compiler is None:
        found["compiler"] = "--compile on needs a C++ compiler, and there is none: install g++"
    if machine.gpu and machine.cuda is None:
        found["gpu"] = (
            "there is an NVIDIA driver, but this torch was built without CUDA: install torch from pytorch.org"
        )
    return {about: text for about, text in found.items() if text is not None}


def _threads(machine: Machine) -> str | None:
    environment = machine.environment or {}
    set_by = next((name for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if environment.get(name)), None)
    threads, cores, quota = machine.threads, machine.cores, machine.quota
    if threads is None or cores is None:
        return None
    allowed = cores if quota is None else min(cores, max(1, int(quota)))
    if threads > allowed:
        text = (
            f"the control group allows {quota:g} cores' worth of time and torch would compute with {threads} threads, "
        )
        if set_by is None:
            return text + f"which then stand still in turn: graft train uses {allowed}"
        return text + f"which then stand still in turn: set {set_by}={allowed}, or unset it"
    best = min(allowed, machine.physical_cores or allowed)
    if set_by is not None and threads < best:
        under = " (torchrun sets it to 1 where it is not set: give each process its share)" if threads == 1 else ""
        return f"{set_by}={environment[set_by]}: {threads} of {best} cores compute; unset it, or raise it{under}"
    if threads > best:
        return f"torch computes with {threads} threads on {best} cores: OMP_NUM_THREADS={best} is usually faster"
    return None


def _instructions(machine: Machine) -> str | None:
    environment = machine.environment or {}
    held = [
        f"{name}={environment[name]}"
        for name in SLOWING
        if environment.get(name, "ALL").upper() not in ("ALL", "DEFAULT")
    ]
    return f"{', '.join(held)} keeps torch from newer instructions of this processor: unset it" if held else None


def physical_cores(cpuinfo: str) -> int | None:
    """Cores without hyper-threads, from the text of /proc/cpuinfo."""
    found = set()
    for block in cpuinfo.split("\n\n"):
        fields = {name.strip(): value.strip() for name, _, value in (row.partition(":") for row in block.splitlines())}
        if "core id" in fields:
            found.add((fields.get("physical id"), fields["core id"]))
    return len(found) or None


def _chosen(text: str) -> str | None:
    return text[text.index("[") + 1 : text.index("]")] if "[" in text and "]" in text else None


def _shared_memory() -> int | None:
    try:
        return shutil.disk_usage("/dev/shm").total
    except OSError:
        return None


def _open_files() -> int | None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return None
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _content(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
