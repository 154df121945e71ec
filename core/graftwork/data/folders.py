"""Class folders: `train/CLASS/*`, or `CLASS/*` without splits. Which files count is told by their suffixes."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from graftwork.data.foreign import foreign_in
from graftwork.data.names import class_name
from graftwork.data.sources import require_utf8
from graftwork.data.splits import SPLITS, canonical_split, split_like
from graftwork.errors import DataError
from graftwork.interfaces.data import Finding

_JUNK = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin"})
_WITHOUT_LABELS = frozenset({"unsup", "unsupervised", "unlabeled", "unlabelled", "unlabeled_data", "unlabelled_data"})
_SHOWN = 5


@dataclass(frozen=True)
class ClassFolders:
    """Files by split and class name, sorted by path.

    Args:
        root: the folder that was read.
        splits: split name to class name to files, as text relative to the root with `/` between its parts: a `Path` for
            each of a million files would take a gigabyte. `train` alone where the data has no splits.
        classes: names of all classes that hold a file, sorted.
        findings: what was left out.
        others: names of the files and folders that are no data by their names, relative to the root.
    """

    root: Path
    splits: dict[str, dict[str, list[str]]]
    classes: tuple[str, ...]
    findings: tuple[Finding, ...]
    others: tuple[str, ...] = ()


@dataclass
class _Seen:
    """What is met on the way and left out."""

    root: Path
    suffixes: Set[str]
    junk: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)
    no_class: list[str] = field(default_factory=list)

    def name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def is_junk(name: str) -> bool:
    """Whether a file or folder name is a hidden or a system's own one (`.ipynb_checkpoints`, `Thumbs.db`)."""
    return name.startswith(".") or name.lower() in _JUNK


def read_class_folders(root: Path, suffixes: Set[str], noun: str = "file") -> ClassFolders:
    """Files in folders named after their class, in folders named after their split where there are such.

    Files may lie deeper inside a class folder. One folder around all of it, as archives have it, is looked through. Hidden
    and system files, and files with other suffixes, are counted in findings.

    Args:
        root: the folder.
        suffixes: what counts as data, lower case with the dot.
        noun: what a file is called in messages, singular: `image`.

    Raises:
        DataError: the folder is missing, empty, has no such file, or is not in this form; says what was found.
    """
    if not root.is_dir():
        raise DataError("is not a folder", where=str(root))
    around, root = root, _within(root, suffixes)
    seen = _Seen(root, suffixes)
    folders, files = _entries(root, seen)
    if not folders and not files:
        raise DataError("is an empty folder", where=str(root))
    split_folders = _split_folders(folders, files, seen, noun)
    splits: dict[str, dict[str, list[str]]] = {}
    for split, folder in split_folders.items():
        splits[split] = _read_classes(folder, seen, noun)
    _leave_out_unlabelled(splits, seen)
    classes = tuple(sorted({label for files_of in splits.values() for label in files_of}))
    if not classes:
        if (error := foreign_in(root)) is not None:
            raise error
        raise DataError(f"holds no {noun}", where=str(root), hint=_what_is_there(root, suffixes))
    ordered = {split: splits[split] for split in SPLITS if splits.get(split)}
    found = [*_looked_through(around, root, classes), *_findings(seen, classes, noun)]
    return ClassFolders(root, ordered, classes, tuple(found), tuple(seen.others))


def classes_in_names(files: Iterable[str]) -> list[str]:
    """What the names of files begin with, sorted, where that seems to be their class (`Abyssinian_1.jpg`); else []."""
    stems = [Path(name).stem for name in files]
    begins = sorted({re.sub(r"[\s_.-]*\(?\d+\)?$", "", stem) for stem in stems} - {""})
    return begins if 2 <= len(begins) <= len(stems) / 2 else []


def _within(root: Path, suffixes: Set[str]) -> Path:
    """The folder itself, or the one folder in it that all folders of classes or splits lie in."""
    inner = root
    for _ in range(4):
        folders, files = _kept(inner)
        if len(folders) != 1 or canonical_split(folders[0].name) or _data_in(files, suffixes):
            break
        inner = folders[0]
    folders, files = _kept(inner)
    if _data_in(files, suffixes):
        return root  # the folder of a class
    many = len(folders) > 1 or (len(folders) == 1 and _has_subfolders(folders[0]))
    return inner if many else root


def _looked_through(around: Path, root: Path, classes: Sequence[str]) -> list[Finding]:
    if around == root:
        return []
    name = f"{root.relative_to(around).as_posix()}/"
    message = f"all lies in {name}, whose folders are taken for the classes or splits: {len(classes):,} classes"
    return [Finding("folder-looked-through", "warning", message, (name,), len(classes))]


def _kept(folder: Path) -> tuple[list[Path], list[Path]]:
    """Folders and files in a folder, sorted, without junk."""
    try:
        entries = [entry for entry in sorted(folder.iterdir()) if not is_junk(entry.name)]
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", where=str(folder)) from None
    return [entry for entry in entries if entry.is_dir()], [entry for entry in entries if not entry.is_dir()]


