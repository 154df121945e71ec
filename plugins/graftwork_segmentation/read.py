"""Pictures and masks from wherever they lie, under `image`, `mask`, `mask_map`, `origin` and maybe `group`.

Pictures are not decoded here, and masks only where no label map says which values they have; `audit` looks at every one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.data.arrow import column_of
from graftwork.data.columns import add_column, guess_columns, map_columns, with_origin
from graftwork.data.folders import is_junk
from graftwork.data.foreign import no_table
from graftwork.data.groups import group_by_name
from graftwork.data.sources import existing_path, open_hf, parse_source, unknown_scheme
from graftwork.data.splits import rename_splits, row_keys
from graftwork.data.tables import SUFFIXES as TABLE_SUFFIXES
from graftwork.data.tables import find_tables, read_tables
from graftwork.errors import DataError
from graftwork.interfaces import DataRequest, Finding, Tables
from graftwork.vision.audit import named
from graftwork.vision.inputs import picture_column, picture_rows, pictures_left_out, why_no_picture
from graftwork_segmentation.drawn import Drawn
from graftwork_segmentation.exports import known_export
from graftwork_segmentation.folders import Names, what_is_lacking, what_is_there
from graftwork_segmentation.joined import Mask
from graftwork_segmentation.labelfiles import FILES as LABEL_FILES
from graftwork_segmentation.labelfiles import find_label_file
from graftwork_segmentation.layouts import find_layout
from graftwork_segmentation.mapped import CLASSES, names_of_classes, with_map
from graftwork_segmentation.outlined import find_drawn
from graftwork_segmentation.pairs import pair_files
from graftwork_segmentation.parts import WANTED, Layout

if TYPE_CHECKING:
    from datasets import Dataset

IMAGE_NAMES = ("img", "images", "image_path", "img_path", "file", "filename", "file_name", "path", "picture", "photo")
"""Usual names of an image column, most likely first."""

MASK_NAMES = (
    "masks",
    "mask_path",
    "annotation",
    "annotations",
    "annotation_path",
    "label",
    "labels",
    "label_path",
    "segmentation",
    "segmentation_mask",
    "semantic_segmentation",
    "semantic",
    "label_map",
    "ground_truth",
    "gt",
    "target",
)
"""Usual names of a mask column, most likely first."""

GUESSES = {"image": IMAGE_NAMES, "mask": MASK_NAMES}


def read_segmentation(request: DataRequest) -> Tables:
    """Pictures with masks from folders, Pascal VOC, a table (CSV, TSV, JSON lines, Parquet), `hf:` or `sample:`.

    Args:
        request: the source; `columns` may name the `image` and `mask` columns of a table; the option `labels` the label
            map's file, else it is looked for beside the data.

    Returns:
        Splits with `image` and `mask` ({bytes, path}, not decoded), `mask_map` (JSON: mask value or colour to class index,
        255 for what is not scored), `origin` (the picture relative to the source, or `train.parquet row 17`), and `group`
        as text where `group_by` is given; class names by index.

    Raises:
        DataError: the source is missing, empty or in no form that is read here; says what was found there.
        UsageError: the label map is wrong; with file and line.
    """
    source = parse_source(request.source)
    given = Names(*(str(request.options.get(name) or "") for name in ("image_folder", "mask_folder")))
    if source.scheme == "path":
        return _read_path(existing_path(source.name), request, given)
    if source.scheme == "sample":
        return _from_splits(request.samples(source.name), request, [])
    if source.scheme == "hf":
        splits, findings = rename_splits(open_hf(source.name, source.argument), request.source)
        return _from_splits(splits, request, findings)
    raise unknown_scheme(source, ["sample", "hf"])


def _read_path(path: Path, request: DataRequest, given: Names) -> Tables:
    tables = _read_any(path, request, given)
    left = pictures_left_out(path, tables.splits, ("image", "mask")) if path.is_dir() else []
    return replace(tables, findings=(*tables.findings, *left))


def _read_any(path: Path, request: DataRequest, given: Names) -> Tables:
    table = path.is_file() and path.suffix.lower() in TABLE_SUFFIXES
    layout = find_layout(path, given) if path.is_dir() else None
    drawn = find_drawn(path) if layout is None and not (table and path.suffix.lower() != ".json") else None
    splits, findings = _tables_with_masks(path, request, layout is not None or drawn is not None)
    if splits:
        return _from_splits(splits, request, findings, path if path.is_dir() else path.parent)
    if layout is None and drawn is None:
        known = known_export(path)
        if path.is_file():
            raise no_table(path, known or WANTED)
        hint = known or why_no_picture(path) or f"{what_is_there(path)}. {what_is_lacking(path) or WANTED}"
        raise DataError("holds no images with masks", where=str(path), hint=hint)
    if request.columns:
        raise DataError("folders have no columns, so --column cannot be used", where=str(path))
    if layout is not None:
        return _from_folders(layout, path, request)
    assert drawn is not None  # else it was refused above
    return _from_drawn(drawn, request)


def _tables_with_masks(path: Path, request: DataRequest, otherwise: bool) -> tuple[dict[str, Dataset], list[Finding]]:
    """The path's tables, unless it can be read `otherwise` and tables without image and mask columns lie about in it."""
    surely = (path.is_file() and not otherwise) or bool(request.columns)
    if path.is_file() and path.suffix.lower() not in TABLE_SUFFIXES:
        return {}, []
    try:
        files, findings = find_tables(path)
        files = {split: kept for split, group in files.items() if (kept := [f for f in group if not _is_labels(f)])}
        splits, more = read_tables(path, files) if files else ({}, [])
    except DataError:
        if surely or not otherwise:
            raise
        return {}, []
    if surely or all(set(guess_columns(rows.column_names, GUESSES)) == set(GUESSES) for rows in splits.values()):
        return splits, [*findings, *more]
    if otherwise or known_export(path):
        return {}, []
    return splits, [*findings, *more]  # where choosing columns fails with the names of those that are there


