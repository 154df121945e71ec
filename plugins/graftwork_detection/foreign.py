"""Annotations that are not read: what they are called, and which export of the same tool is read. Nothing is decided here."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from graftwork.data.folders import is_junk
from graftwork.files.text import decode_text
from graftwork_detection.boxtable import box_columns, header
from graftwork_detection.rows import spoken
from graftwork_detection.upstream import IMAGE_NAMES, OBJECTS_NAMES

_MOST = 20_000  # files looked at by name
_TRIED = 3  # files of a suffix in a folder that are opened
_START = 1 << 20  # bytes of them


def what_it_is(path: Path) -> str | None:
    """What annotations of another form are, and what to export instead; None where nothing is known.

    Args:
        path: a file, or a folder of which a few files of each kind are looked into.
    """
    files = [path] if path.is_file() else _a_few(path)
    for file in files:
        try:
            with file.open("rb") as stream:
                start = decode_text(stream.read(_START), "replace")
        except OSError:
            continue
        told = _READERS[file.suffix.lower()](file, start)
        if told is not None:
            return f"{file.name if path.is_dir() else 'This'} looks like {told}"
    return None


def _a_few(root: Path) -> Iterator[Path]:
    seen = 0
    for here, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not is_junk(name))
        tried: dict[str, int] = defaultdict(int)
        for name in sorted(files):
            suffix = Path(name).suffix.lower()
            if (
                suffix in _READERS
                and not is_junk(name)
                and tried[suffix] < _TRIED
                and not name.lower().startswith("readme")
            ):
                tried[suffix] += 1
                yield Path(here, name)
        seen += len(files)
        if seen > _MOST:
            return


def _datumaro(form: str) -> str:
    """How a form becomes COCO."""
    return f"Datumaro makes COCO of it: datum convert -if {form} -i FOLDER -f coco -o OUT -- --save-media"


def _xml(file: Path, start: str) -> str | None:
    if "<annotations" in start and ("<image" in start or "<track" in start):
        return "CVAT's own XML; export 'COCO 1.0' or 'PASCAL VOC 1.1' from CVAT"
    if "<annotation" in start and ("<polygon" in start or "<robndbox" in start):
        return "LabelMe's or an oriented XML without upright boxes; convert it to COCO"
    return None


def _json(file: Path, start: str) -> str | None:
    try:
        content = json.loads(start)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, list) and content and isinstance(content[0], Mapping):
        return _json_list(content[0])
    if isinstance(content, Mapping):
        return _json_object(content)
    if _is_row_text(start.lstrip().partition("\n")[0]):
        return _ROWS
    for mark, told in _MARKS:  # longer than what was read, or damaged
        if re.search(mark, start):
            return told
    return None


_AUTOML = "set,image,label,xmin,ymin,a,b,xmax,ymax,c,d"
_ROWS = "rows with a picture and its objects; call it .jsonl in place of .json"
_VIA = "the VGG Image Annotator's own form; export 'COCO format' from it"
_LABEL_STUDIO = "Label Studio's own JSON; export COCO, YOLO or Pascal VOC from Label Studio"
_SUPERVISELY = "Supervisely's own form; export COCO or Pascal VOC with its app"
_CREATE_ML = "CreateML's JSON; export COCO or YOLO instead"
_MARKS = (
    (r'"_via_img_metadata"|"region_attributes"', _VIA),
    (r'"from_name"\s*:|"rectanglelabels"', _LABEL_STUDIO),
    (r'"classTitle"', _SUPERVISELY),
)


def _json_list(first: Mapping[str, Any]) -> str | None:
    if "annotations" in first and ("data" in first or "completions" in first):
        return _LABEL_STUDIO
    if "completions" in first or _has(first, "label", "rectanglelabels") or _has(first, "bbox", "rectanglelabels"):
        return _LABEL_STUDIO
    if _has(first, "annotations", "coordinates"):
        return _CREATE_ML
    if "Labeled Data" in first or "data_row" in first:
        return "Labelbox's JSON; convert it to COCO with Labelbox's own converter"
    if _has(first, "labels", "box2d"):
        return "BDD100K's JSON; convert it to COCO with bdd100k.label.to_coco"
    if "annotation" in first or {"object", "filename"} <= set(first):
        return "Pascal VOC written as JSON; export it as XML, or as COCO"
    if _is_row(first):
        return _ROWS
    if {"bbox", "category_id", "image_id"} <= set(first):
        return "a list of COCO results or annotations without its images and categories; give the whole COCO file"
    return None


def _json_object(content: Mapping[str, Any]) -> str | None:
    if "_via_img_metadata" in content or any(
        isinstance(value, Mapping) and "regions" in value for value in list(content.values())[:3]
    ):
        return _VIA
    if "completions" in content or _has(content, "annotations", "result"):
        return _LABEL_STUDIO
    if _has(content, "objects", "classTitle") or (
        "classes" in content and ("projectType" in content or _has(content, "classes", "shape"))
    ):
        return _SUPERVISELY
    if {"objects", "size"} <= set(content) and isinstance(content.get("size"), Mapping):
        return _SUPERVISELY
    if {"items", "categories"} <= set(content):
        return f"Datumaro's JSON; {_datumaro('datumaro')}"
    if "assets" in content or ("asset" in content and "regions" in content):
        return "VoTT's JSON; export Pascal VOC from VoTT"
    if "annotation" in content:
        return "Pascal VOC written as JSON; export it as XML, or as COCO"
    if "data_row" in content:
        return "Labelbox's JSON; convert it to COCO with Labelbox's own converter"
    if "annotations" in content and ("item" in content or isinstance(content.get("image"), Mapping)):
        return "V7 Darwin's JSON; export COCO from V7"
    if "label_classes" in content or _has(content, "images", "image_name"):
        return "Hasty's own JSON; export 'COCO detection' from Hasty"
    return None


def _is_row(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and bool(set(OBJECTS_NAMES) & set(content))
        and bool({*IMAGE_NAMES} & {key.lower() for key in content})
    )


def _is_row_text(line: str) -> bool:
    try:
        return _is_row(json.loads(line))
    except (ValueError, RecursionError):
        return False


def _has(content: Mapping[str, Any], key: str, inner: str) -> bool:
    """Whether a value is a list of objects with a certain key."""
    values = content.get(key)
    return isinstance(values, list) and any(isinstance(value, Mapping) and inner in value for value in values[:5])


def _table(file: Path, start: str) -> str | None:
    names = [name.lstrip("#").strip().lower() for name in header(file)]
    if "region_shape_attributes" in names:
        return _VIA
    columns = header(file)
    if columns and box_columns(columns, {"image": columns[0]}):
        told = f"--data {file.name} --column image=NAME --column label=NAME"
        return f"a table of boxes in which none of the usual names says which column is the picture; give it itself: {told}"
    if {"annotator", "annotation_id"} <= set(names):
        return _LABEL_STUDIO
    if len(names) == 6 and all(spoken(cell) is not None for cell in names[1:5]):
        return "a table of boxes without names of columns; add a first line: image,xmin,ymin,xmax,ymax,label"
    if len(names) == 11 and names[0] in ("train", "validation", "validate", "test", "unassigned"):
        return f"AutoML's CSV without names of columns; add a first line: {_AUTOML}"
    if len(names) == 8 and all(spoken(cell) is not None for cell in (*names[1:5], *names[6:])):
        return "makesense.ai's CSV without names of columns; add a first line: label,x,y,w,h,image,width,height"
    return None


def _text(file: Path, start: str) -> str | None:
    lines = [line.strip() for line in start.splitlines()[:20] if line.strip()]
    if not lines:
        return None
    words = lines[-1].split()
    if re.search(r"\.\w{3,4}( +\d+(,\d+){4})+$", lines[0]):
        return "a list of pictures with boxes as YOLO for Keras has it; export YOLO (with data.yaml) or COCO instead"
    if lines[0].startswith("imagesource:") or (
        len(words) in (9, 10) and _numbers(words[:8]) and not _numbers(words[8:9])
    ):
        return f"DOTA's text files of oriented boxes; {_datumaro('dota')}"
    if len(words) in (15, 16) and _numbers(words[1:15]) and not _numbers(words[:1]):
        return f"KITTI's labels; {_datumaro('kitti_detection')}"
    commas = [cell for cell in lines[-1].split(",") if cell]
    if len(commas) == 8 and _numbers(commas):
        return "VisDrone's annotations; convert them to YOLO or COCO"
    if len(commas) in (9, 10) and _numbers(commas):
        return f"MOT's tracks; {_datumaro('mot_seq')}"
    if len(words) >= 5 and _numbers(words) and all(len(line.split()) >= 5 for line in lines):
        return "YOLO labels without names of classes; add classes.txt with one name a line, in the order of the numbers"
    if file.name.lower().startswith("wider_face"):
        return f"WIDER FACE's lists; {_datumaro('wider_face')}"
    return None


def _records(file: Path, start: str) -> str | None:
    return "TensorFlow records; export COCO or Pascal VOC instead"


def _numbers(words: list[str]) -> bool:
    return all(spoken(word) is not None for word in words)


_READERS = {
    ".xml": _xml,
    ".json": _json,
    ".csv": _table,
    ".tsv": _table,
    ".txt": _text,
    ".tfrecord": _records,
    ".record": _records,
}
