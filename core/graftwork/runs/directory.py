"""A run directory: the names of its files, the lock, what is read back. Light: no torch. Writing a file is `files`'."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from graftwork.config import Layer, Resolved, RunConfig, Setting, file_layer
from graftwork.console import clean, one_line
from graftwork.errors import RunFailed, UsageError
from graftwork.files.atomic import write_file, write_json
from graftwork.files.yaml import to_yaml

CONFIG = "config.yaml"
PLAN = "plan.json"
METRICS = "metrics.jsonl"
SUMMARY = "summary.json"
LOG = "log.txt"
DATA = "data.json"
REPORT = "report.html"
CHECKPOINTS = "checkpoints"
PREDICTIONS = "predictions"


class RunDirectory:
    """One run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def locked(self, resume: bool) -> Iterator[None]:
        """Hold the folder for one run; the lock ends with the process, however it ends.

        Raises:
            UsageError: another process trains into it, or it holds a run and `resume` is false.
            RunFailed: it cannot be created.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("a")
        except OSError as error:
            raise RunFailed(f"cannot be created ({error.strerror})", where=str(self.path)) from None
        with lock:
            if not _try_lock(lock.fileno()):
                raise UsageError(
                    "another run is training into this directory", where=str(self.path), hint="Choose another --out"
                )
            if not resume and self.begun():
                hint = "Continue it with --resume, or choose another --out"
                raise UsageError("this directory holds a run already", where=str(self.path), hint=hint)
            yield

    def write(self, name: str, text: str) -> None:
        """Write a text file so that readers see the old one or the new one, whole."""
        write_file(self.path / name, text.encode())

    def write_json(self, name: str, value: Any) -> None:
        """Write plain data as JSON."""
        write_json(self.path / name, value)

    def write_history(self, history: Iterable[Mapping[str, Any]]) -> None:
        """Write metrics.jsonl anew; after a resume it holds each epoch once."""
        self.write(METRICS, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in history))

    def read_json(self, name: str) -> Any:
        """Read plain data.

        Raises:
            UsageError: the file is missing or not JSON.
        """
        path = self.path / name
        if not path.is_file():
            raise UsageError(f"{self.path} has no {name}", hint="Give the directory of a run")
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UsageError(f"is not readable JSON ({error})", where=str(path)) from None

    def write_config(self, config: RunConfig) -> None:
        """Write config.yaml: everything resolved; `graft train --config` on it repeats the run."""
        values = config.model_dump(mode="json")
        self.write(CONFIG, to_yaml(values))

    def begin(
        self, resolved: Resolved, plan: Mapping[str, Any], weights: Mapping[str, Any], data: Mapping[str, Any]
    ) -> None:
        """Write down what the run is going to do. config.yaml comes last: it is what says that there is a run.

        Args:
            plan: as `Plan.describe` gives it, with what each phase trains from.
            weights: where the starting weights came from.
            data: rows, facts and findings.
        """
        settings = [setting.to_json() for setting in resolved.settings.values()]
        self.write_json(PLAN, {**plan, "settings": settings, "weights": weights})
        self.write_json(DATA, data)
        self.write_config(resolved.config)

    def begun(self) -> bool:
        """Whether there is a run here."""
        return (self.path / CONFIG).is_file()

    @contextlib.contextmanager
    def log(self) -> Iterator[Callable[[str], None]]:
        """What takes a line for log.txt: the lines that people saw, without terminal codes, and what ended the run early."""
        with (self.path / LOG).open("a", encoding="utf-8", errors="backslashreplace") as file:

            def take(line: str) -> None:
                with contextlib.suppress(OSError):  # a full disk ends a run where it matters, at a checkpoint
                    file.write(clean(line, keep="\n") + "\n")
                    file.flush()

            try:
                yield take
            except BaseException as error:
                interrupted = isinstance(error, KeyboardInterrupt)
                take("interrupted" if interrupted else f"failed: {one_line(str(error) or type(error).__name__)}")
                raise

    def finished(self) -> bool:
        """Whether a run ended here with success."""
        return (self.path / SUMMARY).is_file()


def stored_layer(out: Path) -> Layer | None:
    """A run directory's config.yaml as a layer; None when there is no run in it."""
    path = out / CONFIG
    return file_layer(path) if path.is_file() else None


def stored_settings(out: Path) -> dict[str, Setting]:
    """Where the settings of a stored run came from, by name; what a resumed run goes on saying."""
    path = out / PLAN
    if not path.is_file():
        return {}
    settings = json.loads(path.read_text(encoding="utf-8")).get("settings", [])
    return {item["name"]: Setting(item["name"], item["value"], item["origin"], item["reason"]) for item in settings}


def _try_lock(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows has no such locks; two runs into one directory are then found by config.yaml alone
        return True
    try:
        # Not flock: loader workers inherit its descriptor, and would hold the lock of a killed run for seconds.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
