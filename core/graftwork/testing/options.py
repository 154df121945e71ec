"""Options that note which of them are read: what is declared must be read, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from graftwork.catalogue import Entry, Option
from graftwork.errors import GraftworkError
from graftwork.testing.base import doing


class Watched(Mapping[str, Any]):
    """Options as a builder gets them.

    Args:
        values: complete, by name.
        read: takes the name of each that is read.
        asked: takes the name of each that is asked for and not there.
    """

    def __init__(self, values: Mapping[str, Any], read: set[str], asked: set[str]) -> None:
        self._values = dict(values)
        self._read = read
        self._asked = asked

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            self._asked.add(name)
            raise KeyError(name)
        self._read.add(name)
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        if name not in self._values:
            self._asked.add(str(name))
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def check_options_are_read(what: str, entry: Entry, use: Callable[[Watched], Any]) -> None:
    """Hold what is built from options to reading those that its registry.yaml declares, and no others.

    An option may matter only where another one has a certain value: every choice of every option is tried.

    Args:
        what: the beginning of the sentence that names a fault, e.g. `head my-head`.
        entry: of the catalogue.
        use: builds with the options given, and does with it whatever reads them.
    """
    read: set[str] = set()
    asked: set[str] = set()
    defaults = entry.complete({})
    tried = [defaults]
    tried += [{**defaults, name: value} for name, option in entry.options.items() for value in _others(option)]
    for values in tried:
        if values is not defaults and read >= set(entry.options):
            break
        failed: Exception | None = None
        try:
            use(Watched(values, read, asked))
        except GraftworkError as error:
            failed = error if values is defaults else None  # another combination may be refused in words
        except Exception as error:
            failed = error
        assert not asked, (
            f"{what} reads the option {', '.join(sorted(asked))}, which its registry.yaml does not declare"
        )
        if failed is not None:
            with doing(f"using {what} with {_told(values, defaults)}"):
                raise failed
    ignored = set(entry.options) - read
    assert not ignored, (
        f"{what} declares the option{'s' if len(ignored) > 1 else ''} {', '.join(sorted(ignored))} in its registry.yaml "
        "and never reads it: setting it changes nothing"
    )


def _told(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    changed = [f"{name} = {value!r}" for name, value in values.items() if value != defaults[name]]
    return ", ".join(changed) or "its default options"


def _others(option: Option) -> list[Any]:
    """Values beside the default that may switch something on."""
    if option.choices:
        return [choice for choice in option.choices if choice != option.default]
    if option.type == "bool":
        return [not option.default]
    if option.type in ("int", "float") and isinstance(option.default, int | float):
        step = 1 if option.type == "int" else 0.1
        values = [option.default + step, option.default - step]
        return [type(step)(value) for value in values if option.check(type(step)(value)) is None][:1]
    return []
