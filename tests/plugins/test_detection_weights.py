"""Torchvision's COCO detectors as starting weights: every tensor is loaded, about labels, or named; and means the same."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from detection_toys import make_backbone, make_batch, make_head
from torch import Tensor
from torchvision.models import detection, get_model
from torchvision.models.detection.image_list import ImageList

from graftwork.catalogue import load_catalogue
from graftwork.config import override_layer
from graftwork.config.check import resolve_and_check
from graftwork.interfaces import Backbone, Features, Head
from graftwork.models.build import Builder
from graftwork.models.weights import load_backbone, load_head
from graftwork_detection.heads.faster_rcnn import FasterRcnnHead
from graftwork_detection.heads.fcos import FcosHead
from graftwork_detection.heads.proposals import cut_out
from graftwork_detection.heads.retinanet import RetinaNet

RESNET, MOBILENET = {"backbone.body.": ""}, {"backbone.body.": "features."}
RCNN = {
    "width": 256,
    "hidden": 1024,
    "finest": 4,
    "anchor_scale": 8.0,
    "anchors": "level",
    "proposals": 1000,
    "rpn_samples": 256,
    "roi_samples": 512,
}
RETINA = {"width": 256, "depth": 4, "norm": "none", "box_loss": "l1"}


@dataclass(frozen=True)
class Upstream:
    """A detector of torchvision and what of it fits ours.

    Args:
        head, options: ours.
        backbone, moves: ours, and how its keys are named in the detector.
        labelled: what of the detector is about its labels.
        without_place: what else of the detector finds no place here, by our names.
    """

    head: str
    options: Mapping[str, Any]
    backbone: str
    moves: Mapping[str, str]
    labelled: str
    without_place: tuple[str, ...] = ()


DETECTORS: Mapping[str, Upstream] = {
    "retinanet_resnet50_fpn": Upstream("retinanet", RETINA, "resnet50", RESNET, r"\.cls_logits\."),
    "fcos_resnet50_fpn": Upstream("fcos", {"width": 256, "depth": 4}, "resnet50", RESNET, r"\.cls_logits\."),
    "fasterrcnn_resnet50_fpn": Upstream("faster-rcnn", RCNN, "resnet50", RESNET, r"\.box_predictor\."),
    # Its pyramid takes two maps of stride 32, of 160 and 960 channels; ours has the last map of every stride.
    "fasterrcnn_mobilenet_v3_large_fpn": Upstream(
        "faster-rcnn",
        {**RCNN, "anchors": "shared", "finest": 16},
        "mobilenet_v3_large",
        MOBILENET,
        r"\.box_predictor\.",
        ("head.pyramid.fpn.inner_blocks.0.0.weight",),
    ),
}
DETECTORS = {
    **DETECTORS,
    "fasterrcnn_mobilenet_v3_large_320_fpn": DETECTORS["fasterrcnn_mobilenet_v3_large_fpn"],
}


def theirs(name: str) -> Any:
    """Torchvision's detector with random weights, none of them zero."""
    torch.manual_seed(3)
    detector = get_model(name, weights=None, weights_backbone=None, num_classes=5).eval()
    with torch.no_grad():
        for weight in detector.parameters():
            weight.add_(torch.randn_like(weight) * 0.01)
    return detector


