"""The head faster-rcnn: the unsplit torchvision model's losses and boxes, on any backbone, in any number of pieces."""

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
    without_objects,
)
from torch import Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.ops import MultiScaleRoIAlign

from graftwork.interfaces import Batch, Model
from graftwork_detection.heads.faster_rcnn import FasterRcnnHead, best_classes
from graftwork_detection.heads.proposals import best_apart

HEAD = "faster-rcnn"
PARTS = {
    "objectness": "loss_objectness",
    "proposals": "loss_rpn_box_reg",
    "classification": "loss_classifier",
    "boxes": "loss_box_reg",
}
BOXES = [(10.0, 12.0, 50.0, 60.0), (70.0, 30.0, 110.0, 80.0), (2.0, 1.0, 127.0, 95.0)]


def torchvisions(model: Model, batch: Batch) -> FasterRCNN:
    """Torchvision's detector with the same weights on the same levels."""
    head = model.head
    assert isinstance(head, FasterRcnnHead)
    return FasterRCNN(
        Given(levels_of(model, batch)),
        rpn_anchor_generator=head.rpn.anchor_generator,
        rpn_head=head.rpn.head,
        rpn_pre_nms_top_n_train=100,
        rpn_post_nms_top_n_train=100,
        rpn_pre_nms_top_n_test=50,
        rpn_post_nms_top_n_test=50,
        rpn_batch_size_per_image=64,
        box_head=head.roi_heads.box_head,
        box_predictor=head.roi_heads.box_predictor,
        box_batch_size_per_image=32,
        # A pool of its own, which finds the levels' scales out by itself.
        box_roi_pool=MultiScaleRoIAlign(head.roi_heads.box_roi_pool.featmap_names, 7, 2),
        **UNCHANGED,
    )


def one_picture(boxes: list[tuple[float, float, float, float]]) -> Batch:
    return make_batch(sizes=[(96, 128)], boxes=[boxes], zoom=1)


def counted_from_one(batch: Batch) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    pictures, targets = for_torchvision(batch)
    return pictures, [{**target, "labels": target["labels"] + 1} for target in targets]


@pytest.mark.parametrize("backbone", ["resnet18", "squeezenet1_1"])
@pytest.mark.parametrize("boxes", [BOXES, BOXES[1:2], []])
def test_the_four_losses_of_a_picture_are_those_of_the_unsplit_model(
    backbone: str, boxes: list[tuple[float, float, float, float]]
) -> None:
    model, batch = make_model(HEAD, backbone).eval(), one_picture(boxes)
    whole = torchvisions(model, batch).train()
    model.head.train()
    torch.manual_seed(7)
    ours = model(batch)
    torch.manual_seed(7)
    theirs = whole(*counted_from_one(batch))
    for part, upstream in PARTS.items():
        torch.testing.assert_close(ours[part], theirs[upstream])


@pytest.mark.parametrize("anchors", ["level", "shared"])
def test_the_predictions_are_those_of_the_unsplit_model(anchors: str) -> None:
    model, batch = make_model(HEAD, anchors=anchors), one_picture(BOXES)
    ours = predict(model, batch)[0]
    theirs = torchvisions(model.eval(), batch).eval()(for_torchvision(batch)[0])[0]
    assert len(ours["scores"]) > 10
    torch.testing.assert_close(ours["boxes"], theirs["boxes"])
    torch.testing.assert_close(ours["scores"], theirs["scores"])
    assert torch.equal(ours["labels"], theirs["labels"] - 1)


def test_a_batch_in_pieces_gives_the_same_losses_and_gradients_where_all_samples_are_taken() -> None:
    check_pieces(HEAD, rpn_samples=20000, roi_samples=2000)


