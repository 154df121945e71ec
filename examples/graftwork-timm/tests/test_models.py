"""graftwork's checks on timm's families, with random weights and small pictures; what is cut, and what is refused."""

from __future__ import annotations

from typing import ClassVar

import pytest
import timm
import torch
from torch import Tensor

from graftwork import UsageError
from graftwork.interfaces import Backbone, Spec
from graftwork.testing import BackboneConformance, PluginConformance
from graftwork_timm.models import build, create, understood


def backbone(model: str, size: int = 64) -> Backbone:
    return build(Spec("timm", {"model": model, "image_size": size}))


class Family(BackboneConformance):
    """The kit on one model of a family."""

    model: ClassVar[str]

    def build(self) -> Backbone:
        return backbone(self.model)

    def inputs(self) -> dict[str, Tensor]:
        return {"pixels": torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))}


class TestResNet(Family):
    model = "resnet18"


class TestConvNeXt(Family):
    model = "convnext_atto"


class TestVisionTransformer(Family):
    model = "test_vit"


class TestMobileNetV3(Family):
    model = "mobilenetv3_small_050"


class TestPackage(PluginConformance):
    plugin = "graftwork-timm"


@pytest.mark.parametrize(
    "model",
    [
        "efficientnet_lite0",
        "regnetx_002",
        "swin_tiny_patch4_window7_224",
        "densenet121",
        "mobilenetv2_050",
        "mobilevit_xxs",
        "vit_small_patch14_reg4_dinov2",
        "mixer_s32_224",
        "resnetv2_50",
    ],
)
def test_families_that_nobody_wrote_a_line_for_are_cut(model: str) -> None:
    layout, _ = understood(model)
    assert len(layout.groups) >= 4
    assert layout.maps[-1] in layout.provides and "pooled" in layout.provides


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("resnet81", "no model 'resnet81'. Did you mean resnet18"),
        ("resnet18.a9_in1k", "no weights called 'a9_in1k'. Did you mean"),
        ("hf-hub:somebody/net", "no model"),
        ("hrnet_w18_small", "cannot be cut into stages"),
        ("eva02_tiny_patch14_224", "cannot be cut into stages"),
    ],
)
def test_a_model_that_is_not_there_or_not_understood_is_one_clear_line(model: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        backbone(model)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_preprocessing_is_what_timm_says_of_the_weights() -> None:
    facts = build(Spec("timm", {"model": "resnet18.a1_in1k", "image_size": 0})).input
    said = timm.data.resolve_model_data_config(timm.create_model("resnet18.a1_in1k"))
    assert (3, facts.size, facts.size) == said["input_size"]
    assert facts.resize == int(facts.size / said["crop_pct"])
    assert (facts.mean, facts.std, facts.interpolation) == (said["mean"], said["std"], said["interpolation"])


def test_features_are_those_of_the_model_as_timm_runs_it() -> None:
    torch.manual_seed(0)
    ours = backbone("resnet18").eval()
    theirs = timm.create_model("resnet18", num_classes=7).eval()
    foreign = theirs.state_dict()
    named = ours.translate(foreign)
    assert not [name for name in named if name.startswith("fc.")]
    ours.load_state_dict(named)
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (ours.input.mean, ours.input.std))
    with torch.no_grad():
        wanted = theirs.forward_head(theirs.forward_features((pixels - mean) / std), pre_logits=True)
        found = ours({"pixels": pixels})["pooled"]
    assert torch.allclose(found, wanted, atol=1e-5)


def test_a_transformer_takes_pictures_that_are_not_square_and_refuses_those_that_do_not_divide() -> None:
    vit = backbone("vit_tiny_patch16_224").eval()
    with torch.no_grad():
        assert vit({"pixels": torch.rand(1, 3, 32, 96)})["map16"].shape[2:] == (2, 6)
    with pytest.raises(UsageError, match="do not divide into patches of 16"):
        vit({"pixels": torch.rand(1, 3, 40, 64)})


def test_a_model_of_one_size_says_so() -> None:
    mixer = build(Spec("timm", {"model": "mixer_s32_224", "image_size": 0})).eval()
    with pytest.raises(UsageError, match="224 x 224 pixels only"):
        mixer({"pixels": torch.rand(1, 3, 64, 64)})


def test_building_is_a_function_of_the_seed_and_leaves_no_trace_of_the_proof() -> None:
    understood.cache_clear()
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        states.append(build(Spec("timm-resnet18", {"image_size": 0})).state_dict())
    assert all(torch.equal(states[0][name], tensor) for name, tensor in states[1].items())


def test_the_whole_network_lies_in_its_stages() -> None:
    for name in ("resnet18", "vit_tiny_patch16_224", "efficientnet_lite0"):
        whole = sum(parameter.numel() for parameter in create(name).parameters())
        assert sum(parameter.numel() for parameter in backbone(name).parameters()) == whole, name
