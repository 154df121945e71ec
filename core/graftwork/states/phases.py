"""The prefix cache: what frozen stages make of rows that stay the same is computed once, kept, and trained from.

The key of an entry is everything that a state depends on, so whoever asks for the same state finds it: the next epoch,
the next phase, the next run, another head, another seed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from graftwork.cache.entries import writable
from graftwork.cache.room import cache_folder, make_room
from graftwork.cache.rows import RowStore
from graftwork.console import byte_size
from graftwork.data.sampler import as_columns
from graftwork.interfaces import Examples, Model, Phase, Plan
from graftwork.machine.device import Device
from graftwork.models.weights import tensors_sha256
from graftwork.states.examples import SameSizeExamples, StateExamples
from graftwork.states.fill import Filler, Rows
from graftwork.states.views import FixedViews, View, draws

KIND = "states"
FORMAT = 2
EVALUATION = "evaluation"
"""The part of rows that are never augmented, whatever split they belong to."""


@dataclass(frozen=True)
class Choice:
    """What a phase trains from.

    Args:
        kept: whether from kept states.
        fixed: whether rows are the same in every epoch, so that they could be kept.
        views: fixed views of a training row, where rows would be augmented otherwise.
        states: how many are kept: training rows times views, validation rows and test rows.
        nbytes: bytes on disk.
        reason: why, one sentence.
    """

    kept: bool
    fixed: bool
    views: int | None
    states: int
    nbytes: int
    reason: str

    def to_json(self) -> dict[str, Any]:
        return {
            "kept": self.kept, "fixed": self.fixed, "views": self.views, "states": self.states,
            "bytes": self.nbytes, "reason": self.reason,
        }  # fmt: skip


@dataclass(frozen=True)
class PhaseData:
    """The rows of a phase; training rows stand `views` times in `train`, see `data.views.in_view`."""

    train: Examples
    validation: Examples
    views: int = 1


class Prefixes:
    """Decides for each phase what it trains from, and makes it.

    Args:
        train, validation: the rows of a fit.
        test: how many rows are to be evaluated when it is over.
        identity: everything beside the model that the states depend on, as plain data: task and options, versions.
        about: facts for people, for `graft cache list`.
        views: fixed views asked for; None augments freely.
        allowed: whether states may be kept.
        batch: rows a forward pass, at most.
        workers: loader processes.
        device, precision: where and how to compute.
        say: takes a line for the user.
    """

    def __init__(
        self,
        train: Rows,
        validation: Rows,
        test: int,
        identity: Mapping[str, Any],
        about: Mapping[str, Any],
        views: int | None,
        allowed: bool,
        batch: int,
        workers: int,
        device: Device,
        precision: str,
        say: Callable[[str], None],
    ) -> None:
        self.train = train
        self.validation = validation
        self.test = test
        self.identity = identity
        self.about = about
        self.views = views
        self.allowed = allowed
        self.batch = batch
        self.workers = workers
        self.device = device
        self.precision = precision
        self.say = say
        self._plan: Plan | None = None
        self._choices: tuple[Choice, ...] = ()

    def choose(self, model: Model, plan: Plan) -> tuple[Choice, ...]:
        """What each phase trains from. Looks at a few rows, and at what the model makes of two; computes nothing else."""
        frozen = [phase for phase in plan.phases if phase.frozen_stages]
        epochs = sum(phase.epochs for phase in frozen)
        varies, mixes = draws(self.train.examples) if frozen else (False, False)
        views = min(self.views or 1, epochs) if varies else 1
        self._plan = plan
        nbytes = self._bytes(model, {phase.frozen_stages for phase in frozen}, views) if frozen and not mixes else {}
        promised = 0
        choices = []
        for phase in plan.phases:
            choice = self._choose(model, phase, varies, mixes, views, epochs, nbytes, promised)
            promised += choice.nbytes if choice.kept else 0
            choices.append(choice)
        self._choices = self.device.broadcast(tuple(choices))
        return self._choices

    def _choose(
        self,
        model: Model,
        phase: Phase,
        varies: bool,
        mixes: bool,
        views: int,
        epochs: int,
        nbytes: Mapping[int, int],
        promised: int,
    ) -> Choice:
        cut = phase.frozen_stages
        if not cut:
            return Choice(False, False, None, 0, 0, "no stage is frozen")
        if mixes:
            return Choice(False, False, None, 0, 0, "rows are mixed with one another, anew every epoch")
        if varies and self.views is None:
            return Choice(
                False, False, None, 0, 0, "rows are augmented anew every epoch; --views V keeps V views of each"
            )
        used = views if varies else None
        if not self.allowed:
            return Choice(False, True, used, 0, 0, "as set")
        states = views * len(self.train.examples) + len(self.validation.examples) + self._tested(cut)
        stores = [self._stores(model, (cut,), part)[cut] for part, _ in self._parts(views)]
        there = all(
            2 * len(store.missing(rows.digests)) < len(rows.digests)
            for store, (_, rows) in zip(stores, self._parts(views), strict=True)
        )
        if there:
            return Choice(True, True, used, states, nbytes[cut], "an earlier run kept them")
        if epochs == 1 and self._by_size(self.train.examples) is self.train.examples:
            return Choice(False, True, used, states, 0, "one epoch reads every row once")
        if not _room(nbytes[cut] + promised, [store.folder.name for store in stores]):
            reason = f"{byte_size(nbytes[cut])} more do not fit into the cache or on the disk"
            reason = reason if writable() else "the cache cannot be written"
            return Choice(False, True, used, states, nbytes[cut], reason)
        return Choice(True, True, used, states, nbytes[cut], f"computed once instead of {epochs} times")

    def data(self, model: Model, index: int, asked: Callable[[], bool]) -> PhaseData:
        """The rows of a phase. Where states are kept, those that are missing are computed now, together with those that
        later phases need of the same stages.

        Args:
            model: as the phase finds it, on the device.
            index: of the phase in the plan.
            asked: whether the user wants to stop; what was computed by then stays.

        Raises:
            KeyboardInterrupt: the user wants to stop.
            RunFailed: not even one row fits into memory.
        """
        assert self._plan is not None
        phase, choice = self._plan.phases[index], self._choices[index]
        if not choice.kept:
            return self._anew(choice)
        views = choice.views or 1
        filler = self._filler(model, asked)
        try:
            stored = [
                filler.fill(self._stores(model, self._cuts_from(index), part), rows, phase.frozen_stages)
                for part, rows in self._parts(views)
            ]
        except OSError as error:
            self._going_without(error)
            return self._anew(choice)
        return PhaseData(
            StateExamples(stored[:views], self.train.examples),
            StateExamples(stored[views:], self.validation.examples),
            views,
        )

    def evaluation(self, model: Model, rows: Rows) -> Examples:
        """Rows of another split as the last phase's validation rows are: from kept states where no phase trained what makes
        them. Called after the fit, with the model as it is then.

        Raises:
            RunFailed: not even one row fits into memory.
        """
        assert self._plan is not None
        phase, choice = self._plan.phases[-1], self._choices[-1]
        if not choice.fixed:
            return rows.examples
        model.freeze(phase.frozen_stages)  # a run that is resumed after its last step has not entered the phase
        if choice.kept and self._untrained() == phase.frozen_stages:
            stores = self._stores(model, (phase.frozen_stages,), EVALUATION)
            try:
                stored = self._filler(model, lambda: False).fill(stores, rows, phase.frozen_stages)
                return StateExamples([stored], rows.examples)
            except OSError as error:
                self._going_without(error)
        return self._by_size(rows.examples)

    def _anew(self, choice: Choice) -> PhaseData:
        """The rows as they are; those that could be kept give the very same states as if they were."""
        views = choice.views or 1
        train = self.train.examples
        if choice.views is not None:
            train = FixedViews([View(train, view, self.train.digests) for view in range(views)])
        if not choice.fixed:
            return PhaseData(train, self.validation.examples, views)
        return PhaseData(self._by_size(train), self._by_size(self.validation.examples), views)

    def _untrained(self) -> int:
        """How many stages no phase trains."""
        assert self._plan is not None
        return min(phase.frozen_stages for phase in self._plan.phases)

    def _tested(self, cut: int) -> int:
        """Test rows whose states after so many stages are kept in the end."""
        assert self._plan is not None
        return self.test if cut == self._untrained() == self._plan.phases[-1].frozen_stages else 0

    def _going_without(self, error: OSError) -> None:
        self.say(f"states cannot be kept ({error.strerror or error}): going on without")

    def _by_size(self, examples: Examples) -> Examples:
        sizes = examples.sizes()
        if sizes is None or len(np.unique(as_columns(sizes), axis=0)) == 1:
            return examples
        return SameSizeExamples(examples, sizes)

    def _cuts_from(self, index: int) -> tuple[int, ...]:
        """This phase's frozen stages, and those of later phases that are frozen until then."""
        assert self._plan is not None
        cuts = [self._plan.phases[index].frozen_stages]
        for phase, choice in zip(self._plan.phases[index + 1 :], self._choices[index + 1 :], strict=True):
            if phase.frozen_stages > cuts[-1] or not choice.kept:
                break
            cuts.append(phase.frozen_stages)
        return tuple(dict.fromkeys(cuts))

    def _filler(self, model: Model, asked: Callable[[], bool]) -> Filler:
        return Filler(model, self.device, self.precision, self.batch, self.workers, self.say, asked)

    def _parts(self, views: int) -> list[tuple[str, Rows]]:
        """Each training view and the validation rows: how their states are told apart, and the rows."""
        digests = self.train.digests
        train = [
            (f"training view {view}", Rows(View(self.train.examples, view, digests), digests)) for view in range(views)
        ]
        return [*train, (EVALUATION, self.validation)]

    def _stores(self, model: Model, cuts: Collection[int], part: str) -> dict[int, RowStore]:
        """Where the states of a part of the rows are kept, by cut."""
        facts = {
            "format": FORMAT,
            "identity": self.identity,
            "input": model.backbone.input.to_json(),
            "needs": sorted(model.head.needs),
            "reads": sorted(model.head.reads),
            "part": part,
            "precision": self.precision,
            "device": self.device.describe(),
        }
        stores = {}
        for cut in cuts:
            whole = {**facts, "cut": cut, "weights": tensors_sha256(model.frozen_tensors(cut))}
            key = hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()[:32]
            boundary = f"after stage {cut} of {len(model.backbone.stages())}"
            about = {**self.about, "boundary": boundary, "part": part, "precision": self.precision}
            stores[cut] = RowStore(cache_folder(KIND) / key, about)
        return stores

    def _bytes(self, model: Model, cuts: Collection[int], views: int) -> dict[int, int]:
        """Bytes that the states take by cut, from what the model makes of two rows of each kind."""
        total = dict.fromkeys(cuts, 0.0)
        filler = self._filler(model, lambda: False)
        for times, (part, rows) in zip((views, 1), self._parts(1), strict=True):
            looked = tuple(range(min(2, len(rows.examples))))
            if not looked:
                continue
            sizes = rows.examples.sizes()
            share = len(rows.examples) / len(looked)
            if sizes is not None:
                areas = as_columns(sizes).prod(axis=1)
                share = float(areas.sum()) / max(1.0, float(areas[list(looked)].max() * len(looked)))
            for cut, columns in filler.look(rows.examples, looked, cuts).items():
                # The test split is not looked at yet: its rows count as much as those of validation.
                tested = self._tested(cut) / len(rows.examples) if part == EVALUATION else 0
                total[cut] += sum(_nbytes(value) for value in columns.values()) * share * (times + tested)
        return {cut: int(held) for cut, held in total.items()}


def _room(nbytes: int, keys: Sequence[str]) -> bool:
    try:
        cache_folder(KIND)
        return make_room(nbytes, *keys)
    except OSError:
        return False


def _nbytes(value: Tensor | Sequence[Tensor]) -> int:
    return value.nbytes if isinstance(value, Tensor) else sum(tensor.nbytes for tensor in value)
