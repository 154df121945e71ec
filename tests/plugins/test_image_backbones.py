"""Image backbones: the conformance kit over every family, numerics against torchvision, registry against code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models
from torchvision.models.vision_transformer import VisionTransformer

from graftwork import UsageError
from graftwork.files.yaml import read_yaml
from graftwork.interfaces import Backbone, ImageInput, Spec
from graftwork.models.weights import load_backbone, read_state
from graftwork.testing.backbones import BackboneConformance
from graftwork_images.backbones import BUILDERS, families
from graftwork_images.backbones.transformers import VisionTransformerBackbone

ROOT = Path(__file__).parents[2]
SQUEEZENET = ROOT.parent / "shared" / "data" / "weights" / "squeezenet1_0-imagenet1k-deepcompression.safetensors"


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Nets this small gain little from a second thread, and on a busy machine threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class ImageBackboneConformance(BackboneConformance):
    name: str
    size = 64

    def build(self) -> Backbone:
        return BUILDERS[self.name](Spec(self.name))

    def inputs(self) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(0)
        return {"pixels": torch.randint(0, 256, (2, 3, self.size, self.size), generator=generator, dtype=torch.uint8)}


class TestResNet(ImageBackboneConformance):
    name = "resnet18"


@pytest.mark.acceptance
class TestResNeXt(ImageBackboneConformance):
    name = "resnext50_32x4d"


class TestMobileNetV2(ImageBackboneConformance):
    name = "mobilenet_v2"


class TestMobileNetV3(ImageBackboneConformance):
    name = "mobilenet_v3_small"


class TestEfficientNet(ImageBackboneConformance):
    name = "efficientnet_b0"


@pytest.mark.acceptance
class TestEfficientNetV2(ImageBackboneConformance):
    name = "efficientnet_v2_s"


@pytest.mark.acceptance
class TestConvNeXt(ImageBackboneConformance):
    name = "convnext_tiny"


@pytest.mark.acceptance
class TestRegNetX(ImageBackboneConformance):
    name = "regnet_x_400mf"


class TestRegNetY(ImageBackboneConformance):
    name = "regnet_y_400mf"


class TestSqueezeNet(ImageBackboneConformance):
    name = "squeezenet1_0"
    exceptions = {  # noqa: RUF012
        "test_maps_have_the_size_that_their_stride_says": "SqueezeNet's first convolution has no padding: maps are smaller"
    }


class TestDenseNet(ImageBackboneConformance):
    name = "densenet121"


@pytest.mark.acceptance
class TestSwin(ImageBackboneConformance):
    name = "swin_t"


@pytest.mark.acceptance
class TestSwinV2(ImageBackboneConformance):
    name = "swin_v2_t"


class TestGraftNet(ImageBackboneConformance):
    name = "graftnet-s"
    size = 32


class TestVisionTransformer(ImageBackboneConformance):
    """Torchvision's class at a tiny size: its smallest published member has 86 million parameters."""

    def build(self) -> Backbone:
        vit = VisionTransformer(image_size=64, patch_size=16, num_layers=3, num_heads=2, hidden_dim=32, mlp_dim=64)
        return VisionTransformerBackbone(vit, ImageInput(size=64, resize=64))


class Flawed(ImageBackboneConformance):
    """GraftNet with a planted flaw, to see that the kit catches it."""

    name = "graftnet-s"
    size = 32

    def __init__(self, spoil: Callable[[Any], None]) -> None:
        self.spoil = spoil

    def build(self) -> Backbone:
        backbone = super().build()
        self.spoil(backbone)
        return backbone


def _buffer_outside_the_stages(backbone: Any) -> None:
    backbone.register_buffer("mean", torch.zeros(3))


def _parameter_in_two_stages(backbone: Any) -> None:
    backbone.body[1].stem = backbone.body[0].stem


def _other_channels(backbone: Any) -> None:
    backbone.provides = {**backbone.provides, "map4": 64}


def _other_stride(backbone: Any) -> None:
    backbone.body[0].append(nn.AvgPool2d(2))


def _state_changed_in_place(backbone: Any) -> None:
    backbone.body[2].register_forward_pre_hook(lambda module, inputs: (inputs[0].mul_(0.5),))


def _parameter_in_finish(backbone: Any) -> None:
    scale, finish = backbone.body[0].stem[1].weight, backbone.finish
    backbone.finish = lambda state, needs: {name: x * scale.sum() for name, x in finish(state, needs).items()}


def _needs_ignored(backbone: Any) -> None:
    finish, provides = backbone.finish, frozenset(backbone.provides)
    backbone.finish = lambda state, needs: {**finish(state, needs), **finish(state, provides)}


def _norm_that_never_sleeps(backbone: Any) -> None:
    norm = backbone.body[1].block1.norm1
    norm.train = lambda mode=True: norm
    norm.training = True


def _gradient_cut(backbone: Any) -> None:
    backbone.body[2].register_forward_hook(lambda module, inputs, output: output.detach())


