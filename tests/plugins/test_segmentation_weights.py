"""Torchvision's segmenters as starting weights: every tensor is placed or named, and the heads compute what upstream's do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.segmentation.deeplabv3 import DeepLabHead

from graftwork.interfaces import Spec
from graftwork.models.weights import LoadReport, load_backbone, load_head
from graftwork_images.backbones import BUILDERS as BACKBONES
from graftwork_segmentation.heads import BUILDERS
from graftwork_segmentation.heads.base import SegmentationHead
from graftwork_segmentation.heads.deeplabv3 import DeepLabV3Head
from graftwork_segmentation.heads.fcn import FcnHead
from graftwork_segmentation.heads.lraspp import LrasppHead

OPTIONS: dict[str, Any] = {"loss": "ce", "imbalance": "none", "focal_gamma": 2.0, "label_smoothing": 0.0}
OWN: dict[str, dict[str, Any]] = {
    "fpn": {"width": 16, "dropout": 0.1},
    "deeplabv3": {"width": 256, "dropout": 0.5, "stride": 32, "reach": 96},
    "lraspp": {"width": 128, "dropout": 0.0},
    "fcn": {"width": 0, "dropout": 0.1, "stride": 32},
}
SEGMENTERS = {  # upstream's name: head, backbone, what the backbone's keys begin with there and in its classifier
    "fcn_resnet50": ("fcn", "resnet50", ""),
    "fcn_resnet101": ("fcn", "resnet101", ""),
    "deeplabv3_resnet50": ("deeplabv3", "resnet50", ""),
    "deeplabv3_resnet101": ("deeplabv3", "resnet101", ""),
    "deeplabv3_mobilenet_v3_large": ("deeplabv3", "mobilenet_v3_large", "features."),
    "lraspp_mobilenet_v3_large": ("lraspp", "mobilenet_v3_large", "features."),
}
FACTS = {"classes": ["ground", "disc", "bar"], "train_counts": [700, 200, 100]}


@pytest.fixture(scope="module", params=SEGMENTERS)
def upstream(request: pytest.FixtureRequest) -> Iterator[tuple[str, nn.Module]]:
    torch.manual_seed(0)
    aux = {} if request.param.startswith("lraspp") else {"aux_loss": True}
    yield request.param, get_model(request.param, weights=None, weights_backbone=None, **aux)


def head_of(name: str, provides: Mapping[str, int]) -> SegmentationHead:
    kinds = {"deeplabv3": DeepLabV3Head, "lraspp": LrasppHead, "fcn": FcnHead}
    return kinds[name](provides, OPTIONS | OWN[name], FACTS)


def test_every_upstream_tensor_fits_or_is_about_labels_or_the_auxiliary_classifier(
    upstream: tuple[str, nn.Module],
) -> None:
    name, model = upstream
    head_name, backbone_name, moved = SEGMENTERS[name]
    backbone = BACKBONES[backbone_name](Spec(backbone_name, {}))
    head = BUILDERS[head_name](Spec(head_name, OPTIONS | OWN[head_name]), backbone, FACTS)
    state = model.state_dict()
    theirs = {moved + key[len("backbone.") :]: value for key, value in state.items() if key.startswith("backbone.")}
    others = {key: value for key, value in state.items() if not key.startswith("backbone.")}
    report = load_backbone(backbone, theirs, name)
    assert report.complete and report.fitted == len(theirs) == len(backbone.state_dict())
    load_head(head, others, report)
    assert report.complete
    labels = {"lraspp": ("classifier.low_classifier.", "classifier.high_classifier.")}.get(
        head_name, ("classifier.4.",)
    )
    placed = {key for key in others if not key.startswith(("aux_classifier.", *labels))}
    assert report.fitted == len(theirs) + len(placed)
    assert {key.removeprefix("head.") for key in report.fresh} == {key for key in others if key.startswith(labels)}
    assert all(torch.equal(head.state_dict()[key], others[key]) for key in placed)
    # The full state dict gives the same as the one without its backbone.
    assert head.translate(state).keys() == head.translate(others).keys() == placed


def test_a_translated_head_computes_upstreams_logits_on_the_same_features(upstream: tuple[str, nn.Module]) -> None:
    name, model = upstream
    head_name, _, _ = SEGMENTERS[name]
    theirs: Any = model.classifier
    for norm in theirs.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
    if head_name == "lraspp":
        features = {"map8": torch.randn(2, 40, 12, 16), "map16": torch.randn(2, 960, 6, 8)}
        given: Any = {"low": features["map8"], "high": features["map16"]}
    else:
        channels = 960 if "mobilenet" in name else 2048
        given = torch.randn(2, channels, 12, 16)
        features = {"map8": given}
    head = head_of(head_name, {key: value.shape[1] for key, value in features.items()})
    state = head.translate(model.state_dict())
    # Upstream's last layers, too, for this comparison: its classes are more, so they take our layers' places.
    for key in ("4",) if head_name != "lraspp" else ("low_classifier", "high_classifier"):
        setattr(head.classifier, key, theirs.get_submodule(key))
    assert not head.load_state_dict(state, strict=False).unexpected_keys
    sides = torch.tensor([[96, 128]] * 2)
    with torch.no_grad():
        ours = head.eval().logits(features | {"size": sides, "canvas": torch.empty(2, 0, 96, 128)})
        expected = theirs.eval()(given)
    assert (ours - expected).abs().max() < 1e-5 * max(1, expected.abs().max().item())


def test_on_an_undilated_map_the_context_is_upstreams_at_the_positions_that_both_have() -> None:
    torch.manual_seed(0)
    head = head_of("deeplabv3", {"map32": 64}).eval()
    theirs = DeepLabHead(64, 3).eval()  # rates 12, 24, 36, for a map of stride 8
    state = head.translate({f"classifier.{key}": value for key, value in theirs.state_dict().items()})
    head.load_state_dict(state, strict=False)
    fine = torch.randn(1, 64, 48, 64)
    coarse = fine[:, :, ::4, ::4].clone()
    # The global branch averages over its map: give both the same mean, by cells that the coarse map does not have.
    fine[:, :, 1::4, 1::4] += 16 * (coarse.mean((2, 3), keepdim=True) - fine.mean((2, 3), keepdim=True))
    features = {"map32": coarse, "size": torch.tensor([[384, 512]]), "canvas": torch.empty(1, 0, 384, 512)}
    with torch.no_grad():
        ours = head.context(features)
        expected = theirs[0](fine)[:, :, ::4, ::4]
    assert torch.allclose(ours, expected, atol=1e-4)
    assert head.logits(features).shape == (1, 3, 48, 64)


@pytest.mark.parametrize("name", BUILDERS)
def test_an_earlier_run_s_head_gives_all_but_what_is_about_its_labels(name: str) -> None:
    backbone = BACKBONES["squeezenet1_1"](Spec("squeezenet1_1", {}))
    earlier = BUILDERS[name](Spec(name, OPTIONS | OWN[name]), backbone, FACTS)
    more = FACTS | {"classes": list("abcdefg"), "train_counts": [1] * 7}
    head = BUILDERS[name](Spec(name, OPTIONS | OWN[name]), backbone, more)
    assert isinstance(head, SegmentationHead)
    report = LoadReport()
    load_head(head, earlier.state_dict(), report)
    assert report.complete
    assert report.fresh and all(key.removeprefix("head.").startswith(head.label_layers) for key in report.fresh)
    kept: dict[str, Tensor] = head.translate(earlier.state_dict())
    assert all(torch.equal(head.state_dict()[key], value) for key, value in kept.items())


def test_weights_of_another_head_are_named_and_not_taken_in_silence() -> None:
    backbone = BACKBONES["squeezenet1_1"](Spec("squeezenet1_1", {}))
    fpn = BUILDERS["fpn"](Spec("fpn", OPTIONS | OWN["fpn"]), backbone, FACTS)
    fcn = BUILDERS["fcn"](Spec("fcn", OPTIONS | OWN["fcn"]), backbone, FACTS)
    report = LoadReport()
    load_head(fpn, fcn.state_dict(), report)
    assert report.fitted == 0 and "head.classifier.0.weight" in report.unexpected