def test_samples_are_drawn_with_torchs_random_numbers() -> None:
    model, batch = make_model(HEAD).train(), make_batch()

    def losses(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        found: dict[str, Tensor] = model(batch)
        return found

    first, again, other = losses(1), losses(1), losses(2)
    assert all(torch.equal(first[part], again[part]) for part in PARTS)
    assert any(not torch.equal(first[part], other[part]) for part in PARTS)


def test_padding_on_the_first_batch_does_not_change_where_proposals_are_cut_out() -> None:
    first, second = make_model(HEAD), make_model(HEAD)
    padded = make_batch(sizes=[(30, 40)], boxes=[[(2.0, 2.0, 20.0, 20.0)]], canvas=(96, 128))
    predict(first, padded)
    for one, other in zip(predict(first, make_batch()), predict(second, make_batch()), strict=True):
        assert torch.equal(one["boxes"], other["boxes"])


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


def test_a_picture_whose_proposals_all_vanish_has_losses_and_predicts_nothing() -> None:
    model, batch = make_model(HEAD), without_objects(make_batch(sizes=[(96, 128)], boxes=[[]]))
    head = model.head
    assert isinstance(head, FasterRcnnHead)
    head.rpn.score_thresh = 2.0  # no probability passes
    losses = model.train()(batch)
    assert all(bool(loss.isfinite()) for loss in losses.values())
    assert float(losses["classification"].detach()) == 0.0
    assert len(predict(model, batch)[0]["scores"]) == 0


def test_an_earlier_heads_weights_come_over_without_its_box_predictor() -> None:
    earlier = make_model(HEAD).head
    later = make_head(HEAD, make_backbone("squeezenet1_1"), facts={"classes": ["a", "b"], "train_counts": [1, 1]})
    ours = later.translate(earlier.state_dict())
    own = later.state_dict()
    left_out = set(own) - set(ours)
    assert len(left_out) == 4 and all(name.startswith("roi_heads.box_predictor.") for name in left_out)
    assert all(own[name].shape == tensor.shape for name, tensor in ours.items())


def test_a_picture_gets_as_many_proposals_as_asked_for_and_scores_of_nothing_where_there_are_fewer() -> None:
    few, many = make_model(HEAD, proposals=20), make_model(HEAD, proposals=4000)
    batch = make_batch()
    for model, proposals in ((few, 20), (many, 4000)):
        with torch.no_grad():
            outputs = model.eval().head.outputs(model.features(batch))
        assert outputs["boxes"].shape == (2, 3 * proposals, 4) and outputs["scores"].shape == (2, 3 * proposals, 3)
        said = outputs["scores"].view(2, proposals, 3, 3).diagonal(dim1=2, dim2=3).sum(2)
        assert float(outputs["scores"].sum()) == pytest.approx(float(said.sum())), (
            "a box has a score of its own class alone"
        )
        there = (said > 0).sum(dim=1)
        assert bool((there == 20).all()) if proposals == 20 else bool(((there > 20) & (there < 4000)).all())
        assert bool((said.diff(dim=1)[said[:, 1:] == 0] <= 0).all()), "what is missing is missing at the end"
    assert len(predict(many, batch)[0]["scores"]) >= len(predict(few, batch)[0]["scores"])


def test_suppression_fills_up_what_it_lacks() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [0, 0, 10, 10]]]).expand(2, -1, -1)
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.6]] * 2)
    groups = torch.tensor([[0, 0, 0, 1]] * 2)
    usable = torch.tensor([[True, True, True, True], [False, False, True, False]])
    assert best_apart(boxes, scores, groups, usable, 0.5, 4).tolist() == [[0, 2, 3, -1], [2, -1, -1, -1]]
    assert best_apart(boxes, scores, groups, usable, 0.5, 2).tolist() == [[0, 2], [2, -1]]


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.3])
def test_of_many_classes_those_that_may_pass_the_threshold_are_left(threshold: float) -> None:
    torch.manual_seed(0)
    scores = (4 * torch.randn(12, 91)).softmax(dim=1)[:, 1:]
    boxes = torch.rand(12, 90, 4)
    found = best_classes(boxes, scores, 6, threshold)
    assert found["scores"].shape[1:] == (6 * {0.0: 90, 0.05: 21, 0.3: 4}[threshold], 90)
    row, place, label = torch.where(found["scores"] > threshold)
    proposal, expected = torch.where(scores > threshold)
    assert torch.equal(label, expected)
    assert torch.equal(found["scores"][row, place, label], scores[proposal, expected])
    assert torch.equal(found["boxes"][row, place], boxes[proposal, expected])