def _weights_not_saved(backbone: Any) -> None:
    noise = torch.randn(1)
    backbone.body[3].register_forward_hook(lambda module, inputs, output: output + noise)


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (_buffer_outside_the_stages, "test_every_tensor_belongs_to_exactly_one_stage"),
        (_parameter_in_two_stages, "test_every_tensor_belongs_to_exactly_one_stage"),
        (_other_channels, "test_features_have_the_declared_shapes"),
        (_other_stride, "test_maps_have_the_size_that_their_stride_says"),
        (_state_changed_in_place, "test_suffix_of_prefix_equals_forward_at_every_cut"),
        (_parameter_in_finish, "test_begin_and_finish_use_no_parameter"),
        (_needs_ignored, "test_only_needed_features_are_given_and_they_are_the_same"),
        (_norm_that_never_sleeps, "test_frozen_stages_stay_bit_identical_at_every_depth"),
        (_gradient_cut, "test_gradients_reach_every_trainable_tensor_and_no_frozen_one"),
        (_weights_not_saved, "test_saved_and_loaded_weights_give_the_same_features"),
    ],
)
def test_the_kit_catches_a_planted_flaw(spoil: Callable[[Any], None], check: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    arguments = (tmp_path,) if "saved" in check else ()
    getattr(TestGraftNet(), check)(*arguments)
    with pytest.raises(AssertionError):
        getattr(Flawed(spoil), check)(*arguments)


@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny", "swin_t", "graftnet-s"])
def test_features_are_finite_under_bf16_autocast(name: str) -> None:
    torch.manual_seed(0)
    backbone = BUILDERS[name](Spec(name)).eval()
    if backbone.channels_last:
        backbone = backbone.to(memory_format=torch.channels_last)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features = backbone({"pixels": torch.rand(2, 3, 64, 64)})
    assert all(torch.isfinite(tensor).all() for tensor in features.values())


def _upstream_logits(name: str, net: nn.Module, pooled: Tensor) -> Tensor:
    """Torchvision's own classifier on our pooled features."""
    if name.startswith("squeezenet"):
        raise AssertionError("SqueezeNet classifies before it pools")
    for attribute in ("fc", "heads", "head"):
        if hasattr(net, attribute):
            return getattr(net, attribute)(pooled)
    classifier = net.classifier
    if name.startswith("convnext"):
        classifier = classifier[2]  # after its norm, which is our last stage's
    return classifier(pooled)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnext50_32x4d",
        "mobilenet_v2",
        "mobilenet_v3_large",
        "efficientnet_b0",
        "efficientnet_v2_s",
        "convnext_tiny",
        "regnet_x_400mf",
        "regnet_y_400mf",
        "densenet121",
        "vit_b_32",
        "swin_t",
        "swin_v2_t",
    ],
)
def test_pooled_features_and_upstream_classifier_give_upstream_logits(name: str) -> None:
    torch.manual_seed(0)
    net = models.get_model(name, weights=None, num_classes=10)
    if name.startswith("vit"):
        nn.init.normal_(net.heads.head.weight)
    size = 224 if name.startswith("vit") else 64
    pixels = torch.rand(2, 3, size, size)
    backbone = BUILDERS[name](Spec(name))
    report = load_backbone(backbone, net.state_dict(), name)
    assert report.complete, report
    net.eval()
    backbone.eval()
    with torch.no_grad():
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (backbone.input.mean, backbone.input.std))
        expected = net((pixels - mean) / std)
        found = _upstream_logits(name, net, backbone({"pixels": pixels}, frozenset({"pooled"}))["pooled"])
    assert expected.std() > 0
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["squeezenet1_0", "squeezenet1_1"])
def test_squeezenet_map_and_upstream_classifier_give_upstream_logits(name: str) -> None:
    torch.manual_seed(0)
    net = models.get_model(name, weights=None, num_classes=10).eval()
    backbone = BUILDERS[name](Spec(name)).eval()
    assert load_backbone(backbone, net.state_dict(), name).complete
    pixels = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (backbone.input.mean, backbone.input.std))
        expected = net((pixels - mean) / std)
        features = backbone({"pixels": pixels})
        found = net.classifier(features["map16"]).flatten(1)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(features["pooled"], F.adaptive_avg_pool2d(features["map16"], 1).flatten(1))


def test_real_squeezenet_weights_fit_entirely() -> None:
    if not SQUEEZENET.is_file():
        pytest.skip(f"no real weights at {SQUEEZENET.name} in shared/data/weights")
    backbone = BUILDERS["squeezenet1_0"](Spec("squeezenet1_0"))
    report = load_backbone(backbone, read_state(SQUEEZENET), SQUEEZENET.name)
    assert report.complete
    assert report.fitted == len(backbone.state_dict()) == 50


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("resnet18", "resnet50"), ("resnet34", "resnet18"), ("resnet18", "resnet34"), ("resnet18", "squeezenet1_0")],
)
def test_weights_of_another_architecture_are_refused_and_change_nothing(ours: str, theirs: str) -> None:
    backbone = BUILDERS[ours](Spec(ours))
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    with pytest.raises(UsageError, match=r"another architecture: .*(missing|shape|place): "):
        load_backbone(backbone, models.get_model(theirs, weights=None).state_dict(), theirs)
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.state_dict().items())


