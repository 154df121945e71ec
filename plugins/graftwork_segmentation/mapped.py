"""What the values of masks mean, by a label map's file, by the data itself, or by the masks; told to every row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.data.columns import add_column
from graftwork.data.sources import existing_path
from graftwork.interfaces import DataRequest, Finding, Tables
from graftwork_segmentation.labelfiles import find_label_file, read_label_file, voc_map
from graftwork_segmentation.labelmap import NEAREST, SIZE, LabelMap, build_map, to_json

if TYPE_CHECKING:
    from datasets import Dataset

CLASSES = "classes"
"""A column that may bring class names by mask value: List(ClassLabel)."""


def with_map(
    splits: Mapping[str, Dataset],
    request: DataRequest,
    findings: Sequence[Finding],
    places: Sequence[Path],
    voc: bool,
    brought: LabelMap | None = None,
) -> Tables:
    """The rows with `mask_map`: from the option `labels`, a file beside the data, the data itself, or the masks' values."""
    found: list[Finding] = []
    nearest, one_object = (request.options.get("mask_values") == choice for choice in ("nearest", "object"))
    settings = [NEAREST] if nearest else []
    settings += [SIZE] if request.options.get("mask_size") == "scale" else []
    option = str(request.options.get("labels") or "")
    file = existing_path(option) if option else next(filter(None, map(find_label_file, places)), None)
    if file is not None and not option and brought is not None and file.suffix not in (".yaml", ".yml"):
        file = None  # a list of names beside outlines or joined masks counts other things than their values
    if one_object and not option:
        file, brought, voc = None, None, False
    if file is not None:
        labels = read_label_file(file)
        if not option and file.suffix not in (".yaml", ".yml"):
            message = f"{len(labels.names)} classes are taken from {file.name}"
            found.append(Finding("label-map", "note", message, labels.names[:5], len(labels.names)))
    elif brought is not None:
        labels = brought
    elif voc:
        from graftwork_segmentation.values import in_colour

        labels = voc_map(in_colour(splits))
        message = "no label map lies beside the data; its classes are taken to be Pascal VOC's 21"
        found.append(Finding("label-map", "note", message, labels.names[:5], len(labels.names)))
    else:
        from graftwork_segmentation.guess import map_from_masks

        labels, more, found = map_from_masks(splits, request.source, nearest, one_object)
        settings += more
    text = to_json({**labels.indices, **dict.fromkeys(settings, 1)})
    mapped = {split: _constant(rows, "mask_map", text) for split, rows in splits.items()}
    return Tables(mapped, (*findings, *found), labels.names)


def names_of_classes(splits: Mapping[str, Dataset]) -> LabelMap | None:
    """Class names by mask value, where every split has a column `classes` that holds them."""
    from datasets import ClassLabel, List

    features: list[Any] = [rows.features.get(CLASSES) for rows in splits.values()]
    inner = [feature.feature if isinstance(feature, List) else None for feature in features]
    names = {tuple(label.names) for label in inner if isinstance(label, ClassLabel)}
    if len(names) != 1 or not all(isinstance(label, ClassLabel) for label in inner):
        return None
    pairs: list[tuple[str, str | None]] = [(str(value), name) for value, name in enumerate(next(iter(names)))]
    return build_map([*pairs, ("255", None)] if len(pairs) < 255 else pairs, "the data's column `classes`")


def _constant(rows: Dataset, name: str, text: str) -> Dataset:
    import pyarrow as pa

    return add_column(rows, name, pa.repeat(pa.scalar(text), len(rows)))
