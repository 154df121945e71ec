"""What a plugin must leave as it found it: random numbers, torch's settings, environment, warnings, threads, open files."""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graftwork.testing.base import doing

_SHARED = frozenset(
    {"torch", "torchvision", "transformers", "tokenizers", "datasets", "numpy", "pandas", "accelerate", "graftwork"}
)
"""Libraries that graftwork and other plugins use too."""

_THREADS = 3  # not what anybody sets: a plugin that sets its own number is seen, whatever the machine's is


def check_leaves_alone(what: str, call: Callable[[], Any]) -> None:
    """Hold a call to leaving the process as it found it.

    It is called three times: once so that what it imports is imported, then twice from different random states.

    Args:
        what: the beginning of the sentence that names a fault, e.g. `building the head`.
        call: what is checked; its result is thrown away.
    """
    with doing(what), _kept_random(), _kept_settings():
        call()
    with _kept_random(), _kept_settings():
        before = _settings()
        files, threads = open_files(), set(threading.enumerate())
        ends = []
        for seed in (1, 2):
            _seed(seed)
            call()
            ends.append(_random_state())
        after = _settings()
        gc.collect()
        for name, value in before.items():
            assert after[name] == value, f"{what} changes {name} from {value} to {after[name]} for the whole process"
        for name, first in ends[0].items():
            assert first != ends[1][name], (
                f"{what} seeds {name}: after it, random numbers are the same whatever seed the run has"
            )
        _check_handles(what, files, threads)


def check_keeps_settings(what: str, without: Callable[[], Any], call: Callable[[], Any]) -> None:
    """Hold a call to changing no setting of the process that the same work without it leaves alone.

    Args:
        what: the beginning of the sentence that names a fault, e.g. `watching a run`.
        without: the work alone.
        call: what is checked.
    """
    with _kept_random(), _kept_settings():
        without()
        before = _settings()
        call()
        after = _settings()
    for name, value in before.items():
        assert after[name] == value, f"{what} changes {name} from {value} to {after[name]} for the whole process"


def _check_handles(what: str, files: Mapping[str, int], threads: set[threading.Thread]) -> None:
    left = [name for name, count in open_files().items() if count > files.get(name, 0)]
    assert not left, f"{what} leaves files open: {', '.join(sorted(left)[:3])}"
    running = [thread.name for thread in threading.enumerate() if thread not in threads and thread.is_alive()]
    assert not running, f"{what} leaves threads running: {', '.join(running)}"


@contextmanager
def closes_files(what: str) -> Iterator[None]:
    """Hold the block to leaving no more files open than it found, and none to the garbage collector."""
    gc.collect()
    files = open_files()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        yield
        gc.collect()
    left = [name for name, count in open_files().items() if count > files.get(name, 0)]
    assert not left, f"{what} leaves files open: {', '.join(sorted(left)[:3])}"
    unclosed = [str(note.message) for note in told if issubclass(note.category, ResourceWarning)]
    assert not unclosed, f"{what} leaves it to the garbage collector to close files: {unclosed[0]}"


def open_files() -> dict[str, int]:
    """How often this process has each file open; empty where the system does not say. Memory-mapped tables are left out."""
    folder = Path("/proc/self/fd")
    found: dict[str, int] = {}
    if not folder.is_dir():
        return found
    for link in folder.iterdir():
        try:
            target = str(link.readlink())
        except OSError:  # that of the listing itself
            continue
        if target.startswith("/") and not target.startswith(("/dev/", "/proc/")) and not target.endswith(".arrow"):
            found[target] = found.get(target, 0) + 1
    return found


@contextmanager
def shuffled_random(seed: int) -> Iterator[None]:
    """Global random numbers of another state within the block, put back afterwards."""
    with _kept_random():
        _seed(seed)
        yield


def _seed(seed: int) -> None:
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def _random_state() -> dict[str, str]:
    return {
        "torch's global random numbers": str(hash(torch.default_generator.get_state().numpy().tobytes())),
        "Python's global random numbers": str(hash(random.getstate())),
        "numpy's global random numbers": str(hash(np.random.get_state()[1].tobytes())),  # type: ignore[index]
    }


@contextmanager
def _kept_random() -> Iterator[None]:
    states = torch.default_generator.get_state(), random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        torch.default_generator.set_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])


@contextmanager
def _kept_settings() -> Iterator[None]:
    dtype, threads, filters = torch.get_default_dtype(), torch.get_num_threads(), warnings.filters[:]
    environment, folder, path = dict(os.environ), Path.cwd(), sys.path[:]
    try:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(_THREADS)
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)
        warnings.filters[:] = filters  # type: ignore[index]
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        sys.path[:] = path


def _settings() -> dict[str, Any]:
    """What is one for the whole process, by what a reader calls it."""
    return {
        "torch's default dtype": torch.get_default_dtype(),
        "torch's number of threads": torch.get_num_threads(),
        "whether torch records gradients": torch.is_grad_enabled(),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "torch's matmul precision": torch.get_float32_matmul_precision(),
        "cudnn's benchmark mode": torch.backends.cudnn.benchmark,
        "the environment variables": _Variables({name: os.environ[name] for name in os.environ if not _own(name)}),
        "the warnings filters": tuple(map(str, warnings.filters)),
        "the working directory": str(Path.cwd()),
        "sys.path": tuple(sys.path),
        "the recursion limit": sys.getrecursionlimit(),
    }


def _own(name: str) -> bool:
    """Whether an environment variable is by its name one of a library that only the plugin uses: MLFLOW_… for mlflow."""
    library = name.partition("_")[0].lower()
    return library in sys.modules and library not in _SHARED


class _Variables(dict[str, str]):
    """Prints without values, which may be secret."""

    def __repr__(self) -> str:
        return f"{len(self)} variables"
