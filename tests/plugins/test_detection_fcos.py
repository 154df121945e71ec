"""The head fcos: torchvision's losses and boxes on the same features, on any backbone, in any number of pieces."""

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
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator

from graftwork.errors import UsageError
from graftwork.interfaces import Batch, Model
from graftwork_detection.heads.fcos import FcosHead, match

HEAD = "fcos"
PARTS = {"classification": "classification", "boxes": "bbox_regression", "centerness": "bbox_ctrness"}


def one_picture(boxes: list[tuple[float, float, float, float]]) -> Batch:
    return make_batch(sizes=[(96, 128)], boxes=[boxes], zoom=1)


def torchvisions(model: Model, batch: Batch) -> FCOS:
    """Torchvision's detector with the same weights on the same levels."""
    head = model.head
    assert isinstance(head, FcosHead)
    return FCOS(
        Given(levels_of(model, batch)),
        num_classes=3,
        anchor_generator=AnchorGenerator(tuple((s,) for s in head.pyramid.strides), ((1.0,),) * 5),
        head=head.head,
        score_thresh=0.05,
        nms_thresh=0.5,
        **UNCHANGED,
    )


@pytest.mark.parametrize(
    "boxes",
    [
        [(10.0, 12.0, 50.0, 60.0), (70.0, 30.0, 110.0, 80.0), (2.0, 1.0, 127.0, 95.0)],
        [(40.0, 40.0, 44.0, 46.0), (30.0, 20.0, 90.0, 70.0)],
        [],
    ],
)
def test_the_losses_of_a_picture_are_torchvisions(boxes: list[tuple[float, float, float, float]]) -> None:
    model, batch = make_model(HEAD).train(), one_picture(boxes)
    ours = model(batch)
    theirs = torchvisions(model, batch).train()(*for_torchvision(batch))
    for part, upstream in PARTS.items():
        torch.testing.assert_close(ours[part], theirs[upstream])


def test_the_predictions_are_torchvisions() -> None:
    model, batch = make_model(HEAD), one_picture([(10.0, 12.0, 50.0, 60.0)])
    assert isinstance(model.head, FcosHead)
    # Boxes of no size, which an untrained head gives, are left out here and not there.
    torch.nn.init.constant_(model.head.head.regression_head.bbox_reg.bias, 1.0)
    ours = predict(model, batch)[0]
    theirs = torchvisions(model.eval(), batch).eval()(for_torchvision(batch)[0])[0]
    assert len(ours["scores"]) > 20
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name])


def test_a_place_answers_for_the_smallest_object_around_it_that_its_level_is_made_for() -> None:
    places = torch.tensor([[28.0, 28.0, 36.0, 36.0], [24.0, 24.0, 40.0, 40.0], [92.0, 92.0, 100.0, 100.0]])
    large, small, elsewhere = [0.0, 0.0, 64.0, 64.0], [20.0, 20.0, 44.0, 44.0], [200.0, 200.0, 210.0, 210.0]
    boxes = torch.tensor([large, small, elsewhere])
    assert match(places[[0, 2]], [1, 1], boxes).tolist() == [1, -1]
    assert match(places[[0, 1]], [1, 1], boxes[:1]).tolist() == [0, -1]  # 32 pixels are under 4 strides of 16
    assert match(places, [3], boxes[:0]).tolist() == [-1, -1, -1]


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


def test_an_earlier_heads_weights_come_over_without_its_class_scores() -> None:
    earlier = make_model(HEAD).head
    later = make_head(HEAD, make_backbone("squeezenet1_1"), facts={"classes": ["a", "b"], "train_counts": [1, 1]})
    ours = later.translate(earlier.state_dict())
    own = later.state_dict()
    left_out = set(own) - set(ours)
    assert left_out == {f"head.classification_head.cls_logits.{kind}" for kind in ("weight", "bias")}
    assert all(own[name].shape == tensor.shape for name, tensor in ours.items())
