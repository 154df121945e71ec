"""An observer that is right, and observers that differ from it in one method."""

from __future__ import annotations

import gc
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TextIO

import torch

from graftwork.interfaces import EpochRecord, FitRecord, Model, Observer, Spec


class TameDiary(Observer):
    """A line for each epoch in `diary.txt` of the run directory."""

    name = "diary"
    path = Path("diary.txt")

    def fit_start(self, record: FitRecord) -> None:
        self.path = Path(record.folder) / "diary.txt"

    def epoch_end(self, record: EpochRecord) -> None:
        self.write(f"epoch {record.epoch}: {record.val}")

    def fit_end(self, reason: str) -> None:
        self.write(reason)

    def failure(self, message: str) -> None:
        self.write(message)

    def write(self, line: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


class Raises(TameDiary):
    def epoch_end(self, record: EpochRecord) -> None:
        self.write(f"{record.val['f1_of_the_third_class']}")


class WritesIntoTheRecord(TameDiary):
    def epoch_end(self, record: EpochRecord) -> None:
        record.val["best"] = 1.0  # type: ignore[index]


class ForcesTheRecord(TameDiary):
    def epoch_end(self, record: EpochRecord) -> None:
        object.__setattr__(record, "train_loss", round(record.train_loss, 1))
        super().epoch_end(record)


class MovesWeights(TameDiary):
    def fit_start(self, record: FitRecord) -> None:
        super().fit_start(record)
        for model in [found for found in gc.get_objects() if type(found) is Model]:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.clamp_(-0.1, 0.1)


class WritesElsewhere(TameDiary):
    def fit_start(self, record: FitRecord) -> None:
        self.path = Path("diary.txt").absolute()


class LeavesOpen(TameDiary):
    opened: ClassVar[list[TextIO]] = []

    def fit_start(self, record: FitRecord) -> None:
        super().fit_start(record)
        self.opened.append(self.path.open("a", encoding="utf-8"))


class LeavesThread(TameDiary):
    def fit_start(self, record: FitRecord) -> None:
        super().fit_start(record)
        threading.Thread(target=threading.Event().wait, daemon=True).start()


class RefusesResume(TameDiary):
    def fit_start(self, record: FitRecord) -> None:
        super().fit_start(record)
        self.path.open("x", encoding="utf-8").close()


class RefusesFailure(TameDiary):
    last = None

    def failure(self, message: str) -> None:
        self.write(f"{message} after {self.last.epoch}")  # type: ignore[attr-defined]


class SeedsWhenBuilt(TameDiary):
    def __init__(self) -> None:
        torch.manual_seed(0)


class ChangesThreadsInRun(TameDiary):
    def fit_start(self, record: FitRecord) -> None:
        super().fit_start(record)
        torch.set_num_threads(2)


ALL: Mapping[str, type[TameDiary]] = {
    "tame-diary": TameDiary,
    "raises": Raises,
    "writes-into-the-record": WritesIntoTheRecord,
    "forces-the-record": ForcesTheRecord,
    "moves-weights": MovesWeights,
    "writes-elsewhere": WritesElsewhere,
    "leaves-open": LeavesOpen,
    "leaves-thread": LeavesThread,
    "refuses-resume": RefusesResume,
    "refuses-failure": RefusesFailure,
    "seeds-when-built": SeedsWhenBuilt,
    "changes-threads-in-run": ChangesThreadsInRun,
}


def build(spec: Spec) -> Observer:
    observer: Any = ALL[spec.name]()
    assert isinstance(observer, Observer)
    return observer
