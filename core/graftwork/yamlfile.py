"""Strict YAML: values with their line, and no surprises.

`yaml.safe_load` reads `1e-3` as text, keeps the last of two equal keys and expands alias bombs. Here numbers are numbers,
duplicate keys, aliases, anchors and tags are errors, and every error names file, line and column.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from graftwork.errors import UsageError

Lines = dict[tuple[str | int, ...], int]
"""Line (from 1) of every value, by its path of keys."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FLOAT = re.compile(r"[-+]?(\d[\d_]*)(\.[\d_]*)?([eE][-+]?\d+)?|[-+]?\.\d+([eE][-+]?\d+)?")
_INT = re.compile(r"[-+]?\d[\d_]*")
_BOOL = {"true": True, "false": False}
_NULL = {"", "~", "null", "Null", "NULL"}
_LIMIT = 4 * 1024 * 1024


def parse_scalar(text: str) -> Any:
    """A plain YAML scalar as Python value: `1e-3` is a float, `true` a bool, `null` None, anything else text."""
    if text in _NULL:
        return None
    if text.lower() in _BOOL:
        return _BOOL[text.lower()]
    if _INT.fullmatch(text):
        return int(text.replace("_", ""))
    if _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    return text


def read_yaml(path: Path) -> tuple[dict[str, Any], Lines]:
    """Read a mapping from a YAML file, with the line of every value.

    Raises:
        UsageError: unreadable file, not a mapping, duplicate key, alias, anchor or tag; with file:line:column.
    """
    try:
        if path.stat().st_size > _LIMIT:
            raise UsageError(f"is larger than {_LIMIT} bytes, which no configuration is", where=str(path))
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read ({error})", where=str(path)) from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> tuple[dict[str, Any], Lines]:
    """Like `read_yaml`, from text; `name` stands in the messages."""
    loader = _LOADER(text)
    try:
        for event in _events(text, name):
            del event
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise UsageError(f"is not valid YAML ({error.problem or error.context})", where=at) from None
    except yaml.YAMLError as error:
        raise UsageError(f"is not valid YAML ({str(error).splitlines()[0]})", where=name) from None
    finally:
        loader.dispose()
    lines: Lines = {}
    value = _value(node, (), lines, name) if node is not None else {}
    if not isinstance(value, dict):
        raise UsageError("must be a mapping of keys to values", where=f"{name}:1")
    return value, lines


def _events(text: str, name: str) -> Any:
    """Look at the event stream before anything is composed, so that an alias bomb is refused, not expanded."""
    for event in yaml.parse(text, Loader=_LOADER):
        at = f"{name}:{event.start_mark.line + 1}:{event.start_mark.column + 1}"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise UsageError("uses a YAML alias or anchor, which is not allowed", where=at, hint="Write the value out")
        if getattr(event, "tag", None):
            raise UsageError(f"uses the YAML tag {event.tag}, which is not allowed", where=at)
        yield event


def _value(node: Any, path: tuple[str | int, ...], lines: Lines, name: str) -> Any:
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):
        return node.value if node.style else parse_scalar(node.value)  # the C loader says "" for plain
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, index), lines, name) for index, item in enumerate(node.value)]
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        at = f"{name}:{key_node.start_mark.line + 1}:{key_node.start_mark.column + 1}"
        if not isinstance(key_node, yaml.ScalarNode):
            raise UsageError("has a key that is not plain text", where=at)
        key = str(key_node.value)
        if key in result:
            raise UsageError(f"has the key {key!r} twice", where=at, hint="Remove one of them")
        result[key] = _value(value_node, (*path, key), lines, name)
    return result


def to_yaml(value: dict[str, Any]) -> str:
    """Write plain data as YAML that `read_yaml` reads back to equal values."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Quotes every text that would be read back as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = isinstance(parse_scalar(text), str)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else "'")


def _represent_float(dumper: yaml.SafeDumper, number: float) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:float", repr(number))


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(float, _represent_float)
