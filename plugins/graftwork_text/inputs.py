"""New texts for `graft predict`: as they are, from .txt files and folders of them, and from the columns of tables."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from graftwork.data.arrow import dataset_of
from graftwork.data.columns import OWN_ORIGIN, add_column, guess_columns, map_columns
from graftwork.data.folders import is_junk
from graftwork.data.foreign import refuse_foreign
from graftwork.data.sources import require_utf8
from graftwork.data.tables import SUFFIXES as TABLE_SUFFIXES
from graftwork.data.tables import read_tables
from graftwork.errors import DataError
from graftwork.files.text import HEAD, is_damaged, wide_encoding
from graftwork.interfaces import Inputs
from graftwork.interfaces.inputs import BESIDE
from graftwork.log import say
from graftwork_text.clean import decoded, text_columns
from graftwork_text.look import without_text
from graftwork_text.read import TEXT_NAMES, guesses_for

if TYPE_CHECKING:
    from datasets import Dataset

ORIGIN_LENGTH = 200
"""Characters of a text given on the command line by which it is called."""

NOT_UTF8 = "Save it as UTF-8, for example with iconv -f WINDOWS-1252 -t UTF-8"


def read_inputs(inputs: Sequence[str], pair: bool = False) -> Dataset:
    """Texts without labels for `graft predict`; columns `text`, `text_pair` where `pair`, and `origin`.

    An existing .txt file is one text, an existing table its rows, a folder every .txt below it; anything else is the text
    itself, and so is whatever `Inputs.contents` says. Where rows are pairs, a tab parts a text from its partner.

    Raises:
        DataError: a file is neither .txt nor a table, or is missing by its name, is not UTF-8, a folder holds no .txt, or a pair
            is wanted and there is no tab; where `Inputs.refuse` raises it.
    """
    from datasets import concatenate_datasets

    given = Inputs.of(inputs)
    if not given:
        raise DataError("no text was given", hint="Give texts, .txt files, tables or folders")
    paths = [None if number in given.contents else _existing(word) for number, word in enumerate(given)]
    parts: list[Dataset] = []
    # Texts that follow one another become one table: ten thousand lines of stdin would be ten thousand.
    for plain, group in groupby(range(len(given)), key=lambda number: paths[number] is None):
        numbers = list(group)
        if plain:
            parts.append(_with_text(_words(given, numbers, pair), given))
            continue
        for number in numbers:
            path = paths[number]
            assert path is not None
            try:
                parts.append(_with_text(_from_path(path, given[number], given, pair), given))
            except DataError as error:
                given.refuse(error)
    parts = [part for part in parts if len(part)] or [_plain([], [], given, pair)]
    return parts[0] if len(parts) == 1 else concatenate_datasets(_of_equal_columns(parts))


def _with_text(rows: Dataset, given: Inputs) -> Dataset:
    """Without the rows that hold no text, which training leaves out too."""
    empty = without_text(rows) if len(rows) else np.zeros(0, dtype=np.bool_)
    if not empty.any():
        return rows
    what = "has no text or no partner" if "text_pair" in rows.column_names else "has no text"
    for row in np.flatnonzero(empty).tolist():
        origin = rows[row]["origin"]
        given.refuse(DataError(what, where=origin if origin.strip() else repr(origin)))
    return rows.select(np.flatnonzero(~empty))


def _words(given: Inputs, numbers: Sequence[int], pair: bool) -> Dataset:
    """Words that are texts themselves."""
    texts = []
    for number in numbers:
        try:
            texts.append(_as_text(given[number], number in given.contents))
        except DataError as error:
            given.refuse(error)
    return _plain(texts, [_shortened(text) for text in texts], given, pair)


def _as_text(word: str, content: bool) -> str:
    """A word as text, unless it looks like a file that is not there, or holds bytes that are no text."""
    if (
        not content
        and not any(sign.isspace() for sign in word)
        and Path(word).suffix.lower() in {".txt", *TABLE_SUFFIXES}
    ):
        raise DataError(
            "does not exist", where=word, hint="Check the path; a text is taken as it is when it has a space"
        )
    try:
        word.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"character {error.start + 1} is not UTF-8", where=_shortened(word)) from None
    return word


def _shortened(text: str) -> str:
    return text if len(text) <= ORIGIN_LENGTH else text[: ORIGIN_LENGTH - 1] + "…"


def _existing(text: str) -> Path | None:
    """The path that the text is, if there is such a file or folder."""
    try:
        path = Path(text).expanduser()
        return path if text.strip() and path.exists() else None
    except (OSError, ValueError, RuntimeError):  # too long for a name, a NUL in it, or `~nobody`
        return None


def _from_path(path: Path, name: str, given: Inputs, pair: bool) -> Dataset:
    require_utf8(name)
    if path.is_dir():
        return _texts_of(sorted(_text_files(path)), name, given, pair)
    if path.suffix.lower() == ".txt":
        return _texts_of([path], name, given, pair)
    if path.suffix.lower() in TABLE_SUFFIXES:
        return _rows_of(path, given, pair)
    refuse_foreign(path)
    hint = f"Wanted .txt, {', '.join(sorted(TABLE_SUFFIXES))}, or the text itself"
    raise DataError("is a file, but neither text nor a table by its name", where=name, hint=hint)


def _text_files(folder: Path) -> list[Path]:
    found = [
        file
        for file in folder.rglob("*")
        if file.suffix.lower() == ".txt"
        and not any(is_junk(part) for part in file.relative_to(folder).parts)
        and file.is_file()
    ]
    if not found:
        tables = sorted(file for file in folder.rglob("*") if file.suffix.lower() in TABLE_SUFFIXES and file.is_file())
        hint = f"It holds tables: give one of them, such as {shlex.quote(str(tables[0]))}" if tables else "Wanted .txt"
        raise DataError("holds no text", where=str(folder), hint=hint)
    return found


def _texts_of(files: Sequence[Path], name: str, given: Inputs, pair: bool) -> Dataset:
    """Every file as one text."""
    home = Path(name).expanduser()
    texts, origins = [], []
    for file in files:
        origin = name if file == home else str(Path(name) / file.relative_to(home))
        try:
            texts.append(_text_of(file, origin))
            origins.append(origin)
        except DataError as error:
            given.refuse(error)
    return _plain([text.rstrip("\r\n") for text in texts] if pair else texts, origins, given, pair)


def _text_of(file: Path, origin: str) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", where=origin) from None
    encoding = wide_encoding(data[:HEAD])
    text, broken = decoded(data, encoding)
    if broken or "\0" in text:
        refuse_foreign(file)
    if broken and encoding:
        raise DataError(is_damaged(encoding), where=origin, hint="Write it anew, as UTF-8")
    if broken:
        raise DataError(not_utf8(data), where=origin, hint=NOT_UTF8)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        hint = "If it is UTF-16, convert it with iconv -f UTF-16LE -t UTF-8"
        raise DataError(f"line {line} holds a NUL byte, which is in no text", where=origin, hint=hint)
    return text


def not_utf8(data: bytes) -> str:
    """What is wrong with bytes that are not UTF-8: the first one that is not."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return f"line {line} holds the byte 0x{data[error.start]:02x}, which is not UTF-8"
    return "is not UTF-8"


