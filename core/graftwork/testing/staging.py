"""Checks of a backbone's stages: where tensors lie, states that can be kept, freezing, gradients."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graftwork.interfaces import Backbone
from graftwork.testing.base import Conformance, close, copied, doing, same
from graftwork.testing.probe import backward, batch_of, probed, rows_of, stored_and_read


class StagedChecks(Conformance):
    """The part of `BackboneConformance` that is about stages."""

    def build(self) -> Backbone:
        """A fresh backbone with random weights, the smallest of its kind."""
        raise NotImplementedError("a subclass of BackboneConformance supplies build()")

    def inputs(self) -> dict[str, Tensor]:
        """A batch of at least two rows, each tensor batch first; the same at every call."""
        raise NotImplementedError("a subclass of BackboneConformance supplies inputs()")

    def test_every_tensor_belongs_to_exactly_one_stage(self) -> None:
        backbone = self.build()
        assert len(backbone.stages()) >= 1, "the backbone has no stage"
        places: dict[int, int] = {}
        for stage in backbone.stages():
            for tensor in {id(t): t for t in [*stage.parameters(), *stage.buffers()]}.values():
                places[id(tensor)] = places.get(id(tensor), 0) + 1
        for name, tensor in [*backbone.named_parameters(), *backbone.named_buffers()]:
            count = places.get(id(tensor), 0)
            assert count == 1, f"{name} is in {count} stages: freezing and saving go by stages, so it must be in one"

    def test_suffix_of_prefix_equals_forward_at_every_cut(self) -> None:
        backbone, inputs = self.build().eval(), self.inputs()
        needs = frozenset(backbone.provides)
        with torch.no_grad():
            expected = backbone(inputs)
            for cut in range(len(backbone.stages()) + 1):
                with doing(f"prefix and suffix at cut {cut}"):
                    state = backbone.prefix(inputs, cut, needs)
                    before = copied(state)
                    features = backbone.suffix(state, cut, needs)
                same(features, expected, f"suffix(prefix(x, {cut}), {cut}) is not forward(x)")
                same(state, before, f"suffix changes the state that it is given, at cut {cut}")
        same(inputs, self.inputs(), "prefix or suffix changes the inputs")

    def test_the_state_can_be_cached_row_by_row(self) -> None:
        backbone, inputs = self.build().eval(), self.inputs()
        needs = frozenset(backbone.provides)
        first = {name: tensor[:1] for name, tensor in inputs.items()}
        with torch.no_grad():
            for cut in range(len(backbone.stages()) + 1):
                state = backbone.prefix(inputs, cut, needs)
                _check_state(state, rows_of(inputs), cut)
                single = {name: tensor[:1] for name, tensor in state.items()}
                alone = backbone.prefix(first, cut, needs)
                close(alone, single, f"the state of a row after {cut} stages depends on the other rows of its batch")
                rebuilt = {name: torch.cat([tensor[:1], tensor[1:]]) for name, tensor in state.items()}
                expected = backbone.suffix(state, cut, needs)
                same(backbone.suffix(rebuilt, cut, needs), expected, f"a state put together from rows, cut {cut}")
                for name, tensor in backbone.suffix(single, cut, needs).items():
                    assert tensor.shape[0] == 1, (
                        f"from one row's state at cut {cut} comes {name} of {tensor.shape[0]} rows"
                    )

    def test_a_state_is_not_overwritten_by_the_next_batch(self) -> None:
        backbone, inputs = self.build().eval(), self.inputs()
        needs = frozenset(backbone.provides)
        others = {name: tensor.flip(0) for name, tensor in inputs.items()}
        with torch.no_grad():
            for cut in range(len(backbone.stages()) + 1):
                state = backbone.prefix(inputs, cut, needs)
                before = copied(state)
                backbone.prefix(others, cut, needs)
                same(
                    state,
                    before,
                    f"the next batch overwrites the state after {cut} stages: it is a buffer of the module's",
                )

    def test_training_from_kept_states_equals_training_without(self, tmp_path: Path) -> None:
        original, inputs = self.build(), self.inputs()
        for cut in range(1, len(original.stages()) + 1):
            kept = probed(copy.deepcopy(original)).lay_out()
            computed = copy.deepcopy(kept)  # with its head, whose weights are drawn
            for model in (kept, computed):
                model.train()
                model.freeze(cut)
            batch = stored_and_read(kept, batch_of(inputs), cut, tmp_path / str(cut))
            for model, given in ((kept, batch), (computed, batch_of(inputs))):
                optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
                torch.manual_seed(0)
                backward(model(given))
                optimizer.step()
            found, expected = kept.state_dict(), computed.state_dict()
            same(found, expected, f"a step from states kept at cut {cut} gives other weights than one without")

    def test_begin_and_finish_use_no_parameter(self) -> None:
        backbone, inputs = self.build().eval(), self.inputs()
        needs = frozenset(backbone.provides)
        for name, tensor in backbone.begin(inputs).items():
            if isinstance(tensor, Tensor):
                assert not tensor.requires_grad, f"begin makes {name} from a parameter, which no stage would freeze"
        stages = len(backbone.stages())
        with torch.no_grad():
            state = backbone.prefix(inputs, stages, needs)
        for name, tensor in backbone.suffix(state, stages, needs).items():
            assert not tensor.requires_grad, f"finish makes {name} from a parameter, which no stage would freeze"

    def test_frozen_stages_stay_bit_identical_at_every_depth(self) -> None:
        original = self.build()
        for depth in range(len(original.stages()) + 1):
            model = probed(copy.deepcopy(original))
            model.train()
            model.freeze(depth)
            model.train()
            frozen = copied(model.frozen_tensors(depth))
            free = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
            optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
            backward(model(batch_of(self.inputs())))
            optimizer.step()
            same(model.frozen_tensors(depth), frozen, f"a training step moves a frozen stage, frozen to depth {depth}")
            now = dict(model.named_parameters())
            assert any(not torch.equal(now[name], tensor) for name, tensor in free.items()), (
                f"nothing is trained at depth {depth}"
            )

    def test_gradients_reach_every_trainable_tensor_and_no_frozen_one(self) -> None:
        original = self.build()
        with torch.no_grad():
            for parameter in original.parameters():
                # Initial zeros (a last norm's scale, a layer scale) stop gradients on purpose; away from them nothing does.
                parameter.add_(torch.randn_like(parameter) * 0.02)
        for depth in range(len(original.stages()) + 1):
            model = probed(copy.deepcopy(original))
            model.freeze(depth)
            # Eval mode: stochastic depth may skip a block in training.
            model.eval()
            backward(model.head.loss(model.features(batch_of(self.inputs())), {}))
            frozen = {id(tensor) for tensor in model.frozen_tensors(depth).values()}
            for name, parameter in model.named_parameters():
                if id(parameter) in frozen:
                    assert parameter.grad is None, f"{name} is frozen at depth {depth} and has a gradient"
                else:
                    assert parameter.grad is not None, f"no gradient reaches {name} at depth {depth}"
                    assert parameter.grad.any(), f"the gradient of {name} is zero at depth {depth}"


def _check_state(state: Any, rows: int, cut: int) -> None:
    where = f"the state after {cut} stages"
    assert isinstance(state, dict), f"{where} is a {type(state).__name__}, and not a dict of tensors"
    for name, tensor in state.items():
        assert isinstance(tensor, Tensor), (
            f"{where} holds {name}, a {type(tensor).__name__}: only tensors can be cached"
        )
        assert tensor.ndim and tensor.shape[0] == rows, (
            f"{where} holds {name} of the shape {tuple(tensor.shape)}, which is not batch first: there are {rows} rows"
        )
