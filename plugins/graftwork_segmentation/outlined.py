"""Which files of a folder hold outlines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from graftwork.data.folders import is_junk
from graftwork.files.text import decode_text
from graftwork_segmentation.coco import read_coco
from graftwork_segmentation.drawn import Drawn
from graftwork_segmentation.labelme import read_labelme

_COCO = re.compile(r'"(images|annotations)"\s*:\s*\[')
_LABELME = re.compile(r'"shapes"\s*:\s*\[')
_PEEK = 1 << 20
_DEEPEST = 3


def find_drawn(path: Path) -> Drawn | None:
    """Pictures with outlines in COCO's or labelme's JSON, a file or anywhere in a folder; None where there are none.

    Raises:
        DataError: a file is damaged, or several mean the same split.
    """
    home = path if path.is_dir() else path.parent
    home = home.parent if path.is_file() and home.name.lower() == "annotations" else home
    files = [path] if path.is_file() else list(_json_files(path, _DEEPEST))
    starts = {file: _start(file) for file in files if file.suffix.lower() == ".json"}
    coco = [file for file, start in starts.items() if _looks_like_coco(*start)]
    if coco:
        return read_coco(home, coco)
    labelme = [file for file, start in starts.items() if _LABELME.search(start[0])]
    return read_labelme(home, labelme) if labelme else None


def _looks_like_coco(start: str, whole: bool) -> bool:
    if not start.lstrip().startswith("{") or '"shapes"' in start:
        return False
    return _COCO.search(start) is not None and ('"images"' in start or not whole)


def _json_files(folder: Path, deepest: int) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if is_junk(entry.name):
            continue
        if entry.is_dir() and deepest:
            yield from _json_files(entry, deepest - 1)
        elif entry.suffix.lower() == ".json":
            yield entry


def _start(file: Path) -> tuple[str, bool]:
    """The first text of a file, and whether that is all."""
    try:
        with file.open("rb") as stream:
            start = stream.read(_PEEK)
    except OSError:
        return "", True
    return decode_text(start, "replace"), len(start) < _PEEK
