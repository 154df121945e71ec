"""Files that are no tables, whatever their names say: each is named, and the way out works where it is followed."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import re
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from graftwork.data.folders import read_class_folders
from graftwork.data.foreign import no_table
from graftwork.data.tables import column_names, find_tables, read_tables
from graftwork.errors import DataError

CSV = b"text,label\na good film,1\na bad film,0\n"
TABLE = pa.table({"text": ["a good film", "a bad film"], "label": ["1", "0"]})
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


def archive(file: Path, *names: str) -> Path:
    with zipfile.ZipFile(file, "w") as made:
        for name in names:
            made.writestr(name, CSV)
    return file


def arrow_stream(file: Path) -> Path:
    with pa.ipc.new_stream(str(file), TABLE.schema) as writer:
        writer.write_table(TABLE)
    return file


def data_base(file: Path) -> Path:
    with sqlite3.connect(file) as base:
        base.execute("create table rows (text, label)")
    return file


def written(file: Path, data: bytes) -> Path:
    file.write_bytes(data)
    return file


_WAY_OUT = r"(?:Unpack it|Rename it|Write it as Parquet|Make a table of it): (.+), then give ([^;]+)"


def refusal(file: Path) -> str:
    with pytest.raises(DataError) as raised:
        read_tables(file, {"train": [file]})
    assert str(no_table(file, "-")) == str(raised.value)
    with pytest.raises(DataError, match=re.escape(str(raised.value))):
        column_names(file)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("name", ["a.csv", "a.xlsx", "a.jsonl", "a.parquet"])
@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "is an Excel or Word file of before 2007"),
        (b'<?xml version="1.0"?><Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet">', "is an Excel file"),
        (b"<?xml version='1.0'?>\n<rows/>", "is XML, not a table"),
        (b"\n<!DOCTYPE html>\n<html><body>Sign in", "is a web page"),
        (LFS, "Git LFS pointer.*git lfs pull"),
        (b"SQLite format 3\0" + bytes(100), "SQLite data base"),
        (b"\x89HDF\r\n\x1a\n" + bytes(9), "HDF5"),
        (b"\x80\x04\x95" + bytes(9), "pickle"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(9), "7z archive"),
        (b"%PDF-1.7\n", "PDF"),
    ],
)
def test_what_is_no_table_is_named_by_its_first_bytes(tmp_path: Path, name: str, data: bytes, what: str) -> None:
    assert re.search(what, refusal(written(tmp_path / name, data)))


@pytest.mark.parametrize("name", ["a.xlsx", "a.csv", "a"])
@pytest.mark.parametrize(
    ("inside", "what"),
    [
        (["[Content_Types].xml", "xl/workbook.xml"], "is an Excel file. Save it as CSV UTF-8"),
        (["mimetype", "content.xml"], "is an OpenDocument file"),
        (["[Content_Types].xml", "word/document.xml"], "is a Word or PowerPoint file"),
        (["Index/Document.iwa", "Metadata/Properties.plist"], "is a file of Numbers"),
    ],
)
def test_office_files_are_told_from_archives(tmp_path: Path, name: str, inside: list[str], what: str) -> None:
    assert what in refusal(archive(tmp_path / name, *inside))


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("a.xlsx", b"PK\x03\x04" + bytes(40), "is a damaged Excel file, or is cut short"),
        ("a.csv", b"PK\x03\x04" + bytes(40), "is a damaged zip archive, or is cut short"),
        ("a.ods", b"PK\x03\x04" + bytes(40), "is a damaged OpenDocument file, or is cut short"),
        ("a.xlsx", b"\x01\x02\x03" * 900, "is no Excel file, whatever its name says, or it is damaged"),
        ("a.xlsx", b"My notes\nof June", "is text under a spreadsheet's name"),
        ("a.xlsx", b"", "is empty"),
        ("a.xls", b"<table><tr><td>text</td></tr></table>", "is an Excel file, written as a web page"),
        (
            "a.csv",
            b'<html xmlns:x="urn:schemas-microsoft-com:office:excel">',
            "is an Excel file, written as a web page",
        ),
        ("a.arff", b"@RELATION x\n@DATA\n", "is an ARFF file"),
        ("a.rtf", b"{\\rtf1 a}", "is an RTF document"),
    ],
)
def test_what_a_name_promises_and_the_content_does_not_hold_is_said(
    tmp_path: Path, name: str, data: bytes, what: str
) -> None:
    file = written(tmp_path / name, data)
    assert str(no_table(file, "-")).startswith(f"{file}: {what}")
    if file.suffix == ".csv":
        refusal(file)


@pytest.mark.parametrize("prose", ["One line, with a comma", "Dear all,\nthis is a letter\n", "a\tb\nc\n", "\n\n"])
def test_prose_under_another_name_is_not_taken_for_a_table(tmp_path: Path, prose: str) -> None:
    assert str(no_table(written(tmp_path / "a.md", prose.encode()), "Give a table")).endswith(
        "and no table. Give a table"
    )


def packed(folder: Path, kind: str) -> Path:
    made = {
        "csv.gz": lambda: written(folder / "my data.csv.gz", gzip.compress(CSV)),
        "gzip under a table's name": lambda: written(folder / "a.csv", gzip.compress(CSV)),
        "bz2": lambda: written(folder / "a.csv.bz2", bz2.compress(CSV)),
        "xz": lambda: written(folder / "a.csv.xz", lzma.compress(CSV)),
        "zip": lambda: archive(folder / "my data.zip", "a.csv"),
        "zip under a table's name": lambda: archive(folder / "a.csv", "train.csv", "test.csv"),
        "feather": lambda: (feather.write_feather(TABLE, str(folder / "a.feather")), folder / "a.feather")[1],
        "arrow": lambda: arrow_stream(folder / "my a.arrow"),
        "parquet": lambda: (parquet.write_table(TABLE, folder / "a.pq"), folder / "a.pq")[1],
        "parquet as csv": lambda: (parquet.write_table(TABLE, folder / "a.csv"), folder / "a.csv")[1],
        "json": lambda: written(folder / "a.csv", json.dumps(TABLE.to_pylist(), indent=1).encode()),
        "csv as txt": lambda: written(folder / "my a.txt", CSV),
        "csv without a suffix": lambda: written(folder / "a", CSV),
        "tsv as xls": lambda: written(folder / "a.xls", CSV.replace(b",", b"\t")),
        "tsv in UTF-16 as xls": lambda: written(folder / "a.xls", CSV.replace(b",", b"\t").decode().encode("utf-16")),
        "json as txt": lambda: written(folder / "a.txt", b'{"text": "a good film"}\n{"text": "a bad film"}\n'),
        "fasttext": lambda: written(
            folder / "my a.txt", b"__label__1 a good film\n__label__0 __label__x\ta bad film\n"
        ),
        "json lines": lambda: written(folder / "a.csv", b'{"text": "a good film"}\n{"text": "a bad film"}\n'),
    }
    return made[kind]()


@pytest.mark.parametrize(
    "kind",
    [
        "csv.gz", "gzip under a table's name", "bz2", "xz", "zip", "zip under a table's name", "feather", "arrow", "parquet",
        "parquet as csv", "json", "json lines", "csv as txt", "csv without a suffix", "tsv as xls", "tsv in UTF-16 as xls",
        "json as txt", "fasttext",
    ],
)  # fmt: skip
def test_the_way_out_of_a_packed_file_works(tmp_path: Path, kind: str) -> None:
    file = packed(tmp_path, kind)
    told = re.search(_WAY_OUT, str(no_table(file, "-")))
    assert told is not None
    tool = told[1].split()[0]
    if tool != "python" and shutil.which(tool) is None:
        pytest.skip(f"{tool} is not here")
    command = f"{sys.executable} {told[1].removeprefix('python ')}" if tool == "python" else told[1]
    subprocess.run(command, shell=True, check=True, capture_output=True)
    target = Path(told[2].strip("'"))
    splits, _ = read_tables(target, find_tables(target)[0])
    assert splits["train"]["text"][:] == ["a good film", "a bad film"]
    if kind == "fasttext":
        assert splits["train"]["label"][:] == ["1", "0|x"]


@pytest.mark.parametrize(
    "header",
    [
        b"PAR1,text,label", b"BZh,text,label", b"FEA1,text,label", b'{"a": 1},text,label', b"[1],text,label", b"<p>,text,label",
        b"version https,text,label", b"<html5>,text,label",
    ],
)  # fmt: skip
def test_a_table_that_only_begins_like_something_else_is_read(tmp_path: Path, header: bytes) -> None:
    file = written(tmp_path / "a.csv", header + b"\n1,a good film,1\n")
    assert read_tables(file, {"train": [file]})[0]["train"]["text"][:] == ["a good film"]


def test_a_folder_that_holds_only_an_archive_says_so(tmp_path: Path) -> None:
    archive(tmp_path / "photos.zip", "cat/1.jpg")
    with pytest.raises(DataError, match=r"photos.zip: is a zip archive. Unpack it: unzip"):
        read_class_folders(tmp_path, {".jpg"}, noun="image")
