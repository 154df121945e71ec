"""What is installed: the entry points of the group `graftwork`, who brings them, and which the user wants. Nothing is imported.

One distribution whose metadata cannot be read hides itself only; `importlib.metadata.entry_points` would stop at it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from importlib.machinery import all_suffixes
from importlib.metadata import Distribution, EntryPoint, distributions
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from graftwork.errors import UsageError, did_you_mean

GROUP = "graftwork"
SELECTION = "GRAFTWORK_PLUGINS"
"""Environment variable: `a,b` leaves these third parties' plugins alone in use, `-a` leaves one out, empty leaves out all."""


@dataclass(frozen=True)
class Installed:
    """One entry point of the group.

    Args:
        name: of the plugin.
        point: the entry point; None when the distribution's entry points cannot be read.
        distribution: its name, as it is installed.
        version: of the distribution; `?` when its metadata does not say.
        folder: where it is installed, or where the source of an editable installation lies.
        editable: whether it is one.
        problem: why the entry point cannot be read, or None.
    """

    name: str
    point: EntryPoint | None
    distribution: str
    version: str
    folder: str
    editable: bool
    problem: str | None = None

    @property
    def package(self) -> str:
        """The top package of the entry point; empty when it names none."""
        match = re.match(r"\s*([^\W\d]\w*)", self.point.value) if self.point else None
        return match[1] if match else ""

    @property
    def ours(self) -> bool:
        """Whether it is graftwork itself that brings it."""
        return canonical(self.distribution) == GROUP


def canonical(name: str) -> str:
    """A distribution's name as all its spellings are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def find_installed() -> list[Installed]:
    """Every entry point of the group, by name; of a distribution that is on sys.path twice, the first, which is imported."""
    found: list[Installed] = []
    seen: set[str] = set()
    for distribution in distributions():
        points, problem = _points(distribution)
        if not points and problem is None:
            continue
        name, version = _name_and_version(distribution)
        name = name or (points[0].name if points else "?")
        if canonical(name) in seen:
            continue
        seen.add(canonical(name))
        folder, editable = _origin(distribution)
        if problem is not None:
            found.append(Installed(name, None, name, version, folder, editable, problem))
        # Once each: a file that names the very same twice is no clash.
        found += [Installed(point.name, point, name, version, folder, editable) for point in dict.fromkeys(points)]
    return sorted(found, key=lambda item: (item.name, canonical(item.distribution)))


def _points(distribution: Distribution) -> tuple[list[EntryPoint], str | None]:
    """Its entry points of the group, and why they cannot be read; none and None for a distribution that has none."""
    try:
        text = distribution.read_text("entry_points.txt") or ""
    except UnicodeDecodeError as error:
        concerns_us = f"[{GROUP}]".encode() in error.object
        return [], "its entry_points.txt is not UTF-8" if concerns_us else None
    except Exception:  # a finder of somebody else's; what it cannot tell is nothing of ours
        return [], None
    if f"[{GROUP}]" not in text:
        return [], None
    try:
        return [point for point in distribution.entry_points if point.group == GROUP], None
    except Exception as error:  # the parser's own errors differ between Python versions
        return [], f"its entry_points.txt is malformed ({type(error).__name__}: {error})"


def _name_and_version(distribution: Distribution) -> tuple[str, str]:
    """From the head of its metadata. (`distribution.metadata` would parse the whole README that hangs below it.)"""
    try:
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    except Exception:
        text = ""
    fields: dict[str, str] = {}
    for line in re.split(r"\r?\n\r?\n", text, maxsplit=1)[0].splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip().lower(), value.strip())
    return fields.get("name", ""), fields.get("version") or "?"


def _origin(distribution: Distribution) -> tuple[str, bool]:
    """Where it is installed, or where the source of an editable installation lies, and whether it is one."""
    try:
        text = distribution.read_text("direct_url.json")
        facts = json.loads(text) if text else {}
        if facts.get("dir_info", {}).get("editable"):
            return unquote(urlsplit(facts["url"]).path), True
    except Exception:  # a file that pip wrote, or that somebody spoilt: it only says where from
        pass
    return str(distribution.locate_file("")).rstrip(os.sep) or os.sep, False


def package_folder(item: Installed) -> Path:
    """The folder of a plugin's package, found without importing it.

    Raises:
        UsageError: the package, or the module that the entry point names in it, is not there.
    """
    package, distribution = item.package, item.distribution
    again = f"Reinstall it: pip install --force-reinstall {distribution}"
    if item.point is None or not package:
        raise UsageError(f"its entry point {item.name!r} names no module", hint="Report it to the plugin's author")
    found = find_spec(package)
    if found is None:
        raise UsageError(f"package {package} is not installed completely: only its metadata is there", hint=again)
    if not found.submodule_search_locations:
        hint = "A plugin is a package: a folder with __init__.py and registry.yaml"
        raise UsageError(f"{package} is not a package but a single module, {found.origin}", hint=hint)
    folder = Path(next(iter(found.submodule_search_locations)))
    if found.origin is None:
        raise UsageError(f"package {package} is not installed completely: {folder} has no __init__.py", hint=again)
    inner = item.point.value.partition("[")[0].partition(":")[0].strip().split(".")[1:]
    for depth in range(1, len(inner) + 1):
        if not _has_module(folder.joinpath(*inner[: depth - 1]), inner[depth - 1]):
            name = ".".join([package, *inner[:depth]])
            raise UsageError(f"its entry point names the module {name}, which is not there", hint=again)
    return folder


def _has_module(folder: Path, name: str) -> bool:
    return (folder / name).is_dir() or any((folder / f"{name}{suffix}").is_file() for suffix in all_suffixes())


def left_out(names: Iterable[str], ours: Collection[str]) -> frozenset[str]:
    """The third parties' plugins that $GRAFTWORK_PLUGINS leaves out.

    Args:
        names: of all that are installed.
        ours: of those that come with graftwork, which are always there.

    Raises:
        UsageError: it names a plugin that is not installed, or leaves out one of graftwork's own.
    """
    text = os.environ.get(SELECTION)
    if text is None:
        return frozenset()
    strangers = frozenset(names) - frozenset(ours)
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        name = word.removeprefix("-")
        if name in ours and word != name:
            raise UsageError(f"{name} comes with graftwork and cannot be left out", where=SELECTION)
        if name not in ours and name not in strangers:
            raise UsageError(
                f"no plugin {name!r} is installed", where=SELECTION, hint=did_you_mean(name, sorted(strangers))
            )
    without = {word.removeprefix("-") for word in words if word.startswith("-")}
    chosen = {word for word in words if not word.startswith("-")}
    return frozenset(without if without and not chosen else strangers - (chosen - without))