def apart(state: Mapping[str, Tensor], moves: Mapping[str, str]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A detector's tensors as its backbone's and the rest."""
    (old, new), *_ = moves.items()
    body = {new + name.removeprefix(old): tensor for name, tensor in state.items() if name.startswith(old)}
    return body, {name: tensor for name, tensor in state.items() if not name.startswith(old)}


def loaded(upstream: Upstream, state: Mapping[str, Tensor]) -> tuple[Backbone, Head, Any]:
    """Our detector with those weights, and the report."""
    backbone = make_backbone(upstream.backbone).eval()
    head = make_head(upstream.head, backbone, **upstream.options).eval()
    body, rest = apart(state, upstream.moves)
    report = load_backbone(backbone, body, "upstream")
    load_head(head, rest, report)
    return backbone, head, report


@pytest.fixture(scope="module", params=DETECTORS)
def both(request: pytest.FixtureRequest) -> tuple[Upstream, Any, Backbone, Head, Any]:
    """What a detector has, torchvision's detector, and ours with its weights."""
    upstream, detector = DETECTORS[request.param], theirs(request.param)
    return upstream, detector, *loaded(upstream, detector.state_dict())


def test_every_upstream_tensor_is_loaded_or_about_its_labels_or_named(
    both: tuple[Upstream, Any, Backbone, Head, Any],
) -> None:
    upstream, detector, _, _, report = both
    state = detector.state_dict()
    labelled = [name for name in state if re.search(upstream.labelled, name)]
    assert len(labelled) in (2, 4)
    assert tuple(name for name, _, _ in report.reshaped) == upstream.without_place
    assert not report.unexpected and not report.missing
    assert report.fitted == len(state) - len(labelled) - len(upstream.without_place)
    anew = [name for name in report.fresh if not re.search(upstream.labelled, name)]
    if upstream.without_place:  # the finer map has no upstream bias beside a weight that does not fit
        assert all(name.startswith("head.pyramid.fpn.") for name in anew)
    else:
        assert not anew
        assert len(report.fresh) == len(labelled)


def test_the_backbone_gives_upstreams_maps(both: tuple[Upstream, Any, Backbone, Head, Any]) -> None:
    _, detector, backbone, _, _ = both
    pixels = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    facts = backbone.input
    normal = (pixels - torch.tensor(facts.mean)[:, None, None]) / torch.tensor(facts.std)[:, None, None]
    with torch.no_grad():
        maps = backbone({"pixels": pixels})
        expected = detector.backbone.body(normal)
    last = list(expected.values())[-1]
    torch.testing.assert_close(maps["map32"], last, rtol=1e-3, atol=1e-3)


def given(head: Head, backbone: Backbone) -> Features:
    """Some maps, and a picture that fills its canvas."""
    generator = torch.Generator().manual_seed(1)
    maps = {
        name: torch.randn(1, backbone.provides[name], 128 // int(name[3:]), 160 // int(name[3:]), generator=generator)
        for name in head.needs
    }
    inputs = make_batch(sizes=[(128, 160)], boxes=[[]], canvas=(128, 160), zoom=1).inputs
    return maps | {name: inputs[name] for name in head.reads}


def fpn_levels(detector: Any, head: Head, features: Features) -> list[Tensor]:
    """The levels of upstream's pyramid on our maps."""
    maps = {name: features[name] for name in sorted(head.needs, key=lambda name: int(name[3:]))}
    return list(detector.backbone.fpn(maps).values())


@pytest.mark.parametrize("name", ["retinanet_resnet50_fpn", "fcos_resnet50_fpn"])
def test_one_stage_heads_say_of_the_same_maps_what_upstream_says(name: str) -> None:
    detector = theirs(name)
    backbone, head, _ = loaded(DETECTORS[name], detector.state_dict())
    assert isinstance(head, FcosHead | RetinaNet)
    features = given(head, backbone)
    with torch.no_grad():
        outputs, anchors = head._towers(features)
        levels = fpn_levels(detector, head, features)
        expected = detector.head(levels)
        pictures = ImageList(torch.zeros(1, 3, 128, 160), [(128, 160)])
    for output in sorted(set(outputs) - {"cls_logits"}):
        torch.testing.assert_close(outputs[output], expected[output])
    places = torch.cat(anchors) if isinstance(head, FcosHead) else anchors
    torch.testing.assert_close(places, detector.anchor_generator(pictures, levels)[0])
    # The tower before the class scores is upstream's too.
    tower, theirs_tower = head.head.classification_head.conv, detector.head.classification_head.conv
    torch.testing.assert_close(tower(levels[0]), theirs_tower(levels[0]))


def test_the_two_stage_head_proposes_and_sees_of_the_same_maps_what_upstream_does() -> None:
    detector = theirs("fasterrcnn_resnet50_fpn")
    backbone, head, _ = loaded(DETECTORS["fasterrcnn_resnet50_fpn"], detector.state_dict())
    assert isinstance(head, FasterRcnnHead)
    features = given(head, backbone)
    sizes = [(128, 160)]
    with torch.no_grad():
        levels = fpn_levels(detector, head, features)
        named = {str(index): level for index, level in enumerate(levels)}
        expected, _ = detector.rpn(ImageList(torch.zeros(1, 3, 128, 160), sizes), named)
        seen = head._first_look(head.pyramid(features), features, head.proposals)
        torch.testing.assert_close(seen.boxes[seen.there], expected[0])
        pooled = cut_out(head.roi_heads.box_roi_pool, levels[: len(head.needs)], seen.boxes)[seen.there[0]]
        torch.testing.assert_close(pooled, detector.roi_heads.box_roi_pool(named, expected, sizes))
        torch.testing.assert_close(head.roi_heads.box_head(pooled), detector.roi_heads.box_head(pooled))


def test_mobilenets_proposals_are_upstreams_on_the_same_levels() -> None:
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    detector = theirs(name)
    _, head, _ = loaded(DETECTORS[name], detector.state_dict())
    assert isinstance(head, FasterRcnnHead)
    generator = torch.Generator().manual_seed(2)
    levels = [torch.randn(1, 256, side, side, generator=generator) for side in (8, 4, 2)]
    sizes = [(256, 256)]
    detector.rpn._pre_nms_top_n = detector.rpn._post_nms_top_n = {"training": 1000, "testing": 1000}
    detector.rpn.score_thresh = 0.0
    with torch.no_grad():
        inputs = {"canvas": torch.empty(1, 0, 256, 256), "size": torch.tensor(sizes)}
        seen = head._first_look(levels, inputs, 1000)
        named = {str(index): level for index, level in enumerate(levels)}
        expected, _ = detector.rpn(ImageList(torch.zeros(1, 3, 256, 256), sizes), named)
    torch.testing.assert_close(seen.boxes[seen.there], expected[0])


@pytest.mark.parametrize("name", ["retinanet_resnet50_fpn", "fasterrcnn_resnet50_fpn"])
def test_files_from_before_upstream_renamed_its_convolutions_load_too(name: str) -> None:
    detector = theirs(name)
    new = detector.state_dict()
    old = {older(key): tensor for key, tensor in new.items()}
    assert old.keys() != new.keys()
    detector.load_state_dict(old)  # upstream still reads them
    upstream = DETECTORS[name]
    _, head, report = loaded(upstream, old)
    _, expected, expected_report = loaded(upstream, new)
    assert report == expected_report
    for key, tensor in expected.state_dict().items():
        torch.testing.assert_close(head.state_dict()[key], tensor, rtol=0.0, atol=0.0)


def older(key: str) -> str:
    """A key as torchvision's files of 2019 to 2021 have it."""
    key = re.sub(r"(fpn\.(?:inner|layer)_blocks\.\d+)\.0\.", r"\1.", key)
    key = re.sub(r"(rpn\.head\.conv)\.0\.0\.", r"\1.", key)
    return re.sub(r"(_head\.conv)\.(\d)\.0\.", lambda found: f"{found[1]}.{2 * int(found[2])}.", key)


def test_pyramids_of_other_depths_are_matched_from_the_coarse_end() -> None:
    detector = theirs("fasterrcnn_resnet50_fpn")
    state = detector.state_dict()
    upstream = DETECTORS["fasterrcnn_resnet50_fpn"]
    backbone = make_backbone("resnet50")
    head = make_head("faster-rcnn", backbone, **{**upstream.options, "finest": 8})
    body, rest = apart(state, upstream.moves)
    report = load_backbone(backbone, body, "upstream")
    load_head(head, rest, report)
    own = head.state_dict()
    for level in range(3):
        theirs_name = f"backbone.fpn.inner_blocks.{level + 1}.0.weight"
        assert torch.equal(own[f"pyramid.fpn.inner_blocks.{level}.0.weight"], state[theirs_name])
    assert not report.reshaped
    assert sorted(report.unexpected) == sorted(
        f"head.backbone.fpn.{kind}_blocks.0.0.{part}" for kind in ("inner", "layer") for part in ("weight", "bias")
    )


def test_a_whole_upstream_detector_starts_backbone_neck_and_head_by_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `--weights coco-…` does, with a file that a package brings instead of a download."""
    torch.manual_seed(3)
    upstream = detection.fasterrcnn_mobilenet_v3_large_fpn(weights=None, weights_backbone=None, num_classes=5)
    (tmp_path / "brought_weights").mkdir()
    (tmp_path / "brought_weights" / "__init__.py").touch()
    file = tmp_path / "brought_weights" / "detector.pth"
    torch.save(upstream.state_dict(), file)
    monkeypatch.syspath_prepend(tmp_path)
    catalogue = load_catalogue()
    head = catalogue.head("faster-rcnn")
    known = head.weights["coco-mobilenet_v3_large"]
    place = {"source": "package:brought_weights/detector.pth", "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    brought = known.model_copy(update=place)
    catalogue.entries["heads"]["faster-rcnn"] = head.model_copy(
        update={"weights": {"coco-mobilenet_v3_large": brought}}
    )
    settings = {"task": "detection", "data": "sample:digit-scenes", "head": "faster-rcnn"}
    chosen = {"backbone": "mobilenet_v3_large", "weights": "coco-mobilenet_v3_large"}
    config = resolve_and_check([override_layer({**settings, **chosen})], catalogue).config
    builder = Builder(catalogue)
    spec = builder.head_spec(config)
    assert spec.options["width"] == 256 and spec.options["hidden"] == 1024, "options that the file presupposes"
    facts = {"classes": ["a", "b"], "train_counts": [1, 1]}
    model = builder.model(builder.backbone_spec(config), spec, facts, 0)
    starting = builder.load_weights(model, config, "mobilenet_v3_large")
    report = starting.report
    assert report is not None and not report.missing and not report.unexpected
    # Upstream takes two maps of stride 32; one lateral of its pyramid has no place here, and is named.
    assert [name for name, _, _ in report.reshaped] == ["head.pyramid.fpn.inner_blocks.0.0.weight"]
    assert all("cls_score" in name or "bbox_pred" in name for name in report.fresh) and report.fresh
    ours = model.state_dict()
    for name, tensor in upstream.state_dict().items():
        if name == "backbone.body.0.0.weight":
            assert torch.equal(next(v for k, v in ours.items() if k.startswith("backbone.body.0")), tensor)
        if name == "rpn.head.conv.0.0.weight":
            assert torch.equal(ours["head.rpn.head.conv.0.0.weight"], tensor)
    assert "start anew" in str(report)
