"""What numbers depend on beside data and weights: versions of libraries, and the code of plugins."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import re
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from graftwork import __version__

_LIBRARIES = (
    "torch",
    "torchvision",
    "transformers",
    "tokenizers",
    "peft",
    "datasets",
    "torchmetrics",
    "numpy",
    "pillow",
    "simplejpeg",
)


def versions() -> dict[str, str]:
    """Versions of everything that could change a number."""
    return {
        "graftwork": __version__,
        "python": platform.python_version(),
        "platform": sys.platform,
    } | library_versions()


def library_versions() -> dict[str, str]:
    """Versions of the installed libraries that compute or prepare."""
    found = {}
    for package in _LIBRARIES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def requirement_versions(distributions: Iterable[str]) -> dict[str, str]:
    """Versions of the installed libraries that these distributions require: a plugin may compute with others than graftwork.

    Args:
        distributions: names of installed ones; one that is not there has no requirements.
    """
    found = {}
    for distribution in distributions:
        try:
            required = importlib.metadata.requires(distribution) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for text in required:
            name = re.match(r"[\w.-]+", text)
            try:
                if name and "extra ==" not in text:
                    found[name[0]] = importlib.metadata.version(name[0])
            except importlib.metadata.PackageNotFoundError:
                continue
    return found


def code_of(*parts: object) -> dict[str, str]:
    """A digest (16 hex digits) of the source files of the packages in which these objects' classes are written.

    A version alone would not do: whoever writes a plugin changes its code many times a version.
    """
    names = {type(part).__module__.partition(".")[0] for part in parts} | {"graftwork"}
    return {name: _package_digest(name) for name in sorted(names)}


@cache
def _package_digest(name: str) -> str:
    digest = hashlib.sha256()
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is not None:
        path = Path(file)
        sources = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
        for source in sources:
            digest.update(str(source.relative_to(path.parent)).encode())
            digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
