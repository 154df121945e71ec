"""Folders that seem to be something else than classes: found out, and told with what to do, before anything is trained."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from graftwork.data.folders import ClassFolders, classes_in_names
from graftwork.data.splits import canonical_split
from graftwork.interfaces import Finding
from graftwork.vision.decode import SUFFIXES

_PART = re.compile(
    r"(?i)(k?[\s_-]*folds?|parts?|splits?|subsets?|sets?|batch(es)?|partitions?|shards?|chunks?|cv)[\s_-]*\d+"
)
"""What parts of one data set are called; a class hardly is."""

_LISTED = re.compile(r"(\S.*?)[\s,;]+([^\s,;]+)\s*")
_LISTS = (".txt", ".lst", ".list")
_MAY_HOLD_LABELS = frozenset(
    {".json", ".xlsx", ".xls", ".ods", ".xml", ".mat", ".pkl", ".npy", ".npz", ".yaml", ".db", ".sqlite"}
)
_LINES = 40
_SHARE = 0.8
_SHOWN = 5


def check_layout(folders: ClassFolders) -> list[Finding]:
    """What is to be said of folders that are perhaps no classes."""
    if len(folders.classes) > 1:
        return _alike_folders(folders)
    found = [*_classes_in_names(folders), *_classes_in_folders(folders), *_classes_in_lists(folders)]
    return found or _labels_not_read(folders)


def _files(folders: ClassFolders) -> Iterator[str]:
    for files_of in folders.splits.values():
        for files in files_of.values():
            yield from files


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _classes_in_names(folders: ClassFolders) -> list[Finding]:
    """Of a single folder: what the names of its files begin with, where that seems to be their class (`Abyssinian_1.jpg`)."""
    begins = classes_in_names(_files(folders))
    if not begins:
        return []
    message = (
        f"the classes seem to stand in the names of the files ({_listed(begins)}): write a table with the columns image and "
        "label, a row a file, and give it with --data FILE.csv"
    )
    return [Finding("classes-in-names", "error", message, tuple(begins[:_SHOWN]), len(begins))]


def _classes_in_folders(folders: ClassFolders) -> list[Finding]:
    """Of a single folder: the folders in it that all files lie in, where these seem to be the classes."""
    names = [name.split("/") for name in _files(folders)]
    inner = sorted({name[1] for name in names if len(name) > 2})
    if len(folders.splits) > 1 or len(inner) < 2 or any(len(name) < 3 for name in names):
        return []
    place = shlex.quote(str(folders.root / names[0][0]))
    message = f"the classes seem to be the folders deeper in ({_listed(inner)}): --data {place}"
    return [Finding("classes-in-folders", "error", message, tuple(inner[:_SHOWN]), len(inner))]


def _classes_in_lists(folders: ClassFolders) -> list[Finding]:
    """Of a single folder: texts beside it whose lines are a picture's name and one more word."""
    lists = [name for name in folders.others if Path(name).suffix.lower() in _LISTS and _is_list(folders.root / name)]
    if not lists:
        return []
    root = folders.root
    tables = [str(root / Path(name).with_suffix(".csv")) for name in lists]
    commands = [
        f"(echo image,label; sed -E 's/[[:space:],;]+([^[:space:],;]+)[[:space:]]*$/,\\1/' {shlex.quote(str(root / name))}) > "
        f"{shlex.quote(table)}"
        for name, table in zip(lists[:3], tables, strict=False)
    ]
    data = shlex.quote(tables[0] if len(lists) == 1 else str((root / lists[0]).parent))
    message = f"the classes seem to stand in {_listed(lists)}; make a table of it: {' && '.join(commands)}, then --data {data}"
    return [Finding("classes-in-lists", "error", message, tuple(lists[:_SHOWN]), len(lists))]


def _labels_not_read(folders: ClassFolders) -> list[Finding]:
    """Of a single folder: files beside it that may hold the labels, in a form in which none are read."""
    files = [name for name in folders.others if "/" not in name and Path(name).suffix.lower() in _MAY_HOLD_LABELS]
    if not files:
        return []
    message = (
        f"the classes are perhaps in {_listed(files)}, of which nothing was read: write a table with the columns image and "
        "label, a row a file, and give it with --data FILE.csv"
    )
    return [Finding("labels-not-read", "error", message, tuple(files[:_SHOWN]), len(files))]


def _is_list(file: Path) -> bool:
    try:
        with file.open(encoding="utf-8-sig") as stream:
            lines = [line for line, _ in zip(stream, range(_LINES), strict=False) if line.strip()]
    except (OSError, UnicodeDecodeError):
        return False
    found = [match for line in lines if (match := _LISTED.fullmatch(line.rstrip("\r\n")))]
    return len(lines) > 1 and sum(Path(match[1]).suffix.lower() in SUFFIXES for match in found) >= _SHARE * len(lines)


def _alike_folders(folders: ClassFolders) -> list[Finding]:
    """Where all class folders hold folders of the same names, and nothing else: `fold_0/cat`, `fold_1/cat`."""
    if len(folders.splits) > 1:
        return []
    inner: dict[str, set[str]] = {}
    for name in _files(folders):
        parts = name.split("/")
        if len(parts) < 3:
            return []
        inner.setdefault(parts[0], set()).add(parts[1])
    first = next(iter(inner.values()))
    if len(inner) < 2 or len(first) < 2 or any(names != first for names in inner.values()):
        return []
    root, outer, names = folders.root, sorted(inner), sorted(first)
    new = shlex.quote(str(root.with_name(f"{root.name}-classes")))
    merge = (
        f'for f in {shlex.quote(str(root))}/*/*/; do c=$(basename "$f"); p=$(basename "$(dirname "$f")"); '
        f'mkdir -p {new}/"$c" && cp -r "$f" {new}/"$c/$p"; done, then --data {new}'
    )
    if all(canonical_split(name) for name in names):
        message = (
            f"the folders in all class folders are splits ({_listed(names)}); these come first, then classes: {merge}"
        )
        return [Finding("splits-in-classes", "error", message, tuple(outer[:_SHOWN]), len(outer))]
    if all(_PART.fullmatch(name.strip()) for name in outer):
        what = f"{_listed(outer)} seem to be parts of the data, and the folders in them the classes"
        message = f"{what} ({_listed(names)}): {merge}"
        return [Finding("classes-in-folders", "error", message, tuple(outer[:_SHOWN]), len(outer))]
    what = f"all class folders hold the same folders ({_listed(names)}), which do not count"
    message = f"{what}; if these are the classes: {merge}"
    return [Finding("same-folders-in-classes", "warning", message, tuple(outer[:_SHOWN]), len(outer))]
