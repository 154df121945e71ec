"""A refusal ends with its exit code, every time: a library's threads that outlive an error have aborted the process before."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import feather, parquet

DEADLY = {
    "ragged.csv": b"text,label\na,b,c\n" + b"a,b\n" * 2000,
    "open.csv": b'"When","What\n' + b"1,2\n" * 100,
    "lines.jsonl": b'{"text": "a"}\n' * 100 + b"{broken\n",
    "cut.parquet": b"PAR1 cut",
    "pages.parquet": b"",
}

ROWS = b"text,label\n" + b"a good film,1\na bad film,0\n" * 9
REFUSED: dict[str, tuple[bytes, list[str], int]] = {
    "empty.csv": (b"", [], 3),
    "header.csv": (b"text,label\n", [], 3),
    "columns.csv": (b"id,remark\n1,a\n", [], 3),
    "named.csv": (ROWS, ["--column", "label=klass"], 3),
    "unknown.csv": (ROWS, ["--column", "lable=label"], 2),
    "option.csv": (ROWS, ["--set", "data_options.delimitr=;"], 2),
    "twice.csv": (b"text,label,label\na,1,2\n", [], 3),
    "one-class.csv": (b"text,label\na,1\nb,1\n", [], 3),
    "bytes.csv": ("text,label\n\u044f,1\n".encode("cp1251"), [], 3),
    "utf16.csv": (ROWS.decode().encode("utf-16")[:-1], [], 3),
    "lists.jsonl": (b'{"text": "a", "label": [[0, 5, "X"]]}\n', [], 3),
    "objects.json": (b'[{"text": "a", "label": {"id": 1}}]', [], 3),
    "no-rows.json": (b'{"a": 1}', [], 3),
    "deep.json": (b"[" * 100_000, [], 3),
    "sheet.xlsx": (b"PK\x03\x04" + bytes(99), [], 3),
    "packed.csv": (b"\x1f\x8b" + bytes(99), [], 3),
    "arrow.parquet": (b"", [], 3),
    "notes.md": (b"x", [], 3),
}


def damaged_parquet(file: Path) -> None:
    """Its end is whole, so that it is opened, and its pages are not."""
    rows = 20_000
    parquet.write_table(pa.table({"text": [f"text {row}" for row in range(rows)], "label": ["a"] * rows}), file)
    data = bytearray(file.read_bytes())
    data[100 : len(data) // 2] = b"x" * (len(data) // 2 - 100)
    file.write_bytes(data)


MADE: dict[str, Callable[[Path], None]] = {
    "pages.parquet": damaged_parquet,
    "arrow.parquet": lambda file: feather.write_feather(pa.table({"text": ["a"]}), str(file)),
}


def exit_codes(file: Path, content: bytes, more: list[str], times: int) -> list[int]:
    file.write_bytes(content)
    MADE.get(file.name, lambda _: None)(file)
    command = [
        sys.executable,
        "-m",
        "graftwork",
        "inspect",
        "--task",
        "text-classification",
        "--data",
        str(file),
        *more,
    ]
    return [subprocess.run(command, check=False, capture_output=True).returncode for _ in range(times)]


def test_a_refusal_keeps_its_exit_code(tmp_path: Path) -> None:
    assert exit_codes(tmp_path / "open.csv", DEADLY["open.csv"], [], 1) == [3]


@pytest.mark.acceptance
@pytest.mark.parametrize("name", DEADLY)
def test_a_refusal_keeps_its_exit_code_however_often_it_is_tried(tmp_path: Path, name: str) -> None:
    assert exit_codes(tmp_path / name, DEADLY[name], [], 40) == [3] * 40


@pytest.mark.acceptance
@pytest.mark.parametrize("name", REFUSED)
def test_other_refusals_keep_theirs_three_times_each(tmp_path: Path, name: str) -> None:
    content, more, code = REFUSED[name]
    assert exit_codes(tmp_path / name, content, more, 3) == [code] * 3
