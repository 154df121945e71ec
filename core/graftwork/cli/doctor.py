"""`graft doctor`: what this machine has. Answers also where torch or a plugin is broken, and says so."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from graftwork.cli.advice import advise, physical_cores, this_machine
from graftwork.cli.options import Json
from graftwork.console import out, out_json, out_table
from graftwork.machine.cgroup import cpu_quota, memory_limit

PACKAGES = (
    "graftwork", "torch", "torchvision", "accelerate", "datasets", "torchmetrics", "safetensors", "numpy", "pillow", "simplejpeg",
    "pydantic", "pluggy", "typer", "rich",
)  # fmt: skip
LEFT_OUT = "left out by GRAFTWORK_PLUGINS"
"""The state of a plugin that the user does not want; nothing is broken."""
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "bf16")


def command(json: Json = False) -> None:
    """What this machine has: versions, processor, memory, devices and their precision, plugins, caches."""
    found = examine()
    out_json(found) if json else _show(found)


def examine() -> dict[str, Any]:
    """Everything as plain data; what cannot be found out is None or a `problem`."""
    cpu, torch = _cpu(), _guarded(_torch)
    machine = this_machine(cpu["usable_cores"], cpu["cgroup_cores"], torch.get("threads"), torch.get("cuda"))
    if "problem" in torch:  # nothing is known of what it was built for
        machine = replace(machine, gpu=False)
    return {
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "system": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "cpu": cpu,
        "memory": _memory(),
        "torch": torch,
        "plugins": _guarded(_plugins),
        "caches": _caches(),
        "advice": advise(machine),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _guarded(examination: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A part that may be broken on the machine that is to be examined."""
    try:
        return examination()
    except Exception as error:  # the doctor must answer whatever is broken
        return {"problem": f"{type(error).__name__}: {error}"}


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _cpu() -> dict[str, Any]:
    """Model, cores that this process may use, and the instruction sets that decide on precision."""
    fields: dict[str, str] = {}
    for row in (_read("/proc/cpuinfo") or "").splitlines():
        name, colon, value = row.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "model": fields.get("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "usable_cores": usable,
        "physical_cores": physical_cores(_read("/proc/cpuinfo") or ""),
        "cgroup_cores": cpu_quota(),
        "instructions": [name for name in INSTRUCTIONS if name in flags] if flags else None,
    }


def _memory() -> dict[str, Any]:
    """Bytes: of the machine, free to take, and the limit of this process's control group."""
    fields = {}
    for row in (_read("/proc/meminfo") or "").splitlines():
        name, _, value = row.partition(":")
        fields[name] = value.split()
    total = int(fields["MemTotal"][0]) * 1024 if fields.get("MemTotal") else None
    if total is None and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    available = int(fields["MemAvailable"][0]) * 1024 if fields.get("MemAvailable") else None
    limit = memory_limit()
    return {
        "total_bytes": total,
        "available_bytes": available,
        "cgroup_limit_bytes": limit.limit if limit else None,
        "cgroup_left_bytes": limit.left if limit else None,
    }


def _torch() -> dict[str, Any]:
    """Devices, and the precision that `auto` would pick on each."""
    import torch

    from graftwork.machine.precision import choose_precision

    devices: list[tuple[str, str, int | None]] = [("cpu", platform.processor() or platform.machine(), None)]
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        devices.append((f"cuda:{index}", facts.name, facts.total_memory))
    if torch.backends.mps.is_available():
        devices.append(("mps", "Apple GPU", None))
    rows = []
    for name, model, memory in devices:
        precision, reason = choose_precision("auto", torch.device(name))
        rows.append({"device": name, "model": model, "memory_bytes": memory, "precision": precision, "reason": reason})
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "devices": rows,
    }


def _plugins() -> dict[str, Any]:
    """Each plugin loaded for once: `ok`, or why it does not work. A stranger's in a process of its own: it may hang or crash."""
    from graftwork.catalogue import load_catalogue
    from graftwork.cli.load_one import problem_of
    from graftwork.cli.loading import Loaded, examine
    from graftwork.plugins import Plugins, failures

    catalogue = load_catalogue()
    plugins = Plugins(catalogue)
    usable = [state for state in catalogue.plugins.values() if state.problem is None]
    loaded = {state.name: Loaded(problem_of(plugins, state.name)) for state in usable if state.name in catalogue.ours}
    strangers = [state for state in usable if state.name not in catalogue.ours]
    loaded |= examine([state.name for state in strangers])
    verdicts: dict[str, failures.LoadFailure | None] = {}
    for state in strangers:
        found = loaded[state.name]
        verdicts[state.name] = (
            failures.LoadFailure(found.problem, failures.stamp(state), found.at) if found.problem else None
        )
    failures.remember(verdicts)
    return {
        name: {
            "distribution": state.distribution,
            "version": state.version,
            "origin": state.origin,
            "editable": state.editable,
            "state": state.problem or loaded[name].problem or "ok",
            "notes": list(loaded[name].notes) if name in loaded else [],
        }
        for name, state in catalogue.plugins.items()
    }


