"""Checks of a head that can be solved (`Head.solve`) in place of being trained step by step; others skip them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from graftwork.interfaces import Batch, Features, Head, Model, Targets
from graftwork.testing.base import close, copied, doing, same
from graftwork.testing.head_losses import slice_of
from graftwork.testing.head_outputs import OutputChecks
from graftwork.testing.surroundings import shuffled_random

Items = list[tuple[Features, Targets]]


class SolvingChecks(OutputChecks):
    """The part of `HeadConformance` that is about solving."""

    solver_options: ClassVar[Mapping[str, Any]] = {}
    """As a phase's solver gives them to the head."""

    def solvable(self) -> tuple[Model, Batch, Items]:
        """A fresh model in eval mode, and four rows as the items of one batch."""
        model, batch = self.trained_on()
        if type(model.head).solve is Head.solve:
            pytest.skip("the head cannot be solved")
        model.eval()
        return model, batch, [(self.features(model, batch), batch.targets)]

    def solved(self, head: Head, items: Items) -> dict[str, Tensor]:
        """What the head gives for the items."""
        with doing("solving"):
            found = head.solve(items, self.solver_options)
        assert isinstance(found, Mapping) and found, (
            f"solve gives a {type(found).__name__}, and no dict of named tensors"
        )
        return dict(found)

    def test_what_is_solved_fits_the_head(self) -> None:
        model, _, items = self.solvable()
        own = model.head.state_dict()
        for name, value in self.solved(model.head, items).items():
            assert name in own, f"solve gives {name}, which the head's state_dict does not have"
            assert value.shape == own[name].shape, (
                f"solve gives {name} of the shape {tuple(value.shape)}, where the head has {tuple(own[name].shape)}"
            )
            assert bool(torch.isfinite(value).all()), f"solve gives {name}, which is not finite on ordinary rows"

    def test_solving_follows_from_rows_and_options_alone(self) -> None:
        model, _, items = self.solvable()
        found = []
        for seed in (1, 2):
            with shuffled_random(seed):
                found.append(copied(self.solved(model.head, items)))
        same(found[1], found[0], "solved again from the same rows, the head is another one")

    def test_solving_changes_nothing_that_it_sees(self) -> None:
        model, batch, items = self.solvable()
        before = copied(model.head.state_dict()), copied(items[0][0]), copied(batch.targets)
        self.solved(model.head, items)
        same(
            model.head.state_dict(),
            before[0],
            "solve changes the head itself: the engine does that, with what it gives",
        )
        same(items[0][0], before[1], "solve changes the features that it is given")
        same(items[0][1], before[2], "solve changes the targets that it is given")

    def test_what_is_solved_does_not_depend_on_how_rows_are_batched(self) -> None:
        model, batch, items = self.solvable()
        ((features, _),) = items
        together = self._outputs_once_solved(model.head, items, features)
        rows = [(slice_of(features, row), piece.targets) for row, piece in enumerate(batch.split(1))]
        one_by_one = self._outputs_once_solved(model.head, rows, features)
        close(one_by_one, together, "solved from the same rows in other batches, the head gives other outputs")

    def test_a_solved_head_fits_the_rows_better(self) -> None:
        model, _, items = self.solvable()
        ((features, targets),) = items
        losses = []
        for solved in (False, True):
            if solved:
                _put(model.head, self.solved(model.head, items))
            with torch.no_grad():
                parts = self.losses(model.head, features, targets)
            losses.append(sum(float(value) for value in parts.values()))
        assert losses[1] < losses[0], (
            f"the loss on the rows that it was solved on is {losses[1]:.4g}, and was {losses[0]:.4g} before"
        )

    def _outputs_once_solved(self, head: Head, items: Items, features: Features) -> dict[str, Tensor]:
        before = copied(head.state_dict())
        _put(head, self.solved(head, items))
        found = copied(self.said(head, features))
        head.load_state_dict(before)
        return dict(found)


def _put(head: Head, solved: Mapping[str, Tensor]) -> None:
    own = head.state_dict()
    with torch.no_grad():
        for name, value in solved.items():
            own[name].copy_(value)