def _is_labels(file: Path) -> bool:
    return find_label_file(file.parent) == file


def _from_folders(layout: Layout, home: Path, request: DataRequest) -> Tables:
    paired = pair_files(layout, home)
    paired.others += [paired.name(file) for file in _loose_files(layout, str(request.options.get("labels") or ""))]
    splits, more = group_by_name(_with_pictures(paired.rows, paired.name), request.group_by, str(home))
    first = next(iter(layout.parts.values()))
    places = (layout.root, home, first.images, first.images.parent, first.masks)
    return with_map(splits, request, [*paired.findings(layout), *more], places, layout.voc, paired.labels)


def _from_drawn(drawn: Drawn, request: DataRequest) -> Tables:
    rows = drawn.masks()
    if not rows:
        lost = f" (the first: {drawn.without_image[0]})" if drawn.without_image else ""
        raise DataError(f"no annotated image is there{lost}", where=str(drawn.home))
    message = "masks were drawn from outlines; smaller objects lie on larger ones"
    note = Finding("outlines-drawn", "note", message, (), sum(map(len, rows.values())))
    splits, more = group_by_name(_with_pictures(rows, drawn.name), request.group_by, str(drawn.home))
    return with_map(splits, request, [note, *drawn.findings(), *more], (drawn.home,), False, drawn.labels)


def _with_pictures(rows: Mapping[str, Sequence[tuple[Path, Mask]]], name: Callable[[Path], str]) -> dict[str, Dataset]:
    """Rows with `image`, `mask` and `origin` by split; masks that are joined are read here, in threads."""
    splits = {}
    for split, pairs in rows.items():
        images = picture_rows([str(image) for image, _ in pairs], [name(image) for image, _ in pairs])
        splits[split] = _with_masks(images, [mask for _, mask in pairs])
    return splits


