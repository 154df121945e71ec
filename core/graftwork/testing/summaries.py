"""Checks of a backbone's summaries: what one vector says of the state after so many stages, for heads over several of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor

from graftwork.interfaces import Backbone, State
from graftwork.testing.base import close, copied, doing, same
from graftwork.testing.probe import rows_of
from graftwork.testing.staging import StagedChecks


class SummaryChecks(StagedChecks):
    """The part of `BackboneConformance` that is about `summary` and `summary_width`."""

    def test_summaries_are_vectors_of_the_declared_width(self) -> None:
        backbone, inputs = self.build().eval(), self.inputs()
        taken = sorted(name for name in backbone.provides if re.fullmatch(r"stage\d+", name))
        assert not taken, f"the backbone provides {', '.join(taken)}: a head would take that for the summary of a stage"
        for needs in (frozenset(backbone.provides), frozenset[str]()):
            for cut, state in _states(backbone, inputs, needs):
                with doing(f"the summary after {cut} stages, where {sorted(needs)} is needed,"):
                    found, width = _detached(backbone, state, cut), backbone.summary_width(cut)
                shape = tuple(found.shape)
                assert shape == (rows_of(inputs), width), (
                    f"the summary after {cut} stages has the shape {shape}, declared is [{rows_of(inputs)}, {width}]"
                )
                assert found.dtype in (torch.float32, torch.float64), (
                    f"the summary after {cut} stages is {found.dtype}: average in float32"
                )
                assert torch.isfinite(found).all(), f"the summary after {cut} stages is not finite"

    def test_a_summary_does_not_depend_on_the_rows_beside_it(self) -> None:
        backbone, inputs = self.build().eval(), self.inputs()
        for cut, state in _states(backbone, inputs, frozenset()):
            together = _detached(backbone, state, cut)
            alone = _detached(backbone, {name: tensor[:1] for name, tensor in state.items()}, cut)
            where = f"the summary of a row after {cut} stages depends on the rows beside it"
            close({"row 0": alone[0]}, {"row 0": together[0]}, where)
            turned = _detached(backbone, {name: tensor.flip(0) for name, tensor in state.items()}, cut)
            close({"rows": turned.flip(0)}, {"rows": together}, where)

    def test_padding_does_not_change_a_summary(self) -> None:
        backbone, inputs = self.build().eval(), self.inputs()
        shorter, padded = _shorter_and_padded(inputs)
        without, with_padding = (_states(backbone, given, frozenset()) for given in (shorter, padded))
        for (cut, short), (_, long) in zip(without, with_padding, strict=True):
            found, expected = _detached(backbone, long, cut), _detached(backbone, short, cut)
            close({"rows": found}, {"rows": expected}, f"padding changes the summary of a row after {cut} stages")

    def test_gradients_reach_the_stage_before_a_summary(self) -> None:
        backbone, inputs = self.build(), self.inputs()
        with torch.no_grad():
            for parameter in backbone.parameters():
                # Initial zeros stop gradients on purpose; away from them nothing does.
                parameter.add_(torch.randn_like(parameter) * 0.02)
        backbone.eval()  # stochastic depth may skip a block in training
        for cut, stage in enumerate(backbone.stages(), start=1):
            parameters = [parameter for parameter in stage.parameters() if parameter.requires_grad]
            if not parameters:
                continue
            found = backbone.summary(backbone.prefix(inputs, cut, frozenset()), cut)
            loss = (found * torch.randn_like(found)).sum()
            assert loss.requires_grad, (
                f"the summary after {cut} stages is cut off: no gradient reaches the stage before it"
            )
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            reached = any(gradient is not None and gradient.any() for gradient in gradients)
            assert reached, f"no gradient of the summary after {cut} stages reaches the stage before it"

    def test_a_summary_leaves_the_state_as_it_was(self) -> None:
        backbone, inputs = self.build().eval(), self.inputs()
        for cut, state in _states(backbone, inputs, frozenset(backbone.provides)):
            before = copied(state)
            _detached(backbone, state, cut)
            same(state, before, f"summary changes the state that it is given, after {cut} stages")

    def test_a_summary_uses_no_parameter(self) -> None:
        backbone, inputs = self.build().eval(), self.inputs()
        for cut, state in _states(backbone, inputs, frozenset()):
            found = backbone.summary(state, cut)
            assert not found.requires_grad, (
                f"the summary after {cut} stages is made with a parameter, which no stage would freeze"
            )


def _states(backbone: Backbone, inputs: Mapping[str, Tensor], needs: frozenset[str]) -> Iterator[tuple[int, State]]:
    """The states after one stage, two, … to all, as `advance` gives them, without gradients."""
    for cut in range(1, len(backbone.stages()) + 1):
        with torch.no_grad():
            state = backbone.prefix(inputs, cut, needs)
        yield cut, state


def _detached(backbone: Backbone, state: State, cut: int) -> Tensor:
    with torch.no_grad():
        return backbone.summary(state, cut)


def _shorter_and_padded(inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The first half of every row's places; and all places, of which the mask leaves the second half out.

    Skips the check where there is no mask, or where a row would be left without a place.
    """
    mask = inputs.get("mask")
    if mask is None or mask.dtype != torch.bool or mask.ndim != 2:
        pytest.skip("its inputs have no mask [B, T] that says what is padding")
    half = -(-mask.shape[1] // 2)
    if half == mask.shape[1] or not mask[:, :half].any(1).all():
        pytest.skip("a row of its inputs has no place in the first half: nothing can be left out")
    placed = {name for name, tensor in inputs.items() if tensor.shape[:2] == mask.shape}
    shorter = {name: tensor[:, :half] if name in placed else tensor for name, tensor in inputs.items()}
    padded = {**inputs, "mask": mask & (torch.arange(mask.shape[1]) < half)}
    return shorter, padded
