"""Detectors and scenes small enough for a test: any backbone of the catalogue, bright rectangles on grey."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from graftwork.interfaces import Backbone, Batch, Head, Model, Spec
from graftwork_images.backbones import BUILDERS

CLASSES = ["disc", "bar", "cross"]
FACTS = {"classes": CLASSES, "train_counts": [3, 2, 1]}
SHARED = {"score_threshold": 0.05, "nms_iou": 0.5, "detections": 100}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "retinanet": {**SHARED, "width": 64, "depth": 1, "finest": 8, "norm": "group", "box_loss": "giou"},
    "fcos": {**SHARED, "width": 64, "depth": 1, "finest": 8},
    "faster-rcnn": {
        **SHARED,
        "width": 32,
        "hidden": 64,
        "finest": 4,
        "anchor_scale": 4.0,
        "anchors": "level",
        "proposals": 50,
        "rpn_samples": 64,
        "roi_samples": 32,
    },
    "ssdlite": {**SHARED, "width": 32, "depth": 1, "finest": 8, "anchor_scale": 3.0},
}
"""Small options of every head."""

BACKBONES = (
    "resnet18",
    "mobilenet_v3_small",
    "convnext_tiny",
    "swin_t",
    "vit_b_32",
    "squeezenet1_1",
    "graftnet-s",
)
"""One of every kind: each gives other maps, or maps of other sizes."""


def make_backbone(name: str) -> Backbone:
    """With random weights, the same every time."""
    torch.manual_seed(0)
    return BUILDERS[name](Spec(name, {}))


def make_head(name: str, backbone: Backbone, facts: Mapping[str, Any] = FACTS, **options: Any) -> Head:
    """A head of `graftwork_detection.heads`, with its small options unless told otherwise."""
    torch.manual_seed(1)
    module = import_module(f"graftwork_detection.heads.{name.replace('-', '_')}")
    head = module.build(Spec(name, {**OPTIONS[name], **options}), backbone, dict(facts))
    assert isinstance(head, Head)
    return head


def make_model(name: str, backbone: str = "squeezenet1_1", **options: Any) -> Model:
    """A whole detector."""
    body = make_backbone(backbone)
    return Model(body, make_head(name, body, **options))


def make_batch(
    sizes: Sequence[tuple[int, int]] = ((96, 128), (80, 112)),
    boxes: Sequence[Sequence[tuple[float, float, float, float]]] = (
        ((10, 12, 50, 60), (70, 30, 110, 80)),
        ((30, 20, 90, 70),),
    ),
    canvas: tuple[int, int] = (96, 128),
    zoom: int = 2,
) -> Batch:
    """Pictures of some sizes (height, width) on one canvas, `zoom` times as large on disk; object n is of class n."""
    generator = torch.Generator().manual_seed(5)
    pixels = torch.zeros(len(sizes), 3, *canvas, dtype=torch.uint8)
    targets = []
    for row, ((height, width), found) in enumerate(zip(sizes, boxes, strict=True)):
        pixels[row, :, :height, :width] = torch.randint(90, 130, (3, height, width), generator=generator)
        for index, (left, top, right, bottom) in enumerate(found):
            colour = torch.tensor([[250, 30, 30], [30, 250, 30], [30, 30, 250]], dtype=torch.uint8)[index]
            pixels[row, :, int(top) : int(bottom), int(left) : int(right)] = colour[:, None, None]
        targets.append(
            {
                "boxes": torch.tensor(found, dtype=torch.float32).reshape(-1, 4),
                "labels": torch.arange(len(found)),
                "crowd": torch.zeros(len(found), dtype=torch.bool),
            }
        )
    size = torch.tensor(sizes)
    inputs = {
        "pixels": pixels,
        "size": size,
        "original": size * zoom,
        "canvas": torch.empty(len(sizes), 0, *canvas, dtype=torch.uint8),
    }
    return Batch(torch.arange(len(sizes)), inputs, targets)


def without_objects(batch: Batch) -> Batch:
    """The same pictures, with nothing in them that anybody annotated."""
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "crowd": torch.zeros(0).bool()}
    return Batch(batch.rows, batch.inputs, [dict(empty) for _ in range(len(batch))])


def total(losses: Mapping[str, Tensor]) -> Tensor:
    """The sum of all parts."""
    return torch.stack(list(losses.values())).sum()


def predict(model: Model, batch: Batch) -> list[dict[str, Tensor]]:
    """The model's predictions, checked for the form that every detector's must have."""
    predictions = model.predict(batch)
    assert isinstance(predictions, list) and len(predictions) == len(batch)
    for prediction, original in zip(predictions, batch.inputs["original"].tolist(), strict=True):
        boxes, scores, labels = prediction["boxes"], prediction["scores"], prediction["labels"]
        assert boxes.shape == (len(scores), 4) and labels.shape == scores.shape and len(scores) <= 100
        assert boxes.dtype == scores.dtype == torch.float32 and labels.dtype == torch.int64
        assert bool((scores.diff() <= 0).all()) and bool((boxes[:, 2:] >= boxes[:, :2]).all())
        assert bool((boxes >= 0).all()) and bool((boxes <= torch.tensor(original[::-1] * 2)).all())
        assert bool(((labels >= 0) & (labels < len(CLASSES))).all())
    return predictions


def learn(model: Model, batch: Batch, steps: int, lr: float = 1e-3) -> list[float]:
    """Steps of AdamW on one batch; the loss at each."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    history = []
    for step in range(steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        loss = total(model(batch)) / len(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        history.append(float(loss.detach()))
    return history


class Given(nn.Module):
    """A backbone for torchvision's detectors that gives levels computed before, whatever the picture."""

    def __init__(self, levels: Sequence[Tensor]) -> None:
        super().__init__()
        self.levels = list(levels)
        self.out_channels = int(levels[0].shape[1])

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        return OrderedDict((str(index), level) for index, level in enumerate(self.levels))


UNCHANGED: Mapping[str, Any] = {
    "min_size": 96,
    "max_size": 128,
    "_skip_resize": True,  # in training, where it would draw a random number
    "image_mean": [0.0] * 3,
    "image_std": [1.0] * 3,
}
"""What lets a picture of 96 x 128 pixels through torchvision's own resizing and normalisation as it is."""


def levels_of(model: Model, batch: Batch) -> list[Tensor]:
    """What the detector's pyramid makes of a batch, apart from it."""
    pyramid = model.head.get_submodule("pyramid")
    with torch.no_grad():
        levels: list[Tensor] = pyramid(model.features(batch))
    return levels


def for_torchvision(batch: Batch) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """The batch's pictures and targets as torchvision's detectors take them."""
    assert isinstance(batch.targets, list)
    return [picture.float() for picture in batch.inputs["pixels"]], batch.targets


def check_any_backbone(head: str, backbone: str) -> None:
    """Losses are finite, gradients reach every weight of the head, predictions have their form."""
    model, batch = make_model(head, backbone).train(), make_batch()
    losses = model(batch)
    assert set(losses) == set(model.head.counts(batch.targets))
    assert all(loss.ndim == 0 and bool(loss.isfinite()) for loss in losses.values())
    total(losses).backward()
    unreached = [name for name, weight in model.head.named_parameters() if weight.grad is None]
    assert not unreached
    predict(model, batch)


def check_pictures_without_objects(head: str) -> None:
    """They are legal, alone and among others, and teach that nothing is there."""
    model, batch = make_model(head).train(), make_batch()
    losses = model(without_objects(batch))
    assert all(bool(loss.isfinite()) for loss in losses.values())
    assert float(losses["boxes"].detach()) == 0.0
    assert float(losses["classification"].detach()) > 0.0
    total(losses).backward()
    assert all(weight.grad is None or bool(weight.grad.isfinite().all()) for weight in model.parameters())
    mixed = make_batch(boxes=[[], [(30, 20, 90, 70)]])
    assert all(bool(loss.isfinite()) for loss in model(mixed).values())


def check_bfloat16(head: str) -> None:
    """Under autocast the losses are float32, finite and near those without it."""
    model, batch = make_model(head).train(), make_batch()
    torch.manual_seed(0)
    exact = model(batch)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(batch)
        predictions = predict(model, batch)
    assert all(loss.dtype == torch.float32 and bool(loss.isfinite()) for loss in losses.values())
    torch.testing.assert_close(total(losses), total(exact), rtol=0.1, atol=0.0)
    assert all(bool(prediction["boxes"].isfinite().all()) for prediction in predictions)


def check_pieces(head: str, **options: Any) -> None:
    """Losses and gradients of a batch in pieces are those of the whole."""
    model = make_model(
        head, **options
    ).eval()  # random dropout or batch statistics of the backbone are not the question
    model.head.train()
    batch = make_batch(
        sizes=[(96, 128), (80, 112), (96, 64)],
        boxes=[[(10, 12, 50, 60), (70, 30, 110, 80)], [], [(5, 9, 45, 70)]],
    )
    whole = model(batch)
    total(whole).backward()
    expected = [weight.grad.clone() for weight in model.head.parameters() if weight.grad is not None]
    model.zero_grad()
    pieces = [model(piece) for piece in batch.split(1)]
    torch.stack([total(losses) for losses in pieces]).sum().backward()
    for part, loss in whole.items():
        torch.testing.assert_close(torch.stack([losses[part] for losses in pieces]).sum(), loss, rtol=1e-5, atol=1e-6)
        counts = sum(float(model.head.counts(piece.targets)[part]) for piece in batch.split(1))
        assert counts == float(model.head.counts(batch.targets)[part]) == 3.0
    found = [weight.grad for weight in model.head.parameters() if weight.grad is not None]
    for gradient, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-5)


def check_it_learns(head: str) -> None:
    """Sixty steps on two pictures: the best box of each object's class is on the object, and sure of it."""
    model, batch = make_model(head), make_batch()
    learn(model, batch, steps=60, lr=2e-3)
    assert isinstance(batch.targets, list)
    for found, target in zip(predict(model, batch), batch.targets, strict=True):
        for box, label in zip(target["boxes"], target["labels"], strict=True):
            of_class = torch.where(found["labels"] == label)[0]
            assert len(of_class), f"no object of class {int(label)} was found"
            best = of_class[:1]
            assert float(box_iou(2 * box[None], found["boxes"][best])) > 0.5
            assert float(found["scores"][best]) > 0.5


def check_predictions_repeat(head: str) -> None:
    """Whatever torch's random numbers are, and whatever lies in the batch beside a picture."""
    model, batch = make_model(head), make_batch()
    learn(model, batch, steps=5)
    torch.manual_seed(1)
    first = predict(model, batch)
    torch.manual_seed(2)
    again = predict(model, batch)
    for one, other in zip(first, again, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    alone = predict(model, batch.slice(1, 2))[0]
    assert len(alone["scores"]) == len(first[1]["scores"])
    torch.testing.assert_close(alone["scores"], first[1]["scores"], rtol=1e-4, atol=1e-5)
