"""Rows from JSON: lines, an array of objects, or an object that holds one, or that holds columns."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.config.forms import TableForm
from graftwork.data.arrow import dataset_of
from graftwork.data.splits import canonical_split
from graftwork.data.streamed import read_mixed_lines, stream_jsonl
from graftwork.errors import DataError
from graftwork.files.text import HEAD, UTF8, encoding_of_mark, encoding_of_zeros, wide_encoding
from graftwork.interfaces.data import Finding

if TYPE_CHECKING:
    from datasets import Dataset

JSON_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json"})
"""In lower case."""

_SHOWN = 5
_WANTED = 'Wanted an array of objects, [{"text": …, "label": …}, …], or one object a line'
_WRAPPERS = ("data", "rows", "examples", "train", "items", "records")


def is_json_table(file: Path) -> bool:
    """Whether a JSON file holds rows: an array of objects, or an object a line."""
    try:
        with file.open("rb") as stream:
            head = _text(stream.read(1 << 16), TableForm(), ignore=True).lstrip()
    except (OSError, UnicodeError):
        return False
    if head.startswith("["):
        return head[1:].lstrip().startswith("{")
    first, _, rest = head.partition("\n")
    return _is_object(first) and rest.lstrip().startswith("{")


def read_json(file: Path, form: TableForm, large: bool) -> tuple[Dataset, list[Finding]]:
    """The rows of a JSON file, in whichever of these forms, and what is odd about it.

    Args:
        form: of which the encoding is heeded.
        large: whether JSON lines are streamed into the cache in place of being held in memory.

    Raises:
        DataError: it is JSON, but holds no rows.
        UnicodeError, ValueError, pyarrow.ArrowInvalid: it is none.
    """
    with file.open("rb") as stream:
        head = stream.read(HEAD)
    lines = _is_lines(file, head)
    known = form.encoding or wide_encoding(head)
    if lines and large and not known:
        rows, mixed = stream_jsonl(file)
    else:
        data = file.read_bytes()
        if not lines:
            data = "\n".join(json.dumps(row) for row in _rows(_parsed(_text(data, form)), file)).encode()
        elif known:
            data = _text(data, form).encode()
        table, mixed = read_mixed_lines(data)
        rows = dataset_of(table)
    if not mixed:
        return rows, []
    message = (
        f"{file.name} has columns of values of several kinds (numbers and text), all read as text: {', '.join(mixed)}"
    )
    return rows, [Finding("mixed-kinds", "warning", message, tuple(mixed[:_SHOWN]), len(mixed))]


def json_hint(reason: str, file: Path) -> str:
    """What to do about what pyarrow or json says of JSON."""
    if "specified twice" in reason:
        return "A name stands twice in one object: give one of them another name"
    if "surrogate" in reason:
        return "Half of a letter stands there, such as an emoji that was cut in two (\\ud83d): write it whole, or delete it"
    if reason.startswith(("Expecting", "Illegal", "Extra")) and file.suffix.lower() == ".json":
        return "Mend it there: no comma stands before a closing bracket, names and texts stand in double quotes"
    return "A line is one object, with names and texts in double quotes, as json.dumps writes it"


def _is_lines(file: Path, head: bytes) -> bool:
    if file.suffix.lower() != ".json":
        return not _text(head, TableForm(), ignore=True).lstrip().startswith("[")
    text = _text(head, TableForm(), ignore=True).lstrip()
    first, newline, rest = text.partition("\n")
    return bool(newline) and _is_object(first) and rest.lstrip().startswith("{")


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _text(data: bytes, form: TableForm, ignore: bool = False) -> str:
    head = data[:HEAD]
    encoding = encoding_of_mark(head) or form.encoding or encoding_of_zeros(head) or UTF8
    return data.decode(encoding, "ignore" if ignore else "strict")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None


def _rows(value: Any, file: Path) -> list[dict[str, Any]]:
    """The rows that a JSON value holds."""
    if isinstance(value, dict):
        columns, data = value.get("columns"), value.get("data")
        if isinstance(columns, list) and isinstance(data, list) and all(isinstance(row, list) for row in data):
            return [dict(zip(map(str, columns), row, strict=False)) for row in data]  # pandas' orient="split"
        arrays = [name for name, inner in value.items() if _is_array(inner)]
        if len(splits := [name for name in arrays if canonical_split(name)]) > 1:
            what = f"holds several splits ({', '.join(splits)}), and a file holds one"
            raise DataError(what, where=str(file), hint=_parted(file))
        if len(arrays) == 1:
            return list(value[arrays[0]])
        if (named := [name for name in arrays if name in _WRAPPERS]) and len(named) == 1:
            return list(value[named[0]])
        if value and not arrays and all(isinstance(inner, list) for inner in value.values()):
            if len(set(map(len, value.values()))) > 1:
                raise DataError("is JSON, but holds no rows", where=str(file), hint=_WANTED)
            return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
        if value and all(isinstance(inner, dict) for inner in value.values()):
            return _of_pandas(value, file)
    if _is_array(value):
        return list(value)
    raise DataError("is JSON, but holds no rows", where=str(file), hint=_WANTED)


def _parted(file: Path) -> str:
    """The command that writes every split of a file into one of its own."""
    target = shlex.quote(str(file.with_suffix("")))
    code = (
        "import json, pathlib, sys; f = pathlib.Path(sys.argv[2]); f.mkdir(); "
        '[(f / (n + ".json")).write_text(json.dumps(v)) for n, v in json.load(open(sys.argv[1], encoding="utf-8")).items()]'
    )
    return f"Part them: python -c '{code}' {shlex.quote(str(file))} {target}, then give {target}"


def _of_pandas(value: dict[str, dict[str, Any]], file: Path) -> list[dict[str, Any]]:
    """`{column: {row: cell}}`, as pandas writes it, or `{row: {column: cell}}`."""
    inner = list(value.values())
    if all(list(column) == list(inner[0]) for column in inner) and len(inner[0]) >= len(inner):
        return [dict(zip(value, row, strict=True)) for row in zip(*(column.values() for column in inner), strict=True)]
    return inner


def _is_array(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)
