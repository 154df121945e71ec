"""The conformance kit for backbones: subclass `BackboneConformance` in your plugin's tests and pytest runs the checks.

class TestMyNet(BackboneConformance):
    def build(self):
        return my_plugin.build(Spec("mynet"))

    def inputs(self):
        return {"pixels": torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))}
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from graftwork.catalogue import BackboneEntry
from graftwork.interfaces import Backbone, Model
from graftwork.testing.base import accelerator, close, copied, doing, same
from graftwork.testing.probe import Probe, backward, batch_of, probed, rows_of
from graftwork.testing.summaries import SummaryChecks
from graftwork.testing.surroundings import check_leaves_alone, shuffled_random

__all__ = ["BackboneConformance", "Probe"]

_SHIFT = 0.1  # how far the scores of the probe are to move when a backbone learns
_SHARES = (0.1, 0.03, 0.01, 0.003, 0.001)  # of the loss, by which a step is to lower it


class BackboneConformance(SummaryChecks):
    """What being a backbone means, as tests. A subclass supplies `build` and `inputs`; both are called often: keep it small.

    A check that cannot hold is named in `exceptions` with the reason, and is skipped with it.
    """

    backbone: ClassVar[str] = ""
    """Its catalogue name: with it, what registry.yaml says is held against what `build` gives."""

    def test_features_have_the_declared_shapes(self) -> None:
        backbone, inputs = self.build().eval(), self.inputs()
        with torch.no_grad(), doing("evaluating the backbone"):
            features = backbone(inputs)
        rows = rows_of(inputs)
        for name, channels in backbone.provides.items():
            assert name in features, f"the backbone declares the feature {name} and does not give it"
            tensor = features[name]
            shape = tuple(tensor.shape)
            if name == "tokens":
                assert tensor.ndim == 3 and shape[::2] == (rows, channels), (
                    f"tokens {shape} are not [{rows}, T, {channels}]"
                )
                assert "mask" in features and features["mask"].shape == shape[:2], "tokens come with a mask [B, T]"
            elif name.startswith("map"):
                fits = tensor.ndim == 4 and shape[:2] == (rows, channels)
                assert fits, (
                    f"{name} has the shape {shape}, declared are {channels} channels: [{rows}, {channels}, H, W]"
                )
            else:
                assert shape == (rows, channels), f"{name} has the shape {shape}, declared is [{rows}, {channels}]"
            assert torch.isfinite(tensor).all(), f"{name} is not finite"

    def test_maps_have_the_size_that_their_stride_says(self) -> None:
        backbone, inputs = self.build().eval(), self.inputs()
        with torch.no_grad():
            features = backbone(inputs)
        for name in backbone.provides:
            if name.startswith("map"):
                stride = int(name.removeprefix("map"))
                height, width = next(t for t in inputs.values() if t.ndim == 4).shape[-2:]
                wanted = (-(-height // stride), -(-width // stride))
                found = tuple(features[name].shape[2:])
                assert found == wanted, (
                    f"{name} is {found} for a picture of {(height, width)}; stride {stride} gives {wanted}"
                )

    def test_only_needed_features_are_given_and_they_are_the_same(self) -> None:
        backbone, inputs = self.build().eval(), self.inputs()
        with torch.no_grad():
            everything = backbone(inputs)
            for name in backbone.provides:
                alone = backbone(inputs, frozenset({name}))
                given = set(alone) - {"mask"}
                assert given == {name}, f"only {name} was needed, given are {sorted(given)}"
                same(
                    {name: alone[name]}, {name: everything[name]}, f"{name} is another one when nothing else is needed"
                )

    def test_evaluating_twice_gives_the_same_features(self) -> None:
        backbone, inputs = self.build().eval(), self.inputs()
        with torch.no_grad():
            with shuffled_random(1):
                first = copied(backbone(inputs))
            with shuffled_random(2):
                backbone({name: tensor.flip(0) for name, tensor in inputs.items()})
                second = backbone(inputs)
        same(
            second,
            first,
            "evaluating a batch again gives other features: they depend on random numbers or earlier calls",
        )

    def test_evaluation_changes_no_weight_and_no_buffer(self) -> None:
        backbone = self.build().eval()
        before = copied({**dict(backbone.named_parameters()), **dict(backbone.named_buffers())})
        with torch.no_grad():
            backbone(self.inputs())
        after = {**dict(backbone.named_parameters()), **dict(backbone.named_buffers())}
        same(after, before, "evaluating a batch changes a weight or a buffer")

    def test_a_row_does_not_depend_on_the_rows_beside_it(self) -> None:
        backbone, inputs = self.build().eval(), self.inputs()
        with torch.no_grad():
            together = backbone(inputs)
            reversed_ = backbone({name: tensor.flip(0) for name, tensor in inputs.items()})
            alone = backbone({name: tensor[:1] for name, tensor in inputs.items()})
        back = {name: tensor.flip(0) for name, tensor in reversed_.items()}
        close(back, together, "in eval mode, a row's features depend on its place in the batch")
        first = {name: tensor[:1] for name, tensor in together.items()}
        close(alone, first, "in eval mode, a row's features depend on the rows beside it")

    def test_the_inputs_are_left_as_they_were(self) -> None:
        model, inputs = probed(self.build()), self.inputs()
        model.eval()
        with torch.no_grad():
            model(batch_of(inputs))
        same(inputs, self.inputs(), "evaluating changes the inputs")
        model.train()
        backward(model(batch_of(inputs)))
        same(inputs, self.inputs(), "a training step changes the inputs")

    def test_it_can_learn_one_batch(self) -> None:
        model = probed(self.build())
        model.head.requires_grad_(False)
        _settle_norms(model, self.inputs())
        learns = _descends(model.eval(), self.inputs())  # eval mode: dropout would hide what is learned
        assert learns, (
            "the loss of one batch does not fall when the backbone alone learns: a small step along its gradients does not "
            "lower it, so they are not the gradients of what it computes"
        )

    def test_the_same_seed_builds_the_same_weights(self) -> None:
        states = []
        for _ in range(2):
            torch.manual_seed(7)
            states.append(self.build().state_dict())
        same(states[1], states[0], "built twice from one seed, the weights differ")

    def test_building_leaves_the_process_as_it_was(self) -> None:
        check_leaves_alone("building the backbone", self.build)

    def test_saved_and_loaded_weights_give_the_same_features(self, tmp_path: Path) -> None:
        first, inputs = self.build().eval(), self.inputs()
        save_file({name: t.contiguous() for name, t in first.state_dict().items()}, tmp_path / "model.safetensors")
        torch.manual_seed(1)
        second = self.build().eval()
        second.load_state_dict(load_file(tmp_path / "model.safetensors"))
        with torch.no_grad():
            same(second(inputs), first(inputs), "saved and loaded weights give other features")

    def test_its_own_key_names_pass_through_translate(self) -> None:
        backbone = self.build()
        own = backbone.state_dict()
        lost = set(own) ^ set(backbone.translate(own))
        assert not lost, f"translate does not pass its own key names on: {', '.join(sorted(lost)[:3])}"

    def test_input_facts_survive_pickling_and_are_plain_json(self) -> None:
        backbone = self.build()
        facts = backbone.input
        with doing("pickling the input facts, as loader processes need it,"):
            again = pickle.loads(pickle.dumps(facts))
        assert again == facts, "the input facts are others once they were pickled"
        with doing("writing the input facts as JSON"):
            plain = json.loads(json.dumps(facts.to_json()))
        with doing("giving the backbone its own input facts again"):
            backbone.use_input(plain)
        assert backbone.input == facts, "the input facts are others once they were written as JSON and read"
        assert _is_frozen(facts), "the input facts can be written to: let them be a frozen dataclass"

    def test_the_registry_says_what_the_code_does(self) -> None:
        if not self.backbone:
            pytest.skip("the class has no attribute `backbone`, the catalogue name")
        problems = registry_faults(self.backbone, self.catalogue().backbone(self.backbone), self.build())
        assert not problems, "; ".join(problems)

    def test_it_runs_on_the_accelerator_of_this_machine(self) -> None:
        device = accelerator()
        backbone = self.build().eval().to(device)
        with torch.no_grad():
            features = backbone({name: tensor.to(device) for name, tensor in self.inputs().items()})
        for name, tensor in features.items():
            assert torch.isfinite(tensor).all(), f"{name} is not finite on {device}"


def _is_frozen(facts: Any) -> bool:
    try:
        facts.anything = 1
    except AttributeError:
        return True
    return False


def registry_faults(name: str, entry: BackboneEntry, built: Backbone) -> list[str]:
    """What registry.yaml says of a backbone that its code does not do, one sentence each."""
    said = f"registry.yaml says of {name}"
    problems = []
    if dict(entry.features) != dict(built.provides):
        problems.append(f"{said}: features {dict(entry.features)}; it provides {dict(built.provides)}")
    if entry.stages != len(built.stages()):
        problems.append(f"{said}: {entry.stages} stages; it has {len(built.stages())}")
    parameters = sum(parameter.numel() for parameter in built.parameters())
    if entry.parameters != parameters:
        problems.append(f"{said}: {entry.parameters} parameters; it has {parameters}")
    facts = json.loads(json.dumps(built.input.to_json()))
    for fact, value in entry.input.items():
        if fact not in facts or facts[fact] != value:
            problems.append(f"{said}: input {fact} {value!r}; it wants {facts.get(fact, 'no such fact')!r}")
    return problems


def _settle_norms(model: Model, inputs: dict[str, torch.Tensor]) -> None:
    """Give norms the statistics of these rows: with those that they start from, a deep net with random weights is silent."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(batch_of(inputs))


