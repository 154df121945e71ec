"""The conformance kit for observers: subclass `ObserverConformance`, name the observer, and pytest runs the checks.

class TestMyObserver(ObserverConformance):
    observer = "my-observer"
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from graftwork.engine.observers import SWITCHED_OFF, Observers
from graftwork.interfaces import EpochRecord, FitRecord, Observer, Plan, Spec, StepRecord
from graftwork.interfaces.observer import plain, read_only
from graftwork.log import heard
from graftwork.testing.base import Conformance, copied, doing, same
from graftwork.testing.fits import Fitted, context, fit
from graftwork.testing.options import check_options_are_read
from graftwork.testing.subjects import Subject, assemble, usual_task
from graftwork.testing.surroundings import check_keeps_settings, check_leaves_alone, open_files

_EPOCHS = 2


class ObserverConformance(Conformance):
    """What being an observer means, as tests, on short fits of the first task that has a sample.

    A check that cannot hold is named in `exceptions` with the reason, and is skipped with it.
    """

    observer: ClassVar[str]
    """The catalogue name."""

    options: ClassVar[Mapping[str, Any]] = {}
    """Of the observer."""

    task: ClassVar[str] = ""
    data: ClassVar[str] = ""

    def finished(self, folder: Path) -> None:
        """Look at what the observer left in the run directory of a whole run. The default looks at nothing."""

    def subject(self) -> Subject:
        """The parts of a run that is watched."""
        catalogue = self.catalogue()
        task = self.task or usual_task(catalogue)
        return assemble(catalogue, task, data=self.data)

    def built(self) -> Observer:
        """The observer, as a run builds it."""
        builder = self.subject().builder
        entry = builder.catalogue.get("observers", self.observer)
        observer = builder.plugins.build("observers", self.observer, Spec(self.observer, entry.complete(self.options)))
        assert isinstance(observer, Observer), f"the builder gives a {type(observer).__name__} in place of an Observer"
        return observer

    def watched(
        self, folder: Path, *observers: Observer, guard: Any = None, resume: bool = False, end: bool = True
    ) -> Fitted:
        """A short fit with the observers, and the end of a run."""
        subject = self.subject()
        model = subject.model()
        strategy = subject.builder.strategy(subject.config)
        plan: Plan = strategy.plan(model, context(subject, _EPOCHS))
        folder.mkdir(parents=True, exist_ok=True)
        kept: list[Observers] = []

        def watchers(called: Observers) -> Observers:
            kept.append(guard(called) if guard else called)
            return kept[0]

        found = fit(subject, model, plan, folder, observers, watchers, resume)
        if end:
            values: dict[str, float] = next((line["val"] for line in found.progress.history), {})
            kept[0].call("run_end", read_only({"test": values, "val": values, "best_epoch": 1, "seconds": 1.0}))
        return found

    def test_it_watches_a_run_to_its_end(self, tmp_path: Path) -> None:
        found = self.watched(tmp_path / "run", self.built())
        assert not found.said, f"a run goes on without it: {'; '.join(found.said)}"
        self.finished(tmp_path / "run")

    def test_it_is_told_of_a_failure(self, tmp_path: Path) -> None:
        said = self._interrupted(tmp_path / "run", self.built())
        assert not said, f"a run that fails goes on without it: {'; '.join(said)}"

    def test_it_goes_on_after_a_resume(self, tmp_path: Path) -> None:
        folder = tmp_path / "run"
        said = self._interrupted(folder, self.built())
        found = self.watched(folder, self.built(), resume=True)
        assert not said and not found.said, f"a resumed run goes on without it: {'; '.join([*said, *found.said])}"
        self.finished(folder)

    def test_it_changes_no_bit_of_the_training(self, tmp_path: Path) -> None:
        alone = self.watched(tmp_path / "alone").model.state_dict()
        watched = self.watched(tmp_path / "watched", self.built()).model.state_dict()
        same(watched, alone, "a run that is watched gives another model")

    def test_it_leaves_what_it_is_told_as_it_was(self, tmp_path: Path) -> None:
        changed: list[str] = []

        class Compares(Observers):
            def call(self, event: str, *arguments: Any) -> None:
                before = [_plain(argument) for argument in arguments]
                super().call(event, *arguments)
                if [_plain(argument) for argument in arguments] != before:
                    changed.append(event)

        self.watched(tmp_path / "run", self.built(), guard=lambda called: _as(Compares, called))
        assert not changed, f"{changed[0]} changes what it is told; others are told the same afterwards"

    def test_it_writes_into_the_run_directory_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)
        observer = self.built()
        folder = tmp_path / "run"
        with _noting_writes() as (noted, turn):

            class Notes(Observers):
                def call(self, event: str, *arguments: Any) -> None:
                    with turn():
                        super().call(event, *arguments)

            self.watched(folder, observer, guard=lambda called: _as(Notes, called))
        left = [path for path in noted if path.exists() and not path.is_relative_to(folder.resolve())]
        left += [path for path in elsewhere.rglob("*") if path not in left]
        assert not left, f"it writes outside of the run directory: {left[0]}"

    def test_it_leaves_nothing_running(self, tmp_path: Path) -> None:
        self.watched(tmp_path / "first", self.built())  # what it imports may keep files and threads of its own
        files, threads = open_files(), set(threading.enumerate())
        self.watched(tmp_path / "second", self.built())
        gc.collect()
        left = [name for name, count in open_files().items() if count > files.get(name, 0)]
        assert not left, f"after the run it leaves files open: {', '.join(sorted(left)[:3])}"
        running = [thread.name for thread in threading.enumerate() if thread not in threads and thread.is_alive()]
        assert not running, f"after the run it leaves threads running: {', '.join(running)}"

    def test_every_option_is_declared_and_read(self, tmp_path: Path) -> None:
        builder = self.subject().builder
        folders = (tmp_path / str(number) for number in range(1000))

        def use(options: Any) -> None:
            built = builder.plugins.build("observers", self.observer, Spec(self.observer, options))
            self.watched(next(folders), built)

        check_options_are_read(f"observer {self.observer}", builder.catalogue.get("observers", self.observer), use)

    def test_building_leaves_the_process_as_it_was(self) -> None:
        check_leaves_alone("building the observer", self.built)

    def test_watching_leaves_the_process_as_it_was(self, tmp_path: Path) -> None:
        self.watched(tmp_path / "first", self.built())  # what it imports may bring filters and variables of its own
        check_keeps_settings(
            "watching a run",
            lambda: self.watched(tmp_path / "alone"),
            lambda: self.watched(tmp_path / "watched", self.built()),
        )

    def _interrupted(self, folder: Path, observer: Observer) -> list[str]:
        """A fit that stops in its second epoch, and what was said of the observer."""
        said: list[str] = []

        def hear(line: str) -> None:
            if line.endswith(SWITCHED_OFF):
                said.append(line)

        with pytest.raises(KeyboardInterrupt), doing("a run that is interrupted"), heard(hear):
            self.watched(folder, observer, _Interrupts(), end=False)
        return said


class _Interrupts(Observer):
    """Stops the run, as Ctrl-C does, after the first step of the second epoch."""

    def step_end(self, record: StepRecord) -> None:
        if record.epoch == _EPOCHS:
            raise KeyboardInterrupt


def _as(kind: type[Observers], called: Observers) -> Observers:
    return kind(called.active)


def _plain(argument: Any) -> Any:
    if isinstance(argument, FitRecord | EpochRecord):
        return argument.to_json()
    if isinstance(argument, StepRecord):
        fields = ("step", "phase", "epoch", "lr")
        return [getattr(argument, name) for name in fields] + [list(argument.rows), float(argument.loss())]
    return (
        plain(argument)
        if isinstance(argument, Mapping)
        else copied(argument)
        if isinstance(argument, list)
        else argument
    )


@contextmanager
def _noting_writes() -> Iterator[tuple[list[Path], Any]]:
    """Notes every file that is opened for writing, and every folder that is made, while it is the turn of what is watched."""
    noted: list[Path] = []
    state = {"turn": False, "done": False}

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if state["done"] or not state["turn"]:
            return
        if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            mode, flags = arguments[1], arguments[2]
            if (isinstance(mode, str) and set(mode) & set("wax+")) or (flags or 0) & (
                os.O_WRONLY | os.O_RDWR | os.O_CREAT
            ):
                noted.append(Path(os.path.realpath(os.fsdecode(arguments[0]))))
        elif event in ("os.mkdir", "sqlite3.connect") and isinstance(arguments[0], str | os.PathLike):
            noted.append(Path(os.path.realpath(os.fspath(arguments[0]))))

    @contextmanager
    def turn() -> Iterator[None]:
        state["turn"] = True
        try:
            yield
        finally:
            state["turn"] = False

    sys.addaudithook(hook)  # none can be removed; this one falls silent
    try:
        yield noted, turn
    finally:
        state["done"] = True
