"""Checks of the terms of a strategy's plan: sums and their divisors, batches in pieces, what they leave alone, checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graftwork.data.splits import UNLABELLED
from graftwork.engine.optimizer import enter_phase
from graftwork.engine.terms import name_of, start_terms
from graftwork.errors import RunFailed
from graftwork.interfaces import Batch, Features, Model, Observer, Plan, StepRecord, Strategy, Term
from graftwork.testing.base import copied, difference, doing, same
from graftwork.testing.fits import Fitted, fit, prepared
from graftwork.testing.planning import PlanChecks
from graftwork.testing.subjects import Subject, plain_rows
from graftwork.testing.surroundings import shuffled_random

_TOLERANCE = 1e-3
"""By how much gradients of pieces may differ from those of the whole, relative to the largest of them."""


class TermChecks(PlanChecks):
    """The part of `StrategyConformance` that is about terms."""

    def with_terms(self) -> tuple[Subject, Strategy, Model, Plan]:
        """A prepared model and its plan; the check is skipped where that has no terms."""
        subject = self.subject()
        strategy = self.built(subject)
        model = prepared(subject, strategy)
        plan = self.planned(strategy, model)
        if not plan.terms:
            pytest.skip("the plan has no terms")
        return subject, strategy, model, plan

    def begun(self) -> tuple[Model, Plan, Callable[[Term], Batch]]:
        """A model whose weights have moved a little since the terms of its plan looked at it, and rows as a term sees them."""
        subject, _, model, plan = self.with_terms()
        with doing("starting the terms"):
            start_terms(plan, model, 0)
        _move(model)
        return model, plan, lambda term: _rows_of(subject, model, plan, term)

    def test_sums_and_counts_of_terms_go_together(self) -> None:
        model, plan, rows_of = self.begun()
        for term in _each(model, plan):
            name, batch = name_of(term), rows_of(term)
            counts = _counted(term, batch)
            with doing("counting what all loss parts run over"):
                model.counts(batch)
            sums = _summed(model, term, batch)
            assert set(sums) == set(counts), (
                f"the loss parts {sorted(sums)} of the term {name} and its counts {sorted(counts)} are not the same names"
            )
            for part, value in sums.items():
                assert isinstance(value, Tensor) and value.ndim == 0, f"loss part {part} of {name} is no scalar tensor"
                assert torch.isfinite(value), f"loss part {part} of {name} is {float(value.detach())} on ordinary rows"
            assert any(value.requires_grad for value in sums.values()), (
                f"no loss part of {name} has a gradient: it would change nothing"
            )
            for part, count in counts.items():
                assert isinstance(count, Tensor) and count.ndim == 0, f"the count of {part} is no scalar tensor"
                assert not count.requires_grad, (
                    f"the count of {part} has a gradient: it must follow from the batch alone"
                )
                assert torch.isfinite(count) and float(count) > 0, (
                    f"the count of {part} is {float(count)} on ordinary rows"
                )
            pieces = _pieces(batch)
            for part, count in counts.items():
                total = sum(float(_counted(term, piece)[part]) for piece in pieces)
                assert abs(total - float(count)) <= _TOLERANCE * max(1.0, total), (
                    f"the count of {part} is {float(count):g} for a batch and {total:g} for its pieces: a batch in "
                    "micro-batches would be normalised otherwise"
                )
            _summed(model, term, pieces[0])
            _move(model)
            for part, count in _counted(term, batch).items():
                assert float(count) == float(counts[part]), (
                    f"the count of {part} is {float(count):g} once {name} has seen other rows and weights, and was "
                    f"{float(counts[part]):g}: it must follow from the batch alone"
                )
            with doing(f"describing {name} as JSON"):
                json.dumps(term.describe(), allow_nan=False)

    def test_micro_batches_give_the_gradients_of_the_whole_batch(self) -> None:
        model, plan, rows_of = self.begun()
        looked = 0
        for term in _each(model, plan):
            batch = rows_of(term)
            if term.couples_rows or _draws(model, term, batch):
                continue
            looked += 1
            whole = _gradients(model, term, [batch], batch)
            pieces = _gradients(model, term, _pieces(batch), batch)
            largest = max((float(value.abs().max()) for value in whole.values()), default=0.0) or 1.0
            for parameter, value in whole.items():
                assert bool(torch.isfinite(value).all()), (
                    f"the gradient of {name_of(term)} in {parameter} is not finite"
                )
                gap = difference(pieces[parameter] / largest, value / largest)
                assert gap <= _TOLERANCE, (
                    f"in pieces, {name_of(term)} gives {parameter} another gradient than for the whole batch (by {gap:.2g} of "
                    "the largest): its loss is no sum over rows. Where its value couples the rows of a batch, `couples_rows` "
                    "says so"
                )
        if not looked:
            pytest.skip("the terms couple the rows of a batch, or draw random numbers")

    def test_terms_change_nothing_that_they_see(self) -> None:
        subject, _, model, plan = self.with_terms()
        before = copied(model.state_dict())
        with doing("starting the terms"):
            start_terms(plan, model, 0)
            first = [copied(term.state()) for term in plan.terms]
            start_terms(plan, model, 0)
        same(model.state_dict(), before, "starting the terms changes the model's weights")
        for term, state in zip(plan.terms, first, strict=True):
            same(
                term.state(),
                state,
                f"started again on the same model, the term {name_of(term)} begins with another state",
            )
        _move(model)
        for term in _each(model, plan):
            batch = _rows_of(subject, model, plan, term)
            features = model.features(batch)
            seen = _seen(model, batch, features)
            modes = {name: module.training for name, module in model.named_modules()}
            with doing(f"computing the loss of {name_of(term)}"):
                term.loss(model, batch, features)
            same(_seen(model, batch, features), seen, f"computing the loss of {name_of(term)} changes what it sees")
            assert {name: module.training for name, module in model.named_modules()} == modes, (
                f"computing the loss of {name_of(term)} changes the train mode of a module"
            )

    def test_terms_go_on_from_a_checkpoint_to_the_same_bits(self, tmp_path: Path) -> None:
        whole = self._fitted(tmp_path / "whole")
        before = 0
        for phase in whole.plan.phases:
            if phase.terms:
                break
            before += phase.epochs
        per_epoch = whole.progress.step // whole.progress.epoch
        with pytest.raises(_Death):
            self._fitted(tmp_path / "cut", _Dies(before * per_epoch + 2))
        resumed = self._fitted(tmp_path / "cut", resume=True)
        said = "killed after a step with a term and resumed, a fit ends"
        losses = [[line["train_loss"] for line in found.progress.history] for found in (whole, resumed)]
        assert losses[0] == losses[1], f"{said} with other losses: the term keeps something that is not in its state()"
        same(resumed.model.state_dict(), whole.model.state_dict(), f"{said} with another model")
        for term, other in zip(resumed.plan.terms, whole.plan.terms, strict=True):
            same(term.state(), other.state(), f"{said} with another state of {name_of(term)}")

    def test_the_artifact_holds_nothing_of_a_term(self) -> None:
        subject, strategy, model, plan = self.with_terms()
        own = subject.model().state_dict()
        with doing("starting the terms"):
            start_terms(plan, model, 0)
        with doing("finishing"):
            strategy.finish(model)
        theirs = {tensor.data_ptr() for term in plan.terms for tensor in (*term.parameters(), *term.buffers())}
        for name, value in model.state_dict().items():
            assert name in own, f"the artifact holds {name}, which the model does not have without its terms"
            assert not value.numel() or value.data_ptr() not in theirs, f"the artifact's {name} is a tensor of a term"

    def _fitted(self, folder: Path, *observers: Observer, resume: bool = False) -> Fitted:
        subject, _, model, plan = self.with_terms()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return fit(subject, model, plan, folder, observers, resume=resume)
        except RunFailed as error:
            raise AssertionError(f"a fit by this plan fails: {error}") from error


class _Death(KeyboardInterrupt):
    """Ends a fit as a kill would: nothing is written on the way out."""


class _Dies(Observer):
    """Ends a fit after a step, before its checkpoint."""

    def __init__(self, step: int) -> None:
        self._step = step

    def step_end(self, record: StepRecord) -> None:
        if record.step == self._step:
            raise _Death


def _each(model: Model, plan: Plan) -> Iterator[Term]:
    """The terms, each with the model as in its first phase, and nothing random in what they see."""
    done: list[Term] = []
    for phase in plan.phases:
        enter_phase(model, phase)
        model.eval()
        for term in phase.terms:
            term.train()
            for module in term.modules():
                statistics = any(name.startswith("running_") for name, _ in module.named_buffers(recurse=False))
                if statistics or isinstance(module, nn.modules.dropout._DropoutNd):
                    module.eval()
        for term in phase.terms:
            if not any(term is other for other in done):
                done.append(term)
                yield term


def _move(model: Model) -> None:
    """Backbone and head a little away from where they are, by the same steps every time."""
    with shuffled_random(0), torch.no_grad():
        for part in (model.backbone, model.head):
            for parameter in part.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.01)


def _rows_of(subject: Subject, model: Model, plan: Plan, term: Term) -> Batch:
    """Four training rows, or two items, as the stream of a term gives them; not augmented."""
    stream = next(
        stream
        for phase in plan.phases
        if any(term is other for other in phase.terms)
        for stream in phase.streams
        if stream.name == term.stream
    )
    rows, items = None, stream.items
    if items is not None:
        strata = list(subject.task.strata(subject.few["train"]))
        with doing("drawing items"):
            drawn = [items.item(number, strata, torch.Generator().manual_seed(number)) for number in range(2)]
        rows = [row for item in drawn for row in item]
    batch = plain_rows(subject, model.backbone.input, rows)
    targets = {} if stream.split == UNLABELLED else batch.targets
    return replace(batch, stream=stream.name, unit=items.unit if items else 1, targets=targets)


def _pieces(batch: Batch) -> list[Batch]:
    """A row (or an item, which stays whole), and the others."""
    return [batch.slice(0, batch.unit), batch.slice(batch.unit, len(batch))]


def _counted(term: Term, batch: Batch) -> dict[str, Tensor]:
    with doing(f"counting what the loss of {name_of(term)} runs over"):
        found = term.counts(batch)
    assert isinstance(found, Mapping) and found, f"counts of {name_of(term)} gives no dict of named divisors"
    return dict(found)


def _summed(model: Model, term: Term, batch: Batch) -> dict[str, Tensor]:
    features = model.features(batch)
    with doing(f"computing the loss of {name_of(term)}"):
        found = term.loss(model, batch, features)
    assert isinstance(found, Mapping) and found, f"loss of {name_of(term)} gives no dict of named loss parts"
    return dict(found)


def _draws(model: Model, term: Term, batch: Batch) -> bool:
    """Whether the loss draws random numbers: a batch and its pieces are then other draws."""
    found = []
    for seed in range(2):
        with shuffled_random(seed), torch.no_grad():
            found.append({name: float(value) for name, value in _summed(model, term, batch).items()})
    return found[0] != found[1]


def _gradients(model: Model, term: Term, pieces: list[Batch], whole: Batch) -> dict[str, Tensor]:
    """Of what the phase trains, by the pieces of a batch together, as a step adds them up."""
    counts = _counted(term, whole)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    for parameter in trained.values():
        parameter.grad = None
    for piece in pieces:
        parts = [value / counts[name] for name, value in _summed(model, term, piece).items() if name in counts]
        loss = torch.stack(parts).sum()
        if loss.requires_grad:
            torch.autograd.backward(loss)
    found = {name: p.grad.clone() for name, p in trained.items() if p.grad is not None}
    return {name: found.get(name, torch.zeros_like(parameter)) for name, parameter in trained.items()}


def _seen(model: Model, batch: Batch, features: Features) -> Any:
    """Everything that a term is given, and what it keeps itself."""
    return copied(
        {
            "the model": dict(model.named_parameters()) | dict(model.named_buffers()),
            "the state": {str(index): term.state() for index, term in enumerate(model.entered)},
            "the inputs": batch.inputs,
            "the targets": batch.targets,
            "the features": features,
        }
    )
