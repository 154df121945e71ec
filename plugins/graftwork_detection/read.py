"""Images with boxes from wherever they lie, under the columns `image`, `objects`, `origin`, `width`, `height`.

Which form a folder has is found out here; each form has a file of its own. No image is decoded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.data.folders import is_junk
from graftwork.data.foreign import refuse_foreign
from graftwork.data.groups import group_by_name
from graftwork.data.sources import existing_path, open_hf, parse_source, unknown_scheme
from graftwork.data.splits import canonical_split, rename_splits
from graftwork.data.tables import SUFFIXES as TABLE_SUFFIXES
from graftwork.data.tables import find_tables, read_tables
from graftwork.errors import DataError
from graftwork.interfaces import DataRequest, Finding, Tables
from graftwork.vision.inputs import pictures_left_out
from graftwork_detection.boxtable import box_columns, find_box_tables, read_boxes
from graftwork_detection.coco import find_coco, read_coco
from graftwork_detection.findings import Notes
from graftwork_detection.foreign import what_it_is
from graftwork_detection.labelme import check_file, find_labelme, read_labelme
from graftwork_detection.rows import Read, relative, subfolder, to_tables
from graftwork_detection.units import Unit, in_pixels
from graftwork_detection.upstream import OBJECTS_NAMES, read_upstream
from graftwork_detection.voc import find_voc, find_voc_below, read_voc
from graftwork_detection.yolo import find_yolo, read_yolo

if TYPE_CHECKING:
    from datasets import Dataset

FORMS = (
    "COCO JSON (instances.json, annotations/*.json, train/_annotations.coco.json), Pascal VOC (Annotations/*.xml and "
    "JPEGImages), YOLO (data.yaml, or classes.txt with labels), labelme, CSV with a row a box (filename, class, xmin, ymin, "
    "xmax, ymax), or Parquet or JSON lines with image and objects columns"
)


def read_detection(request: DataRequest) -> Tables:
    """Images with boxes from COCO JSON, Pascal VOC, YOLO, labelme, tables, `hf:` or `sample:`.

    Args:
        request: the source; `columns` may name the `image` and `objects` columns of a table. The options `boxes` and
            `box_unit` say how a box's numbers are meant.

    Returns:
        Splits with `image` ({bytes, path}, not decoded), `objects` {bbox: x, y, width, height in pixels; category: class
        index; crowd: not scored}, `origin`, `width` and `height` in pixels as declared (0 where nothing is), and `group`
        as text where `group_by` is given; class names by index.

    Raises:
        DataError: the source is missing, empty, damaged, in no form that is read here, or in two at once.
    """
    source, unit = parse_source(request.source), _unit(request)
    if source.scheme == "path":
        return _read_path(existing_path(source.name), request)
    if source.scheme == "sample":
        return in_pixels(read_upstream(request.samples(source.name), request, [], {}), unit)
    if source.scheme == "hf":
        splits, findings = rename_splits(open_hf(source.name, source.argument), request.source)
        return in_pixels(read_upstream(splits, request, findings, {}), unit)
    raise unknown_scheme(source, ["sample", "hf"])


def _read_path(path: Path, request: DataRequest) -> Tables:
    tables = _read_any(path, request)
    left = pictures_left_out(path, tables.splits) if path.is_dir() else []
    return replace(tables, findings=(*tables.findings, *left))


def _read_any(path: Path, request: DataRequest) -> Tables:
    notes = Notes()
    root = path if path.is_file() else _only_folder(path)
    form = _form_of_file(root) if root.is_file() else _form_of_folder(root, notes)
    if form == "table":
        return in_pixels(_read_table(root, request, notes), _unit(request))
    if form == "table of boxes":
        return in_pixels(_read_boxes(root, find_box_tables(root), request, notes), _unit(request))
    if request.columns:
        raise DataError(f"{form} annotations have no columns, so --column cannot be used", where=str(path))
    boxes, unit = str(request.options.get("boxes", "xywh")), _unit(request)
    read = _read_form(form, root, notes, boxes, unit)
    if not read.names and (other := what_it_is(root)) is not None:
        raise DataError("its annotations name no class with a box", where=str(path), hint=other)
    tables = to_tables(read, notes, str(path))
    if form != "YOLO":  # of which each line was read in its unit
        tables = in_pixels(tables, unit)
    splits, more = group_by_name(tables.splits, request.group_by, str(path))
    return replace(tables, splits=splits, findings=(*tables.findings, *more))


def _unit(request: DataRequest) -> Unit:
    unit: Unit = request.options.get("box_unit", "usual")
    return unit


def _read_form(form: str, root: Path, notes: Notes, boxes: str, unit: Unit) -> Read:
    if form == "COCO":
        return read_coco(root, find_coco(root, notes), notes, boxes)
    if form == "Pascal VOC":
        return read_voc(root, find_voc(root) or find_voc_below(root), notes, unit in ("usual", "pixels"))
    if form == "labelme":
        return read_labelme(root, notes)
    description = find_yolo(root)
    assert description is not None
    return read_yolo(root, description, notes, boxes, unit)


def _form_of_file(file: Path) -> str:
    suffix = file.suffix.lower()
    if suffix == ".json":
        check_file(file)
        return "COCO"
    if suffix in (".yaml", ".yml"):
        return "YOLO"
    if suffix in TABLE_SUFFIXES:
        return "table"
    hint = what_it_is(file) if suffix in (".xml", ".txt") else None
    if hint is None:
        refuse_foreign(file)
    raise DataError(
        "is one file, and neither COCO JSON, a YOLO data.yaml nor a table", where=str(file), hint=hint or _hint()
    )


def _form_of_folder(root: Path, notes: Notes) -> str:
    """The one form that a folder has.

    Raises:
        DataError: it has none, or two.
    """
    found = _forms_in(root)
    for form, place in () if found else _OTHERS.items():
        where = place(root)
        if where is not None:
            return form
    if len(found) > 1:
        told = " and ".join(f"{form} annotations ({where})" for form, where in found.items())
        hint = "Give the file that is meant (a .json or data.yaml), or a folder that holds one form only"
        raise DataError(f"has {told}, and which are meant is not guessed", where=str(root), hint=hint)
    if not found:
        hint = what_it_is(root) or _deeper(root) or _hint()
        raise DataError(
            f"holds no annotations that are known here; found {_what_is_there(root)}", where=str(root), hint=hint
        )
    return next(iter(found))


def _forms_in(root: Path) -> dict[str, str]:
    """The forms that a folder surely has, with where."""
    found: dict[str, str] = {}
    coco = find_coco(root, Notes())
    if coco:
        found["COCO"] = relative(next(iter(coco.values())), root)
    voc = [] if _is_cvat(root) else find_voc(root)
    if voc:
        found["Pascal VOC"] = relative(voc[0].annotations, root) + "/*.xml"
    yolo = find_yolo(root)
    if yolo is not None:
        found["YOLO"] = relative(yolo, root)
    return found


def _is_cvat(root: Path) -> bool:
    """Whether all XML there is, is one file of all pictures: CVAT's own."""
    files = [file for file in root.glob("*.[xX][mM][lL]") if not is_junk(file.name)]
    return len(files) == 1 and "CVAT" in (what_it_is(files[0]) or "")


