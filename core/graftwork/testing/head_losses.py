"""Checks of a head's loss: sums and their divisors, padding, ignored targets, batches without anything to find."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from graftwork.interfaces import Batch, Examples, Features, Head, Model, Predictions, Targets
from graftwork.testing.base import Conformance, close, doing
from graftwork.testing.subjects import Subject, assemble, load, plain_rows
from graftwork.testing.surroundings import shuffled_random

_PADDING = 0.15
"""How much of a loss may change when padding grows: what a backbone sees at a picture's edge does change a little."""

_DRAWS = 6  # seeds over which a loss that draws random numbers is averaged


class LossChecks(Conformance):
    """The part of `HeadConformance` that is about the loss, with what all its checks are made on."""

    head: ClassVar[str]
    """The catalogue name."""

    task: ClassVar[str] = ""
    """Of the tasks that registry.yaml says; the first that has a sample where empty."""

    data: ClassVar[str] = ""
    backbone: ClassVar[str] = ""
    options: ClassVar[Mapping[str, Any]] = {}
    """Of the head."""

    task_options: ClassVar[Mapping[str, Any]] = {}

    def subject(self) -> Subject:
        """The parts of a run with this head."""
        return assemble(
            self.catalogue(),
            self.task or self._first_task(),
            data=self.data,
            backbone=self.backbone,
            head=self.head,
            options={"head": self.options, "task": self.task_options},
        )

    def ignored(self, targets: Targets) -> Targets | None:
        """The same targets with everything ignored; None where this kind of target ignores nothing.

        The default knows what rows of several sizes are padded with: a value that is not 0 is one that is ignored.
        """
        subject = self.subject()
        return _all_ignored(subject.examples("train", subject.input(), True), targets)

    def trained_on(self) -> tuple[Model, Batch]:
        """A fresh model, the head in train mode, and four rows as training gives them, not augmented."""
        subject = self.subject()
        model = subject.model()
        return model, plain_rows(subject, model.backbone.input)

    def features(self, model: Model, batch: Batch) -> Features:
        """What the head gets of a batch; without gradients, and each a tensor of its own."""
        with torch.no_grad():
            model.backbone.eval()
            return {name: value.clone() for name, value in model.features(batch).items()}

    def losses(self, head: Head, features: Features, targets: Targets) -> dict[str, Tensor]:
        """The loss in train mode, with dropout off and norms at rest: both make a batch more than its rows."""
        _train_without_noise(head)
        with doing("computing the loss"):
            found = head.loss(features, targets)
        assert isinstance(found, Mapping) and found, "loss gives no dict of named loss parts"
        return dict(found)

    def predicted(self, head: Head, features: Features) -> Predictions:
        """Predictions in eval mode."""
        head.eval()
        with torch.no_grad(), doing("predicting"):
            return head.predict(features)

    def uses(self, head: Head, targets: Targets) -> list[tuple[str, Callable[[Features], Any]]]:
        """What the engine calls a head for, each with the beginning of a sentence."""
        return [
            ("computing the loss", lambda features: _train_without_noise(head).loss(features, targets)),
            ("counting what the loss runs over", lambda features: head.counts(targets)),
            ("predicting", lambda features: self.predicted(head, features)),
        ]

    def test_loss_parts_and_their_counts_go_together(self) -> None:
        model, batch = self.trained_on()
        losses = self.losses(model.head, self.features(model, batch), batch.targets)
        counts = model.head.counts(batch.targets)
        assert set(losses) == set(counts), (
            f"loss parts {sorted(losses)} and counts {sorted(counts)} are not the same names"
        )
        for name, loss in losses.items():
            assert isinstance(loss, Tensor) and loss.ndim == 0, f"loss part {name} is no scalar tensor"
            assert torch.isfinite(loss), f"loss part {name} is {float(loss.detach())} on ordinary rows"
            assert loss.requires_grad, f"loss part {name} has no gradient: it was detached, or made of numbers"
        for name, count in counts.items():
            assert isinstance(count, Tensor) and count.ndim == 0, f"the count of {name} is no scalar tensor"
            assert not count.requires_grad, f"the count of {name} has a gradient: it must follow from the targets alone"
            assert torch.isfinite(count) and float(count) > 0, f"the count of {name} is {float(count)} on ordinary rows"

    def test_the_loss_of_a_batch_is_the_sum_of_its_rows(self) -> None:
        model, batch = self.trained_on()
        features = self.features(model, batch)
        pieces = [(piece, slice_of(features, row)) for row, piece in enumerate(batch.split(1))]
        counts = [model.head.counts(piece.targets) for piece, _ in pieces]
        for name, count in model.head.counts(batch.targets).items():
            total = sum(float(each[name]) for each in counts)
            assert abs(total - float(count)) <= 1e-3 * max(1.0, abs(total)), (
                f"the count of {name} is {float(count):g} for a batch and {total:g} for its rows one by one: a batch in "
                "micro-batches would be normalised otherwise"
            )
        whole, alone = [], []
        for seed in range(_DRAWS):
            with shuffled_random(seed), torch.no_grad():
                whole.append(self.losses(model.head, features, batch.targets))
                alone.append([self.losses(model.head, piece, row.targets) for row, piece in pieces])
        for name in whole[0]:
            one = torch.tensor([float(losses[name]) for losses in whole], dtype=torch.float64)
            other = torch.tensor([sum(float(row[name]) for row in rows) for rows in alone], dtype=torch.float64)
            # A loss that samples (proposals) is compared over several draws.
            spread = float(one.std() + other.std())
            gap, size = float((one.mean() - other.mean()).abs()), max(float(other.mean().abs()), 1e-3)
            assert gap <= 1e-3 * size + 3 * spread, (
                f"loss part {name} is {float(one.mean()):.4g} for a batch and {float(other.mean()):.4g} for its rows one by "
                "one: it must be a sum, and is a mean over the batch or depends on the rows beside a row"
            )

    def test_padding_changes_neither_loss_nor_counts(self) -> None:
        subject = self.subject()
        model = subject.model()
        examples = subject.examples("train", model.backbone.input, True).view(0)
        pair = _rows_of_two_sizes(examples)
        if pair is None:
            pytest.skip("rows do not differ in size, so none is padded")
        alone, together = load(examples, pair[:1]), load(examples, pair).slice(0, 1)
        close(
            model.head.counts(together.targets),
            model.head.counts(alone.targets),
            "a row is counted otherwise once it is padded: the loss is averaged over padding",
        )
        if isinstance(alone.targets, list) or self.ignored(alone.targets) is None:
            return
        with torch.no_grad():
            found = self.losses(model.head, self.features(model, together), together.targets)
            one = self.losses(model.head, self.features(model, alone), alone.targets)
        for name, expected in one.items():
            change = abs(float(found[name]) / max(float(expected), 1e-9) - 1)
            assert change <= _PADDING, (
                f"loss part {name} changes by {change:.0%} once a row is padded: padding costs something"
            )

    def test_ignored_targets_cost_nothing(self) -> None:
        model, batch = self.trained_on()
        nothing = self.ignored(batch.targets)
        if nothing is None:
            pytest.skip("these targets have no value that is ignored")
        for name, loss in self._finite_losses(model, batch, nothing, "targets that are all ignored").items():
            assert abs(float(loss.detach())) <= 1e-4, (
                f"loss part {name} is {float(loss.detach()):.4g} where every target is ignored"
            )

    def test_a_batch_without_anything_to_find_has_a_finite_loss(self) -> None:
        model, batch = self.trained_on()
        if not isinstance(batch.targets, list):
            pytest.skip("each row has a target")
        none = [{name: value[:0] if value.ndim else value for name, value in row.items()} for row in batch.targets]
        self._finite_losses(model, batch, none, "a batch without a single object")
        self._finite_losses(model, batch, [*none[:1], *batch.targets[1:]], "a batch with a row without objects")

    def _finite_losses(self, model: Model, batch: Batch, targets: Targets, what: str) -> dict[str, Tensor]:
        with doing(f"computing the loss of {what}"):
            losses = dict(_train_without_noise(model.head).loss(self.features(model, batch), targets))
            counts = model.head.counts(targets)
        for name, loss in losses.items():
            total, count = float(loss.detach()), float(counts[name])
            fine = math.isfinite(total) and math.isfinite(count) and (count > 0 or total == 0)
            assert fine, f"loss part {name} over its count is {total:.4g} / {count:.4g} for {what}"
        if any(loss.requires_grad for loss in losses.values()):
            torch.autograd.backward(sum(losses.values(), torch.zeros(())))
        for name, parameter in model.head.named_parameters():
            finite = parameter.grad is None or bool(torch.isfinite(parameter.grad).all())
            assert finite, f"the gradient of {name} is not finite for {what}"
        return losses

    def _first_task(self) -> str:
        catalogue = self.catalogue()
        entry = catalogue.head(self.head)
        samples = [(found.task, found.plugin) for found in catalogue.entries["datasets"].values()]
        known = [task for task in entry.tasks if catalogue.find("tasks", task, entry.plugin) is not None]
        if not known:
            pytest.skip(f"no task that head {self.head} is for is installed ({', '.join(entry.tasks)})")
        names = [catalogue.name_for(entry.plugin, "tasks", task) for task in known]
        return next((name for name in names if any(task == name.rpartition(":")[2] for task, _ in samples)), names[0])


