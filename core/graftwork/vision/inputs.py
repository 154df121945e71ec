"""Pictures as a column: from files, folders and other people's columns. No picture is decoded here."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.data.arrow import column_of, dataset_of
from graftwork.data.columns import add_column
from graftwork.data.folders import is_junk
from graftwork.data.paths import Files, Found, part_clashes, shown
from graftwork.data.sources import existing_path
from graftwork.errors import DataError, UsageError
from graftwork.interfaces import Facts, Finding, Inputs
from graftwork.log import say
from graftwork.vision.damaged import why_unreadable
from graftwork.vision.decode import SUFFIXES
from graftwork.vision.embedded import contents_of, refuse_addresses
from graftwork.vision.files import check_files, dropped_pictures, holders_of_pictures
from graftwork.vision.levels import ranges_of

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

_READ = 4096
"""Bytes at the beginning of a file that tell what it is."""


def read_inputs(inputs: Sequence[str], facts: Facts | None = None) -> Dataset:
    """Images without labels: files, and folders with everything below them; columns `image` and `origin`.

    What of a folder is not used though it is a picture, and what the model does not know of images, is said. What is wrong
    further in than a file's first bytes is met when it is decoded.

    Args:
        inputs: paths.
        facts: of the model.

    Raises:
        UsageError: columns of a table are named.
        DataError: an input is missing, a file is no image, or a folder holds none, and `Inputs.refuse` raises it.
    """
    given = Inputs.of(inputs)
    if not given:
        raise DataError("no image was given", hint="Give image files or folders")
    if given.columns:
        raise UsageError("picture files have no columns, so --column cannot be used", hint="Leave it out")
    files: list[tuple[Path, str]] = []
    for text in given.names("pictures"):
        try:
            files += _files_of(text)
        except DataError as error:
            given.refuse(error)
    paths, origins = [file for file, _ in files], [origin for _, origin in files]
    _tell(check_files(paths, origins, ranges_of(facts or {})))
    return picture_rows([str(file) for file in paths], origins)


def _files_of(text: str) -> list[tuple[Path, str]]:
    """The files that a word of the command line means, and what each is called."""
    path = existing_path(text)
    if not path.is_dir():
        _check_is_image(path, text)
        return [(path, text)]
    found, others = pictures_below(path)
    dropped = dropped_pictures(path, others)
    if not found:
        hint = dropped[0].message if dropped else f"Wanted {', '.join(sorted(SUFFIXES))}"
        raise DataError("holds no image", where=text, hint=hint)
    _tell(dropped)
    return [(file, str(Path(text) / file.relative_to(path))) for file in found]


def picture_column(
    rows: Dataset,
    home: Path | None,
    where: str,
    column: str = "image",
    files: Files | None = None,
    places: Sequence[Path] = (),
    unclear: list[str] | None = None,
    elsewhere: list[str] | None = None,
) -> Dataset:
    """The column `column` as {bytes, path}, not decoded, from an Image feature, encoded bytes, base64, or paths.

    Paths need not be written as the files are called, see `graftwork.data.paths`. Different paths never lead to one file; one
    that leads nowhere stays as it was written, below `home`.

    Args:
        home: the folder that relative paths start from; the current one when None, and then paths are taken as they are.
        where: the source, for messages.
        column: its name.
        files: those below `home`, where several columns or splits are looked for there.
        places: folders in which pictures most likely lie.
        unclear: takes the names that lead nowhere because several files fit them, because others lead to the same file, or
            because the file lies in another folder than that which they say and which is there.
        elsewhere: takes the names whose file lies in a folder that is called otherwise, with that file.

    Raises:
        DataError: it holds something else, or addresses of pictures that were not downloaded.
    """
    from datasets import Image, Value

    feature = rows.features[column]
    target = Image(decode=False)
    if isinstance(feature, Image) or (isinstance(feature, dict) and set(feature) == {"bytes", "path"}):
        return rows.cast_column(column, target)
    if isinstance(feature, Value) and feature.dtype in ("binary", "large_binary"):
        return rows.cast_column(column, target)
    if isinstance(feature, Value) and feature.dtype in ("string", "large_string"):
        names = ["" if path is None else path for path in rows[column]]
        if (encoded := contents_of(names)) is not None:
            import pyarrow as pa

            return add_column(rows, column, pa.array(encoded, pa.binary())).cast_column(column, target)
        if home is None:
            paths = [name and str(Path.cwd() / name) for name in names]
        else:
            files = files or Files(home, SUFFIXES)
            found = part_clashes(dict(enumerate(files.look(name, places) for name in names)))
            refuse_addresses(names, [one.path is not None for one in found.values()], where)
            paths = [str(found[row].path or home / name) if name else "" for row, name in enumerate(names)]
            if unclear is not None:
                unclear += [told for one in found.values() if (told := _why_none(one, home))]
            if elsewhere is not None:
                elsewhere += [
                    f"{shown(one.name)}: {_called(one.path, home)}" for one in found.values() if one.elsewhere
                ]
        return add_column(rows, column, paths).cast_column(column, target)
    raise DataError(f"its {column} column holds {feature}, neither images, bytes nor paths", where=where)


def _why_none(found: Found, home: Path) -> str:
    files = found.several or tuple(filter(None, (found.shared, found.lacking)))
    if found.path is not None or not files:
        return ""
    fitting = " and ".join(_called(file, home) for file in files[:3])
    more = ", as other names" if found.shared else ", and not where the name says" if found.lacking else ""
    return f"{shown(found.name)}: {fitting}{more}"


def _called(file: Path | None, home: Path) -> str:
    return "" if file is None else shown(Path(os.path.relpath(file, home)))


def picture_rows(files: Sequence[str] | pa.Array, origins: Sequence[str] | pa.Array) -> Dataset:
    """Rows with `image` ({bytes, path}, not decoded) and `origin`."""
    import pyarrow as pa
    from datasets import Features, Image, Value

    paths = pa.array(files, pa.string())
    cells = pa.StructArray.from_arrays([pa.nulls(len(paths), pa.binary()), paths], ["bytes", "path"])
    table = pa.table({"image": cells, "origin": pa.array(origins, pa.string())})
    return dataset_of(table, Features({"image": Image(decode=False), "origin": Value("string")}))


def pictures_left_out(
    folder: Path, splits: Mapping[str, Dataset], columns: Sequence[str] = ("image",)
) -> list[Finding]:
    """Files below a folder of data that are pictures, but for whose names no reader looks.

    Args:
        folder: what was read.
        splits: rows, whose pictures are used whatever they are called.
        columns: those with pictures.
    """
    from pyarrow import compute

    others = pictures_below(folder)[1]
    if not dropped_pictures(folder, others):
        return []
    cells = [column_of(rows, name) for rows in splits.values() for name in columns]
    used = {path for column in cells for path in compute.struct_field(column, "path").to_pylist()}
    return dropped_pictures(folder, [name for name in others if str(folder / name) not in used])


def why_no_picture(folder: Path) -> str:
    """What of a folder in which no reader found a picture seems to be one, as a hint; empty where nothing does."""
    others = pictures_below(folder)[1] if folder.is_dir() else []
    found = [*dropped_pictures(folder, others), *holders_of_pictures(others)]
    told = "; ".join(f"{finding.message} ({', '.join(finding.where[:3])})" for finding in found)
    return told[:1].upper() + told[1:]


def is_picture_name(path: Path) -> bool:
    """Whether a path ends like a picture's and no part of it is hidden or a system's."""
    return path.suffix.lower() in SUFFIXES and not any(is_junk(part) for part in path.parts)


def pictures_below(folder: Path) -> tuple[list[Path], list[str]]:
    """Picture files below a folder, sorted, and the names of other files; hidden and system files are neither."""
    pictures: list[Path] = []
    others: list[str] = []
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        if any(is_junk(part) for part in name.parts) or not file.is_file():
            continue
        if is_picture_name(name):
            pictures.append(file)
        else:
            others.append(name.as_posix())
    return pictures, others


def _tell(findings: Sequence[Finding]) -> None:
    for finding in findings:
        say(f"inputs: {finding.message} ({', '.join(finding.where[:3])})")


def _check_is_image(path: Path, where: str) -> None:
    """Looks at the header only; what is wrong further in is met when it is decoded."""
    from PIL import Image

    start = b""
    try:
        with path.open("rb") as file:
            start = file.read(_READ)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # large pictures and odd metadata
                with Image.open(file):
                    pass
    except OSError as error:
        if error.errno:
            raise DataError(f"cannot be read ({error.strerror})", where=where) from None
        raise DataError(why_unreadable(start, error), where=where) from None
    except Exception as error:  # a library boundary: damaged files make Pillow raise whatever its readers run into
        raise DataError(why_unreadable(start, error), where=where) from None
