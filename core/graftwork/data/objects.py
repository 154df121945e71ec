"""Columns whose cells are objects or lists: the fields of these, and what is no class.

An object is a struct of Arrow's, or text as Python or JSON prints one (`{'name': 'neg', 'id': 0}`).
"""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING, Any

from graftwork.data.arrow import column_of, distinct_values
from graftwork.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


def fields_of(column: pa.ChunkedArray) -> list[str]:
    """The fields of a column of objects; none where it holds something else."""
    import pyarrow as pa

    if pa.types.is_struct(column.type):
        return [field.name for field in column.type]
    return list(dict.fromkeys(field for found in (_printed(column) or {}).values() for field in found))


def field_of(column: pa.ChunkedArray, field: str) -> pa.Array:
    """One field of every row; as text where objects are printed, null where an object lacks it."""
    import pyarrow as pa
    from pyarrow import compute

    if pa.types.is_struct(column.type):
        return compute.struct_field(column, field).combine_chunks()
    values, places = distinct_values(column)
    found = _printed(column) or {}
    told = [None if value not in found else _as_text(found[value].get(field)) for value in values]
    return pa.array(told, pa.string()).take(pa.array(places))


def refuse_objects(rows: Dataset, name: str, where: str) -> None:
    """Objects are no labels, though their text may look like some; one of their fields may be. Nor are lists within lists.

    Raises:
        DataError: the column holds them; names their fields, and how one is taken.
    """
    import pyarrow as pa

    kind = rows.data.column(name).type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not is_text and not pa.types.is_nested(kind):
        return
    column = column_of(rows, name)
    if inner := _within_lists(column):
        what = f"its label column {name!r} holds lists of {inner}, such as spans in a text, not classes"
        hint = 'Write a class a row into a column of its own, or for several a list of their names alone (["a", "b"])'
        raise DataError(what, where=where, hint=hint)
    fields = fields_of(column)
    if fields or pa.types.is_map(kind):
        what = f"its label column holds objects ({', '.join(fields) or 'maps'}), not classes"
        field = f"Say which field is the class, such as --column label={name}.{fields[0]}" if fields else None
        raise DataError(what, where=where, hint=field)


def _within_lists(column: pa.ChunkedArray) -> str | None:
    """What the lists of a column hold, where that is lists or objects again."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = kind.value_type
        return "lists" if pa.types.is_list(inner) else "objects" if pa.types.is_struct(inner) else None
    if _first(column, "[") is None:
        return None
    texts = [text.strip() for text in column.unique().to_pylist() if text and text.strip()]
    if not all(text.startswith("[") and text.endswith("]") for text in texts):
        return None
    found = {text[1:].lstrip()[:1] for text in texts}
    return "lists" if found & {"[", "("} else "objects" if "{" in found else None


def _printed(column: pa.ChunkedArray) -> dict[str, dict[str, Any]] | None:
    """The object that each distinct text of a column prints; None where some text prints none."""
    if _first(column, "{") is None:
        return None
    found = {}
    for text in column.unique().to_pylist():
        if text is None or not text.strip():
            continue
        value = _value(text)
        if value is None:
            return None
        found[text] = value
    return found


def _first(column: pa.ChunkedArray, sign: str) -> str | None:
    """The first text of a column of texts, where it begins with a sign."""
    import pyarrow as pa

    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return None
    for value in column:
        if value.is_valid and value.as_py().strip():
            text: str = value.as_py()
            return text if text.lstrip().startswith(sign) else None
    return None


def _value(text: str) -> dict[str, Any] | None:
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        return {str(name): inner for name, inner in value.items()} if isinstance(value, dict) else None
    return None


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
