"""When Python's cycle collector is left out, because it finds nothing: during imports, and at the end of a command."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Around imports of large libraries: none of the half a million objects that torch, torchvision and datasets make is
    garbage, and looking through them again and again took a second of processor time, a quarter of the imports."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def leave_quickly() -> None:
    """Let this process end without looking for garbage: with those libraries loaded, that took over a second.

    What is to be done at the end belongs into a `finally` or into `atexit`, whose functions are called all the same.
    """
    atexit.unregister(gc.freeze)  # once, however often a command is run in this process
    atexit.register(gc.freeze)
