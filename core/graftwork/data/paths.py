"""Files found by names that were written on another machine. What readers do with a name that stays unfound is theirs."""

from __future__ import annotations

import os
from collections import defaultdict, deque
from collections.abc import Hashable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from graftwork.data.folders import is_junk
from graftwork.data.spelling import is_text as is_text
from graftwork.data.spelling import is_whole, keys_of_file, leaves, part_key, readings, shared_parts, spelled
from graftwork.data.spelling import meant as meant
from graftwork.data.spelling import parts_of as parts_of
from graftwork.data.spelling import shown as shown

Key = TypeVar("Key", bound=Hashable)

MOST_FILES = 3_000_000
"""Files and folders below a folder that are looked through; of a larger one (a home folder, a whole disk) nothing is guessed."""


@dataclass(frozen=True)
class Found:
    """What a name led to.

    Args:
        name: the name as it was written.
        path: the file; None where there is none, or no single one.
        exact: it lies at the very place that the name says.
        whole: all of the name is in the file's path, letter by letter; where not, this is a guess.
        several: files that fit equally well, where that is why there is none.
        shared: a file that other names lead to as well, where that is why there is none.
    """

    name: str
    path: Path | None = None
    exact: bool = False
    whole: bool = False
    several: tuple[Path, ...] = ()
    shared: Path | None = None


class Files:
    """The files below a folder, by names that need not fit to the letter.

    A name that leads to a file as it is written is taken first, and costs one look. Only when one does not, all names below
    the folder are collected, once. Then that file is taken whose path shares the longest tail with the name: whatever
    the case of letters, composed or decomposed (NFC, NFD), percent-encoded, with `\\`, a drive, a server's folders or
    a URL before it, or without its suffix. Where several share it, the one below the first of `places` that holds only
    one; else none is taken.

    Args:
        root: the folder. Hidden and system files in it are not looked at.
        suffixes: which files count, lower case with the dot; a name without one of them is looked for with each. All
            files when empty.
        outside: whether an absolute name, or one that climbs with `..`, may lead to where it says.
    """

    def __init__(self, root: Path, suffixes: Set[str] = frozenset(), outside: bool = True) -> None:
        self.root = root
        self._suffixes = suffixes
        self._outside = outside
        self._index: dict[str, str | list[str]] | None = None  # a last part to paths below the root
        self._too_many = False

    def find(self, name: str, places: Sequence[Path] = (), without: Sequence[Path] = ()) -> Path | None:
        """The file that a name means, or None; see `look`."""
        return self.look(name, places, without).path

    def look(self, name: str, places: Sequence[Path] = (), without: Sequence[Path] = ()) -> Found:
        """The file that a name means, and how it was found.

        Args:
            name: a path of any machine; relative ones start from `places`, then from the root.
            places: folders, most likely first.
            without: folders below which nothing is guessed (another split's own).
        """
        if not name.strip():
            return Found(name)
        if self._outside or not leaves(name):
            for place in dict.fromkeys([*places, self.root]):
                if _is_file(place / name):
                    return Found(name, place / name, exact=True, whole=True)
        best: list[tuple[str, int, int]] = []
        for parts in readings(name):
            ranked = self._ranked(parts, without)
            best = max(best, ranked, key=lambda found: found[0][1:] if found else (0, 0))
        paths = [self.root / path for path, _, _ in best]
        if len(paths) > 1:
            paths = _below_the_first(paths, places)
        if len(paths) != 1:
            return Found(name, several=tuple(paths))
        return Found(name, paths[0], whole=is_whole(name, paths[0]))

    def looked_for(self, name: str, places: Sequence[Path] = (), without: Sequence[Path] = ()) -> str:
        """Where a name that stays unfound was looked for, for messages: `cam1/0.png in /data and below`."""
        found = self.look(name, places, without)
        if found.several:
            fitting = ", ".join(shown(path.relative_to(self.root)) for path in found.several[:3])
            return f"{shown(name)} in {shown(self.root)} and below, where {len(found.several)} fit: {fitting}"
        if self._too_many:
            return f"{shown(name)} in {shown(self.root)}; not below, where more than {MOST_FILES:,} files lie"
        return f"{shown(name)} in {shown(self.root)} and below"

    def at(self, name: str) -> Path | None:
        """The file at the very place that a name says from the root, but for the way its letters are written."""
        if _is_file(self.root / name):
            return self.root / name
        below = Path(name)
        parts = parts_of(str(below.relative_to(self.root) if below.is_relative_to(self.root) else below))
        found = self._ranked(parts, ()) if parts else []
        whole = [path for path, shared, _ in found if shared == len(parts) == path.count("/") + 1]
        return self.root / whole[0] if len(whole) == 1 else None

    def tail(self, name: str) -> Path | None:
        """The file or folder that the longest tail of a name leads to from the root itself, in any letter case.

        For folders, and for what a description beside the data says: `/content/set/train/images` is `train/images` here.
        """
        for parts in readings(name):
            for start in range(len(parts)):
                found = _descend(self.root, parts[start:])
                if found is not None:
                    return found
        return None

    def _ranked(self, parts: Sequence[str], without: Sequence[Path]) -> list[tuple[str, int, int]]:
        """The paths that share most with a name: each with the number of parts shared, and how alike these are."""
        barred = [self.root / folder for folder in without]
        ranked = [
            (path, *shared_parts(parts, path.split("/"), self._suffixes))
            for path in self._called(parts[-1])
            if not any((self.root / path).is_relative_to(folder) for folder in barred)
        ]
        most = max((found[1:] for found in ranked), default=None)
        return [found for found in ranked if found[1:] == most]

    def _called(self, name: str) -> list[str]:
        """The paths below the root whose last part may be meant by `name`."""
        index = self._scanned()
        key = part_key(name)
        found = index.get(key)
        if found is None and self._suffixes and not key.endswith(tuple(self._suffixes)):
            with_suffix = (index.get(key + suffix, ()) for suffix in sorted(self._suffixes))
            return [path for paths in with_suffix for path in ([paths] if isinstance(paths, str) else paths)]
        return [found] if isinstance(found, str) else list(found or ())

    def _scanned(self) -> dict[str, str | list[str]]:
        if self._index is None:
            self._index = {}
            endings = tuple(self._suffixes)
            for number, path in enumerate(_walk(self.root)):
                if number >= MOST_FILES:  # not all seen, so nothing is known to be the only one
                    self._index, self._too_many = {}, True
                    break
                name = path.rpartition("/")[2]
                if not endings or name.lower().endswith(endings):
                    for key in keys_of_file(name):
                        before = self._index.setdefault(key, path)
                        if isinstance(before, list):
                            before.append(path)
                        elif before is not path:
                            self._index[key] = [before, path]
        return self._index


