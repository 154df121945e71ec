"""Rows from CSV, TSV, JSON lines and Parquet files, as they stand there. What their columns mean: see `columns`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.data.arrow import dataset_of
from graftwork.data.columns import with_origin
from graftwork.data.folders import is_junk
from graftwork.data.splits import canonical_split, ordered
from graftwork.data.streamed import read_json_lines, scan, stream_csv, stream_jsonl
from graftwork.errors import DataError
from graftwork.interfaces.data import Finding

if TYPE_CHECKING:
    from datasets import Dataset

SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"})
"""What counts as a table, in lower case."""

STREAMED_FROM = 16 << 20
"""Bytes; a larger CSV, TSV or JSON lines file is read block by block into the cache and mapped from there."""

_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_SHOWN = 5


def find_tables(path: Path) -> tuple[dict[str, list[Path]], list[Finding]]:
    """Table files by split: one file, or those in a folder, in its `data/`, or in folders named after splits.

    The split is what a file name starts or ends with (`train.csv`, `test-00000-of-00002.parquet`). A single table
    without such a name is `train`. A folder without tables gives an empty mapping.

    Raises:
        DataError: several tables and none says which split it is, or formats are mixed within a split.
    """
    if path.is_file():
        return {_split_of(path) or "train": [path]}, []
    found: dict[str, list[Path]] = defaultdict(list)
    unnamed: list[Path] = []
    for folder in (path, path / "data", *(sub for sub in sorted(path.iterdir()) if canonical_split(sub.name))):
        if not folder.is_dir():
            continue
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() in SUFFIXES and file.is_file() and not is_junk(file.name):
                split = _split_of(file) or canonical_split(folder.name)
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
            raise DataError(f"has tables of several formats for {split}: {_names(files)}", where=str(path))
    findings = []
    if unnamed:
        message = f"tables named after no split, not used: {len(unnamed)}"
        findings.append(Finding("other-files", "note", message, tuple(f.name for f in unnamed[:_SHOWN]), len(unnamed)))
    return dict(found), findings


def read_tables(path: Path, files: Mapping[str, Sequence[Path]]) -> tuple[dict[str, Dataset], list[Finding]]:
    """Every split's rows as they are, with `origin` as `FILE row N` (N counts data rows from 1).

    CSV and TSV columns are text, so that nothing is guessed: `01` stays `01` and `NA` stays `NA`. Files of 16 MB
    and more are mapped into memory from graftwork's cache, Parquet from the Hugging Face cache.

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
            tables.append(with_origin(rows, name))
        rows = concatenate_datasets(tables) if len(tables) > 1 else tables[0]
        if not len(rows):
            raise DataError("has no rows", where=str(parts[0]))
        splits[split] = rows
    return ordered(splits), findings


def _split_of(file: Path) -> str | None:
    parts = [part for part in re.split(r"[-_. ]", file.stem) if part]
    if not parts:
        return None
    first = canonical_split(parts[0])
    return first if first is not None else canonical_split(parts[-1])


def _read_file(file: Path) -> tuple[Dataset, list[Finding]]:
    import pyarrow as pa
    from datasets import Dataset

    try:
        if file.stat().st_size == 0:
            raise DataError("is empty (zero bytes)", where=str(file))
        if file.suffix.lower() == ".parquet":
            with without_progress_bars():
                return Dataset.from_parquet(str(file.absolute())), []
        if file.suffix.lower() in (".jsonl", ".ndjson"):
            large = file.stat().st_size >= STREAMED_FROM
            return stream_jsonl(file) if large else dataset_of(read_json_lines(file.read_bytes())), []
        return _read_delimited(file)
    except UnicodeDecodeError:
        raise DataError("is not UTF-8 text", where=str(file), hint="Save it as UTF-8") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"cannot be read ({_first_line(error)})", where=str(file)) from None
    except Exception as error:  # datasets wraps a damaged Parquet file in its own class
        cause = error.__cause__ or error
        raise (
            error
            if isinstance(error, DataError)
            else DataError(f"cannot be read ({_first_line(cause)})", where=str(file))
        ) from None


def _read_delimited(file: Path) -> tuple[Dataset, list[Finding]]:
    """CSV or TSV with every column as text."""
    import io

    import pyarrow as pa
    from pyarrow import csv

    found = scan(file)
    with file.open(encoding="utf-8-sig") as text:
        header = text.readline().rstrip("\n")
    usual = "\t" if file.suffix.lower() == ".tsv" else ","
    delimiter = usual if usual in header else next((other for other in "\t;," if other in header), usual)
    quoted = found.quotes and (delimiter != "\t" or _tabs_are_quoted(_lines(file)))
    parse = csv.ParseOptions(
        delimiter=delimiter, quote_char='"' if quoted else False, newlines_in_values=quoted, ignore_empty_lines=True
    )
    names = csv.read_csv(io.BytesIO(header.encode() + b"\n"), parse_options=parse).column_names
    if len(set(names)) < len(names):
        raise DataError(f"has two columns of one name in its header: {', '.join(names)}", where=str(file))
    # Looking for the end of a block, pyarrow (26) takes what follows a NUL for escaped, and cuts within quotes.
    if file.stat().st_size >= STREAMED_FROM and not (quoted and found.nulls):
        rows = stream_csv(file, found, names, parse)
    else:
        convert = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
        data = file.read_text(encoding="utf-8-sig").encode()
        # A row must fit into a block; only without threads does an error name its row.
        read = csv.ReadOptions(block_size=max(len(data) + 1, 1 << 20), use_threads=False)
        table = csv.read_csv(io.BytesIO(data), read_options=read, parse_options=parse, convert_options=convert)
        rows = dataset_of(table)
    if delimiter == usual:
        return rows, []
    message = f"{file.name} separates its columns by {delimiter!r}, not by {usual!r}"
    return rows, [Finding("unusual-delimiter", "note", message, (file.name,), len(rows))]


def _lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8-sig") as text:
        for line in text:
            yield from line.splitlines()


def _tabs_are_quoted(lines: Iterable[str]) -> bool:
    """Whether quotes in tab-separated text are a writer's (pandas) or part of the text (GLUE, SST)."""
    tabs: int | None = None
    whole = True
    for line in lines:
        if line:
            tabs = line.count("\t") if tabs is None else tabs
            if line.count("\t") != tabs:
                return True
            whole = whole and all(_QUOTED.fullmatch(cell) for cell in line.split("\t") if '"' in cell)
    return whole


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