def _train_without_noise(head: Head) -> Head:
    head.train()
    for module in head.modules():
        statistics = any(name.startswith("running_") for name, _ in module.named_buffers(recurse=False))
        if statistics or isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
    return head


def slice_of(features: Features, row: int) -> Features:
    """Features, or outputs, of one row."""
    return {name: value[row : row + 1] for name, value in features.items()}


def _rows_of_two_sizes(examples: Examples) -> list[int] | None:
    """A row, and one beside which it is padded."""
    sizes = examples.sizes()
    if sizes is None:
        return None
    as_tuples = [size if isinstance(size, tuple | list) else (size,) for size in sizes]
    for small, one in enumerate(as_tuples):
        for large, other in enumerate(as_tuples):
            if any(a < b for a, b in zip(one, other, strict=True)):
                return [small, large]
    return None


def _all_ignored(examples: Examples, targets: Targets) -> Targets | None:
    """Targets with the value that padding has in place of each, where that is not 0; None where there is none."""
    if isinstance(targets, list) or examples.sizes() is None:
        return None
    found: dict[str, Tensor] = {}
    for name, values in targets.items():
        pad = _padding(examples, name, values[0])
        if not pad:
            return None
        found[name] = torch.full_like(values, pad)
    return found or None


def _padding(examples: Examples, name: str, value: Tensor) -> Any:
    """What a row's target is padded with beside a larger one; None where it is no one value."""
    if not value.ndim:
        return None
    longer = torch.cat([value, value], dim=-1)
    try:
        beyond = examples.join(name, [value, longer])[0][..., value.shape[-1] :]
    except Exception:  # a target that is never padded need not be joined with a longer one
        return None
    first = beyond.flatten()[0].item()
    return first if bool((beyond == first).all()) else None
