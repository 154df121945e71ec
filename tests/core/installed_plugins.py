"""Helper of tests: plugins as pip installs them, a package and its metadata, written into a folder of sys.path."""

from __future__ import annotations

import json
from pathlib import Path

STRATEGY = """\
version: 1
plugins:
  {plugin}: {{summary: x, package: {package}}}
strategies:
  {name}: {{plugin: {plugin}, factory: "{package}.code:build", summary: a strategy}}
"""


def write_plugin(
    folder: Path,
    name: str,
    registry: str | bytes | None,
    code: str | None = "",
    *,
    point: str | None = None,
    distribution: str | None = None,
    package: str | None = None,
    version: str = "1.2",
    editable: Path | None = None,
) -> Path:
    """Writes one plugin; the folder of its package.

    Args:
        folder: on sys.path.
        name: of the entry point.
        registry: content of registry.yaml; none is written for None.
        code: of `__init__.py`; no such file for None.
        point: what the entry point names, the package by default.
        distribution: its name, that of the entry point by default.
        package: its name, that of the distribution by default.
        version: of the distribution.
        editable: the source folder that direct_url.json names.
    """
    distribution = distribution or name
    package = package or distribution.replace("-", "_")
    home = folder / package
    home.mkdir(exist_ok=True)
    if code is not None:
        (home / "__init__.py").write_text(code)
    if isinstance(registry, bytes):
        (home / "registry.yaml").write_bytes(registry)
    elif registry is not None:
        (home / "registry.yaml").write_text(registry)
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n\nVersion: 99\n")
    (info / "entry_points.txt").write_text(f"[console_scripts]\nx = y:z\n\n[graftwork]\n{name} = {point or package}\n")
    if editable is not None:
        facts = {"url": editable.as_uri(), "dir_info": {"editable": True}}
        (info / "direct_url.json").write_text(json.dumps(facts))
    return home


def strategy_registry(plugin: str, name: str, more: str = "") -> str:
    """A registry.yaml with one strategy.

    Args:
        plugin: whose it is.
        name: of the strategy.
        more: facts of the plugin, as YAML that begins with a comma.
    """
    package = plugin.replace("-", "_")
    return STRATEGY.format(plugin=plugin, package=package, name=name).replace("}\nstrategies", f"{more}}}\nstrategies")
