"""Strict YAML: values with their line, and no surprises.

`yaml.safe_load` reads `1e-3` as text, keeps the last of two equal keys and expands alias bombs. Here numbers are numbers,
duplicate keys, aliases, anchors and tags are errors, and every error names file, line and column.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from graftwork.errors import UsageError
from graftwork.files.text import read_text, save_as_utf8

Lines = dict[tuple[str | int, ...], int]
"""Line (from 1) of every value, by its path of keys."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*(\.[0-9_]*([eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)|\.[0-9]+([eE][-+]?[0-9]+)?)")
_INT = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_BOOL = {"true": True, "false": False}
_NULL = {"", "~", "null", "Null", "NULL"}
_LIMIT = 4 * 1024 * 1024
_DEPTH = 64
_LONGEST_NUMBER = 400  # digits; int() refuses more than 4300, and no setting has that many


def parse_scalar(text: str) -> Any:
    """A plain YAML scalar as Python value: `1e-3` is a float, `true` a bool, `null` None, anything else text.

    `007` stays text (a code, not a number), and so does what no float can hold (`1e999`).
    """
    if text in _NULL:
        return None
    if text.lower() in _BOOL:
        return _BOOL[text.lower()]
    if len(text) > _LONGEST_NUMBER:
        return text
    if _INT.fullmatch(text):
        return int(text.replace("_", ""))
    if _FLOAT.fullmatch(text):
        number = float(text.replace("_", ""))
        return number if math.isfinite(number) else text
    return text


def read_yaml(path: Path) -> tuple[dict[str, Any], Lines]:
    """Read a mapping from a YAML file, with the line of every value.

    Raises:
        UsageError: unreadable file, not a mapping, duplicate key, alias, anchor or tag; with file:line:column.
    """
    try:
        if path.stat().st_size > _LIMIT:
            raise UsageError(f"is larger than {_LIMIT} bytes, which no configuration is", where=str(path))
        text = read_text(path)
    except UnicodeDecodeError as error:
        raise UsageError(f"is not UTF-8 text ({error.reason})", where=str(path), hint=save_as_utf8(path)) from None
    except OSError as error:
        raise UsageError(f"cannot be read ({error})", where=str(path)) from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> tuple[dict[str, Any], Lines]:
    """Like `read_yaml`, from text; `name` stands in the messages."""
    loader = _LOADER(text)
    try:
        return _Reader(loader, name).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = _at(name, mark) if mark else name
        raise UsageError(f"is not valid YAML ({error.problem or error.context})", where=at) from None
    except yaml.YAMLError as error:
        raise UsageError(f"is not valid YAML ({str(error).splitlines()[0]})", where=name) from None
    finally:
        loader.dispose()


def _at(name: str, mark: Any) -> str:
    return f"{name}:{mark.line + 1}:{mark.column + 1}"


class _Reader:
    """Builds values straight from the events: one pass, nothing composed, so that an alias bomb is refused, not expanded.

    The catalogue is read by every command; a second pass over nodes doubled its cost.
    """

    def __init__(self, loader: Any, name: str) -> None:
        self.next = loader.get_event
        self.name = name
        self.lines: Lines = {}

    def document(self) -> tuple[dict[str, Any], Lines]:
        """The one document of the stream; no document is an empty mapping."""
        self.next()  # StreamStart
        event = self.next()
        if isinstance(event, yaml.StreamEndEvent):
            return {}, self.lines
        first = self.next()
        value = self._value(first, ())
        self.next()  # DocumentEnd
        event = self.next()
        if not isinstance(event, yaml.StreamEndEvent):
            raise UsageError("holds a second YAML document", where=_at(self.name, event.start_mark), hint="Keep one")
        if value is None and first.value == "":
            return {}, self.lines  # only `---`
        if not isinstance(value, dict):
            raise UsageError("must be a mapping of keys to values", where=f"{self.name}:{first.start_mark.line + 1}")
        return value, self.lines

    def _value(self, event: Any, path: tuple[str | int, ...]) -> Any:
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            where = _at(self.name, event.start_mark)
            raise UsageError(
                "uses a YAML alias or anchor, which is not allowed", where=where, hint="Write the value out"
            )
        if event.tag is not None:
            where = _at(self.name, event.start_mark)
            raise UsageError(f"uses the YAML tag {event.tag}, which is not allowed", where=where, hint="Leave it out")
        self.lines[path] = event.start_mark.line + 1
        if isinstance(event, yaml.ScalarEvent):
            return event.value if event.style else parse_scalar(event.value)  # plain style is "" in C, None in Python
        if len(path) >= _DEPTH:
            raise UsageError(f"nests more than {_DEPTH} levels deep", where=_at(self.name, event.start_mark))
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        return self._mapping(path)

    def _sequence(self, path: tuple[str | int, ...]) -> list[Any]:
        result: list[Any] = []
        while not isinstance(event := self.next(), yaml.SequenceEndEvent):
            result.append(self._value(event, (*path, len(result))))
        return result

    def _mapping(self, path: tuple[str | int, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while not isinstance(event := self.next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None or event.tag is not None:
                where = _at(self.name, event.start_mark)
                raise UsageError("has a key that is not plain text (alias, anchor, tag, list or mapping)", where=where)
            key = event.value
            if key in result:
                where = _at(self.name, event.start_mark)
                raise UsageError(f"has the key {key!r} twice", where=where, hint="Remove one of them")
            result[key] = self._value(self.next(), (*path, key))
        return result


def to_yaml(value: dict[str, Any]) -> str:
    """Write plain data as YAML that `read_yaml` reads back to equal values.

    Raises:
        UsageError: a number that is not finite, which no configuration can hold.
    """
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


_yaml_1_1: Any = yaml.SafeDumper.resolve


class _Dumper(yaml.SafeDumper):
    """Leaves plain what our reader reads as that value: PyYAML's own rules would write 1e-05 as `!!float '1e-05'`."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is not yaml.ScalarNode or not implicit[0]:
            return _yaml_1_1(self, kind, value, implicit)
        return f"tag:yaml.org,2002:{_TAGS[type(parse_scalar(value))]}"


_TAGS = {str: "str", int: "int", float: "float", bool: "bool", type(None): "null"}


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """Quotes also what other YAML readers take for a number, a date or a truth value (`yes`, `1:30`)."""
    tag = "tag:yaml.org,2002:str"
    plain = _yaml_1_1(dumper, yaml.ScalarNode, text, (True, False)) == tag
    if not text.isprintable():  # other styles fold line breaks of every kind (NEL too) into one
        return dumper.represent_scalar(tag, text, style='"')
    return dumper.represent_scalar(tag, text, style=None if plain else "'")


def _represent_float(dumper: _Dumper, number: float) -> yaml.ScalarNode:
    if not math.isfinite(number):
        raise UsageError(f"{number} cannot be kept in a configuration", hint="Use a finite number")
    return dumper.represent_scalar("tag:yaml.org,2002:float", repr(number))


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(float, _represent_float)
