"""Calls the observers; one that raises is switched off with a warning, and training goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graftwork.interfaces import Observer


class Observers:
    """All observers of a run, called as one.

    Args:
        observers: in the order in which they are called.
        say: takes the warning when one fails.
    """

    def __init__(self, observers: Sequence[Observer], say: Callable[[str], None]) -> None:
        self.active = list(observers)
        self.say = say

    def __bool__(self) -> bool:
        return bool(self.active)

    def call(self, event: str, *arguments: Any) -> None:
        """Call the method `event` of every observer that is still on."""
        for observer in list(self.active):
            try:
                getattr(observer, event)(*arguments)
            except Exception as error:
                self.active.remove(observer)
                self.say(
                    f"observer {observer.name!r} failed in {event} ({type(error).__name__}: {error}): switched off"
                )
