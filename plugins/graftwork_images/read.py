"""Images and their labels from wherever they lie, under the columns `image`, `label`, `origin` and maybe `group`.

No image is decoded here; `audit` looks at every one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graftwork.classification.encode import encode
from graftwork.classification.forms import with_label_columns
from graftwork.classification.unlabelled import without_label_column
from graftwork.data.arrow import column_of
from graftwork.data.columns import LABEL_NAMES, add_column, guess_columns, map_columns, with_origin
from graftwork.data.folders import ClassFolders, is_junk, read_class_folders
from graftwork.data.foreign import no_table
from graftwork.data.groups import group_by_name
from graftwork.data.paths import Files
from graftwork.data.sources import existing_path, open_hf, parse_source, unknown_scheme
from graftwork.data.splits import rename_splits
from graftwork.data.tables import SUFFIXES as TABLE_SUFFIXES
from graftwork.data.tables import column_names, find_tables, read_tables
from graftwork.errors import DataError
from graftwork.interfaces import DataRequest, Finding, Tables
from graftwork.vision.audit import named
from graftwork.vision.decode import SUFFIXES
from graftwork.vision.files import dropped_pictures
from graftwork.vision.inputs import picture_column, picture_rows, why_no_picture
from graftwork_images.layout import check_layout
from graftwork_images.naming import ask_about_tables, home_of, places_of, unused_folders

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

_TABLES = 20
"""Tables beside class folders that are looked into."""

GUESSES = {"image": IMAGE_NAMES, "label": (*LABEL_NAMES, "fine_label", "label_name", "tags")}


def read_images(request: DataRequest, labels: str = "single") -> Tables:
    """Labelled images from class folders, a table (CSV, TSV, JSON lines, Parquet), `hf:`, `torchvision:` or `sample:`.

    Args:
        request: the source; `columns` may name the `image` and `label` columns of a table; the option `label_separator`
            parts several labels that stand in one text.
        labels: `single`, `multi` (also columns of 0 and 1, one a class) or `number`.

    Returns:
        Splits with `image` ({bytes, path}, not decoded), `label` (int64 class index; list of them; float64), `origin` (the
        file relative to the source, or `train.parquet row 17`), and `group` as text where `group_by` is given; class names by
        index (none for numbers).

    Raises:
        DataError: the source is missing, empty or in no form that is read here; says what was found there.
    """
    source = parse_source(request.source)
    if source.scheme == "path":
        return _read_path(existing_path(source.name), request, labels)
    if source.scheme == "sample":
        return _from_splits(request.samples(source.name), request, labels, [])
    if source.scheme == "hf":
        splits, findings = rename_splits(open_hf(source.name, source.argument), request.source)
        return _from_splits(splits, request, labels, findings)
    if source.scheme == "torchvision":
        from graftwork_images.torchvision_data import open_torchvision

        return _from_splits(open_torchvision(source.name, source.argument), request, labels, [])
    raise unknown_scheme(source, ["sample", "hf", "torchvision"])


def _read_path(path: Path, request: DataRequest, labels: str) -> Tables:
    if path.is_file() and path.suffix.lower() not in TABLE_SUFFIXES:
        kinds = ", ".join(sorted(TABLE_SUFFIXES))
        hint = f"Give a folder of class folders, or a table ({kinds})"
        raise no_table(path, hint)
    found = _tables_with_images(path, request, labels)
    if found is not None:
        return _from_tables(path, *found, request, labels)
    if path.is_dir():
        ask_about_tables(path)
    folders = _class_folders(path)
    if labels == "multi":
        what = "class folders give a row one class, and task_options.labels is multi"
        raise DataError(what, where=str(path), hint="Give a table with --data FILE.csv, or leave the option out")
    if request.columns:
        raise DataError("class folders have no columns, so --column cannot be used", where=str(path))
    tables = _from_folders(folders)
    tables = tables if labels == "single" else _numbers_of(tables, request)
    splits, more = group_by_name(tables.splits, request.group_by, str(path))
    return Tables(splits, (*tables.findings, *more), tables.names)


def _class_folders(path: Path) -> ClassFolders:
    """Class folders; where there is no image in them, what seems to be one is named."""
    try:
        return read_class_folders(path, SUFFIXES, noun="image")
    except DataError as error:
        told = why_no_picture(path) if error.what == "holds no image" else ""
        if not told:
            raise
        raise DataError(error.what, where=error.where, hint=told) from None


def _tables_with_images(
    path: Path, request: DataRequest, labels: str
) -> tuple[dict[str, list[Path]], list[Finding]] | None:
    """The path's tables, unless it is a folder of images in which a table lies about."""
    try:
        files, findings = find_tables(path)
    except DataError:
        if not request.columns and any(entry.is_dir() and not is_junk(entry.name) for entry in path.iterdir()):
            return None  # images in folders; the tables beside them are named as files that are not used
        raise
    if not files:
        return None
    if path.is_dir() and not request.columns:
        names = _columns_of(next(iter(files.values()))[0])
        wanted = GUESSES if labels == "single" else {"image": IMAGE_NAMES}
        # A table that is not sure to be the data is asked about where there are pictures.
        if set(guess_columns(names or (), wanted)) != set(wanted) and _may_hold_pictures(path):
            return None
    return files, findings


