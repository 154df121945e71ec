"""`graft doctor`: what this machine has. Answers also where torch or a plugin is broken, and says so."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from graftwork.cli.options import Json
from graftwork.console import out, out_json, out_table

PACKAGES = (
    "graftwork", "torch", "torchvision", "accelerate", "datasets", "torchmetrics", "safetensors", "numpy", "pillow",
    "pydantic", "pluggy", "typer", "rich",
)  # fmt: skip
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "bf16")


def command(json: Json = False) -> None:
    """What this machine has: versions, processor, memory, devices and their precision, plugins, caches."""
    found = examine()
    out_json(found) if json else _show(found)


def examine() -> dict[str, Any]:
    """Everything as plain data; what cannot be found out is None or a `problem`."""
    return {
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "system": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "cpu": _cpu(),
        "memory": _memory(),
        "torch": _guarded(_torch),
        "plugins": _guarded(_plugins),
        "caches": _caches(),
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
    quota = None
    limit = (_read("/sys/fs/cgroup/cpu.max") or "").split()
    if len(limit) == 2 and limit[0].isdecimal() and limit[1].isdecimal():
        quota = int(limit[0]) / int(limit[1])
    return {
        "model": fields.get("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "usable_cores": usable,
        "cgroup_cores": quota,
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
    text = _read("/sys/fs/cgroup/memory.max") or _read("/sys/fs/cgroup/memory/memory.limit_in_bytes") or ""
    limit = int(text) if text.isdecimal() else None
    if limit is not None and total is not None and limit > total:
        limit = None  # cgroup v1 says "no limit" with a number near 2**63
    return {"total_bytes": total, "available_bytes": available, "cgroup_limit_bytes": limit}


def _torch() -> dict[str, Any]:
    """Devices, and the precision that `auto` would pick on each."""
    import torch

    from graftwork.engine.precision import choose

    devices: list[tuple[str, str, int | None]] = [("cpu", platform.processor() or platform.machine(), None)]
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        devices.append((f"cuda:{index}", facts.name, facts.total_memory))
    if torch.backends.mps.is_available():
        devices.append(("mps", "Apple GPU", None))
    rows = []
    for name, model, memory in devices:
        precision, reason = choose("auto", torch.device(name))
        rows.append({"device": name, "model": model, "memory_bytes": memory, "precision": precision, "reason": reason})
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "devices": rows,
    }


def _plugins() -> dict[str, Any]:
    """Each plugin loaded for once: `ok`, or why it does not work."""
    from graftwork.catalogue import load_catalogue
    from graftwork.plugins import Plugins

    catalogue = load_catalogue()
    plugins = Plugins(catalogue)
    states = {}
    for name, state in catalogue.plugins.items():
        problem = state.problem or _plugin_problem(plugins, name)
        states[name] = {"distribution": state.distribution, "version": state.version, "state": problem or "ok"}
    return states


def _plugin_problem(plugins: Any, name: str) -> str | None:
    """Loads a plugin and compares what its code supplies with what its registry.yaml says."""
    from graftwork.catalogue import KINDS
    from graftwork.errors import GraftworkError

    for kind in KINDS:
        if kind == "suites":
            continue
        listed = {key for key, entry in plugins.catalogue.entries[kind].items() if entry.plugin == name}
        try:
            lacking = sorted(listed - set(plugins.builders(kind, name)))
        except GraftworkError as error:
            return str(error)
        if lacking:
            return f"supplies no builder for {kind} {', '.join(lacking[:5])}{', …' if len(lacking) > 5 else ''}"
    return None


def _caches() -> dict[str, str]:
    """Where downloads are kept, and whether the network may be used."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    own = Path(os.environ.get("GRAFTWORK_CACHE") or Path.home() / ".cache" / "graftwork").expanduser()
    hub = os.environ.get("HF_HOME") or base / "huggingface"
    torch_home = os.environ.get("TORCH_HOME") or base / "torch"
    from graftwork.catalogue import offline

    return {
        "weights": str(own / "weights"),
        "huggingface": str(hub),
        "torch": str(torch_home),
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
        ["memory limit", _size(memory["cgroup_limit_bytes"]) if memory["cgroup_limit_bytes"] else "none"],
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
            rows.append([f"plugin {name}", f"{state['distribution']} {state['version']}: {state['state']}"])
    rows += [[f"cache {name}" if name != "offline" else name, text] for name, text in found["caches"].items()]
    out_table(["what", "found"], rows)
    broken = "problem" in torch or "problem" in plugins or any(state["state"] != "ok" for state in plugins.values())
    out()
    out("something is broken, see above" if broken else "everything works")


def _size(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 2**30:.1f} GiB"
