"""A new plugin's package: its names, whether they are free, and its files from the templates beside this module."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from graftwork import __version__
from graftwork.catalogue import Catalogue, Kind
from graftwork.errors import RunFailed, UsageError, did_you_mean
from graftwork.scaffold import KINDS, PREFIX

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 40  # characters; a catalogue name has 64, and a task's plugin adds words to it
_TEMPLATES = Path(__file__).with_name("templates")
_DIGITS = "graft train --task image-classification --data sample:digits"

_TRAIN = {
    "task": "graft train --task {name} --data sample:{name}-wine",
    "backbone": f"{_DIGITS} --backbone {{name}} --strategy scratch --epochs 5",
    "head": f"{_DIGITS} --head {{name}} --epochs 2",
    "strategy": f"{_DIGITS} --strategy {{name}} --epochs 2",
    "dataset": "graft train --task image-classification --data sample:{name} --epochs 2",
    "observer": f"{_DIGITS} --set observers={{name}} --epochs 2",
}
"""By kind: the command that trains with the new plugin, as it stands in its README."""


@dataclass(frozen=True)
class Package:
    """The names of a new plugin.

    Args:
        kind: what it supplies, one of KINDS.
        name: its catalogue name, `my-net`.
    """

    kind: str
    name: str

    @property
    def distribution(self) -> str:
        """What is installed, and the plugin's name: `graftwork-my-net`."""
        return PREFIX + self.name

    @property
    def package(self) -> str:
        """What is imported: `graftwork_my_net`."""
        return self.distribution.replace("-", "_")

    @property
    def class_name(self) -> str:
        """`MyNetBackbone`. Always with its kind, and never only its kind: `Backbone` is graftwork's own."""
        words = "".join(part.capitalize() for part in self.name.split("-"))
        kind = self.kind.capitalize()
        return words if words.endswith(kind) and words != kind else words + kind

    @property
    def train(self) -> str:
        """The command that trains with it."""
        return _TRAIN[self.kind].format(name=self.name)

    @property
    def supplies(self) -> dict[Kind, str]:
        """The catalogue names that it brings, by kind."""
        if self.kind != "task":
            plural = {"strategy": "strategies"}.get(self.kind, f"{self.kind}s")
            return {cast(Kind, plural): self.name}
        return {
            "tasks": self.name,
            "backbones": f"{self.name}-mlp",
            "heads": f"{self.name}-linear",
            "datasets": f"{self.name}-wine",
        }

    @property
    def commands(self) -> tuple[str, ...]:
        """What comes next, in order, from the folder in which the package's own folder lies."""
        return ("pip install -e '.[test]'", f"graft plugin check {self.distribution}", "pytest", self.train)


def package_of(name: str, kind: str) -> Package:
    """The package for a name, with or without `graftwork-`.

    Raises:
        UsageError: no such kind, or a name that a package, a module or a catalogue entry cannot have.
    """
    if kind not in KINDS:
        raise UsageError(f"there is no kind of plugin {kind!r}", where="--kind", hint=did_you_mean(kind, list(KINDS)))
    short = name.removeprefix(PREFIX)
    if not _NAME.fullmatch(short):
        hint = f"Try {_mended(short)}" if _mended(short) else "Try my-net"
        raise UsageError(
            f"{name!r} is not a name for a plugin (lower-case letters and digits in words joined by '-', a letter first)",
            hint=hint,
        )
    if len(short) > _LONGEST:
        raise UsageError(f"{short!r} is longer than {_LONGEST} characters", hint="Choose a shorter name")
    if keyword.iskeyword(short) or keyword.iskeyword(short.capitalize()):
        raise UsageError(f"{short!r} is a keyword of Python", hint=f"Try my-{short}")
    return Package(kind, short)


def _mended(name: str) -> str:
    """The nearest valid name; empty when there is none."""
    words = re.sub(r"[^a-z0-9]+", "-", name.removeprefix("graftwork_").lower()).strip("-")
    return words if _NAME.fullmatch(words) and len(words) <= _LONGEST else ""


def refuse_taken(package: Package, catalogue: Catalogue) -> None:
    """Refuse names that something installed has.

    Raises:
        UsageError: a catalogue name, the plugin's name or its package is taken; says by whom.
    """
    hint = f"Choose another name, for example my-{package.name}"
    for kind, name in package.supplies.items():
        entry = catalogue.entries[kind].get(name)
        if entry is not None:
            raise UsageError(f"{name!r} is taken: plugin {entry.plugin} lists it among its {kind}", hint=hint)
    if package.distribution in catalogue.plugins:
        raise UsageError(f"a plugin {package.distribution} is installed already", hint=hint)
    if find_spec(package.package) is not None:
        raise UsageError(f"a package {package.package} is installed already", hint=hint)


def write_package(package: Package, folder: Path) -> list[str]:
    """Write the package's files; their paths within the folder, sorted.

    Raises:
        UsageError: the folder is there and not empty, or is no folder.
        RunFailed: it cannot be written.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise UsageError("is a file, and no folder", where=str(folder), hint="Choose another --out")
        if folder.is_dir() and any(folder.iterdir()):
            raise UsageError("is there already, and not empty", where=str(folder), hint="Choose another --out")
        files = render(package)
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunFailed(f"cannot be written ({error.strerror or error})", where=str(folder)) from None
    return sorted(files)


def render(package: Package) -> dict[str, str]:
    """The text of every file, by its path within the plugin's folder."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True,
        autoescape=False,
    )  # fmt: skip
    facts = {
        "kind": package.kind,
        "name": package.name,
        "distribution": package.distribution,
        "package": package.package,
        "class_name": package.class_name,
        "supplies": package.supplies,
        "commands": package.commands,
        "requires": supported_versions(__version__),
    }
    places = {
        "pyproject.toml": "pyproject.toml.j2",
        "README.md": "README.md.j2",
        ".gitignore": "gitignore.j2",
        f"{package.package}/__init__.py": "init.py.j2",
        f"{package.package}/{package.kind}.py": f"{package.kind}/module.py.j2",
        f"{package.package}/registry.yaml": f"{package.kind}/registry.yaml.j2",
        "tests/test_plugin.py": f"{package.kind}/test.py.j2",
    }
    return {path: environment.get_template(template).render(facts) for path, template in places.items()}


def supported_versions(version: str) -> str:
    """The versions of graftwork that a plugin written for this one may rely on; docs/versioning.md says why.

    >>> supported_versions("0.1.3"), supported_versions("1.4.0"), supported_versions("0.2.0.dev1")
    ('>=0.1,<0.2', '>=1.4,<2', '>=0.2.0.dev1,<0.3')
    """
    major, minor, rest = re.fullmatch(r"(\d+)\.(\d+)(.*)", version).groups()  # type: ignore[union-attr]
    lowest = f"{major}.{minor}" if re.fullmatch(r"(\.\d+)*", rest) else version
    return f">={lowest},<0.{int(minor) + 1}" if major == "0" else f">={lowest},<{int(major) + 1}"
