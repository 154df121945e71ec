"""The conformance kit for backbones: subclass `BackboneConformance` in your plugin's tests and pytest runs the checks.

class TestMyNet(BackboneConformance):
    def build(self):
        return my_plugin.build(Spec("mynet"))

    def inputs(self):
        return {"pixels": torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))}
"""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from graftwork.data.rowstore import RowStore
from graftwork.data.states import columns_of
from graftwork.interfaces import Backbone, Batch, Features, Head, Model, Predictions, Targets


class Probe(Head):
    """A linear layer on the mean of every feature that a backbone provides: the simplest head that reads them all."""

    def __init__(self, provides: Mapping[str, int], outputs: int = 2) -> None:
        super().__init__()
        self.needs = frozenset(provides)
        self.layers = nn.ModuleDict({name: nn.Linear(channels, outputs) for name, channels in provides.items()})

    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        return {"loss": self._scores(features).square().sum()}

    def predict(self, features: Features) -> Predictions:
        return {"scores": self._scores(features)}

    def _scores(self, features: Features) -> Tensor:
        parts = []
        for name, layer in self.layers.items():
            feature = features[name].float()
            dims = [2, 3] if feature.ndim == 4 else [1]
            parts.append(layer(feature if feature.ndim == 2 else feature.mean(dims)))
        return torch.stack(parts).sum(0)