def _descends(model: Model, inputs: dict[str, torch.Tensor]) -> bool:
    """Whether a small step along the gradients lowers a loss about as much as they promise.

    The loss moves the probe's scores apart, row by row. It is no matter of learning rates: the step is that which promises a
    certain share of the loss, and is made smaller where the loss is curved.
    """
    batch = batch_of(inputs)
    with torch.no_grad():
        scores = model(batch, "predict")["scores"]
        signs = torch.tensor([1.0, -1.0]).repeat(len(scores))[: len(scores), None]
        wanted = scores + _SHIFT * scores.abs().clamp(min=1.0) * signs

    def loss_now() -> torch.Tensor:
        found: torch.Tensor = (model(batch, "predict")["scores"] - wanted).square().mean()
        return found

    loss = loss_now()
    before = float(loss.detach())
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss, moving, allow_unused=True)
    steep = sum(float(gradient.double().square().sum()) for gradient in gradients if gradient is not None)
    if not steep:
        return False
    start = [parameter.detach().clone() for parameter in moving]
    for share in _SHARES:
        with torch.no_grad():
            for parameter, origin, gradient in zip(moving, start, gradients, strict=True):
                if gradient is not None:
                    parameter.copy_(origin - share * before / steep * gradient)
            if before - float(loss_now()) >= 0.3 * share * before:
                return True
    return False
