"""What phases train from: what frozen stages make of rows that stay the same is computed once, kept, and trained from.

Where it is kept, and under what, is said in `stores`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from graftwork.cache.entries import writable
from graftwork.cache.rows import RowStore
from graftwork.console import byte_size
from graftwork.errors import UsageError
from graftwork.interfaces import Examples, Model, Phase, Plan
from graftwork.machine.device import Device
from graftwork.states.examples import StateExamples
from graftwork.states.fill import Filler, Rows
from graftwork.states.given import GivenExamples, GivenRows, TeacherRows
from graftwork.states.stores import (
    EVALUATION,
    Keeping,
    by_size,
    bytes_of,
    going_without,
    has_room,
    mostly_there,
    part_of,
)
from graftwork.states.views import FixedViews, View, draws


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


@dataclass(frozen=True)
class _Seen:
    """What was seen of the rows and of the frozen phases' states.

    Args:
        varies, mixes: as `draws` sees them.
        views: fixed views that would be kept.
        epochs: of all phases with frozen stages.
        nbytes: that the states would take, of each phase with frozen stages, by its index.
    """

    varies: bool
    mixes: bool
    views: int
    epochs: int
    nbytes: Mapping[int, int]


@dataclass(frozen=True)
class StateSource:
    """What the kept states of a run are made from, and all that they depend on beside the model.

    Args:
        train, validation: the rows of a fit.
        test: how many rows are to be evaluated when it is over.
        identity: everything beside the model that the states depend on, as plain data: task and options, versions.
        about: facts for people, for `graft cache list`.
        views: fixed views asked for; None augments freely.
        allowed: whether states may be kept.
        batch: rows a forward pass, at most.
        device: where to compute.
        teachers: whose outputs come with the training rows.
    """

    train: Rows
    validation: Rows
    test: int
    identity: Mapping[str, Any]
    about: Mapping[str, Any]
    views: int | None
    allowed: bool
    batch: int
    device: Device
    teachers: tuple[TeacherRows, ...] = ()

    def keeping(self, workers: int = 0) -> Keeping:
        """What states depend on beside model and rows, and how they are computed and kept."""
        return Keeping(self.identity, self.about, self.allowed, self.batch, self.device, workers)


def choose_states(source: StateSource, model: Model, plan: Plan) -> PhaseStates:
    """What each phase of a plan trains from. Looks at a few rows, and at what the model makes of two; computes nothing else.

    Args:
        model: with its starting weights, on the device.
    """
    undecided = PhaseStates(source, plan, ())
    return replace(undecided, choices=source.device.broadcast(undecided.weigh(model)))


@dataclass(frozen=True)
class PhaseStates:
    """What each phase of a plan trains from, and how it is made; from `choose_states`.

    Args:
        choices: one a phase.
        workers: loader processes.
        given: each teacher's outputs, by view.
    """

    source: StateSource
    plan: Plan
    choices: tuple[Choice, ...]
    workers: int = 0
    given: Mapping[str, tuple[GivenRows, ...]] = field(default_factory=dict)

    @property
    def any_kept(self) -> bool:
        """Whether a phase trains from kept states."""
        return any(choice.kept for choice in self.choices)

    @property
    def first_computed(self) -> Phase | None:
        """The first phase that runs whole steps; None where all train from kept states."""
        return next(
            (phase for phase, choice in zip(self.plan.phases, self.choices, strict=True) if not choice.kept), None
        )

    def loaded_by(self, workers: int) -> PhaseStates:
        """The same, loaded by so many processes."""
        return replace(self, workers=workers)

    def taught(self) -> PhaseStates:
        """The same, with what the teachers say of the training rows in each view.

        Raises:
            RunFailed: not even one row fits into memory.
        """
        views: list[int | None] = [None]
        if any(choice.views is not None for choice in self.choices):
            views = list(range(max(choice.views or 1 for choice in self.choices)))
        outputs = {teacher.name: tuple(teacher.outputs(view) for view in views) for teacher in self.source.teachers}
        return replace(self, given=outputs)

    def with_given(self, train: Examples) -> Examples:
        """Training rows, view after view, with what teachers say of them."""
        return GivenExamples(train, self.given, len(self.source.train.examples)) if self.given else train

    def weigh(self, model: Model) -> tuple[Choice, ...]:
        """The choices, from what they cost and bring on this machine."""
        source = self.source
        frozen = [phase for phase in self.plan.phases if phase.frozen_stages]
        epochs = sum(phase.epochs for phase in frozen)
        varies, mixes = draws(source.train.examples) if frozen or source.teachers else (False, False)
        if source.teachers:
            _refuse_to_teach(varies and source.views is None, mixes)
        views = min(source.views or 1, self.plan.epochs if source.teachers else epochs) if varies else 1
        nbytes = self._bytes_of_phases(model, views) if frozen and not mixes else {}
        seen = _Seen(varies, mixes, views, epochs, nbytes)
        promised = 0
        choices = []
        for index, phase in enumerate(self.plan.phases):
            with _as_in(model, phase):
                choice = self._choose(model, index, seen, promised)
            promised += choice.nbytes if choice.kept else 0
            choices.append(choice)
        return tuple(choices)

    def _choose(self, model: Model, index: int, seen: _Seen, promised: int) -> Choice:
        cut = self.plan.phases[index].frozen_stages
        if not cut:
            fixed = seen.views if seen.varies and self.source.teachers else None
            return Choice(False, False, fixed, 0, 0, "no stage is frozen")
        if seen.mixes:
            return Choice(False, False, None, 0, 0, "rows are mixed with one another, anew every epoch")
        if self.plan.phases[index].solver is not None:  # it reads rows that are not augmented, which view 0 is
            seen = replace(seen, views=1)
        elif seen.varies and self.source.views is None:
            return Choice(
                False, False, None, 0, 0, "rows are augmented anew every epoch; --views V keeps V views of each"
            )
        used = seen.views if seen.varies else None
        if not self.source.allowed:
            return Choice(False, True, used, 0, 0, "as set")
        states = seen.views * len(self.source.train.examples) + len(self.source.validation.examples) + self._tested(cut)
        stores = [self._stores(model, (cut,), part)[cut] for part, _ in self._parts(seen.views)]
        there = all(mostly_there(store, rows) for store, (_, rows) in zip(stores, self._parts(seen.views), strict=True))
        if there:
            return Choice(True, True, used, states, seen.nbytes[index], "an earlier run kept them")
        if seen.epochs == 1 and by_size(self.source.train.examples) is self.source.train.examples:
            return Choice(False, True, used, states, 0, "one epoch reads every row once")
        if not has_room(seen.nbytes[index] + promised, stores):
            reason = f"{byte_size(seen.nbytes[index])} more do not fit into the cache or on the disk"
            reason = reason if writable() else "the cache cannot be written"
            return Choice(False, True, used, states, seen.nbytes[index], reason)
        return Choice(True, True, used, states, seen.nbytes[index], f"computed once instead of {seen.epochs} times")

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
        found = self._data(model, index, asked)
        return replace(found, train=self.with_given(found.train))

    def _data(self, model: Model, index: int, asked: Callable[[], bool]) -> PhaseData:
        phase, choice = self.plan.phases[index], self.choices[index]
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
            going_without(error)
            return self._anew(choice)
        return PhaseData(
            StateExamples(stored[:views], self.source.train.examples),
            StateExamples(stored[views:], self.source.validation.examples),
            views,
        )

    def evaluation(self, model: Model, rows: Rows) -> Examples:
        """Rows of another split as the last phase's validation rows are: from kept states where no phase trained what makes
        them. Called after the fit, with the model as it is then.

        Raises:
            RunFailed: not even one row fits into memory.
        """
        phase, choice = self.plan.phases[-1], self.choices[-1]
        if not choice.fixed:
            return rows.examples
        model.enter(phase.terms)  # a run that is resumed after its last step has not entered the phase
        model.freeze(phase.frozen_stages)
        if choice.kept and self._untrained() == phase.frozen_stages:
            stores = self._stores(model, (phase.frozen_stages,), EVALUATION)
            try:
                stored = self._filler(model, lambda: False).fill(stores, rows, phase.frozen_stages)
                return StateExamples([stored], rows.examples)
            except OSError as error:
                going_without(error)
        return by_size(rows.examples)

    def _anew(self, choice: Choice) -> PhaseData:
        """The rows as they are; those that could be kept give the very same states as if they were."""
        views = choice.views or 1
        train = self.source.train.examples
        if choice.views is not None:
            train = FixedViews([View(train, view, self.source.train.digests) for view in range(views)])
        if not choice.fixed:
            return PhaseData(train, self.source.validation.examples, views)
        return PhaseData(by_size(train), by_size(self.source.validation.examples), views)

    def _untrained(self) -> int:
        """How many stages no phase trains."""
        return min(phase.frozen_stages for phase in self.plan.phases)

    def _tested(self, cut: int) -> int:
        """Test rows whose states after so many stages are kept in the end."""
        return self.source.test if cut == self._untrained() == self.plan.phases[-1].frozen_stages else 0

    def _cuts_from(self, index: int) -> tuple[int, ...]:
        """This phase's frozen stages, and those of later phases that are frozen until then."""
        wanted = _wanted(self.plan.phases[index])
        cuts = [self.plan.phases[index].frozen_stages]
        for phase, choice in zip(self.plan.phases[index + 1 :], self.choices[index + 1 :], strict=True):
            if phase.frozen_stages > cuts[-1] or not choice.kept or _wanted(phase) != wanted:
                break
            cuts.append(phase.frozen_stages)
        return tuple(dict.fromkeys(cuts))

    def _filler(self, model: Model, asked: Callable[[], bool]) -> Filler:
        return self.source.keeping(self.workers).filler(model.extractor, asked)

    def _parts(self, views: int) -> list[tuple[str, Rows]]:
        """Each training view and the validation rows: how their states are told apart, and the rows."""
        return [*(part_of(self.source.train, view) for view in range(views)), part_of(self.source.validation, None)]

    def _stores(self, model: Model, cuts: Collection[int], part: str) -> dict[int, RowStore]:
        """Where the states of a part of the rows are kept, by cut."""
        return self.source.keeping().stores(model.extractor, cuts, part)

    def _bytes_of_phases(self, model: Model, views: int) -> dict[int, int]:
        """Bytes that the states of each phase with frozen stages take; phases whose terms need the same are looked at in one
        pass."""
        alike: dict[object, list[int]] = {}
        for index, phase in enumerate(self.plan.phases):
            if phase.frozen_stages:
                alike.setdefault(_wanted(phase), []).append(index)
        found: dict[int, int] = {}
        for indices in alike.values():
            phases = [self.plan.phases[index] for index in indices]
            with _as_in(model, phases[0]):
                sizes = self._bytes(model, {phase.frozen_stages for phase in phases}, views)
            found |= {index: sizes[phase.frozen_stages] for index, phase in zip(indices, phases, strict=True)}
        return found

    def _bytes(self, model: Model, cuts: Collection[int], views: int) -> dict[int, int]:
        """Bytes that the states take by cut, from what the model makes of two rows of each kind."""
        total = dict.fromkeys(cuts, 0.0)
        filler = self._filler(model, lambda: False)
        for times, (part, rows) in zip((views, 1), self._parts(1), strict=True):
            for cut, nbytes in bytes_of(filler, rows, cuts).items():
                # The test split is not looked at yet: its rows count as much as those of validation.
                tested = self._tested(cut) / len(rows.examples) if part == EVALUATION and len(rows.examples) else 0
                total[cut] += nbytes * (times + tested)
        return {cut: int(held) for cut, held in total.items()}


@contextmanager
def _as_in(model: Model, phase: Phase) -> Iterator[None]:
    """The model with a phase's terms, and what they need, inside the block."""
    entered = model.entered
    model.enter(phase.terms)
    try:
        yield
    finally:
        model.enter(entered)


def _wanted(phase: Phase) -> tuple[frozenset[str], frozenset[str]]:
    """What a phase's terms need and read, beside what the head does."""
    terms = phase.terms
    return frozenset().union(*(term.needs for term in terms)), frozenset().union(*(term.reads for term in terms))


def _refuse_to_teach(varies: bool, mixes: bool) -> None:
    """What a teacher says of a row is computed once, so the row must stay the same.

    Raises:
        UsageError: it does not.
    """
    if mixes:
        raise UsageError(
            "a teacher says nothing of rows that are mixed with one another", hint="Leave mixup and cutmix out"
        )
    if varies:
        raise UsageError("a teacher needs rows that stay the same", hint="--views V keeps V fixed views of each")