def _deeper(root: Path) -> str | None:
    """Folders further down that have a form."""
    found = []
    for folder in sorted(
        entry for entry in (*root.glob("*"), *root.glob("*/*")) if entry.is_dir() and not is_junk(entry.name)
    ):
        try:
            forms = _forms_in(folder)
        except DataError:
            continue
        found += [f"{relative(folder, root)}/ holds {form}" for form in forms][:1]
        if len(found) == 3:
            break
    return f"Give one of its folders: {', '.join(found)}" if found else None


def _only_folder(root: Path) -> Path:
    """The folder itself, or the one in it where that is all there is (VOCdevkit/VOC2012, what an archive unpacks to)."""
    for _ in range(3):
        entries = [entry for entry in root.iterdir() if not is_junk(entry.name)]
        if len(entries) != 1 or not entries[0].is_dir() or _is_known(entries[0].name):
            break
        root = entries[0]
    return root


def _is_known(name: str) -> bool:
    return canonical_split(name) is not None or name.lower() in (
        "annotations",
        "images",
        "labels",
        "data",
        "jpegimages",
    )


def _table_in(root: Path) -> Path | None:
    """A Parquet or JSON lines file of the folder."""
    folders = [
        root,
        subfolder(root, "data"),
        *(entry for entry in sorted(root.iterdir()) if canonical_split(entry.name)),
    ]
    for folder in folders:
        if folder is not None and folder.is_dir():
            for file in sorted(folder.iterdir()):
                if file.suffix.lower() in (".parquet", ".jsonl", ".ndjson") and not is_junk(file.name):
                    return file
    return None


def _read_table(root: Path, request: DataRequest, notes: Notes) -> Tables:
    files, findings = find_tables(root)
    splits: dict[str, Dataset]
    splits, more = read_tables(root, files)
    columns = {name for rows in splits.values() for name in rows.column_names}
    if box_columns(sorted(columns), request.columns) and not columns & {*OBJECTS_NAMES, request.columns.get("objects")}:
        chosen = {split: parts[0] for split, parts in files.items()}
        return _from_boxes(root, splits, chosen, request, notes, [*findings, *more])
    return read_upstream(
        splits, request, [*findings, *more], {split: parts[0].parent for split, parts in files.items()}
    )


def _read_boxes(root: Path, files: Mapping[str, Path], request: DataRequest, notes: Notes) -> Tables:
    splits, findings = read_tables(root, {split: [file] for split, file in files.items()})
    return _from_boxes(root, splits, files, request, notes, findings)


def _from_boxes(
    root: Path,
    splits: Mapping[str, Dataset],
    files: Mapping[str, Path],
    request: DataRequest,
    notes: Notes,
    findings: Sequence[Finding],
) -> Tables:
    if request.group_by:
        raise DataError(
            "a table with a row a box has no groups of pictures, so --group-by cannot be used", where=str(root)
        )
    home = root if root.is_dir() else root.parent
    tables = to_tables(read_boxes(home, splits, files, request, notes), notes, str(root))
    return replace(tables, findings=(*findings, *tables.findings))


_OTHERS: dict[str, Callable[[Path], object]] = {
    "table of boxes": lambda root: find_box_tables(root) or None,
    "table": _table_in,
    "labelme": find_labelme,
    "Pascal VOC": lambda root: find_voc_below(root) or None,
}
"""Forms that are only looked for where none of the usual ones is, most certain first; each says where, or None."""


def _hint() -> str:
    return f"Wanted {FORMS}"


def _what_is_there(root: Path) -> str:
    kinds = Counter(file.suffix.lower() or "without suffix" for file in root.rglob("*") if file.is_file())
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5)) or "no files at all"
