"""Heads for masks and for boxes: first-party ones that are right, and what differs from them in one method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from graftwork.interfaces import Backbone, Facts, Features, Head, Spec, Targets
from graftwork_detection.heads.fcos import FcosHead
from graftwork_segmentation.heads.fcn import FcnHead
from graftwork_segmentation.losses import VOID

_PIXELS = {
    "stride": 8,
    "width": 16,
    "dropout": 0.0,
    "loss": "ce",
    "imbalance": "none",
    "focal_gamma": 2.0,
    "label_smoothing": 0.0,
}
_BOXES = {"width": 64, "depth": 1, "finest": 8, "score_threshold": 0.05, "nms_iou": 0.5, "detections": 20}


class TamePixels(FcnHead):
    """A class for every pixel."""

    def __init__(self, provides: Mapping[str, int], facts: Facts) -> None:
        super().__init__(provides, _PIXELS, facts)


class LearnsTheIgnored(TamePixels):
    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        return super().loss(features, {"mask": _mask(targets).where(_mask(targets) != VOID, torch.tensor(0))})


class AveragesOverPadding(TamePixels):
    def counts(self, targets: Targets) -> dict[str, Tensor]:
        return {"ce": torch.tensor(float(_mask(targets).numel()))}


def _mask(targets: Targets) -> Tensor:
    assert isinstance(targets, dict)
    return targets["mask"].to(torch.uint8)


class TameBoxes(FcosHead):
    """Boxes."""

    def __init__(self, provides: Mapping[str, int], facts: Facts) -> None:
        super().__init__(provides, _BOXES, facts)


class NanWithoutObjects(TameBoxes):
    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        assert isinstance(targets, list)
        losses, objects = super().loss(features, targets), sum(len(row["labels"]) for row in targets)
        return {**losses, "boxes": losses["boxes"] * objects / torch.tensor(objects)}


class FailsWithoutObjects(TameBoxes):
    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        assert isinstance(targets, list)
        largest = max(float(row["boxes"].max()) for row in targets)
        losses = super().loss(features, targets)
        return {**losses, "boxes": losses["boxes"] / largest}


ALL: Mapping[str, Any] = {
    "tame-pixels": TamePixels,
    "learns-the-ignored": LearnsTheIgnored,
    "averages-over-padding": AveragesOverPadding,
    "tame-boxes": TameBoxes,
    "nan-without-objects": NanWithoutObjects,
    "fails-without-objects": FailsWithoutObjects,
}


def build(spec: Spec, backbone: Backbone, facts: Facts) -> Head:
    head: Head = ALL[spec.name](backbone.provides, facts)
    return head
