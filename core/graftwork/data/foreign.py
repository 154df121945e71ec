"""Files that are no tables, whatever their names say: what they are by their first bytes, and the command that helps."""

from __future__ import annotations

import codecs
import csv
import json
import re
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path

from graftwork.errors import DataError
from graftwork.files.text import UTF8, wide_encoding

_HEAD = 4096
_LINES = 20
_Told = tuple[str, str]
"""What a file is, and what to do."""

_SPREADSHEETS = {
    **dict.fromkeys((".xls", ".xlsx", ".xlsm", ".xlsb", ".xltx"), "Excel file"),
    ".ods": "OpenDocument file",
    ".numbers": "Numbers file",
}
_CSV = "Save it as CSV UTF-8 there (File, Save as), then give FILE.csv"


def no_table(file: Path, hint: str) -> DataError:
    """The error for a file that is no table by its name: what it is instead, with the way out; else `hint`."""
    return _foreign(file) or DataError("is one file, and no table", where=str(file), hint=hint)


def refuse_foreign(file: Path) -> None:
    """Refuse a file that is called like a table and is something else.

    Raises:
        DataError: with what it is by its first bytes, and the way out.
    """
    error = _foreign(file)
    if error is not None:
        raise error


def foreign_in(folder: Path) -> DataError | None:
    """What the first archive, or file of another program, in a folder is; None where there is none. A PDF does not count."""
    for entry in sorted(folder.iterdir()):
        found = _by_mark(entry, _head(entry)) if entry.is_file() and not entry.name.startswith(".") else None
        if found is not None and "PDF" not in found[0]:
            return DataError(found[0], where=str(entry), hint=found[1])
    return None


def _foreign(file: Path) -> DataError | None:
    head = _head(file)
    if not head:
        empty = file.is_file() and not file.stat().st_size
        return DataError("is empty (zero bytes)", where=str(file)) if empty else None
    found = _by_mark(file, head) or _text(file, head)
    if found is None and file.suffix.lower() in _SPREADSHEETS:
        what = f"is no {_SPREADSHEETS[file.suffix.lower()]}, whatever its name says, or it is damaged"
        found = what, "Save or download it anew; then save it as CSV UTF-8 there, and give that"
    return found and DataError(found[0], where=str(file), hint=found[1])


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(_HEAD)
    except OSError:
        return b""


def _by_mark(file: Path, head: bytes) -> _Told | None:
    return next((tell(file, head) for mark, tell in _MARKS if head.startswith(mark)), None)


def _zip(file: Path, head: bytes) -> _Told | None:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        kind = _SPREADSHEETS.get(file.suffix.lower(), "zip archive")
        return f"is a damaged {kind}, or is cut short", "Copy or download it anew"
    if any(name.startswith("xl/") for name in names):
        return "is an Excel file", _CSV
    if "content.xml" in names and "mimetype" in names:
        return "is an OpenDocument file", _CSV
    if any(name.endswith(".iwa") for name in names):
        return "is a file of Numbers, Pages or Keynote", "Export it there as CSV (File, Export to), then give FILE.csv"
    if any(name.startswith(("word/", "ppt/")) for name in names):
        return "is a Word or PowerPoint file", "Write its rows into a table and save that as CSV UTF-8"
    folder = str(file.with_suffix(""))
    if folder == str(file):
        folder += "-unpacked"
    folder = shlex.quote(folder)
    return "is a zip archive", f"Unpack it: unzip {_quoted(file)} -d {folder}, then give {folder}"


def _packed(name: str, command: str) -> Callable[[Path, bytes], _Told | None]:
    def tell(file: Path, head: bytes) -> _Told:
        if ".tar" in file.name.lower() or file.suffix.lower() in (".tgz", ".tbz2", ".txz"):
            return f"is a {name} archive", f"Unpack it: tar -xf {_quoted(file)}, then give what is in it"
        inner = file.name.removesuffix(file.suffix)
        inner = inner if "." in inner else f"{inner}-unpacked.csv"
        target = shlex.quote(str(file.with_name(inner)))
        return f"is packed with {name}", f"Unpack it: {command} {_quoted(file)} > {target}, then give {target}"

    return tell


