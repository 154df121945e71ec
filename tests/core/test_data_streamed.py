"""Large tables, read block by block: the same rows and the same errors as when they are read at once."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from datasets import Dataset
from hypothesis import example, given, settings
from hypothesis import strategies as st

from graftwork.data import delimited, orderly, records, streamed, tables
from graftwork.errors import DataError


def read(file: Path) -> tuple[Dataset, list[str]]:
    splits, findings = tables.read_tables(file, {"train": [file]})
    return splits["train"], [finding.code for finding in findings]


def both(file: Path, cache: Path, block: int = 64) -> list[object]:
    """What the file gives at once, and what it gives block by block: columns, types and findings, or the error."""
    results: list[object] = []
    for size in (1 << 30, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GRAFTWORK_CACHE", str(cache))
            patch.setattr(tables, "STREAMED_FROM", size)
            patch.setattr(streamed, "BLOCK", block)
            patch.setattr(delimited, "BLOCK", block)
            patch.setattr(records, "CUT", block)
            patch.setattr(orderly, "BLOCK", block)
            try:
                rows, codes = read(file)
                results.append((rows[:], rows.features, codes))
            except DataError as error:
                results.append(str(error))
    return results


TEXTS = st.text(st.sampled_from('ab,;\t\n\r" é\u2028😀\x00\ufeff'), max_size=12)


@settings(deadline=None, max_examples=60)
@example(  # pyarrow takes what follows a NUL for escaped
    ".csv",
    [
        ("", ';"'),
        ("", '"\u2028'),
        (';"', ";\u2028"),
        (";\u2028", ";;;;😀"),
        (';""\u2028😀', ";;;;;;;;;é\u2028\u2028"),
        (";;;;;;\x00", ';;;""\u2028\u2028\u2028😀\r'),
    ],
    True,
)
@given(st.sampled_from([".csv", ".tsv"]), st.lists(st.tuples(TEXTS, TEXTS), max_size=20), st.booleans())
def test_any_delimited_text_gives_the_same_both_ways(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, rows: list[tuple[str, str]], quoted: bool
) -> None:
    folder = tmp_path_factory.mktemp("both")
    mark = "\t" if suffix == ".tsv" else ","
    cells = [['"' + cell.replace('"', '""') + '"' if quoted else cell for cell in row] for row in rows]
    text = "\n".join(mark.join(row) for row in [["text", "label"], *cells])
    (folder / f"a{suffix}").write_bytes(text.encode())
    at_once, block_by_block = both(folder / f"a{suffix}", folder / "cache")
    assert at_once == block_by_block


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"text,label\na,b,c\n"),
        ("a.csv", b"text,label\n" + b"a,b\n" * 100 + b"a,b,c\n" + b"a,b\n" * 100),
        ("a.csv", b"text,label\n"),
        ("a.csv", "text,label\nä,b\n".encode("latin-1") * 50),
        ("a.csv", "text,label\nя,б\n".encode("cp1251")),
        ("a.csv", "text,label\r\nä,b\r\n".encode("utf-16")),
        ("a.csv", b'sep=;\ntext;label\n"a;\nb";c\n' * 1),
        ("a.csv", b"text, label\n" + b"a, b\n" * 30),
        ("a.csv", b'text,label\n"say \\"hi, you\\"",b\n' * 30),
        ("a.csv", b"text,label,,\n" + b"a,b,,\n" * 30),
        ("a.csv", b"text,label\n" + b"good film,1\nbad film,0\n" * 9 + b'"odd,1\nfine,0\n"bad, really",0\n'),
        ("a.json", b'[{"text": "a", "label": 1}, {"text": "b", "label": 0}]'),
        ("a.csv", "text,label\nä".encode()[:-1]),
        ("a.csv", b"text,text\na,b\n"),
        ("a.csv", b'text,label\n"a,b\n' + b"a,b\n" * 100),
        ("a.csv", b"\xef\xbb\xbftext;label\r\n" + "ä\0;b\r\n".encode() * 50),
        ("a.csv", b'text,label\n"a\r\nb\rc",1\n'),
        ("a.csv", b"text,label\n" + b"x" * 100_000 + b",b\n" + b"a,b\n" * 50),
        ("a.jsonl", b'{"text": "a"}\n' * 30 + b"{broken\n"),
        ("a.jsonl", b'{"text": "2020-01-01", "n": 1}\n' * 30 + b'\n\n{"text": "no time", "n": 1.5, "x": ["a"]}\n'),
        ("a.jsonl", json.dumps({"text": "x" * 2_000_000 + "\0", "label": None}).encode() + b'\n{"label": "a"}'),
    ],
)
def test_damaged_and_odd_tables_give_the_same_both_ways(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    at_once, block_by_block = both(tmp_path / name, tmp_path / "cache")
    assert at_once == block_by_block


def test_an_error_names_the_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,label\n" + b"a,b\n" * 100 + b"a,b,c\n")
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a"}\n' * 30 + b'{"text": x}\n')
    for name, row in (("a.csv", "line 102"), ("a.jsonl", "in row 31")):
        for error in both(tmp_path / name, tmp_path / "cache"):
            assert isinstance(error, str)
            assert row in error


def test_a_quote_that_is_never_closed_is_refused_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'text,label\n"a",b\n"a,b\n' + b"a,b\n" * 100)
    for error in both(tmp_path / "a.csv", tmp_path / "cache"):
        assert "the quote that is opened in line 3 is never closed" in str(error)
        assert "\n" not in str(error)
    assert not (tmp_path / "cache" / "tables").exists()


def test_a_table_is_unpacked_once_and_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tables, "STREAMED_FROM", 0)
    file = tmp_path / "a.csv"
    for text, count in (("a", 1), ("a", 1), ("b", 2)):
        file.write_text(f"text,label\n{text},1\n")
        rows, _ = read(file)
        assert rows["text"][:] == [text]
        assert rows.cache_files
        assert len(list((tmp_path / "cache" / "tables").iterdir())) == count


def test_an_unpacked_table_that_is_found_is_marked_as_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tables, "STREAMED_FROM", 0)
    (tmp_path / "a.csv").write_text("text,label\na,1\n")
    read(tmp_path / "a.csv")
    (unpacked,) = (tmp_path / "cache" / "tables").iterdir()
    os.utime(unpacked, (0, 0))
    read(tmp_path / "a.csv")
    assert time.time() - unpacked.stat().st_mtime < 60


def test_a_table_that_cannot_be_unpacked_names_the_folder_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "STREAMED_FROM", 0)
    file = tmp_path / "a.csv"
    file.write_text("text,label\na,1\n")
    monkeypatch.setenv("GRAFTWORK_CACHE", str(file))
    with pytest.raises(DataError) as raised:
        read(file)
    what = f"{file}: cannot be unpacked into the cache: {file}/tables cannot be made (Not a directory). Set GRAFTWORK_CACHE"
    assert str(raised.value).startswith(what)


def test_the_fingerprint_of_data_is_what_earlier_versions_wrote_down() -> None:
    from datasets import Dataset

    from graftwork.data.fingerprint import fingerprint
    from graftwork.interfaces import Tables

    rows = Dataset.from_dict({"text": ["a", "é", ""], "label": [0, 1, 1], "origin": ["1", "2", "3"]})
    found = fingerprint(Tables({"train": rows, "test": rows.select([1])}, (), ("x", "y")))
    assert found == "c8fdae2cb88e787cdd901d37ca60e744aac68774c3973680e66719de1b155a5e"