def _caches() -> dict[str, str]:
    """Where what is kept lies and how much it is, the limit, and whether the network may be used."""
    from graftwork.cache.entries import cache_root, entries, writable
    from graftwork.cache.room import LIMITED, size_limit
    from graftwork.catalogue import offline
    from graftwork.console import byte_size
    from graftwork.errors import GraftworkError

    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = {}
    try:
        held = dict.fromkeys((*LIMITED, "tables", "weights"), 0)
        for entry in entries():
            held[entry.kind] = held.get(entry.kind, 0) + entry.bytes
        for kind, count in held.items():
            found[kind] = f"{cache_root() / kind}, {byte_size(count)}"
        limit, reason = size_limit(sum(held[kind] for kind in LIMITED))
        found["limit"] = f"{byte_size(limit)} for {', '.join(LIMITED)} ({reason})"
        if not writable():
            found["problem"] = f"{cache_root()} cannot be written. Set GRAFTWORK_CACHE to a folder of yours"
    except GraftworkError as error:
        found["problem"] = str(error)
    return {
        **found,
        "huggingface": str(os.environ.get("HF_HOME") or base / "huggingface"),
        "torch": str(os.environ.get("TORCH_HOME") or base / "torch"),
        "offline": "yes" if offline() else "no",
    }


def _show(found: dict[str, Any]) -> None:
    cpu, memory, torch = found["cpu"], found["memory"], found["torch"]
    cores = f"{cpu['usable_cores']} of {cpu['cores']} cores usable"
    if cpu["cgroup_cores"] is not None:
        cores += f", control group allows {cpu['cgroup_cores']:g}"
    rows = [
        ["python", f"{found['python']['version']} ({found['python']['executable']})"],
        ["system", found["system"]],
        ["processor", cpu["model"]],
        ["cores", cores],
        ["instructions", ", ".join(cpu["instructions"] or []) or "unknown"],
        ["memory", f"{_size(memory['total_bytes'])}, {_size(memory['available_bytes'])} available"],
        ["memory limit", _limit(memory)],
        *([f"package {name}", text or "not installed"] for name, text in found["packages"].items()),
    ]
    if "problem" in torch:
        rows.append(["torch", f"BROKEN: {torch['problem']}"])
    else:
        rows.append(["torch threads", f"{torch['threads']} (between operations {torch['interop_threads']})"])
        for row in torch["devices"]:
            size = f", {_size(row['memory_bytes'])}" if row["memory_bytes"] else ""
            rows.append(
                [f"device {row['device']}", f"{row['model']}{size}: auto picks {row['precision']}, {row['reason']}"]
            )
    plugins = found["plugins"]
    if "problem" in plugins:
        rows.append(["plugins", f"BROKEN: {plugins['problem']}"])
    else:
        for name, state in plugins.items():
            notes = f" ({'; '.join(state['notes'])})" if state["notes"] else ""
            place = f", editable {state['origin']}" if state["editable"] else ""
            rows.append(
                [f"plugin {name}", f"{state['distribution']} {state['version']}{place}: {state['state']}{notes}"]
            )
    rows += [[f"cache {name}" if name != "offline" else name, text] for name, text in found["caches"].items()]
    out_table(["what", "found"], rows)
    for about, text in found["advice"].items():
        out(f"advice on {about}: {text}")
    broken = any("problem" in part for part in (torch, plugins, found["caches"]))
    fine = ("ok", LEFT_OUT)
    broken = broken or any(state["state"] not in fine for state in plugins.values() if isinstance(state, dict))
    out()
    out("something is broken, see above" if broken else "everything works")


def _limit(memory: dict[str, Any]) -> str:
    if memory["cgroup_limit_bytes"] is None:
        return "none"
    return f"{_size(memory['cgroup_limit_bytes'])}, {_size(memory['cgroup_left_bytes'])} left"


def _size(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 2**30:.1f} GiB"
