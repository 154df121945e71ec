"""What a worker is asked to do, and what runs jobs: the same two for this machine's processes and for a cluster's. Light."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Job:
    """One cell to be run; plain data, since it goes to another process.

    Args:
        name: of the cell's folder.
        path: of the run directory, absolute.
        settings: of the run.
        origin: of each setting.
        threads: that compute.
        keep_model: leave the trained model in the run directory.
        group: cells of one group can use what the others kept (decoded pictures, tokens, states).
    """

    name: str
    path: str
    settings: Mapping[str, Any] = field(hash=False)
    origin: Mapping[str, str] = field(hash=False)
    threads: int
    keep_model: bool
    group: str


@dataclass(frozen=True)
class Ended:
    """A job that has ended.

    Args:
        slot: where it ran.
        died: why its process ended before it could write down a result; None where it did.
    """

    slot: int
    died: str | None


class Workers(Protocol):
    """Runs jobs, each in a process of its own that writes the cell's record."""

    slots: int
    """How many jobs run at a time."""

    def start(self, job: Job, slot: int) -> None:
        """Begin a job on a free slot."""

    def wait(self, seconds: float) -> list[Ended]:
        """Those that have ended; returns after `seconds` at the latest, earlier when one ends."""

    def stop(self) -> None:
        """End everything that runs; each cell keeps its last checkpoint."""


def take(waiting: Sequence[Job], last: str, others: Iterable[str]) -> Job:
    """The job for a free slot, so that what cells share is made once and then found.

    Args:
        waiting: in the suite's order, at least one.
        last: group of the slot's job before; empty at the start.
        others: groups that other slots are at.

    Returns:
        The first of the slot's own group, else the first of a group that nobody is at, else the first.
    """
    at = set(others)
    own = (job for job in waiting if job.group == last)
    fresh = (job for job in waiting if job.group not in at)
    return next(own, None) or next(fresh, waiting[0])
