"""The head ssdlite: light, its losses by the papers' formulas, on any backbone, in any number of pieces."""

from __future__ import annotations

import pytest
import torch
from detection_toys import (
    BACKBONES,
    check_any_backbone,
    check_bfloat16,
    check_it_learns,
    check_pictures_without_objects,
    check_pieces,
    check_predictions_repeat,
    levels_of,
    make_backbone,
    make_batch,
    make_head,
    make_model,
)
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import box_iou, generalized_box_iou, sigmoid_focal_loss

from graftwork.errors import UsageError
from graftwork.interfaces import Backbone, Batch, Head, Model
from graftwork_detection.heads.ssdlite import SsdliteHead

HEAD = "ssdlite"
BOXES = [(10.0, 12.0, 50.0, 60.0), (70.0, 30.0, 110.0, 80.0)]


def test_the_losses_are_the_papers_formulas() -> None:
    model, batch = make_model(HEAD).eval(), make_batch(sizes=[(96, 128)], boxes=[BOXES])
    head = model.head
    assert isinstance(head, SsdliteHead) and isinstance(batch.targets, list)
    scores, deltas, anchors = head._towers(model.features(batch))
    boxes, labels = batch.targets[0]["boxes"], batch.targets[0]["labels"]
    overlap = box_iou(boxes, anchors)
    best, which = overlap.max(dim=0)
    # At least half covered, or the best that an object has; nothing is asked of what is covered between 0.4 and 0.5.
    matched = (best >= 0.5) | (overlap == overlap.amax(dim=1, keepdim=True)).any(dim=0)
    asked = matched | (best < 0.4)
    wanted = F.one_hot(labels[which], 3).float() * matched[:, None]
    focal = sigmoid_focal_loss(scores[0][asked], wanted[asked], alpha=0.25, gamma=2.0, reduction="sum")
    said = BoxCoder((10.0, 10.0, 5.0, 5.0)).decode_single(deltas[0][matched], anchors[matched])
    overlap = generalized_box_iou(said, boxes[which[matched]]).diagonal()
    model.head.train()
    losses = model(batch)
    torch.testing.assert_close(losses["classification"], focal / matched.sum())
    torch.testing.assert_close(losses["boxes"], (1 - overlap).mean())


def test_default_boxes_of_every_level_lie_on_its_places_in_six_shapes() -> None:
    model, batch = make_model(HEAD), make_batch()
    head = model.head
    assert isinstance(head, SsdliteHead)
    shapes = [level.shape for level in levels_of(model, batch)]
    levels = head.anchors.on(levels_of(model, batch), (96, 128))
    assert [len(level) for level in levels] == [6 * shape[2] * shape[3] for shape in shapes]
    assert head.anchors.counts(head.pyramid.sizes(model.features(batch))) == [len(level) for level in levels]
    sides = (levels[0][:6, 2:] - levels[0][:6, :2]).prod(dim=1).sqrt()
    torch.testing.assert_close(sides, torch.tensor([24.0, 34.0] * 3), rtol=0.03, atol=0.0)


def test_it_takes_less_than_a_fifth_of_the_arithmetic_of_retinanet() -> None:
    backbone, batch = make_backbone("squeezenet1_1"), make_batch(canvas=(320, 320))
    light = make_head(HEAD, backbone, width=96, depth=1)
    heavy = make_head("retinanet", backbone, width=128, depth=2)
    assert arithmetic(light, backbone, batch) < arithmetic(heavy, backbone, batch) / 5


def arithmetic(head: Head, backbone: Backbone, batch: Batch) -> int:
    """Floating-point operations of head and pyramid for a batch."""
    features = Model(backbone.eval(), head.eval()).features(batch)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        head.predict(features)
    return int(counter.get_total_flops())


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


@pytest.mark.parametrize("width", [16, 40])
def test_a_width_that_the_norms_cannot_divide_is_refused(width: int) -> None:
    with pytest.raises(UsageError, match=rf"{width} channels wide.*multiple of 16"):
        make_head(HEAD, make_backbone("graftnet-s"), width=width)


def test_an_earlier_heads_weights_come_over_without_its_class_scores() -> None:
    earlier = make_model(HEAD).head
    later = make_head(HEAD, make_backbone("squeezenet1_1"), facts={"classes": ["a", "b"], "train_counts": [1, 1]})
    ours = later.translate(earlier.state_dict())
    own = later.state_dict()
    left_out = sorted(set(own) - set(ours))
    assert left_out == sorted(
        f"head.classification_head.module_list.{level}.1.{kind}" for level in range(5) for kind in ("weight", "bias")
    )
    assert all(own[name].shape == tensor.shape for name, tensor in ours.items())