def test_densenet_reads_the_old_key_names_of_published_files() -> None:
    net = models.densenet121(weights=None, num_classes=1)
    old = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2.") if "denselayer" in key else key: tensor
        for key, tensor in net.state_dict().items()
    }
    assert load_backbone(BUILDERS["densenet121"](Spec("densenet121")), old, "densenet").complete


def test_uint8_and_float_pixels_are_the_same_picture() -> None:
    backbone = BUILDERS["graftnet-s"](Spec("graftnet-s"))
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    torch.testing.assert_close(backbone.begin({"pixels": pixels}), backbone.begin({"pixels": pixels.float() / 255}))
    assert backbone.begin({"pixels": pixels})["x"].is_contiguous(memory_format=torch.channels_last)


def test_image_size_option_moves_size_and_resize_together() -> None:
    backbone = BUILDERS["resnet18"](Spec("resnet18", {"image_size": 112}))
    assert (backbone.input.size, backbone.input.resize) == (112, 128)


def test_preprocessing_travels_with_weights_but_not_over_a_size_that_the_user_chose() -> None:
    facts = {"size": 224, "resize": 232, "mean": [0.5, 0.5, 0.5], "interpolation": "bicubic"}
    own, chosen = BUILDERS["resnet18"](Spec("resnet18")), BUILDERS["resnet18"](Spec("resnet18", {"image_size": 112}))
    for backbone in (own, chosen):
        backbone.use_input(facts)
    assert (own.input.resize, own.input.interpolation, own.input.mean) == (232, "bicubic", (0.5, 0.5, 0.5))
    assert (chosen.input.size, chosen.input.resize, chosen.input.interpolation) == (112, 128, "bicubic")


def test_graftnet_takes_another_size_too() -> None:
    backbone = BUILDERS["graftnet-s"](Spec("graftnet-s", {"image_size": 64}))
    assert (backbone.input.size, backbone.input.resize) == (64, 64)


def _tiny_vit(image_size: int) -> VisionTransformerBackbone:
    vit = VisionTransformer(image_size, patch_size=16, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64)
    return VisionTransformerBackbone(vit, ImageInput(size=image_size, resize=image_size))


def test_vit_takes_other_sizes_and_oblong_pictures() -> None:
    features = _tiny_vit(64).eval()({"pixels": torch.rand(2, 3, 32, 96)})
    assert features["map16"].shape == (2, 32, 2, 6)
    assert features["tokens"].shape == (2, 13, 32)


def test_vit_refuses_sizes_that_are_no_multiple_of_the_patch() -> None:
    with pytest.raises(UsageError, match="50 x 64 pixels do not divide into patches of 16"):
        _tiny_vit(64)({"pixels": torch.rand(1, 3, 50, 64)})


def test_vit_resizes_the_positions_of_weights_for_another_grid() -> None:
    upstream = VisionTransformer(128, patch_size=16, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64)
    backbone = _tiny_vit(64)
    expected = models.vision_transformer.interpolate_embeddings(64, 16, dict(upstream.state_dict()))
    assert load_backbone(backbone, upstream.state_dict(), "vit").complete
    torch.testing.assert_close(
        backbone.state_dict()["body.0.embedding.pos_embedding"], expected["encoder.pos_embedding"]
    )


def test_graftnet_is_under_a_million_parameters() -> None:
    backbone = BUILDERS["graftnet-s"](Spec("graftnet-s"))
    assert sum(tensor.numel() for tensor in backbone.state_dict().values()) < 1_000_000


@cache
def _entries() -> dict[str, dict]:
    return read_yaml(ROOT / "registry.yaml")[0].get("backbones", {})


def test_every_image_backbone_of_the_registry_has_a_builder_and_the_reverse() -> None:
    entries = {name for name, entry in _entries().items() if entry["plugin"] == "graftwork-images"}
    assert entries == set(BUILDERS)


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_registry_and_code_agree(name: str) -> None:
    entry = _entries()[name]
    module, function = entry["factory"].split(":")
    assert (module, function) == (BUILDERS[name].__module__, BUILDERS[name].__name__)
    options = {option: facts["default"] for option, facts in entry["options"].items()}
    with torch.device("meta"):
        backbone = BUILDERS[name](Spec(name, options))
    assert entry["features"] == dict(backbone.provides)
    assert entry["stages"] == len(backbone.stages())
    assert entry["parameters"] == sum(parameter.numel() for parameter in backbone.parameters())
    assert entry["input"]["size"] == backbone.input.size
    assert entry["input"]["resize"] == backbone.input.resize
    assert entry["default_weights"] in entry["weights"]
    if name in families.FAMILY_OF:
        for weights in entry["weights"].values():
            upstream = models.get_model_weights(name)[weights["revision"]]
            assert weights["source"] == upstream.url
            facts = families.preprocessing(upstream)
            changed = {"size": facts.size, "resize": facts.resize, "interpolation": facts.interpolation}
            assert weights.get("input", changed) == changed
            if "input" not in weights:
                assert facts == backbone.input
