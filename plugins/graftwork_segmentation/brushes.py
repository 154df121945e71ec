"""Label Studio's export of brush labels as PNG: one file a tag and region, named by task instead of by picture."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graftwork.data.paths import Files
from graftwork.errors import DataError
from graftwork.files.text import read_text
from graftwork.vision.decode import SUFFIXES

_NAME = re.compile(r"task-(\d+)-annotation-(\d+)-by-(.*?)-tag-(.*)-(\d+)")


def tagged(mask: Path) -> bool:
    """Whether a file is called as Label Studio calls brush masks (task-1-annotation-4-by-2-tag-car-0.png)."""
    return _NAME.fullmatch(mask.stem) is not None


def match_tasks(
    images: Sequence[Path], masks: Sequence[Path], root: Path
) -> tuple[dict[Path, list[tuple[Path, str]]], list[Path], list[Path]]:
    """Every picture's masks, each with its tag; of several annotations of a task the last.

    Which picture a task is says Label Studio's JSON export, where it lies beside the data. Else, where there are as many tasks as
    pictures, they are taken in their order, as they were imported.

    Returns:
        The masks, files of no picture, and the pictures that were matched by order.

    Raises:
        DataError: nothing tells which picture a task is.
    """
    tasks: dict[int, dict[int, list[tuple[str, Path]]]] = defaultdict(lambda: defaultdict(list))
    lonely = []
    for mask in masks:
        match = _NAME.fullmatch(mask.stem)
        if match is None:
            lonely.append(mask)
        else:
            tasks[int(match[1])][int(match[2])].append((match[4], mask))
    pictures = _from_export(root, images)
    ordered: list[Path] = []
    if not pictures:
        if len(tasks) != len(images):
            what = f"its masks are Label Studio's, by {len(tasks):,} tasks; nothing says which of {len(images):,} images each is"
            hint = "Put Label Studio's JSON export beside the folders, which says it, or give masks their image's name"
            raise DataError(what, where=str(root), hint=hint)
        ordered = sorted(images, key=lambda image: _natural(image.name))
        pictures = dict(zip(sorted(tasks), ordered, strict=True))
    chosen: dict[Path, list[tuple[Path, str]]] = {}
    for task, versions in sorted(tasks.items()):
        last = versions[max(versions)]
        lonely += [mask for version, tags in versions.items() if version != max(versions) for _, mask in tags]
        if task in pictures:
            chosen[pictures[task]] = [(mask, tag) for tag, mask in sorted(last)]
        else:
            lonely += [mask for _, mask in last]
    return chosen, lonely, ordered


def _from_export(root: Path, images: Sequence[Path]) -> dict[int, Path]:
    """The picture of every task, by JSON exports beside the data."""
    files = Files(root, SUFFIXES)
    known = set(images)
    found: dict[int, Path] = {}
    for file in sorted(root.glob("*.json")):
        for task, name in _tasks(file).items():
            path = files.find(name)
            if path is None:  # uploads have eight digits and a dash before their names
                path = files.find(re.sub(r"^.*/[0-9a-f]{8}-", "", name))
            if path in known:
                found[task] = path
    return found if len(set(found.values())) == len(found) else {}


def _tasks(file: Path) -> dict[int, str]:
    try:
        content: Any = json.loads(read_text(file))
    except (OSError, ValueError, RecursionError):
        return {}
    tasks: dict[int, str] = {}
    for entry in content if isinstance(content, list) else []:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("id"), int):
            continue
        data = entry.get("data")
        values = list(data.values()) if isinstance(data, Mapping) else [entry.get("image")]
        names = [value for value in values if isinstance(value, str) and Path(value.partition("?")[0]).suffix]
        names += [str(entry["file_upload"])] if isinstance(entry.get("file_upload"), str) else []
        if names:
            tasks[entry["id"]] = names[0]
    return tasks


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A key by which 10.png comes after 9.png."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]
