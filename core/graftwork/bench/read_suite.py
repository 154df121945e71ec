"""The values of a suite's YAML, checked one by one: what is wrong is kept with its line, and reading goes on.

What the keys of a suite mean stands in `suite`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from graftwork.catalogue.registry import NAME_PATTERN
from graftwork.config import Layer, RunConfig
from graftwork.errors import UsageError, did_you_mean
from graftwork.files.yaml import Lines

At = tuple[str | int, ...]
"""Path of keys to a value."""

SET_ELSEWHERE = {
    "task": "The data set says it",
    "data": "The data set says it",
    "backbone": "Write it beside settings, in the entry of a backbone",
    "strategy": "Write it beside settings, in the entry of a strategy",
    "seed": "The list of seeds says it for the whole suite",
}
"""Settings of a run that are an axis of the suite, and where they belong."""

_SHOWN = 12


def raise_all(problems: Sequence[UsageError]) -> None:
    """One error for all problems, each with its place; nothing when there is none."""
    different = list({str(problem): problem for problem in problems}.values())
    if len(different) == 1:
        raise different[0]
    if different:
        rest = f"; and {len(different) - _SHOWN} more" if len(different) > _SHOWN else ""
        raise UsageError("; ".join(str(problem) for problem in different[:_SHOWN]) + rest)


class Reader:
    """Turns plain values into checked ones. A value that does not fit is a problem and becomes an empty one.

    Args:
        path: of the file.
        lines: of its values.
    """

    def __init__(self, path: Path, lines: Lines) -> None:
        self.path = path
        self.lines = lines
        self.problems: list[UsageError] = []

    def line(self, at: At) -> int:
        """The line of a value, or of the nearest one around it that the file has."""
        return next((self.lines[at[:end]] for end in range(len(at), -1, -1) if at[:end] in self.lines), 1)

    def lines_in(self, at: At, entry: Iterable[str]) -> dict[str, int]:
        """The line of each value of a mapping, by its key."""
        return {key: self.line((*at, key)) for key in entry}

    def problem(self, at: At, what: str, hint: str | None = None) -> None:
        self.problems.append(UsageError(what, where=f"{self.path}:{self.line(at)}", hint=hint))

    def mapping(self, value: Any, at: At, known: Iterable[str] | None = None) -> dict[str, Any]:
        """A mapping, an empty one where nothing stands.

        Args:
            known: the keys that it may have; any name where none are given.
        """
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.problem(at, f"{_last(at)} must be a mapping of keys to values, not {value!r}")
            return {}
        kept = {}
        for key, inner in value.items():
            if known is not None and key not in known:
                self.problem((*at, key), f"unknown key {key!r}", did_you_mean(key, list(known)))
            elif known is None and not re.fullmatch(NAME_PATTERN, key):
                what = f"{key!r} is not a name (lower-case letters, digits, '-', '_', '.', at most 64)"
                self.problem((*at, key), what)
            else:
                kept[key] = inner
        return kept

    def entries(self, value: Any, at: At, example: str) -> dict[str, Any]:
        """A mapping by names of the suite's own, with at least one."""
        found = self.mapping(value, at)
        if not found and (value is None or value == {}):
            self.problem(at, f"{_last(at)} is missing", f"Example: {example}")
        return found

    def text(self, value: Any, at: At, default: str | None = None) -> str:
        """Some text on one line; `default` where nothing stands, which is a problem without one."""
        if value is None and default is not None:
            return default
        if value is None:
            self.problem(at, f"{_last(at)} is missing")
        elif not isinstance(value, str) or not value.strip() or not value.isprintable():
            self.problem(at, f"{_last(at)} must be text on one line, not {value!r}")
        else:
            return value
        return default or ""

    def truth(self, value: Any, at: At) -> bool:
        """True or false; false where nothing stands."""
        if value is not None and not isinstance(value, bool):
            self.problem(at, f"{_last(at)} must be true or false, not {value!r}")
        return value is True

    def number(self, value: Any, at: At) -> float | None:
        """A finite number, None where nothing stands."""
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.problem(at, f"{_last(at)} must be a number, not {value!r}")
            return None
        return float(value)

    def listed(self, value: Any, at: At) -> list[tuple[Any, At]]:
        """The items of a list with their places; one value alone counts as a list of it, and nothing as an empty one."""
        if value is None:
            return []
        if not isinstance(value, list):
            return [(value, at)]
        return [(item, (*at, index)) for index, item in enumerate(value)]

    def chosen(self, value: Any, at: At, known: Iterable[str], what: str) -> tuple[str, ...]:
        """One or several of the known names, as text; numbers are names too (labels, seeds).

        Args:
            what: singular, for messages: `data set`.
        """
        names = []
        known = list(known)
        for item, place in self.listed(value, at):
            name = str(item)
            if isinstance(item, str | int) and not isinstance(item, bool) and name in known:
                names.append(name)
            else:
                self.problem(place, f"unknown {what} {name!r} in this suite", did_you_mean(name, known))
        if not names and isinstance(value, list) and not value:
            self.problem(at, f"{_last(at)} is empty", "Leave it out for all")
        return tuple(dict.fromkeys(names))

    def settings(self, value: Any, at: At) -> Layer:
        """Settings of a run, by name, each valid on its own."""
        kept = {}
        for name, inner in self.mapping(value, at, _Anything()).items():
            if self._is_setting(name, (*at, name)):
                kept[name] = inner
        wrong = self._invalid(kept, at)
        kept = {name: inner for name, inner in kept.items() if name not in wrong}
        return Layer(kept, {name: f"{self.path.name}:{self.line((*at, name))}" for name in kept})

    def points(self, value: Any, at: At) -> tuple[tuple[str, Layer], ...]:
        """Every point of a grid as its label (`lr=0.001`) and its settings; one without a label where there is no grid."""
        axes: list[list[tuple[str, Any, int]]] = []
        for name, values in self.mapping(value, at, _Anything()).items():
            place = (*at, name)
            if not isinstance(values, list) or not values:
                self.problem(place, f"{name} must be a list of values", f"Example: sweep: {{{name}: [0.001, 0.0003]}}")
                continue
            outer, dot, inner = name.partition(".")
            if outer == "limit_train":
                self.problem(place, "limit_train cannot be swept", "Write labels: [100, all]")
            elif dot or self._is_setting(name, place):
                points = self._values(outer, inner, values, place)
                axes.append([(name, point, self.line(place)) for point in points])
        return tuple(self._point(choice) for choice in product(*axes))

    def _values(self, setting: str, inner: str, values: list[Any], at: At) -> list[Any]:
        if inner and setting not in OPTIONS:
            self.problem(at, f"{setting!r} has no options", did_you_mean(setting, sorted(OPTIONS)))
            return []
        if len({json.dumps(value) for value in values}) < len(values):
            self.problem(at, f"{_last(at)} has a value twice")
        kept = []
        for index, value in enumerate(values):
            if isinstance(value, list | dict):
                self.problem((*at, index), f"{_last(at)}: a value must be a number, text, true or false, not {value!r}")
            elif not self._invalid({setting: {inner: value} if inner else value}, (*at, index)):
                kept.append(value)
        return kept

    def _point(self, choice: Sequence[tuple[str, Any, int]]) -> tuple[str, Layer]:
        values: dict[str, Any] = {}
        for name, value, _ in choice:
            outer, dot, inner = name.partition(".")
            values[outer] = {**values.get(outer, {}), inner: value} if dot else value
        origin = {name.partition(".")[0]: f"{self.path.name}:{line}" for name, _, line in choice}
        return " ".join(f"{name}={_shown(value)}" for name, value, _ in choice), Layer(values, origin)

    def _is_setting(self, name: str, at: At) -> bool:
        outer, dot, inner = name.partition(".")
        if name in SET_ELSEWHERE:
            self.problem(at, f"{name} is not a setting here", SET_ELSEWHERE[name])
        elif name in RunConfig.model_fields:
            return True
        elif dot and outer in OPTIONS:
            self.problem(at, f"unknown setting {name!r}", f"Write {outer}: {{{inner}: …}}")
        else:
            self.problem(at, f"unknown setting {name!r}", did_you_mean(name, sorted(RunConfig.model_fields)))
        return False

    def _invalid(self, values: dict[str, Any], at: At) -> set[str]:
        """Names of the settings whose value does not fit, each told once."""
        try:
            RunConfig.model_validate({"task": "?", "data": "?", **values})
        except ValidationError as error:
            wrong: set[str] = set()
            for found in error.errors():
                if found["loc"][0] not in wrong:
                    wrong.add(str(found["loc"][0]))
                    name = ".".join(str(part) for part in found["loc"])
                    message = found["msg"].removeprefix("Value error, ")
                    self.problem((*at, *found["loc"]), f"{name} = {found['input']!r}: {message}")
            return wrong
        return set()


OPTIONS = frozenset(name for name, field in RunConfig.model_fields.items() if str(field.annotation).startswith("dict["))
"""Settings that hold a mapping."""


class _Anything:
    """Stands for the keys of a mapping that says itself what is wrong with them."""

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Any:
        return iter(())


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _last(at: At) -> str:
    return str(next((part for part in reversed(at) if isinstance(part, str)), "the file"))
