"""Calls the observers; one that raises is switched off with a warning, and training goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from graftwork.interfaces import Observer
from graftwork.log import say

SWITCHED_OFF = "switched off"
"""How a line ends that tells of an observer's failure."""


class Observers:
    """All observers of a run, called as one.

    Args:
        observers: in the order in which they are called.
    """

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.active = list(observers)
        self.folder = ""
        self.settings: Mapping[str, Any] = {}
        self._started = False

    def __bool__(self) -> bool:
        return bool(self.active)

    def introduce(self, folder: str, settings: Mapping[str, Any]) -> None:
        """Note what a FitRecord tells of the run that the loop does not know: its directory and its settings."""
        self.folder, self.settings = folder, settings

    def call(self, event: str, *arguments: Any) -> None:
        """Call the method `event` of every observer that is still on."""
        self._started = self._started or event == "fit_start"
        for observer in list(self.active):
            try:
                getattr(observer, event)(*arguments)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # SystemExit too: no observer ends a run
                self.active.remove(observer)
                say(f"{_what_failed(observer, event, error)}: {SWITCHED_OFF}")

    @contextmanager
    def told_of_failure(self) -> Iterator[None]:
        """Tell of whatever ends the block before its time, once the fit has started."""
        try:
            yield
        except BaseException as error:
            if self._started:
                what = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__
                self.call("failure", what)
            raise


def _what_failed(observer: Observer, event: str, error: BaseException) -> str:
    """One line, whatever a stranger's classes do when they are asked for their name."""
    try:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        return f"observer {observer.name!r} failed in {event} ({cause})"
    except Exception:
        return f"observer {type(observer).__name__!r} failed in {event} ({type(error).__name__})"
