"""The one logger: what the core has to tell people goes through `say`. Who listens is decided at the edge.

The command line prints the lines, a run keeps them in log.txt, and Python hears them as `logging.getLogger("graftwork")`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOGGER = logging.getLogger("graftwork")
LOGGER.setLevel(logging.INFO)
LOGGER.addHandler(logging.NullHandler())  # or Python would print warnings of its own accord where nobody listens


def say(line: str) -> None:
    """One line (or a small table) for people."""
    LOGGER.info("%s", line)


class _Listener(logging.Handler):
    def __init__(self, take: Callable[[str], None]) -> None:
        super().__init__()
        self.take = take

    def emit(self, record: logging.LogRecord) -> None:
        self.take(record.getMessage())


@contextmanager
def heard(take: Callable[[str], None]) -> Iterator[None]:
    """Give every line that is said within the block to `take`, too."""
    listener = _Listener(take)
    LOGGER.addHandler(listener)
    try:
        yield
    finally:
        LOGGER.removeHandler(listener)


@contextmanager
def muted(silent: bool = True) -> Iterator[None]:
    """Say nothing within the block: of several processes only the main one speaks."""
    before = LOGGER.disabled
    LOGGER.disabled = silent or before
    try:
        yield
    finally:
        LOGGER.disabled = before
