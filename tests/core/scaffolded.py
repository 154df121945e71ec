"""Helper of tests: plugins as `graft plugin new` writes them and an installer leaves them, and commands that see them."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from graftwork.scaffold import KINDS
from graftwork.scaffold.package import package_of, write_package

NAMES = {kind: f"my-{kind}" for kind in KINDS}
GRAFT = Path(sys.executable).with_name("graft")


def write_and_register(kind: str, home: Path, name: str | None = None) -> Path:
    """The package of a kind, and beside it what an installer writes; its folder then belongs on PYTHONPATH."""
    package = package_of(name or NAMES[kind], kind)
    folder = home / package.distribution
    write_package(package, folder)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / f"{package.package}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = "\n".join(f"{key} = {value}" for key, value in project["entry-points"]["graftwork"].items())
    (info / "entry_points.txt").write_text(f"[graftwork]\n{points}\n")
    return folder


def run(words: list[Any], installed: dict[str, Path], cwd: Path) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(str(folder) for folder in installed.values())}
    command = [str(word) for word in words]
    return subprocess.run(command, capture_output=True, text=True, env=variables, cwd=cwd, timeout=300)