def _data_in(files: Iterable[Path], suffixes: Set[str]) -> list[Path]:
    return [path for path in files if path.suffix.lower() in suffixes]


def _entries(folder: Path, seen: _Seen) -> tuple[list[Path], list[Path]]:
    """Folders and files in a folder, sorted, without junk, which is noted."""
    kept = _kept(folder)
    seen.junk += [seen.name(entry) for entry in sorted(folder.iterdir()) if is_junk(entry.name)]
    return kept


def _split_folders(folders: Sequence[Path], files: Sequence[Path], seen: _Seen, noun: str) -> dict[str, Path]:
    """Split name to folder; the root itself as `train` where there are no split folders."""
    root = str(seen.root)
    named: dict[str, list[Path]] = defaultdict(list)
    for folder in folders:
        split = canonical_split(folder.name)
        if split is not None:
            named[split].append(folder)
    flat = [folder for group in named.values() for folder in group if not _has_subfolders(folder)]
    proper = {split: group for split, group in named.items() if any(folder not in flat for folder in group)}
    if not proper:
        if named and len(flat) == len(folders):
            raise DataError(
                f"{flat[0].name}/ has no class folders in it",
                where=root,
                hint=f"Put every {noun} into {flat[0].name}/CLASS/, or give a table with --data FILE.csv"
                + _told_by_names(folders, seen)
                + _if_a_class(flat, seen.root),
            )
        if len(folders) > 1 and all(split_like(folder.name) for folder in folders):
            raise _only_splits(folders, seen, noun)
        return {"train": seen.root}  # `test` may be the name of a class here
    for split, group in proper.items():
        if len(group) > 1:
            raise DataError(f"{' and '.join(f.name + '/' for f in group)} both mean {split}", where=root)
    others = [folder for folder in folders if canonical_split(folder.name) is None]
    crowded = [folder.name for folder in others if _first_file(folder, seen.suffixes)]
    if crowded:
        raise DataError(
            f"has split folders ({', '.join(f[0].name for f in proper.values())}) and, beside them, {noun}s in "
            f"{', '.join(crowded[:_SHOWN])}",
            where=root,
            hint=_named_as_splits(others, seen, proper)
            + _if_a_class([folder for group in proper.values() for folder in group], seen.root),
        )
    _refuse_loose(files, seen, noun, "split folders")
    seen.others += [seen.name(folder) + "/" for folder in others]
    seen.unlabelled += [seen.name(folder) + "/" for folder in flat]
    return {split: group[0] for split, group in proper.items()}


def _named_as_splits(folders: Sequence[Path], seen: _Seen, there: Collection[str]) -> str:
    """The way out where folders lie beside those of splits: by another name, if theirs speaks of a split that is not there."""
    free = {
        split: folder
        for folder in folders
        if _first_file(folder, seen.suffixes) and (split := split_like(folder.name)) and split not in there
    }
    moves = [f"mv {shlex.quote(str(old))} {shlex.quote(str(old.with_name(split)))}" for split, old in free.items()]
    named = f"Name them as splits are named here: {' && '.join(moves)}. " if moves else ""
    return f"{named}Rename a folder that is a split to train, validation or test, or move it into one, or out of here"


def _only_splits(folders: Sequence[Path], seen: _Seen, noun: str) -> DataError:
    """For folders that are called like splits, all of them, where class folders are wanted."""
    names = " and ".join(f"{folder.name}/" for folder in folders[:_SHOWN])
    what = f"has folders that are called like splits, not like classes ({names})"
    meant = {folder: split_like(folder.name) for folder in folders}
    if all(map(_has_subfolders, folders)) and len(set(meant.values())) == len(meant):
        moves = [
            f"mv {shlex.quote(str(old))} {shlex.quote(str(old.with_name(str(new))))}" for old, new in meant.items()
        ]
        hint = f"Name them as splits are named here: {' && '.join(moves)}"
    else:
        told = _told_by_names(folders, seen)
        hint = f"Put every {noun} into train/CLASS/, or give a table with --data FILE.csv{told}"
    return DataError(what, where=str(seen.root), hint=hint + _if_a_class(folders, seen.root))


def _told_by_names(folders: Sequence[Path], seen: _Seen) -> str:
    """Where classes seem to stand in the names of files."""
    begins = classes_in_names(file.name for folder in folders for file in _data_in(_kept(folder)[1], seen.suffixes))
    told = ", ".join(begins[:_SHOWN]) + (", …" if len(begins) > _SHOWN else "")
    return f" with a row a file (the classes seem to stand in the names of the files: {told})" if begins else ""


def _if_a_class(folders: Sequence[Path], root: Path) -> str:
    """The way out where a folder that is called like a split is a class."""
    names = " and ".join(sorted(folder.name for folder in folders))
    new = root.absolute().with_name(f"{root.absolute().name}-splits")
    moved = f"mkdir {shlex.quote(str(new))} && mv {shlex.quote(str(root.absolute()))} {shlex.quote(str(new / 'train'))}"
    several = "are classes" if len(folders) > 1 else "is a class"
    return f". If {names} {several}: {moved}, then --data {shlex.quote(str(new))}"


