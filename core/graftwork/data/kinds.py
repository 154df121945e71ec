"""Values of several kinds in one place of JSON lines (1 and "1"), which a column of Arrow cannot hold: they become text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Shape:
    """What kinds of values stand in one place of all rows; null is none.

    Args:
        kinds: of `text`, `number`, `truth`, `list`, `object`.
        item: the place of all members of lists.
        fields: the places of an object's values.
    """

    kinds: set[str] = field(default_factory=set)
    item: Shape | None = None
    fields: dict[str, Shape] = field(default_factory=dict)

    def add(self, value: Any) -> None:
        """Take a value in."""
        if value is None:
            return
        self.kinds.add(_kind(value))
        if isinstance(value, list):
            self.item = self.item or Shape()
            for member in value:
                self.item.add(member)
        elif isinstance(value, dict):
            for name, inner in value.items():
                self.fields.setdefault(name, Shape()).add(inner)

    def mixed(self, name: str = "") -> Iterator[str]:
        """The places where kinds are mixed: `label`, `meta.id`, `tags[]`."""
        if len(self.kinds) > 1:
            yield name
            return
        if self.item is not None:
            yield from self.item.mixed(f"{name}[]")
        for inner, shape in self.fields.items():
            yield from shape.mixed(f"{name}.{inner}" if name else inner)

    def fitted(self, value: Any) -> Any:
        """The value, as text where kinds are mixed: text as it is, other kinds as JSON writes them."""
        if value is None:
            return None
        if len(self.kinds) > 1:
            return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if isinstance(value, list) and self.item is not None:
            return [self.item.fitted(member) for member in value]
        if isinstance(value, dict):
            return {name: self.fields[name].fitted(inner) for name, inner in value.items()}
        return value


def shape_of(lines: Iterable[bytes]) -> Shape | None:
    """The shape of all rows; None where a line is no object of JSON."""
    shape = Shape()
    try:
        for line in lines:
            if line.strip():
                shape.add(_parsed(line))
    except (ValueError, RecursionError):
        return None
    return shape if shape.kinds <= {"object"} else None


def fitted_lines(lines: Iterable[bytes], shape: Shape) -> bytes:
    """The same lines, of which a column of Arrow can hold every place; NaN and Infinity, which JSON has not, become null."""
    # Letters beyond ASCII as escapes: half of a pair cannot be encoded, and pyarrow names the row that has one.
    return b"".join(json.dumps(shape.fitted(_parsed(line))).encode() + b"\n" for line in lines if line.strip())


def _parsed(line: bytes) -> Any:
    return json.loads(line.removeprefix(b"\xef\xbb\xbf"), parse_constant=lambda _: None)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "truth"
    return (
        "text"
        if isinstance(value, str)
        else "list"
        if isinstance(value, list)
        else ("object" if isinstance(value, dict) else "number")
    )
