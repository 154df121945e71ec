"""Spoilt data, and what is asked of a refusal and of a finding."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.data.fingerprint import row_digests
from graftwork.errors import DataError, GraftworkError, UsageError
from graftwork.interfaces import Finding, Tables

if TYPE_CHECKING:
    from datasets import Dataset

GARBAGE = b"\xff\xfe\x00 not what it says it is \x00\x01" * 4


def refused(call: Callable[[], Any], what: str, must: bool = True) -> None:
    """Hold a call to raising a DataError of one line, and nothing else; where it `must` raise at all."""
    try:
        call()
    except GraftworkError as error:
        kinds = DataError if must else (DataError, UsageError)
        assert isinstance(error, kinds), f"{what} raises {type(error).__name__} in place of DataError: {error}"
        said = str(error)
        assert "\n" not in said.strip() and said.strip(), f"{what} is refused in more than one line: {said!r}"
    except Exception as error:
        cause = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise AssertionError(
            f"{what} raises {cause}; it must be a DataError that says what, where and what to do"
        ) from error
    else:
        assert not must, f"{what} is not refused"


def garbage(folder: Path) -> list[Path]:
    """Folders and files of several forms, with nothing in them that could be read."""
    contents: dict[str, dict[str, bytes]] = {
        "class-folders": {f"{split}/{name}/{name}.jpg": GARBAGE for split in ("train", "test") for name in ("a", "b")},
        "a-table": {"table.csv": GARBAGE},
        "a-table-of-one-line": {"train.csv": b"text,label\n"},
        "json": {"annotations.json": b'{"images": [', "train.jsonl": b"{\n"},
        "pictures-and-masks": {"images/one.png": GARBAGE, "masks/one.png": GARBAGE},
    }
    for name, files in contents.items():
        for file, content in files.items():
            path = folder / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return [folder / name for name in contents]


def nonsense_of(value: Any) -> Any:
    """A value of the same kind that makes no sense."""
    if isinstance(value, Mapping) and "bytes" in value:
        return {"bytes": GARBAGE, "path": None}
    if isinstance(value, str):
        return ""
    if isinstance(value, float):
        return float("nan")
    return None


def with_cell(rows: Dataset, column: str, value: Any) -> Dataset:
    """The rows with another value in the second row of a column."""
    from datasets import Dataset

    columns = {name: list(rows[name][:]) for name in rows.column_names}
    columns[column][1 if len(rows) > 1 else 0] = value
    return Dataset.from_dict(columns, features=rows.features)


def described(tables: Tables) -> tuple[Any, ...]:
    rows = {
        split: (rows.column_names, [digest.decode() for digest in row_digests(rows)], rows["origin"][:])
        for split, rows in tables.splits.items()
    }
    return rows, tables.names, tables.findings


def check_finding(finding: Finding) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", finding.code), (
        f"the finding's code {finding.code!r} is not in kebab-case"
    )
    levels = ("error", "warning", "note")
    assert finding.level in levels, (
        f"finding {finding.code} has the level {finding.level!r}, none of {', '.join(levels)}"
    )
    assert finding.message.strip() and "\n" not in finding.message, f"finding {finding.code} has no message of one line"
