"""Checks of the terms of a strategy's plan: sums and their divisors, batches in pieces, what they leave alone, checkpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from graftwork.engine.optimizer import enter_phase
from graftwork.engine.terms import name_of, start_terms
from graftwork.errors import RunFailed
from graftwork.interfaces import Batch, Features, Model, Observer, Plan, StepRecord, Strategy, Term
from graftwork.testing.base import Conformance, copied, difference, doing, same
from graftwork.testing.fits import Fitted, context, fit, prepared
from graftwork.testing.subjects import Subject, assemble, plain_rows, usual_task
from graftwork.testing.surroundings import shuffled_random

_TOLERANCE = 1e-3
"""By how much gradients of pieces may differ from those of the whole, relative to the largest of them."""


class TermChecks(Conformance):
    """The part of `StrategyConformance` that is about terms, with what all its checks are made on."""

    strategy: ClassVar[str]
    """As `--strategy`: NAME or NAME:ARGUMENT."""

    task: ClassVar[str] = ""
    data: ClassVar[str] = ""
    backbone: ClassVar[str] = ""
    options: ClassVar[Mapping[str, Any]] = {}
    """Of the strategy."""

    epochs: ClassVar[int] = 6
    """Enough for every phase."""

    def subject(self) -> Subject:
        """The parts of a run with this strategy."""
        catalogue = self.catalogue()
        task = self.task or usual_task(catalogue)
        given = {"strategy": self.options}
        return assemble(catalogue, task, data=self.data, backbone=self.backbone, strategy=self.strategy, options=given)

    def built(self, subject: Subject) -> Strategy:
        """The strategy, as a run builds it."""
        with doing("building the strategy"):
            return subject.builder.strategy(subject.config)

    def planned(self, strategy: Strategy, model: Model, **changes: Any) -> Plan:
        """Its plan for a model."""
        with doing("planning"):
            plan = strategy.plan(model, replace(context(self.subject(), self.epochs), **changes))
        assert isinstance(plan, Plan), f"plan gives a {type(plan).__name__} in place of a Plan"
        return plan

    def begun(self) -> tuple[Model, Plan, Batch]:
        """A model whose weights have moved a little since the terms of its plan looked at it, and four training rows."""
        subject = self.subject()
        strategy = self.built(subject)
        model = prepared(subject, strategy)
        plan = self.planned(strategy, model)
        if not plan.terms:
            pytest.skip("the plan has no terms")
        with doing("starting the terms"):
            start_terms(plan, model, 0)
        _move(model)
        return model, plan, plain_rows(subject, model.backbone.input)

    def test_sums_and_counts_of_terms_go_together(self) -> None:
        model, plan, batch = self.begun()
        for term in _each(model, plan):
            name = name_of(term)
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
        model, plan, batch = self.begun()
        looked = 0
        for term in _each(model, plan):
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
        subject = self.subject()
        strategy = self.built(subject)
        model = prepared(subject, strategy)
        plan = self.planned(strategy, model)
        if not plan.terms:
            pytest.skip("the plan has no terms")
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
        batch = plain_rows(subject, model.backbone.input)
        for term in _each(model, plan):
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
        subject = self.subject()
        strategy = self.built(subject)
        own = subject.model().state_dict()
        model = prepared(subject, strategy)
        plan = self.planned(strategy, model)
        if not plan.terms:
            pytest.skip("the plan has no terms")
        with doing("starting the terms"):
            start_terms(plan, model, 0)
        with doing("finishing"):
            strategy.finish(model)
        theirs = {tensor.data_ptr() for term in plan.terms for tensor in (*term.parameters(), *term.buffers())}
        for name, value in model.state_dict().items():
            assert name in own, f"the artifact holds {name}, which the model does not have without its terms"
            assert not value.numel() or value.data_ptr() not in theirs, f"the artifact's {name} is a tensor of a term"

    def _fitted(self, folder: Path, *observers: Observer, resume: bool = False) -> Fitted:
        subject = self.subject()
        strategy = self.built(subject)
        model = prepared(subject, strategy)
        plan = self.planned(strategy, model)
        if not plan.terms:
            pytest.skip("the plan has no terms")
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


def _pieces(batch: Batch) -> list[Batch]:
    """A row, and the others."""
    return [batch.slice(0, 1), batch.slice(1, len(batch))]


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
