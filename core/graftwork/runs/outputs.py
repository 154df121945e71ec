"""Files that predictions consist of (masks, drawings), each under a name that no other one has."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from graftwork.errors import RunFailed

_STEM = 150
"""Bytes of a name that are kept; file systems allow 255, and what the file is stands behind it."""


class OutputFiles:
    """Writes the files of predictions below a folder; none takes the place of another, nor of one that was there.

    A file is called after its input and what it is: `street.mask.png` of `photos/street.jpg`. Where two inputs would have one
    name, all keep their folders, from the innermost that holds all of them: `a/0.mask.png` and `b/0.mask.png`; those that
    differ in their suffix alone keep that: `0.png.mask.png` and `0.jpg.mask.png`. Where a file of that name and another content
    is there before, a number is added.

    Args:
        folder: is made when the first file is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._inputs: Sequence[str] = ()
        self._names: dict[str, str] | None = None

    def expect(self, inputs: Sequence[str]) -> None:
        """Take note of what all inputs are called, before the first is written."""
        self._inputs, self._names = inputs, None

    def write(self, prediction: Mapping[str, Any]) -> dict[str, Any]:
        """The prediction with a path in place of every file's content, which is written there.

        Raises:
            RunFailed: it cannot be written.
        """
        told = dict(prediction)
        for kind, content in prediction.items():
            if isinstance(content, bytes):
                told[kind] = str(_written(self._folder / self._name(str(prediction["input"])), kind, content))
        return told

    def _name(self, origin: str) -> str:
        if self._names is None:
            self._names = names_of(self._inputs)
        return self._names.get(origin) or names_of([origin])[origin]


def write_files(prediction: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """One prediction by itself, as `OutputFiles.write` does it."""
    return OutputFiles(folder).write(prediction)


def names_of(inputs: Sequence[str]) -> dict[str, str]:
    """What the files of every input are called, without what they are: a path with `/`, below the folder of all.

    Example:
        >>> names_of(["in/a/0.png", "in/b/0.png", "in/b/0.jpg", "in/b/1.jpg"])
        {'in/a/0.png': 'a/0', 'in/b/0.png': 'b/0.png', 'in/b/0.jpg': 'b/0.jpg', 'in/b/1.jpg': 'b/1'}
    """
    paths = {name: os.path.normpath(Path(name).absolute()) for name in dict.fromkeys(inputs)}
    places = list(dict.fromkeys(paths.values()))
    names = {place: _stem(place) for place in places}
    if _clashing(names):
        folders = {place: str(Path(place).parent) for place in places}
        around = os.path.commonpath(folders.values())
        for place, folder in folders.items():
            within = PurePath(os.path.relpath(folder, around)).as_posix()
            names[place] = names[place] if within == "." else f"{within}/{names[place]}"
        for place in _clashing(names):
            names[place] += PurePath(place).suffix
        for number, place in enumerate(_clashing(names), start=1):
            names[place] += f"-{number}"
    return {name: names[place] for name, place in paths.items()}


def _clashing(names: Mapping[str, str]) -> list[str]:
    """Those whose name another one has too, where letter case and the way accents are written count for nothing."""
    keys = {place: unicodedata.normalize("NFC", name).casefold() for place, name in names.items()}
    counts = Counter(keys.values())
    return [place for place, key in keys.items() if counts[key] > 1]


def _stem(path: str) -> str:
    stem = os.fsencode(PurePath(path).stem)[:_STEM]
    return stem.decode("utf-8", "ignore").strip() or "input"


def _written(path: Path, kind: str, content: bytes) -> Path:
    target, number = path.with_name(f"{path.name}.{kind}.png"), 1
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        while os.path.lexists(target) and not (target.is_file() and target.read_bytes() == content):
            number += 1
            target = path.with_name(f"{path.name}-{number}.{kind}.png")
        target.write_bytes(content)
    except OSError as error:
        raise RunFailed(f"cannot be written ({error.strerror or error})", where=str(target)) from None
    return target