def _arrow(file: Path, head: bytes) -> _Told:
    reader = "pyarrow.feather.read_table(sys.argv[1])"
    if head.startswith(b"\xff\xff\xff\xff"):
        reader = "pyarrow.ipc.open_stream(sys.argv[1]).read_all()"
    return "is an Arrow file", _as_parquet(file, f"import sys, pyarrow.feather, pyarrow.parquet as p; t = {reader}")


def _as_parquet(file: Path, reading: str) -> str:
    target = shlex.quote(str(file.with_suffix(".parquet")))
    return (
        f"Write it as Parquet: python -c '{reading}; p.write_table(t, sys.argv[2])' {_quoted(file)} {target}, "
        f"then give {target}"
    )


def _parquet(file: Path, head: bytes) -> _Told | None:
    with file.open("rb") as stream:
        stream.seek(-4, 2)
        if stream.read() != b"PAR1" or file.suffix.lower() == ".parquet":
            return None
    return "is a Parquet file under another name", _renamed(file, ".parquet")


def _renamed(file: Path, suffix: str) -> str:
    target = shlex.quote(str(file.with_suffix(suffix)))
    return f"Rename it: mv {_quoted(file)} {target}, then give {target}"


def _sqlite(file: Path, head: bytes) -> _Told:
    target = shlex.quote(str(file.with_suffix(".csv")))
    command = f"sqlite3 -csv -header {_quoted(file)} 'select * from TABLE' > {target}"
    return "is an SQLite data base", f"Write a table of it as CSV: {command}"


def _fixed(what: str, hint: str) -> Callable[[Path, bytes], _Told | None]:
    return lambda file, head: (what, hint)


def _quoted(file: Path) -> str:
    return shlex.quote(str(file))


_PYTHON = "Write it as CSV with the program that made it, such as pandas' to_csv(FILE, index=False)"
_MARKS: tuple[tuple[bytes, Callable[[Path, bytes], _Told | None]], ...] = (
    (b"PK\x03\x04", _zip),
    (b"PK\x05\x06", _zip),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        _fixed("is an Excel or Word file of before 2007, or one with a password", _CSV),
    ),
    (b"\x1f\x8b", _packed("gzip", "gzip -dc")),
    (b"BZh91AY&SY", _packed("bzip2", "bzip2 -dc")),
    (b"\xfd7zXZ\x00", _packed("xz", "xz -dc")),
    (b"\x28\xb5\x2f\xfd", _packed("zstd", "zstd -dc")),
    (b"7z\xbc\xaf\x27\x1c", _fixed("is a 7z archive", "Unpack it with 7z x, then give what is in it")),
    (b"Rar!\x1a\x07", _fixed("is a RAR archive", "Unpack it with unrar x, then give what is in it")),
    (b"ARROW1\0\0", _arrow),
    (b"FEA1\0\0", _arrow),
    (b"\xff\xff\xff\xff", _arrow),
    (b"PAR1", _parquet),
    (b"SQLite format 3\0", _sqlite),
    (b"\x89HDF\r\n\x1a\n", _fixed("is an HDF5 file", _PYTHON)),
    (b"\x93NUMPY", _fixed("is a numpy file", _PYTHON)),
    (b"\x80\x02", _fixed("is a Python pickle", _PYTHON)),
    (b"\x80\x03", _fixed("is a Python pickle", _PYTHON)),
    (b"\x80\x04", _fixed("is a Python pickle", _PYTHON)),
    (b"\x80\x05", _fixed("is a Python pickle", _PYTHON)),
    (b"$FL2@(#)", _fixed("is an SPSS file", _PYTHON)),
    (b"{\\rtf", _fixed("is an RTF document", "Write its rows into a table and save that as CSV UTF-8")),
    (b"%PDF-", _fixed("is a PDF file", "Write its rows into a table and save that as CSV UTF-8")),
)