def _with_masks(images: Dataset, masks: Sequence[Mask]) -> Dataset:
    """The rows with a column `mask`."""
    import pyarrow as pa
    from datasets import Image

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        cells = list(pool.map(Mask.cell, masks))
    column = pa.array(cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    return _settled(add_column(images, "mask", column).cast_column("mask", Image(decode=False)))


def _loose_files(layout: Layout, labels: str) -> list[Path]:
    """Files beside the folders that nothing reads; the label map is read."""
    if any(layout.root in part.folders for part in layout.parts.values()):
        return []  # what lies there was looked at already
    files = (file for file in sorted(layout.root.iterdir()) if file.is_file() and not is_junk(file.name))
    files = (file for file in files if file not in layout.lists)
    return [file for file in files if file.name not in LABEL_FILES and (not labels or file != Path(labels).resolve())]


def _from_splits(
    splits: Mapping[str, Dataset], request: DataRequest, findings: Sequence[Finding], home: Path | None = None
) -> Tables:
    """Any splits with an image and a mask column; relative paths are taken from `home`."""
    brought = names_of_classes(splits)
    splits = {name: rows.remove_columns(CLASSES) for name, rows in splits.items()} if brought else splits
    chosen = {split: with_origin(rows, split) for split, rows in splits.items()}
    mapped, more = map_columns(chosen, GUESSES, request.columns, request.group_by, request.source)
    whole: dict[str, Dataset] = {}
    lonely: dict[str, list[str]] = {"image": [], "mask": []}
    for split, rows in mapped.items():
        empty = {column: _empty(rows, column) for column in ("image", "mask")}
        keys = row_keys(rows)
        lonely["image"] += [keys[row] for row in sorted(empty["mask"])]
        lonely["mask"] += [keys[row] for row in sorted(empty["image"] - empty["mask"])]
        kept = [row for row in range(len(rows)) if row not in empty["image"] | empty["mask"]]
        if not kept:
            continue
        rows = rows if len(kept) == len(rows) else rows.select(kept)
        for column in ("image", "mask"):
            rows = picture_column(rows, home, request.source, column)
        whole[split] = _settled(rows)
    if not whole:
        raise DataError("no row has an image and a mask", where=request.source)
    found = [
        *findings,
        *more,
        *named("image-without-mask", "warning", "images without a mask, left out", lonely["image"]),
        *named("mask-without-image", "warning", "masks without an image, left out", lonely["mask"]),
    ]
    return with_map(whole, request, found, (home,) if home else (), False, brought)


def _settled(rows: Dataset) -> Dataset:
    """The same rows as one block of data, where columns were replaced until a block was left without any.

    A cast takes such a block for one without rows (datasets 5), and no column can then be laid beside it.
    """
    from datasets import Dataset as Rows
    from datasets.table import InMemoryTable

    blocks = [block for line in getattr(rows.data, "blocks", []) for block in line]
    if all(block.column_names for block in blocks):
        return rows
    return Rows(InMemoryTable(rows.data.table), info=rows.info, split=rows.split, indices_table=rows._indices)


def _empty(rows: Dataset, column: str) -> set[int]:
    """Rows without a picture in a column: null, no text, or neither bytes nor a path."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import compute

    cells = column_of(rows, column)
    nothing = compute.is_null(cells)
    if pa.types.is_struct(cells.type) and {"bytes", "path"} <= {field.name for field in cells.type}:
        parts = [compute.is_null(compute.struct_field(cells, name)) for name in ("bytes", "path")]
        nothing = compute.or_(nothing, compute.and_(*parts))
    elif pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type):
        nothing = compute.or_kleene(nothing, compute.equal(compute.utf8_trim_whitespace(cells), ""))
    return set(np.flatnonzero(np.asarray(nothing.to_numpy(zero_copy_only=False), dtype=bool)).tolist())
