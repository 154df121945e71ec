"""The head retinanet: torchvision's losses and boxes on the same features, on any backbone, in any number of pieces."""

from __future__ import annotations

import pytest
import torch
from detection_toys import (
    BACKBONES,
    UNCHANGED,
    Given,
    check_any_backbone,
    check_bfloat16,
    check_it_learns,
    check_pictures_without_objects,
    check_pieces,
    check_predictions_repeat,
    for_torchvision,
    levels_of,
    make_backbone,
    make_batch,
    make_head,
    make_model,
    predict,
)
from torchvision.models.detection import RetinaNet as UpstreamRetinaNet

from graftwork.errors import UsageError
from graftwork.interfaces import Batch, Model
from graftwork_detection.heads.pyramid import Pyramid
from graftwork_detection.heads.retinanet import RetinaNet

HEAD = "retinanet"
PARTS = {"classification": "classification", "boxes": "bbox_regression"}
BOXES = [[(10.0, 12.0, 50.0, 60.0), (70.0, 30.0, 110.0, 80.0)], [(40.0, 40.0, 44.0, 46.0)], []]


def torchvisions(model: Model, batch: Batch) -> UpstreamRetinaNet:
    """Torchvision's detector with the same weights on the same levels."""
    head = model.head
    assert isinstance(head, RetinaNet)
    return UpstreamRetinaNet(
        Given(levels_of(model, batch)),
        num_classes=3,
        anchor_generator=head.anchors,
        head=head.head,
        score_thresh=0.05,
        nms_thresh=0.5,
        detections_per_img=100,
        **UNCHANGED,
    )


@pytest.mark.parametrize("box_loss", ["giou", "l1"])
def test_the_losses_of_a_batch_are_torchvisions(box_loss: str) -> None:
    model = make_model(HEAD, box_loss=box_loss).train()
    batch = make_batch(sizes=[(96, 128)] * 3, boxes=BOXES, zoom=1)
    ours = model(batch)
    theirs = torchvisions(model, batch).train()(*for_torchvision(batch))
    counts = model.head.counts(batch.targets)
    for part, upstream in PARTS.items():
        torch.testing.assert_close(ours[part] / counts[part], theirs[upstream])


def test_the_predictions_are_torchvisions() -> None:
    model, batch = make_model(HEAD, score_threshold=0.009), make_batch(sizes=[(96, 128)], boxes=[BOXES[0]], zoom=1)
    ours = predict(model, batch)[0]
    upstream = torchvisions(model.eval(), batch).eval()
    upstream.score_thresh = 0.009
    theirs = upstream(for_torchvision(batch)[0])[0]
    assert len(ours["scores"]) > 20
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name])


def test_a_batch_in_pieces_gives_the_same_losses_and_gradients() -> None:
    check_pieces(HEAD)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_it_stands_on_any_image_backbone(backbone: str) -> None:
    check_any_backbone(HEAD, backbone)


def test_pictures_without_objects_are_legal_and_teach_that_nothing_is_there() -> None:
    check_pictures_without_objects(HEAD)


def test_losses_in_bfloat16_are_float32_and_finite() -> None:
    check_bfloat16(HEAD)


def test_a_few_steps_on_two_pictures_find_their_objects() -> None:
    check_it_learns(HEAD)


def test_predictions_do_not_depend_on_random_numbers_or_on_the_rest_of_the_batch() -> None:
    check_predictions_repeat(HEAD)


@pytest.mark.parametrize("width", [32, 80])
def test_a_width_that_the_norms_cannot_divide_is_refused(width: int) -> None:
    with pytest.raises(UsageError, match=rf"{width} channels wide.*multiple of 32"):
        make_head(HEAD, make_backbone("graftnet-s"), width=width)
    assert make_head(HEAD, make_backbone("graftnet-s"), width=width, norm="none")


@pytest.mark.parametrize(
    ("provides", "finest", "maps", "strides"),
    [
        ({"map4": 8, "map8": 8, "map16": 8, "map32": 8, "pooled": 8}, 8, (8, 16, 32), (8, 16, 32, 64, 128)),
        ({"map2": 8, "map4": 8, "map8": 8, "map16": 8}, 4, (4, 8, 16), (4, 8, 16, 32, 64, 128)),
        ({"map2": 8, "map4": 8, "map8": 8}, 8, (8,), (8, 16, 32, 64, 128)),
        ({"map32": 8, "tokens": 8}, 8, (32,), (32, 64, 128)),
        ({"map2": 8, "map4": 8}, 8, (4,), (4, 8, 16, 32, 64, 128)),
    ],
)
def test_a_pyramid_has_the_same_coarse_levels_over_whatever_maps_there_are(
    provides: dict[str, int], finest: int, maps: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    pyramid = Pyramid(provides, 16, finest)
    assert pyramid.maps == tuple(f"map{stride}" for stride in maps) and pyramid.strides == strides
    levels = pyramid({f"map{stride}": torch.rand(2, 8, 128 // stride, 256 // stride) for stride in maps})
    assert [tuple(level.shape) for level in levels] == [(2, 16, 128 // s, 256 // s) for s in strides]


def test_gradients_of_a_very_small_map_are_finite_in_bfloat16() -> None:
    pyramid = Pyramid({"map16": 128}, 128)
    maps = {"map16": torch.rand(8, 128, 6, 4)}  # the last but one level has 2 x 1 places
    with torch.autocast("cpu", torch.bfloat16):
        last = pyramid(maps)[-1]
    used = [torch.full_like(pyramid.fpn.extra_blocks.p7.weight, torch.nan) for _ in range(4)]
    del used  # what the allocator hands out next holds no numbers
    last.float().square().sum().backward()
    assert all(bool(torch.isfinite(weight.grad).all()) for weight in pyramid.parameters() if weight.grad is not None)
