"""Tables that bring their objects as a column: of the Hugging Face hub, Parquet and JSON lines, and embedded samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.data.columns import add_column, map_columns, with_origin
from graftwork.errors import DataError
from graftwork.interfaces import DataRequest, Finding, Tables
from graftwork.vision.inputs import picture_column
from graftwork_detection.findings import Notes
from graftwork_detection.rows import Box, features, number, side

if TYPE_CHECKING:
    from datasets import Dataset

IMAGE_NAMES = ("image", "img", "file_name", "file", "filename", "path", "image_path", "picture")
OBJECTS_NAMES = ("objects", "object", "annotations", "annotation")
BOX_NAMES = ("bbox", "bboxes", "box", "boxes")
CLASS_NAMES = (
    "category",
    "categories",
    "category_id",
    "label",
    "labels",
    "class",
    "classes",
    "class_id",
    "category_name",
)
CROWD_NAMES = ("crowd", "iscrowd", "is_crowd", "difficult")
"""Usual names, most likely first."""


def read_upstream(
    splits: Mapping[str, Dataset], request: DataRequest, findings: Sequence[Finding], homes: Mapping[str, Path]
) -> Tables:
    """Rows with an image and a column of objects, under canonical columns.

    Objects are a list of {bbox, category} or {bbox: list, category: list} a row; boxes are x, y, width, height in pixels,
    as is usual on the hub, or corners where the task option `boxes` is `corners`. Classes are named by a ClassLabel, by
    their text, or by their number.

    Args:
        homes: the folder that a split's relative image paths start from.

    Raises:
        DataError: a column is missing or holds something else, or splits declare other classes.
    """
    guesses = {"image": IMAGE_NAMES, "objects": OBJECTS_NAMES}
    if all({"width", "height"} <= set(rows.column_names) for rows in splits.values()):
        guesses |= {"width": (), "height": ()}
    named = {split: with_origin(rows, split) for split, rows in splits.items() if len(rows)}
    mapped, more = map_columns(named, guesses, request.columns, request.group_by, request.source)
    notes = Notes()
    keys = {split: _keys(rows, request.source) for split, rows in mapped.items()}
    names = _declared(mapped, keys, request.source)
    values = {split: list(_objects(rows, *keys[split])) for split, rows in mapped.items()}
    if names is None:
        names, is_numbered = _names_of(values)
        if is_numbered:
            notes.add("unnamed-classes", ", ".join(names), len(names))
    index = {name: position for position, name in enumerate(names)}
    corners = request.options.get("boxes") == "corners"
    made = {}
    for split, rows in mapped.items():
        rows = picture_column(rows, homes.get(split), request.source)
        made[split] = _canonical(rows, values[split], index, corners, notes)
    made = {split: rows for split, rows in made.items() if len(rows)}
    if not made:
        raise DataError("no row has annotations", where=request.source)
    return Tables(made, (*findings, *more, *notes.findings()), names)


def _fields(feature: Any) -> Mapping[str, Any] | None:
    """The fields of an objects feature with each field's own feature, per object; None where it is something else."""
    inner = getattr(feature, "feature", None)  # List({...})
    if isinstance(inner, Mapping):
        return inner
    if isinstance(feature, list) and len(feature) == 1 and isinstance(feature[0], Mapping):
        return feature[0]
    if isinstance(feature, Mapping):
        return {name: getattr(field, "feature", field) for name, field in feature.items()}
    return None


def _keys(rows: Dataset, where: str) -> tuple[str, str, str | None]:
    """The names of box, class and crowd among the fields of objects."""
    fields = _fields(rows.features["objects"])
    if fields is None:
        told = f"its objects column holds {rows.features['objects']}, wanted a list of boxes with their classes"
        raise DataError(told, where=where)
    box, label, crowd = (
        next((name for name in usual if name in fields), None) for usual in (BOX_NAMES, CLASS_NAMES, CROWD_NAMES)
    )
    if box is None or label is None:
        lacking = f"no {'bbox' if box is None else 'category'}"
        raise DataError(f"its objects have {lacking}; their fields: {', '.join(fields)}", where=where)
    return box, label, crowd