def _read_classes(folder: Path, seen: _Seen, noun: str) -> dict[str, list[str]]:
    """Files of one split by class name; no class without a file."""
    folders, files = _entries(folder, seen)
    _refuse_loose(files, seen, noun, "class folders", none_at_all=not folders)
    files_of: dict[str, list[str]] = {}
    for class_folder in folders:
        found = _walk(class_folder, seen)
        if found:
            name = class_name(class_folder.name)
            files_of[name] = [*files_of.get(name, []), *found]  # é is one letter, or e with an accent: the same class
        else:
            seen.empty.append(seen.name(class_folder) + "/")
    return files_of


def _leave_out_unlabelled(splits: dict[str, dict[str, list[str]]], seen: _Seen) -> None:
    """Take out folders such as IMDb's `unsup`, which are no class, where at least two classes are left."""
    if len({name for files_of in splits.values() for name in files_of if name.lower() not in _WITHOUT_LABELS}) < 2:
        return
    for files_of in splits.values():
        for name in [name for name in files_of if name.lower() in _WITHOUT_LABELS]:
            seen.no_class.append(f"{files_of[name][0].rpartition('/')[0]}/ ({len(files_of[name]):,} files)")
            del files_of[name]


def _refuse_loose(files: Sequence[Path], seen: _Seen, noun: str, beside: str, none_at_all: bool = False) -> None:
    loose = [path for path in files if path.suffix.lower() in seen.suffixes]
    seen.others += [seen.name(path) for path in files if path.suffix.lower() not in seen.suffixes]
    if loose:
        names = ", ".join(path.name for path in loose[:3]) + (", …" if len(loose) > 3 else "")
        what = f"holds {len(loose)} {noun}{'s' if len(loose) > 1 else ''} ({names})"
        raise DataError(
            f"{what} but no {beside}" if none_at_all else f"{what} beside {beside}",
            where=str(loose[0].parent),
            hint="Put each into a folder named after its class, or give a table with --data FILE.csv",
        )


def _walk(folder: Path, seen: _Seen) -> list[str]:
    """All files with a wanted suffix under a folder, relative to the root, sorted; follows links, but never in a circle."""
    endings = tuple(seen.suffixes)
    found: list[str] = []
    visited: set[str] = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        place = seen.name(Path(here))
        seen.junk += [f"{place}/{name}" for name in (*folders, *files) if is_junk(name)]
        folders[:] = sorted(name for name in folders if not is_junk(name))
        for name in sorted(files):
            if not is_junk(name):
                wanted = name.lower().endswith(endings)
                (found if wanted else seen.others).append(f"{place}/{name}")
    for name in found:
        require_utf8(name)
    return sorted(found, key=lambda name: name.replace("/", "\0"))  # part by part, as paths are sorted


def _has_subfolders(folder: Path) -> bool:
    return any(entry.is_dir() and not is_junk(entry.name) for entry in folder.iterdir())


def _first_file(folder: Path, suffixes: Set[str]) -> Path | None:
    for here, _, files in os.walk(folder):
        for name in files:
            if Path(name).suffix.lower() in suffixes and not is_junk(name):
                return Path(here, name)
    return None


def _what_is_there(root: Path, suffixes: Set[str]) -> str:
    kinds: Counter[str] = Counter()
    for _, _, files in os.walk(root):
        kinds.update(Path(name).suffix.lower() or "no suffix" for name in files)
    found = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4)) or "no files at all"
    return f"Found {found}; wanted {', '.join(sorted(suffixes))}"


def _findings(seen: _Seen, classes: Sequence[str], noun: str) -> list[Finding]:
    findings = []
    nowhere = [folder for folder in seen.empty if class_name(Path(folder).name) not in classes]
    for code, level, names, message in (
        ("empty-class", "warning", nowhere, f"class folders without any {noun}, which are no classes of the model"),
        (
            "empty-class-folder",
            "warning",
            [folder for folder in seen.empty if folder not in nowhere],
            f"class folders without any {noun}, though the class has some in another split",
        ),
        (
            "unlabelled-split",
            "warning",
            seen.unlabelled,
            "split folders without class folders, so without labels, not used",
        ),
        (
            "unlabelled-folder",
            "warning",
            seen.no_class,
            f"folders of {noun}s without labels, as they are called, left out; one that is a class needs another name",
        ),
        ("other-files", "note", seen.others, f"files or folders that are no {noun}s by their name, not used"),
        ("hidden-files", "note", seen.junk, "hidden or system files and folders, left out"),
    ):
        distinct = tuple(dict.fromkeys(names))
        if distinct:
            text = f"{message}: {len(distinct):,}"
            findings.append(Finding(code, level, text, distinct[:_SHOWN], len(distinct)))  # type: ignore[arg-type]
    return findings
