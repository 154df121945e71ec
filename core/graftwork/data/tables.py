"""Rows from CSV, TSV, JSON lines and Parquet files, as they stand there. What their columns mean: see `columns`."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.config.forms import TableForm
from graftwork.data.arrow import dataset_of
from graftwork.data.choosing import unique_names
from graftwork.data.columns import own_origin_aside, with_origin
from graftwork.data.delimited import delimited_names, read_delimited
from graftwork.data.folders import is_junk
from graftwork.data.foreign import refuse_foreign
from graftwork.data.json_tables import JSON_SUFFIXES, is_json_table, json_hint, read_json
from graftwork.data.saved import saved_rows, saved_splits
from graftwork.data.splits import canonical_split, ordered
from graftwork.data.streamed import mapped
from graftwork.errors import DataError
from graftwork.interfaces.data import Finding

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

SUFFIXES = frozenset({".csv", ".tsv", ".parquet", *JSON_SUFFIXES})
"""What counts as a table, in lower case; a `.json` file that lies in a folder does only where it holds rows."""

STREAMED_FROM = 16 << 20
"""Bytes; a larger CSV, TSV, JSON lines or Parquet file is read block by block into the cache and mapped from there."""

_PARQUET_ROWS = 1000
"""At a time: rows with pictures are large."""

_SHOWN = 5
_FORM: ContextVar[TableForm] = ContextVar("form", default=TableForm())  # noqa: B039


@contextmanager
def written_as(form: TableForm) -> Iterator[None]:
    """What the user says of how tables are written, for every table that is read until the block ends.

    It is no argument of `read_tables`, so that it reaches the tables that a task reads wherever it reads them.
    """
    token = _FORM.set(form)
    try:
        yield
    finally:
        _FORM.reset(token)


def form_in_force() -> TableForm:
    """What `written_as` says here."""
    return _FORM.get()


def find_tables(path: Path) -> tuple[dict[str, list[Path]], list[Finding]]:
    """Table files by split: one file, or those in a folder, in its `data/`, or in folders named after splits.

    The split is what a file name starts or ends with (`train.csv`, `test-00000-of-00002.parquet`). A single table
    without such a name is `train`. A folder without tables gives an empty mapping.

    Raises:
        DataError: several tables and none says which split it is, or formats are mixed within a split.
    """
    if not path.is_dir():
        return {_split_of(path) or "train": [path]}, []
    if saved := saved_splits(path):
        return saved
    found: dict[str, list[Path]] = defaultdict(list)
    unnamed: list[Path] = []
    folders = (path, path / "data", *(sub for sub in sorted(path.iterdir()) if canonical_split(sub.name)))
    tables = [file for folder in folders if folder.is_dir() for file in sorted(folder.iterdir()) if _is_table(file)]
    certain = [file for file in tables if file.suffix.lower() != ".json"]  # .json is the suffix of much else
    for file in certain or tables:
        split = _split_of(file) or canonical_split(file.parent.name)
        (found[split] if split else unnamed).append(file)
    if not found and unnamed:
        if len({re.sub(r"-\d+-of-\d+", "", file.name) for file in unnamed}) > 1:
            names = ", ".join(file.name for file in unnamed[:_SHOWN])
            hint = "Name them train.csv, validation.csv, test.csv, or give one file"
            raise DataError(
                f"holds {len(unnamed)} tables ({names}), none named after a split", where=str(path), hint=hint
            )
        return {"train": unnamed}, []
    for split, files in found.items():
        if len({file.suffix.lower() for file in files}) > 1:
            what = f"has tables of several formats for {split}: {_names(files)}"
            raise DataError(what, where=str(path), hint="Move all but one out of the folder, or give one file alone")
    findings = []
    if unnamed:
        message = f"tables named after no split, not used: {len(unnamed)}"
        findings.append(Finding("other-files", "note", message, tuple(f.name for f in unnamed[:_SHOWN]), len(unnamed)))
    return dict(found), findings


def _is_table(file: Path) -> bool:
    suffix = file.suffix.lower()
    return (
        suffix in SUFFIXES and file.is_file() and not is_junk(file.name) and (suffix != ".json" or is_json_table(file))
    )


def column_names(file: Path) -> list[str]:
    """The columns of a table, without reading its rows where that is possible."""
    if file.is_file():
        refuse_foreign(file)
    if file.suffix.lower() == ".parquet":
        import pyarrow as pa
        from pyarrow import parquet

        try:
            return _once(parquet.read_schema(file).names)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"cannot be read ({_first_line(error)})", where=str(file)) from None
    if file.is_file() and file.suffix.lower() in (".csv", ".tsv") and file.stat().st_size:
        return delimited_names(file, form_in_force())
    return list(_read_file(file)[0].column_names)


def read_tables(path: Path, files: Mapping[str, Sequence[Path]]) -> tuple[dict[str, Dataset], list[Finding]]:
    """Every split's rows as they are, with `origin` as `FILE row N` (N counts data rows from 1).

    CSV and TSV columns are text, so that nothing is guessed: `01` stays `01` and `NA` stays `NA`. Files of 16 MB
    and more are mapped into memory from graftwork's cache.

    Raises:
        DataError: a file is empty, damaged, not UTF-8, or has no rows; with the reader's own reason.
    """
    from datasets import concatenate_datasets

    splits: dict[str, Dataset] = {}
    findings: list[Finding] = []
    for split, parts in files.items():
        tables = []
        for file in parts:
            rows, found = _read_file(file)
            findings += found
            name = file.name if path == file else file.relative_to(path).as_posix()
            tables.append(with_origin(own_origin_aside(rows), name))
            _refuse_other_columns(tables[0], tables[-1], f"{parts[0].name} and {file.name}", split, path)
        rows = concatenate_datasets(tables) if len(tables) > 1 else tables[0]
        if not len(rows):
            raise DataError("has no rows", where=str(parts[0]))
        splits[split] = rows
    return ordered(splits), findings


def _refuse_other_columns(first: Dataset, other: Dataset, names: str, split: str, path: Path) -> None:
    """Refuse two tables for one split of which each has columns that the other lacks: texts, and labels of the same rows."""
    ours, theirs = first.column_names, other.column_names
    mine, yours = [name for name in ours if name not in theirs], [name for name in theirs if name not in ours]
    if not mine or not yours:
        return
    both = [name for name in ours if name in theirs and name != "origin"]
    what = f"{names} are both called {split}, and have other columns ({', '.join(mine[:3])}; {', '.join(yours[:3])})"
    joined = f"Join them by {both[0]!r} into one table" if both else "Make one table of them"
    raise DataError(what, where=str(path), hint=f"{joined}, move one out of the folder, or give one file alone")


def _split_of(file: Path) -> str | None:
    parts = [part for part in re.split(r"[-_. ]", file.stem) if part]
    if not parts:
        return None
    first = canonical_split(parts[0])
    return first if first is not None else canonical_split(parts[-1])


def _read_file(file: Path) -> tuple[Dataset, list[Finding]]:
    import pyarrow as pa

    try:
        if file.is_dir():
            return saved_rows(file), []
        if not file.is_file():
            raise DataError("is no regular file, such as a pipe", where=str(file), hint="Save it as a file first")
        if file.stat().st_size == 0:
            raise DataError("is empty (zero bytes)", where=str(file))
        refuse_foreign(file)
        suffix, large = file.suffix.lower(), file.stat().st_size >= STREAMED_FROM
        if suffix == ".parquet":
            return _read_parquet(file, large), []
        if suffix in JSON_SUFFIXES:
            return read_json(file, form_in_force(), large)
        return read_delimited(file, form_in_force(), large)
    except UnicodeError as error:
        what = f"is not {getattr(error, 'encoding', 'UTF-8').upper()} text"
        hint = "Save it as UTF-8, or name its encoding with --set data_options.encoding=NAME"
        raise DataError(what, where=str(file), hint=hint) from None
    except (pa.ArrowException, OSError, ValueError) as error:
        way_out = json_hint(str(error), file) if file.suffix.lower() in JSON_SUFFIXES else None
        raise DataError(f"cannot be read ({_first_line(error)})", where=str(file), hint=way_out) from None
    except Exception as error:  # datasets wraps a damaged Parquet file in its own class
        cause = error.__cause__ or error
        raise (
            error
            if isinstance(error, DataError)
            else DataError(f"cannot be read ({_first_line(cause)})", where=str(file))
        ) from None


def _read_parquet(file: Path, large: bool) -> Dataset:
    """Its rows; `Dataset.from_parquet` gives pyarrow a Python file to read from, see `arrow.native`."""
    import pyarrow as pa
    from datasets import Features
    from datasets.table import table_cast
    from pyarrow import parquet

    opened = parquet.ParquetFile(str(file.absolute()))
    names = _once(opened.schema_arrow.names)
    fields = zip(names, opened.schema_arrow, strict=True)
    plain = pa.schema([field.with_name(name).with_type(_plain(field.type)) for name, field in fields])
    features = Features.from_arrow_schema(plain.with_metadata(opened.schema_arrow.metadata))
    schema = features.arrow_schema

    def tables() -> Iterator[pa.Table]:
        for batch in opened.iter_batches(_PARQUET_ROWS):
            yield table_cast(pa.Table.from_batches([batch]).rename_columns(names).cast(plain), schema)

    if not large:
        return dataset_of(pa.concat_tables([schema.empty_table(), *tables()]), features)
    with file.open("rb") as stream:
        key = f"{hashlib.file_digest(stream, 'sha256').hexdigest()} parquet"
    return mapped(file, key, schema, lambda: (batch for table in tables() for batch in table.to_batches()))


def _once(names: Sequence[str]) -> list[str]:
    """Columns' names; with their number behind it where one stands twice."""
    return list(unique_names(names)[0] if len(set(names)) < len(names) else names)


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type that datasets knows for one that it does not: views, and the dictionaries of pandas' categories."""
    import pyarrow as pa

    views = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    return _plain(kind.value_type) if pa.types.is_dictionary(kind) else views.get(kind, kind)


def _names(files: Sequence[Path]) -> str:
    return ", ".join(file.name for file in files[:_SHOWN])


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Hugging Face's bars would tear our own output."""
    from datasets import disable_progress_bars, enable_progress_bars, is_progress_bar_enabled

    shown = is_progress_bar_enabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()
