"""Exports of other tools that are not read, by what they are called, and with the export of that tool which is."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from graftwork.data.folders import is_junk
from graftwork.files.text import decode_text

_NUMBERS = re.compile(r"\s*\d+(\s+[\d.eE+-]+){6,}\s*")
_ARRAYS = {
    **dict.fromkeys((".npy", ".npz"), "NumPy arrays"),
    ".mat": "Matlab's arrays",
    **dict.fromkeys((".nii", ".gz"), "NIfTI volumes"),
    **dict.fromkeys((".dcm", ".h5", ".hdf5"), "volumes"),
}
_PEEK = 1 << 16
_MOST = 20_000  # files


def known_export(path: Path) -> str | None:
    """What the annotations in a folder, or a file, are and what to export instead, as a hint; None for unknown ones."""
    arrays: dict[str, str] = {}
    for number, file in enumerate(_files(path)):
        if number > _MOST:
            break
        suffix = file.suffix.lower()
        found = None
        if suffix == ".xml":
            found = _xml(_start(file))
        elif suffix == ".json":
            found = _json(file, _start(file))
        elif suffix in (".csv", ".tsv"):
            found = _table(_start(file))
        elif suffix == ".txt" and "labels" in map(str.lower, file.parts):
            found = _yolo(_start(file))
        elif suffix in _ARRAYS and (suffix != ".gz" or file.name.lower().endswith(".nii.gz")):
            arrays.setdefault(suffix, _ARRAYS[suffix])
        if found:
            return found
    if arrays:
        suffix, kind = next(iter(arrays.items()))
        return f"It holds {kind} ({suffix}); save masks as PNG, one a picture, into masks/, and pictures into images/"
    return None


def _xml(start: str) -> str | None:
    root = re.search(r"<([A-Za-z_][\w.-]*)", re.sub(r"<[?!][^>]*>", "", start))
    if root and root[1] == "annotations" and "<image" in start:
        return "It is CVAT's XML; export 'Segmentation mask 1.1' or 'COCO 1.0' from CVAT, which are read"
    if root and root[1] == "Annotations" and "<Region" in start:
        return (
            "It is ImageScope's XML, as MoNuSeg has it; draw its regions into PNG masks, 0 for background and 255 inside, one a "
            "picture, in masks/ beside images/"
        )
    if root and root[1] == "annotation":
        boxes = "It holds boxes as Pascal VOC has them, for --task detection"
        return f"{boxes}; masks are wanted in SegmentationClass/ beside JPEGImages/"
    return None


def _json(file: Path, start: str) -> str | None:
    if '"_via_img_metadata"' in start or ('"regions"' in start and '"shape_attributes"' in start):
        return "It is VIA's JSON; in VIA, Annotation > Export Annotations (COCO format), which is read"
    if file.name == "meta.json" and '"classes"' in start and '"shape"' in start:
        return "It is a Supervisely project; export it there as COCO (app 'Export to COCO') or as Pascal VOC, which are read"
    if '"bitmap"' in start and '"objects"' in start:
        return (
            "It is Supervisely's JSON; export it there as COCO (app 'Export to COCO') or as Pascal VOC, which are read"
        )
    if (
        start.lstrip().startswith("[")
        and re.search(r'"(annotations|completions)"\s*:\s*\[', start)
        and '"data"' in start
    ):
        return "It is Label Studio's JSON; export 'COCO' for polygons, or 'Brush labels to PNG', which are read"
    if '"data_row"' in start or '"labelbox' in start.lower():
        return "It is Labelbox's JSON; convert it to COCO JSON, which is read"
    return None


def _table(start: str) -> str | None:
    header = start.partition("\n")[0].lower()
    if "encodedpixels" in re.sub(r"[\s_]", "", header) or "rle" in re.split(r"[^a-z]+", header):
        return "A table holds masks as run lengths; draw them into PNG files, one a picture, in masks/"
    if "region_shape_attributes" in header:
        return "It is VIA's CSV; in VIA, Annotation > Export Annotations (COCO format), which is read"
    return None


def _yolo(start: str) -> str | None:
    line = start.partition("\n")[0]
    if not _NUMBERS.fullmatch(line):
        return None
    return "It holds outlines as YOLO's text files; export 'COCO Segmentation' (Roboflow, CVAT) instead, which is read"


def _files(path: Path) -> Any:
    if path.is_file():
        yield path
        return
    for here, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if not is_junk(name))
        yield from (Path(here, name) for name in sorted(files) if not is_junk(name))


def _start(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return decode_text(stream.read(_PEEK), "replace")
    except OSError:
        return ""
