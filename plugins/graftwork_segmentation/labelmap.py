"""Which mask value, or colour, is which class: the label map, from `labels.yaml`. Other files: see `labelfiles`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graftwork.data.names import class_name
from graftwork.errors import UsageError, did_you_mean
from graftwork.files.yaml import Lines, read_yaml

VOID = 255
"""The class index of pixels that are neither learned from nor scored."""

MOST_CLASSES = 255
"""Indices 0..254 are left beside VOID."""

LARGEST_VALUE = 65_535
"""Of a mask: 16-bit PNG."""

REST = "*"
"""A key of a mask map: every value that is not listed."""

NEAREST, PALETTE, SIZE, ALPHA = "!nearest", "!palette", "!size", "!alpha"
SETTINGS = (NEAREST, PALETTE, SIZE, ALPHA)
"""Keys of a mask map that say how masks are read: a value that is not listed is the nearest that is; a palette's colours
count, not its indices; a mask of another size and the same shape is brought to its picture's; the alpha channel has the
values."""

_VALUE = re.compile(r"0|[1-9]\d{0,4}")
_HEX = re.compile(r"#([0-9a-fA-F]{6})")
_TRIPLE = re.compile(r"(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})")
_WORDS = ("ignore", "merge", "merge_rest")
_REST_CHOICES = ("keep", "ignore")


@dataclass(frozen=True)
class LabelMap:
    """Mask values, or colours, and their classes.

    Args:
        names: class names by index.
        indices: key (`7`, or `#804080` for a colour, in lower case) to class index, or VOID.
        origin: where the map comes from, for messages.
    """

    names: tuple[str, ...]
    indices: Mapping[str, int]
    origin: str

    def to_json(self) -> str:
        """The column `mask_map`: equal text for equal maps."""
        return to_json(self.indices)


def to_json(indices: Mapping[str, int]) -> str:
    """A mask map as JSON, its keys in a fixed order."""
    return json.dumps({key: indices[key] for key in sorted(indices, key=_order)}, separators=(",", ":"))


def key_of(text: str | int) -> str | None:
    """The key that a value (`7`), a hex colour (`#804080`) or a triple (`128 64 128`) stands for; None for other text.

    Example:
        >>> key_of("128 64 128")
        '#804080'
    """
    text = str(text).strip()
    if _VALUE.fullmatch(text):
        return text if int(text) <= LARGEST_VALUE else None
    if match := _HEX.fullmatch(text):
        return f"#{match[1].lower()}"
    if match := _TRIPLE.fullmatch(text):
        levels = [int(level) for level in match.groups()]
        return "#{:02x}{:02x}{:02x}".format(*levels) if max(levels) <= 255 else None
    return None


def build_map(pairs: Iterable[tuple[str, str | None]], origin: str) -> LabelMap:
    """Keys with their class names, None for what is ignored; indices are contiguous, in the order of first appearance.

    Raises:
        UsageError: no class, more than 255, or values mixed with colours.
    """
    indices: dict[str, int] = {}
    numbers: dict[str, int] = {}
    for key, name in pairs:
        indices[key] = VOID if name is None else numbers.setdefault(name, len(numbers))
    if not numbers:
        raise UsageError("leaves no class", where=origin, hint="Give at least two lines VALUE: name")
    if len(numbers) > MOST_CLASSES:
        raise UsageError(f"has {len(numbers)} classes; at most {MOST_CLASSES} can be told apart", where=origin)
    if len({key.startswith("#") for key in indices}) > 1:
        hint = "A mask has either values or colours: keep one kind"
        raise UsageError("has both mask values and colours", where=origin, hint=hint)
    return LabelMap(tuple(numbers), indices, origin)


def read_label_map(path: Path) -> LabelMap:
    """A label map from YAML.

    `VALUE: name` a line, where VALUE is a whole number 0..65535 or a colour ("#804080" or "128 64 128"); several values
    may have one name. Beside these: `ignore`, a list of values, colours or names that are not scored; `merge`, a mapping of
    a class to the list of names that become it; `merge_rest`, whether names outside `merge` are kept (`keep`) or not scored
    (`ignore`).

    Raises:
        UsageError: anything else; with file and line.
    """
    content, lines = read_yaml(path)
    where = str(path)
    names = dict(_named_keys(content, lines, where))
    ignored = _ignored(content.get("ignore"), names, lines, where)
    kept = {key: None if key in ignored else name for key, name in names.items()}
    kept |= {key: None for key in ignored if key not in names}
    targets = _targets(content, list(dict.fromkeys(name for name in kept.values() if name)), lines, where)
    return build_map(((key, name and targets[name]) for key, name in kept.items()), where)


def _named_keys(content: Mapping[str, Any], lines: Lines, where: str) -> Iterable[tuple[str, str]]:
    seen: dict[str, str] = {}
    for text, name in content.items():
        if text in _WORDS:
            continue
        key = key_of(text)
        at = _at(where, lines, (text,))
        if key is None:
            if re.search(r"[a-zA-Z]", text) and not text.startswith("#"):
                raise UsageError(f"unknown key {text!r}", where=at, hint=did_you_mean(text, list(_WORDS)))
            hint = 'Wanted 0..65535, "#804080" or "128 64 128"'
            raise UsageError(f"{text!r} is neither a mask value nor a colour", where=at, hint=hint)
        if key in seen:
            raise UsageError(f"{text!r} and {seen[key]!r} are the same colour", where=at, hint="Remove one of them")
        seen[key] = text
        yield key, _text(name, at, "a class name")


def _ignored(given: Any, names: Mapping[str, str], lines: Lines, where: str) -> set[str]:
    """Keys of what `ignore` lists; a text that is a class name means all its keys."""
    keys: set[str] = set()
    for position, item in enumerate(_list(given, lines, ("ignore",), where)):
        at = _at(where, lines, ("ignore", position))
        named = [key for key, name in names.items() if name == item]
        key = key_of(item) if isinstance(item, (str, int)) and not isinstance(item, bool) else None
        if named:
            keys.update(named)
        elif key is not None:
            keys.add(key)
        else:
            hint = did_you_mean(str(item), list(dict.fromkeys(names.values())))
            raise UsageError(f"ignore: {item!r} is no mask value, colour or class name", where=at, hint=hint)
    return keys


def _targets(content: Mapping[str, Any], names: Sequence[str], lines: Lines, where: str) -> dict[str, str | None]:
    """What every class name becomes; None where it is not scored."""
    merge = content.get("merge")
    if "merge" not in content:
        if "merge_rest" in content:
            raise UsageError("merge_rest says nothing without merge", where=_at(where, lines, ("merge_rest",)))
        return {name: name for name in names}
    if not isinstance(merge, dict) or not merge:
        hint = "Wanted CLASS: [names that become it]"
        raise UsageError("merge is not a mapping", where=_at(where, lines, ("merge",)), hint=hint)
    becomes: dict[str, str | None] = {}
    for target, sources in merge.items():
        for position, source in enumerate(_list(sources, lines, ("merge", target), where, at_least=1)):
            at = _at(where, lines, ("merge", target, position))
            source = _text(source, at, "a class name")
            if source not in names:
                hint = did_you_mean(source, list(names))
                raise UsageError(f"merge: {source!r} is no class here, or is ignored", where=at, hint=hint)
            if source in becomes:
                raise UsageError(f"merge: {source!r} is to become both {becomes[source]!r} and {target!r}", where=at)
            becomes[source] = target
    rest = content.get("merge_rest", "keep")
    if rest not in _REST_CHOICES:
        hint = f"Wanted {' or '.join(_REST_CHOICES)}"
        raise UsageError(f"merge_rest: {rest!r}", where=_at(where, lines, ("merge_rest",)), hint=hint)
    # A class that bears a target's name belongs to it, whatever becomes of the rest.
    return {name: becomes.get(name, name if rest == "keep" or name in merge else None) for name in names}


def _list(given: Any, lines: Lines, path: tuple[str, ...], where: str, at_least: int = 0) -> list[Any]:
    if given is None and path == ("ignore",):
        return []
    if not isinstance(given, list) or len(given) < at_least:
        what = f"{': '.join(path)} must be a list" + (" with at least one entry" if at_least else "")
        raise UsageError(what, where=_at(where, lines, path), hint="Write it in brackets: [a, b]")
    return given


def _text(value: Any, at: str, noun: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{value!r} is not {noun}", where=at, hint="Put names such as true or null in quotes")
    return class_name(value)


def _at(where: str, lines: Lines, path: tuple[str | int, ...]) -> str:
    return f"{where}:{lines[path]}" if path in lines else where


def _order(key: str) -> tuple[int, int, str]:
    return (0, int(key), "") if key.isdecimal() else (1, 0, key)