class BackboneConformance:
    """What being a backbone means, as tests. A subclass supplies `build` and `inputs`; both are called often: keep it small.

    A check that cannot hold is named in `exceptions` with the reason, and is skipped with it.
    """

    exceptions: ClassVar[Mapping[str, str]] = {}
    """Name of a test method to the reason why it does not apply."""

    def build(self) -> Backbone:
        """A fresh backbone with random weights, the smallest of its kind."""
        raise NotImplementedError("a subclass of BackboneConformance supplies build()")

    def inputs(self) -> dict[str, Tensor]:
        """A batch of at least two rows, each tensor batch first; the same at every call."""
        raise NotImplementedError("a subclass of BackboneConformance supplies inputs()")

    @pytest.fixture(autouse=True)
    def _prepared(self, request: pytest.FixtureRequest) -> None:
        reason = self.exceptions.get(request.node.originalname)
        if reason:
            pytest.skip(reason)
        torch.manual_seed(0)

    def test_every_tensor_belongs_to_exactly_one_stage(self) -> None:
        backbone = self.build()
        assert len(backbone.stages()) >= 1
        places: dict[int, int] = {}
        for stage in backbone.stages():
            for tensor in {id(t): t for t in [*stage.parameters(), *stage.buffers()]}.values():
                places[id(tensor)] = places.get(id(tensor), 0) + 1
        for name, tensor in [*backbone.named_parameters(), *backbone.named_buffers()]:
            assert places.get(id(tensor)) == 1, f"{name} is in {places.get(id(tensor), 0)} stages"

    def test_features_have_the_declared_shapes(self) -> None:
        backbone, inputs = self.build().eval(), self.inputs()
        with torch.no_grad():
            features = backbone(inputs)
        rows = _rows(inputs)
        for name, channels in backbone.provides.items():
            tensor = features[name]
            if name == "tokens":
                assert tensor.ndim == 3 and tensor.shape[::2] == (rows, channels), name
                assert features["mask"].shape == tensor.shape[:2], "tokens come with a mask [B, T]"
            elif name.startswith("map"):
                assert tensor.ndim == 4 and tensor.shape[:2] == (rows, channels), name
            else:
                assert tensor.shape == (rows, channels), name
            assert torch.isfinite(tensor).all(), name

    def test_maps_have_the_size_that_their_stride_says(self) -> None:
        backbone, inputs = self.build().eval(), self.inputs()
        with torch.no_grad():
            features = backbone(inputs)
        for name in backbone.provides:
            if name.startswith("map"):
                stride = int(name.removeprefix("map"))
                height, width = next(t for t in inputs.values() if t.ndim == 4).shape[-2:]
                assert features[name].shape[2:] == (-(-height // stride), -(-width // stride)), name

    def test_only_needed_features_are_given_and_they_are_the_same(self) -> None:
        backbone, inputs = self.build().eval(), self.inputs()
        with torch.no_grad():
            everything = backbone(inputs)
            for name in backbone.provides:
                alone = backbone(inputs, frozenset({name}))
                assert set(alone) - {"mask"} == {name}
                assert torch.equal(alone[name], everything[name]), name

    def test_suffix_of_prefix_equals_forward_at_every_cut(self) -> None:
        backbone, inputs = self.build().eval(), self.inputs()
        needs = frozenset(backbone.provides)
        with torch.no_grad():
            expected = backbone(inputs)
            for cut in range(len(backbone.stages()) + 1):
                state = backbone.prefix(inputs, cut, needs)
                before = {name: tensor.clone() for name, tensor in state.items()}
                features = backbone.suffix(state, cut, needs)
                _same(features, expected, f"cut {cut}")
                _same(state, before, f"suffix changes its state at cut {cut}")
        _same(inputs, self.inputs(), "the inputs are changed")

    def test_the_state_can_be_cached_row_by_row(self) -> None:
        backbone, inputs = self.build().eval(), self.inputs()
        needs = frozenset(backbone.provides)
        rows = _rows(inputs)
        with torch.no_grad():
            for cut in range(len(backbone.stages()) + 1):
                state = backbone.prefix(inputs, cut, needs)
                for name, tensor in state.items():
                    assert tensor.shape[0] == rows, f"state {name} at cut {cut} is not batch first"
                single = {name: tensor[:1] for name, tensor in state.items()}
                rebuilt = {name: torch.cat([tensor[:1], tensor[1:]]) for name, tensor in state.items()}
                _same(backbone.suffix(rebuilt, cut, needs), backbone.suffix(state, cut, needs), f"cut {cut}")
                for name, tensor in backbone.suffix(single, cut, needs).items():
                    assert tensor.shape[0] == 1, f"{name} of one row at cut {cut}"

    def test_training_from_kept_states_equals_training_without(self, tmp_path: Path) -> None:
        original, inputs = self.build(), self.inputs()
        for cut in range(1, len(original.stages()) + 1):
            kept = _model(copy.deepcopy(original)).lay_out()
            computed = copy.deepcopy(kept)  # with its head, whose weights are drawn
            for model in (kept, computed):
                model.train()
                model.freeze(cut)
            batch = _stored_and_read(kept, _batch(inputs), cut, tmp_path / str(cut))
            for model, given in ((kept, batch), (computed, _batch(inputs))):
                optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
                torch.manual_seed(0)
                _backward(model(given))
                optimizer.step()
            _same(kept.state_dict(), computed.state_dict(), f"after a step from states kept at cut {cut}")

    def test_begin_and_finish_use_no_parameter(self) -> None:
        backbone, inputs = self.build().eval(), self.inputs()
        needs = frozenset(backbone.provides)
        for name, tensor in backbone.begin(inputs).items():
            assert not tensor.requires_grad, f"begin makes {name} from a parameter"
        stages = len(backbone.stages())
        with torch.no_grad():
            state = backbone.prefix(inputs, stages, needs)
        for name, tensor in backbone.suffix(state, stages, needs).items():
            assert not tensor.requires_grad, f"finish makes {name} from a parameter"

    def test_frozen_stages_stay_bit_identical_at_every_depth(self) -> None:
        original = self.build()
        for depth in range(len(original.stages()) + 1):
            model = _model(copy.deepcopy(original))
            model.train()
            model.freeze(depth)
            model.train()
            frozen = {name: tensor.clone() for name, tensor in model.frozen_tensors(depth).items()}
            free = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
            optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
            _backward(model(_batch(self.inputs())))
            optimizer.step()
            _same(model.frozen_tensors(depth), frozen, f"frozen to depth {depth}")
            now = dict(model.named_parameters())
            assert any(not torch.equal(now[name], tensor) for name, tensor in free.items()), "nothing was trained"

    def test_gradients_reach_every_trainable_tensor_and_no_frozen_one(self) -> None:
        original = self.build()
        with torch.no_grad():
            for parameter in original.parameters():
                # Initial zeros (a last norm's scale, a layer scale) stop gradients on purpose; away from them nothing does.
                parameter.add_(torch.randn_like(parameter) * 0.02)
        for depth in range(len(original.stages()) + 1):
            model = _model(copy.deepcopy(original))
            model.freeze(depth)
            # Eval mode: stochastic depth may skip a block in training.
            model.eval()
            _backward(model.head.loss(model.features(_batch(self.inputs())), {}))
            frozen = {id(tensor) for tensor in model.frozen_tensors(depth).values()}
            for name, parameter in model.named_parameters():
                if id(parameter) in frozen:
                    assert parameter.grad is None, f"{name} is frozen at depth {depth} and has a gradient"
                else:
                    assert parameter.grad is not None, f"no gradient reaches {name} at depth {depth}"
                    assert parameter.grad.any(), f"the gradient of {name} is zero at depth {depth}"

    def test_saved_and_loaded_weights_give_the_same_features(self, tmp_path: Path) -> None:
        first, inputs = self.build().eval(), self.inputs()
        save_file({name: t.contiguous() for name, t in first.state_dict().items()}, tmp_path / "model.safetensors")
        torch.manual_seed(1)
        second = self.build().eval()
        second.load_state_dict(load_file(tmp_path / "model.safetensors"))
        with torch.no_grad():
            _same(second(inputs), first(inputs), "after saving and loading")

    def test_its_own_key_names_pass_through_translate(self) -> None:
        backbone = self.build()
        own = backbone.state_dict()
        assert set(backbone.translate(own)) == set(own)

    def test_input_facts_survive_pickling_and_are_plain_json(self) -> None:
        facts = self.build().input
        assert pickle.loads(pickle.dumps(facts)) == facts
        json.dumps(facts.to_json())
        with pytest.raises(AttributeError):
            facts.anything = 1

    def test_it_runs_on_the_accelerator_of_this_machine(self) -> None:
        if not torch.accelerator.is_available():
            pytest.skip("this machine has no accelerator")
        device = torch.accelerator.current_accelerator()
        backbone = self.build().eval().to(device)
        with torch.no_grad():
            features = backbone({name: tensor.to(device) for name, tensor in self.inputs().items()})
        assert all(torch.isfinite(tensor).all() for tensor in features.values())


def _stored_and_read(model: Model, batch: Batch, cut: int, folder: Path) -> Batch:
    """A batch by way of the disk: the states that its rows have after `cut` stages."""
    digests = [f"{row:064x}".encode() for row in range(len(batch))]
    training = model.training
    model.eval()
    columns = columns_of(model.prefixes(batch, (cut,))[cut], batch, len(batch), frozenset())
    model.train(training)
    store = RowStore(folder / "entry", {})
    with store.writing() as writer:
        writer.add(digests, columns)
    stored = store.open(digests)
    assert stored is not None, "the store lost rows"
    state = {name.removeprefix("state/"): value for name, value in stored.gather(range(len(batch))).items()}
    return Batch(batch.rows, {}, {}, {name: value for name, value in state.items() if isinstance(value, Tensor)})


def _backward(losses: Mapping[str, Tensor]) -> None:
    torch.autograd.backward(list(losses.values()))


def _rows(inputs: Mapping[str, Tensor]) -> int:
    return int(next(iter(inputs.values())).shape[0])


def _batch(inputs: dict[str, Tensor]) -> Batch:
    return Batch(torch.arange(_rows(inputs)), inputs, {})


def _model(backbone: Backbone) -> Model:
    return Model(backbone, Probe(backbone.provides))


def _same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str) -> None:
    assert set(found) == set(expected), where
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), f"{where}: {name} differs"
