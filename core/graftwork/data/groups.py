"""Groups of rows by what their files are called, for data without columns: `--group-by folder`, or a regular expression."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from graftwork.data.columns import add_column
from graftwork.data.splits import row_keys
from graftwork.errors import DataError, UsageError
from graftwork.interfaces.data import Finding

if TYPE_CHECKING:
    from datasets import Dataset

FOLDER = "folder"
"""Groups by the name of the folder that a file lies in."""

_SHOWN = 5


def group_by_name(
    splits: Mapping[str, Dataset], group_by: str | None, where: str
) -> tuple[dict[str, Dataset], list[Finding]]:
    """The rows with `group`, taken from `origin`; as they are where no group is wanted.

    Args:
        splits: rows with `origin`, a path with `/` between its parts.
        group_by: `folder`, or a regular expression that is looked for in the path: its groups, or else all that it matches, is
            the row's group. A row in which it is not found is in none.
        where: the source, for messages.

    Raises:
        UsageError: it is no regular expression.
        DataError: it is found in no row, or all rows are in one group.
    """
    if group_by is None:
        return dict(splits), []
    pattern = re.compile(r"([^/]+)/[^/]*$") if group_by == FOLDER else _compiled(group_by)
    groups = {split: [_group(pattern, name) for name in row_keys(rows)] for split, rows in splits.items()}
    found = {group for column in groups.values() for group in column if group is not None}
    first = next((row_keys(rows)[0] for rows in splits.values() if len(rows)), "")
    if len(found) < 2:
        what = f"puts all rows into one group, {found.pop()!r}" if found else "is found in no file's path"
        hint = (
            f"A path is {first!r} here: give --group-by {FOLDER}, or a regular expression whose group differs from one to the "
            "next, as '(patient[0-9]+)'"
        )
        raise DataError(f"--group-by {group_by!r} {what}", where=where, hint=hint)
    named = (
        (name, one) for split, rows in splits.items() for name, one in zip(row_keys(rows), groups[split], strict=True)
    )
    outside = [name for name, one in named if one is None]
    message = f"files in whose path --group-by {group_by!r} is not found, which are in no group: {len(outside):,}"
    findings = (
        [Finding("rows-without-group", "warning", message, tuple(outside[:_SHOWN]), len(outside))] if outside else []
    )
    return {split: _with_groups(rows, groups[split]) for split, rows in splits.items()}, findings


def _with_groups(rows: Dataset, groups: Sequence[str | None]) -> Dataset:
    import pyarrow as pa

    return add_column(rows, "group", pa.array(groups, pa.string()))


def _compiled(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        hint = (
            f"Data without columns is grouped by {FOLDER}, or by a regular expression on the path, as '(patient[0-9]+)'"
        )
        raise UsageError(f"--group-by {text!r} is no regular expression ({error})", hint=hint) from None


def _group(pattern: re.Pattern[str], name: str) -> str | None:
    found = pattern.search(name)
    if found is None:
        return None
    parts = [part for part in found.groups() if part] or [found.group()]
    return "/".join(parts)
