"""What loading a plugin changes in the process beside its own modules: what others rely on, and no import should touch."""

from __future__ import annotations

import locale
import logging
import os
import random
import signal
import sys
from collections.abc import Mapping
from typing import Any

_PRISTINE_SEED = 67280421310721  # torch's, of a generator that nobody has seeded


def process_state(environment: bool = True) -> dict[str, Any]:
    """The state of the process, by what a message calls it; plain values that compare equal when nothing has changed.

    Args:
        environment: also of the environment, which large libraries set on purpose.
    """
    root = logging.getLogger()
    found: dict[str, Any] = {
        "the working directory": _folder(),
        "the state of random": random.getstate(),
        "the level or the handlers of the root logger": (root.level, [id(handler) for handler in root.handlers]),
        "the handlers of signals": {name: _handler(name) for name in ("SIGINT", "SIGTERM")},
        "the locale": locale.setlocale(locale.LC_ALL),
        "the recursion limit": sys.getrecursionlimit(),
        "sys.excepthook": id(sys.excepthook),
        **_of_torch(),
    }
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        state = numpy.random.get_state()
        found["the state of numpy.random"] = (state[0], state[1].tolist(), *state[2:])
    if environment:
        found["the environment"] = dict(os.environ)
    return found


def _of_torch() -> dict[str, Any]:
    """Of torch, which is as it comes where nobody has imported it."""
    torch: Any = sys.modules.get("torch")
    facts: dict[str, Any] = {
        "torch's default type": "torch.float32",
        "torch's default device": "cpu",
        "torch's switch for gradients": True,
        "torch's seed": _PRISTINE_SEED,
        "torch's deterministic algorithms": False,
    }
    if torch is None or not hasattr(torch, "default_generator"):
        return facts
    return {
        "torch's default type": str(torch.get_default_dtype()),
        "torch's default device": str(torch.get_default_device()),
        "torch's switch for gradients": torch.is_grad_enabled(),
        "torch's seed": torch.default_generator.initial_seed(),
        "torch's deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
    }


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What has changed, one phrase each."""
    found = []
    for what, value in before.items():
        if what not in after or after[what] == value:
            continue
        if what == "the environment":
            now = after[what]
            names = sorted(name for name in value.keys() | now.keys() if value.get(name) != now.get(name))
            found.append(f"the environment ({', '.join(names[:5])}{', …' if len(names) > 5 else ''})")
        elif isinstance(value, str | bool):
            found.append(f"{what} (from {value} to {after[what]})")
        else:
            found.append(what)
    return found


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:
        return "?"


def _handler(name: str) -> int:
    return id(signal.getsignal(getattr(signal, name)))