def part_clashes(found: Mapping[Key, Found]) -> dict[Key, Found]:
    """The same findings, but different names never lead to one file.

    Of names that do, those that say the file's very place keep it, or else the only one that is whole in its path; all
    others lose it, since which of them is meant cannot be known: `cam1/0.png` and `cam2/0.png` are not both `0.png`.
    """
    names: dict[Path, dict[tuple[str, ...], Found]] = defaultdict(dict)
    for one in found.values():
        if one.path is not None:
            before = names[one.path].setdefault(spelled(one.name), one)
            if one.exact and not before.exact:
                names[one.path][spelled(one.name)] = one
    lost: set[tuple[Path, tuple[str, ...]]] = set()
    for path, spellings in names.items():
        exact = {spelled for spelled, one in spellings.items() if one.exact}
        whole = {spelled for spelled, one in spellings.items() if one.whole}
        kept = exact or (whole if len(whole) == 1 else set())
        if len(spellings) > 1:
            lost |= {(path, spelled) for spelled in spellings if spelled not in kept}
    if not lost:
        return dict(found)
    return {
        key: replace(one, path=None, exact=False, whole=False, shared=one.path)
        if one.path and (one.path, spelled(one.name)) in lost
        else one
        for key, one in found.items()
    }


def _below_the_first(paths: Sequence[Path], places: Sequence[Path]) -> list[Path]:
    """The path below the first place that holds only one of them; all where there is no such place."""
    for place in places:
        inside = [path for path in paths if path.is_relative_to(place)]
        if len(inside) == 1:
            return inside
    return sorted(paths)


def _walk(root: Path) -> Iterator[str]:
    """Files below a folder, as text from there with `/`; nearest first. Links are followed, but never in a circle."""
    visited: set[str] = set()
    pending = deque([""])
    while pending:
        place = pending.popleft()
        here = root / place
        real = os.path.realpath(here)
        if real in visited:
            continue
        visited.add(real)
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    path = f"{place}/{entry.name}" if place else entry.name
                    if is_junk(entry.name):
                        continue
                    if entry.is_dir():
                        pending.append(path)
                    else:
                        yield path
        except OSError:  # a folder that may not be read holds nothing that can be
            continue


def _descend(folder: Path, parts: Sequence[str]) -> Path | None:
    for part in parts:
        try:
            if (folder / part).exists():
                folder /= part
                continue
            alike = [entry for entry in folder.iterdir() if part_key(entry.name) == part_key(part)]
        except (OSError, ValueError):  # no folder, too long a name, or a NUL in it
            return None
        if len(alike) != 1:
            return None
        folder = alike[0]
    return folder


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long a name, or a NUL in it
        return False