def _columns_of(file: Path) -> list[str] | None:
    """A table's columns; None where it cannot be read."""
    try:
        return column_names(file)
    except DataError:
        return None


def _may_hold_pictures(folder: Path) -> bool:
    return any(
        not is_junk(entry.name) and (entry.is_dir() or entry.suffix.lower() in SUFFIXES) for entry in folder.iterdir()
    )


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
    suffixes = TABLE_SUFFIXES - {".json"}  # which is the suffix of much else
    tables = [name for name in folders.others if Path(name).suffix.lower() in suffixes]
    message = "tables beside the folders that say nothing else of the images, not used"
    unused = named("unused-table", "note", message, tables)
    damaged = [name for name in tables[:_TABLES] if _columns_of(folders.root / name) is None]
    message = (
        "tables beside the folders that cannot be read, so that nobody knows whether they have the labels; not used"
    )
    unused += named("unreadable-table", "warning", message, damaged)
    findings = (*folders.findings, *dropped, *unused, *check_layout(folders))
    return Tables(splits, findings, folders.classes)


def _numbers_of(tables: Tables, request: DataRequest) -> Tables:
    """Class folders that are called by numbers, as numbers."""
    splits = {}
    for split, rows in tables.splits.items():
        splits[split] = add_column(rows, "label", [tables.names[label] for label in rows["label"][:]])
    return encode(splits, "number", request, tables.findings)


def _from_tables(
    path: Path, tables: Mapping[str, list[Path]], findings: Sequence[Finding], request: DataRequest, labels: str
) -> Tables:
    """Tables that name pictures, which are looked for in the folders beside them."""
    splits, more = read_tables(path, tables)
    home = path if path.is_dir() else path.parent
    places = {split: [place for file in files for place in places_of(file, home)] for split, files in tables.items()}
    splits, unlabelled = without_label_column(splits, request.columns.get("label"), GUESSES)
    return _from_splits(splits, request, labels, [*findings, *more, *unlabelled], home, places)


def _from_splits(
    splits: Mapping[str, Dataset],
    request: DataRequest,
    labels: str,
    findings: Sequence[Finding],
    home: Path | None = None,
    places: Mapping[str, Sequence[Path]] | None = None,
) -> Tables:
    """Any splits with an image and a label column; relative paths are taken from `home`."""
    rows_of = {split: with_origin(rows, split) for split, rows in splits.items()}
    rows_of, flagged = _with_flags(rows_of, request, labels)
    mapped, more = map_columns(rows_of, GUESSES, request.columns, request.group_by, request.source)
    if home is not None and "string" in str(getattr(next(iter(mapped.values())).features["image"], "dtype", "")):
        home = home_of(["" if name is None else name for name in next(iter(mapped.values()))["image"]], home)
    imaged, unclear = _pictures_of(mapped, home, request.source, places or {})
    unused = _folders_without_rows(mapped, imaged, home)
    return encode(imaged, labels, request, [*findings, *flagged, *more, *unclear, *unused])


def _pictures_of(
    splits: Mapping[str, Dataset], home: Path | None, where: str, places: Mapping[str, Sequence[Path]]
) -> tuple[dict[str, Dataset], list[Finding]]:
    files = Files(home, SUFFIXES) if home is not None else None
    unclear: list[str] = []
    elsewhere: list[str] = []
    imaged = {
        split: picture_column(rows, home, where, "image", files, places.get(split, ()), unclear, elsewhere)
        for split, rows in splits.items()
    }
    message = "names that do not tell one file, so that none is taken; write them in full, with folder and suffix"
    guessed = "names whose folder is not there; the only file so called lies in another one, and is taken"
    found = named("unclear-file", "warning", message, unclear)
    return imaged, [*found, *named("file-in-other-folder", "warning", guessed, list(dict.fromkeys(elsewhere)))]


def _folders_without_rows(
    named_in: Mapping[str, Dataset], imaged: Mapping[str, Dataset], home: Path | None
) -> list[Finding]:
    from pyarrow import compute

    used: list[str] = []
    for split, rows in named_in.items():
        if home is None or "string" not in str(getattr(rows.features["image"], "dtype", "")):
            return []
        used += compute.struct_field(column_of(imaged[split], "image"), "path").drop_null().to_pylist()
    return (
        named("unused-folders", "note", "folders of images that no row names", unused_folders(home, used))
        if home
        else []
    )


def _with_flags(
    splits: dict[str, Dataset], request: DataRequest, labels: str
) -> tuple[dict[str, Dataset], list[Finding]]:
    """With a column `label` from columns of 0 and 1, one a class, where there is no other column of labels."""
    guessed = guess_columns(next(iter(splits.values())).column_names, GUESSES)
    image = request.columns.get("image") or guessed.get("image")
    if labels == "number" or image is None or "label" in request.columns or "label" in guessed:
        return splits, []
    return with_label_columns(splits, [image, request.group_by or ""], labels == "multi", request.source)