def _plain(texts: Sequence[str], origins: Sequence[str], given: Inputs, pair: bool) -> Dataset:
    strings = pa.string()
    if not pair:
        return dataset_of(pa.table({"text": pa.array(texts, strings), "origin": pa.array(origins, strings)}))
    kept: list[tuple[str, str, str]] = []
    for text, origin in zip(texts, origins, strict=True):
        one, tab, two = text.partition("\t")
        if tab and "\t" not in two:
            kept.append((one, two, origin))
            continue
        found = f"{text.count(chr(9))} tabs" if tab else "no tab"
        hint = "The model reads pairs: write TEXT<tab>PARTNER"
        given.refuse(DataError(f"has {found} that would part a text from its partner", where=origin, hint=hint))
    columns = {name: [row[at] for row in kept] for at, name in enumerate(("text", "text_pair", "origin"))}
    return dataset_of(pa.table({name: pa.array(values, strings) for name, values in columns.items()}))


def _rows_of(path: Path, given: Inputs, pair: bool) -> Dataset:
    """A table's rows; those that are damaged are refused."""
    splits, findings = read_tables(path, {"train": [path]})
    for finding in findings:
        if finding.level == "warning":
            say(f"{finding.message} ({', '.join(finding.where[:3])})")
    rows = splits["train"]
    guesses: Mapping[str, Sequence[str]] = {"text": TEXT_NAMES}
    if pair:
        guesses = {"text": TEXT_NAMES, "text_pair": ()} | guesses_for([rows.column_names], given.columns, None)
    mapped = _mapped(rows, guesses, given, str(path))
    mapped, damaged = text_columns(mapped, str(path))
    mapped = mapped.select_columns([*guesses, "origin"])
    if given.beside:
        mapped = add_column(mapped, BESIDE, _cells(rows))
    if damaged:
        for origin in damaged:
            given.refuse(DataError("holds a byte that is not UTF-8", where=origin, hint=NOT_UTF8))
        bad = set(damaged)
        mapped = mapped.select([row for row, origin in enumerate(mapped["origin"][:]) if origin not in bad])
    return mapped


def _mapped(rows: Dataset, guesses: Mapping[str, Sequence[str]], given: Inputs, where: str) -> Dataset:
    """The wanted columns: as the user says now, else those of the training, else by their usual names, which is said."""
    trained = {
        canonical: source
        for canonical, source in given.trained_columns.items()
        if canonical in guesses and canonical not in given.columns
    }
    if trained:
        try:
            return map_columns({"rows": rows}, guesses, {**trained, **given.columns}, None, where)[0]["rows"]
        except DataError:
            pass  # another table than the training's
    mapped = map_columns({"rows": rows}, guesses, given.columns, None, where)[0]["rows"]
    missing = {canonical: source for canonical, source in trained.items() if source not in rows.column_names}
    if missing:
        taken = guess_columns(rows.column_names, {canonical: guesses[canonical] for canonical in missing})
        lacking = ", ".join(repr(source) for source in missing.values())
        told = ", ".join(f"{canonical}={source}" for canonical, source in taken.items())
        say(f"{where}: has no column {lacking} as the training had; taken by usual names: {told}")
    return mapped


def _cells(rows: Dataset) -> list[str]:
    """Every row's own cells as a JSON object."""
    own = rows.remove_columns("origin")
    if OWN_ORIGIN in own.column_names:
        own = own.rename_column(OWN_ORIGIN, "origin")
    return [json.dumps(row, ensure_ascii=False, default=str) for row in own]


def _of_equal_columns(parts: Sequence[Dataset]) -> list[Dataset]:
    """Rows of tables and other rows with the same columns."""
    if not any(BESIDE in part.column_names for part in parts):
        return list(parts)
    empty = [
        part if BESIDE in part.column_names else add_column(part, BESIDE, pa.nulls(len(part), pa.string()))
        for part in parts
    ]
    return empty
