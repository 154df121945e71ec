"""Ctrl-C and SIGTERM: finish the step, leave a checkpoint, then stop. A second one stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Whether the user asked to stop."""

    asked = False


@contextmanager
def graceful() -> Iterator[Interrupt]:
    """Inside the block the first signal only sets `asked`; handlers are put back afterwards."""
    state = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield state  # handlers can be set in the main thread only
        return

    def note(signum: int, frame: FrameType | None) -> None:
        if state.asked:
            raise KeyboardInterrupt
        state.asked = True

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield state
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