def _declared(
    splits: Mapping[str, Dataset], keys: Mapping[str, tuple[str, str, str | None]], where: str
) -> tuple[str, ...] | None:
    """The names of a ClassLabel, equal in all splits."""
    found = set()
    for split, rows in splits.items():
        fields = _fields(rows.features["objects"]) or {}
        label = getattr(fields[keys[split][1]], "names", None)
        found.add(tuple(label) if label else None)
    if len(found) > 1:
        raise DataError("its splits declare different class names", where=where)
    return next(iter(found), None)


def _objects(rows: Dataset, box: str, label: str, crowd: str | None) -> Iterator[list[tuple[Any, Any, bool]] | None]:
    """Box, class and crowd of every object of a row as they stand there; None for a row without annotation."""
    for batch in rows.select_columns(["objects"]).iter(batch_size=1000):
        for objects in batch["objects"]:
            if isinstance(objects, Mapping):
                boxes, labels = objects.get(box), objects.get(label)
                if boxes is None or labels is None:
                    yield None
                    continue
                if not isinstance(boxes, list) or not isinstance(labels, list):
                    boxes, labels = [boxes], [labels]  # fields of one object
                crowds = objects.get(crowd) if crowd else None
                crowds = crowds if isinstance(crowds, list) else [crowds] * len(boxes)
                longest = max(len(boxes), len(labels))
                yield [(_at(boxes, place), _at(labels, place), bool(_at(crowds, place))) for place in range(longest)]
            elif objects is None:
                yield None
            else:
                whole = [entry or {} for entry in objects]
                yield [(entry.get(box), entry.get(label), bool(crowd and entry.get(crowd))) for entry in whole]


def _at(values: Sequence[Any], place: int) -> Any:
    return values[place] if place < len(values) else None


def _names_of(values: Mapping[str, Sequence[list[tuple[Any, Any, bool]] | None]]) -> tuple[tuple[str, ...], bool]:
    """Distinct classes of all splits, and whether they are numbers (sorted as such then)."""
    labels = (label for rows in values.values() for row in rows for _, label, _ in row or ())
    found = {label for label in labels if isinstance(label, str | int | float) and label == label}
    numbered = bool(found) and all(isinstance(label, int) for label in found)
    return tuple(str(label) for label in (sorted(found) if numbered else sorted(map(str, found)))), numbered


def _canonical(
    rows: Dataset,
    values: Sequence[list[tuple[Any, Any, bool]] | None],
    index: Mapping[str, int],
    corners: bool,
    notes: Notes,
) -> Dataset:
    import pyarrow as pa

    objects: list[dict[str, list[Any]]] = []
    kept: list[int] = []
    names = list(index)
    for row, (origin, found) in enumerate(zip(rows["origin"][:], values, strict=True)):
        clean: dict[str, list[Any]] = {"bbox": [], "category": [], "crowd": []}
        if found is None:
            notes.add("image-without-annotation", origin)
        else:
            kept.append(row)
            for position, (box, label, crowd) in enumerate(found, start=1):
                told = f"{origin}: object {position}"
                category = _category(label, index, names)
                where = _box(box, corners)
                if category is None:
                    notes.add(
                        "object-without-class" if label is None or label != label else "unknown-class",
                        f"{told} ({label})",
                    )
                elif where is None:
                    notes.add("malformed-box", f"{told} ({str(box)[:60]})")
                else:
                    if crowd:
                        notes.add("crowd-objects", told)
                    for key, value in (("bbox", list(where)), ("category", category), ("crowd", crowd)):
                        clean[key].append(value)
        objects.append(clean)
    schema = features().arrow_schema
    rows = add_column(rows, "objects", pa.array(objects, type=schema.field("objects").type))
    for name in ("width", "height"):
        declared = rows[name][:] if name in rows.column_names else [0] * len(rows)
        rows = add_column(rows, name, pa.array(list(map(side, declared)), type=pa.int64()))
    return rows if len(kept) == len(rows) else rows.select(kept)


def _category(label: Any, index: Mapping[str, int], names: Sequence[str]) -> int | None:
    """A label's class index: by its name, or by its number where a ClassLabel gives names."""
    if isinstance(label, int) and str(label) not in index:
        return label if 0 <= label < len(names) else None
    return index.get(str(label))


def _box(value: Any, corners: bool) -> Box | None:
    numbers = [number(part) for part in value] if isinstance(value, Sequence) and not isinstance(value, str) else []
    if len(numbers) != 4 or None in numbers:
        return None
    x, y, third, fourth = (part for part in numbers if part is not None)
    return (x, y, third - x, fourth - y) if corners else (x, y, third, fourth)
