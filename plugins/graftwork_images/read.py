"""Images and their labels from wherever they lie, under the columns `image`, `label`, `origin` and maybe `group`.

No image is decoded here; `audit` looks at every one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graftwork.data.columns import LABEL_NAMES, add_column, encode_labels, guess_columns, map_columns, with_origin
from graftwork.data.folders import ClassFolders, is_junk, read_class_folders
from graftwork.data.sources import existing_path, open_hf, parse_source, unknown_scheme
from graftwork.data.splits import rename_splits
from graftwork.data.tables import SUFFIXES as TABLE_SUFFIXES
from graftwork.data.tables import find_tables, read_tables
from graftwork.errors import DataError
from graftwork.interfaces import DataRequest, Finding, Tables
from graftwork.vision.decode import SUFFIXES
from graftwork.vision.files import dropped_pictures
from graftwork.vision.inputs import picture_column, picture_rows

if TYPE_CHECKING:
    from datasets import Dataset

IMAGE_NAMES = (
    "img",
    "images",
    "file",
    "filename",
    "file_name",
    "path",
    "filepath",
    "image_path",
    "jpg",
    "png",
    "picture",
)
"""Usual names of an image column, most likely first."""

GUESSES = {"image": IMAGE_NAMES, "label": (*LABEL_NAMES, "fine_label", "label_name")}


def read_images(request: DataRequest) -> Tables:
    """Labelled images from class folders, a table (CSV, TSV, JSON lines, Parquet), `hf:`, `torchvision:` or `sample:`.

    Args:
        request: the source; `columns` may name the `image` and `label` columns of a table.

    Returns:
        Splits with `image` ({bytes, path}, not decoded), `label` (int64 class index), `origin` (the file relative to the
        source, or `train.parquet row 17`), and `group` as text where `group_by` is given; class names by index.

    Raises:
        DataError: the source is missing, empty or in no form that is read here; says what was found there.
    """
    source = parse_source(request.source)
    if source.scheme == "path":
        return _read_path(existing_path(source.name), request)
    if source.scheme == "sample":
        return _from_splits(request.samples(source.name), request, [])
    if source.scheme == "hf":
        splits, findings = rename_splits(open_hf(source.name, source.argument), request.source)
        return _from_splits(splits, request, findings)
    if source.scheme == "torchvision":
        from graftwork_images.torchvision_data import open_torchvision

        return _from_splits(open_torchvision(source.name, source.argument), request, [])
    raise unknown_scheme(source, ["sample", "hf", "torchvision"])


def _read_path(path: Path, request: DataRequest) -> Tables:
    if path.is_file() and path.suffix.lower() not in TABLE_SUFFIXES:
        kinds = ", ".join(sorted(TABLE_SUFFIXES))
        hint = f"Give a folder of class folders, or a table ({kinds})"
        raise DataError("is one file, and no table", where=str(path), hint=hint)
    found = _tables_with_images(path, request)
    if found is not None:
        files, findings = found
        splits, more = read_tables(path, files)
        home = path if path.is_dir() else path.parent
        return _from_splits(splits, request, [*findings, *more], home)
    folders = read_class_folders(path, SUFFIXES, noun="image")
    for option, value in (("--column", request.columns), ("--group-by", request.group_by)):
        if value:
            raise DataError(f"class folders have no columns, so {option} cannot be used", where=str(path))
    return _from_folders(folders)


def _tables_with_images(path: Path, request: DataRequest) -> tuple[dict[str, list[Path]], list[Finding]] | None:
    """The path's tables, unless it is a folder of images in which a table lies about."""
    try:
        files, findings = find_tables(path)
    except DataError:
        if any(entry.is_dir() and not is_junk(entry.name) for entry in path.iterdir()):
            return None  # images in folders; the tables beside them are named as files that are not used
        raise
    if not files:
        return None
    if path.is_dir() and not request.columns:
        first = next(iter(files.values()))[0]
        names = _column_names(first)
        folders = [entry for entry in path.iterdir() if entry.is_dir() and not is_junk(entry.name)]
        if folders and "image" not in guess_columns(names, {"image": IMAGE_NAMES}):
            return None
    return files, findings


def _column_names(file: Path) -> list[str]:
    if file.suffix.lower() == ".parquet":
        import pyarrow as pa
        from pyarrow import parquet

        try:
            return list(parquet.read_schema(file).names)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"cannot be read ({error})", where=str(file)) from None
    with file.open(encoding="utf-8-sig", errors="replace") as stream:
        header = stream.readline()
    return re.findall(r"[^\s,;{}:\"'][^,;\t{}:\"'\n]*", header)


def _from_folders(folders: ClassFolders) -> Tables:
    import pyarrow as pa
    from pyarrow import compute

    index = {name: number for number, name in enumerate(folders.classes)}
    root = folders.root.as_posix().rstrip("/")
    splits = {}
    for split, files_of in folders.splits.items():
        parts = [pa.array(names, pa.string()) for names in files_of.values()]
        origins = pa.chunked_array(parts).combine_chunks()
        files = compute.binary_join_element_wise(root, origins, "/")
        labels = pa.array(np.repeat([index[label] for label in files_of], [len(part) for part in parts]))
        splits[split] = add_column(picture_rows(files, origins), "label", labels)
    dropped = dropped_pictures(folders.root, folders.others)
    return Tables(splits, (*folders.findings, *dropped), folders.classes)


def _from_splits(
    splits: Mapping[str, Dataset], request: DataRequest, findings: Sequence[Finding], home: Path | None = None
) -> Tables:
    """Any splits with an image and a label column; relative paths are taken from `home`."""
    named = {split: with_origin(rows, split) for split, rows in splits.items()}
    mapped, more = map_columns(named, GUESSES, request.columns, request.group_by, request.source)
    imaged = {split: picture_column(rows, home, request.source) for split, rows in mapped.items()}
    encoded, names, missing = encode_labels(imaged, request.source)
    return Tables(encoded, (*findings, *more, *missing), names)