def _text(file: Path, head: bytes) -> _Told | None:
    """Text that is no table: a stand-in for a large file, a web page, XML, JSON under a table's name."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        hint = "Fetch the file itself: git lfs pull, in its repository"
        return "is a Git LFS pointer: the file itself was not downloaded", hint
    if re.match(rb"(?i)<!doctype html|<(html|table)\b", start):
        written_so = start[:2] != b"<!" and b"<table" in head.lower() and file.suffix.lower() in _SPREADSHEETS
        if written_so or b"office:excel" in head:
            return "is an Excel file, written as a web page", _CSV
        hint = "A download may have failed or need a login: look at it in a browser, and download the file itself"
        return "is a web page (HTML), not a table", hint
    if start.startswith(b"<?xml"):
        if b"urn:schemas-microsoft-com:office:spreadsheet" in head:
            return "is an Excel file", _CSV
        return "is XML, not a table", "Write its rows as CSV, JSON lines or Parquet"
    suffix = file.suffix.lower()
    if suffix in (".csv", ".tsv") and _is_json(start.decode("utf-8", "ignore")):
        return "is JSON under another name", _renamed(file, ".json")
    if suffix not in (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet"):
        return _table_by_content(file, head)
    return None


def _table_by_content(file: Path, head: bytes) -> _Told | None:
    """A table of text whose name does not say so."""
    try:
        text = codecs.getincrementaldecoder(wide_encoding(head) or UTF8)().decode(head)
    except UnicodeDecodeError:
        text = head.decode("cp1252", "replace")
    lines = [line for line in text.splitlines() if line][:_LINES]
    if not lines or re.search(r"[\x00-\x08\x0e-\x1f]", text):
        return None
    if re.match(r"(?i)@relation\b", text.lstrip()):
        return "is an ARFF file", "Save it as CSV with Weka, then give FILE.csv"
    if text.startswith("__label__"):
        return "is in fastText's form", _from_fasttext(file)
    if _is_json(text.lstrip()):
        return "is JSON under another name", _renamed(file, ".json")
    whole = lines[:-1] if len(head) == _HEAD else lines
    for mark in "\t;,|":
        widths = {len(cells) for cells in csv.reader(whole, delimiter=mark)}
        if len(whole) > 1 and len(widths) == 1 and widths != {1}:
            return "looks like a table under another name", _renamed(file, ".tsv" if mark == "\t" else ".csv")
    if file.suffix.lower() in _SPREADSHEETS:
        return "is text under a spreadsheet's name", _renamed(file, ".csv")
    return None


def _from_fasttext(file: Path) -> str:
    target = shlex.quote(str(file.with_suffix(".tsv")))
    change = (
        r"s/^((__label__[^ \t]+[ \t]+)+)/\1\t/; s/[ \t]+\t/\t/; s/^__label__//; :a; s/^([^\t]*)[ \t]+__label__/\1|/; ta"
    )
    return (
        f"Make a table of it: (printf 'label\\ttext\\n'; sed -E '{change}' {_quoted(file)}) > {target}, then give {target}; "
        "with --set task_options.labels=multi where lines have several labels"
    )


def _is_json(start: str) -> bool:
    """Whether text begins as JSON does: an array of objects, or an object by itself on its lines."""
    if not re.match(r'(\[\s*)?\{\s*"(?:[^"\\]|\\.)*"\s*:', start):
        return False
    try:
        end = json.JSONDecoder().raw_decode(start)[1]
    except ValueError:  # it is longer than what is looked at
        return "\n" not in start or start.startswith(("[", "{\n"))
    return start[end:].lstrip(" \r")[:1] in ("", "\n")
