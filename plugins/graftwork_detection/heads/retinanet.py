"""The head `retinanet`: anchors at every place of a pyramid, classified under the focal loss.

Source: Lin et al. 2017, "Focal Loss for Dense Object Detection". Towers, matching, box coding and losses are
torchvision's. Where we differ by default: narrower and shorter towers with group norm, and the GIoU loss for boxes, as in
torchvision's version 2; options give the original back.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import box_iou

from graftwork.errors import UsageError
from graftwork.interfaces import Backbone, Facts, Features, Head, Outputs, Predictions, Spec, Targets
from graftwork_detection.heads.dense import Anchors, canvas_of, decoded, objects_of, picture_by_picture, rows_of
from graftwork_detection.heads.postprocess import Limits
from graftwork_detection.heads.pyramid import Pyramid
from graftwork_detection.heads.upstream import to_own_names

_GROUPS = 32
_SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
_RATIOS = (0.5, 1.0, 2.0)
_PARTS = {"classification": "classification", "boxes": "bbox_regression"}


class RetinaNet(Head):
    """Class scores and box offsets for nine anchors at every place of every level.

    Args:
        provides: channels of the backbone's features by name.
        options: `width` (channels of pyramid and towers), `depth` (convolutions of a tower), `finest` (stride of the
            finest level), `norm` (`group` or `none`), `box_loss` (`giou` or `l1`), `score_threshold`, `nms_iou`,
            `detections`.
        facts: `classes`.

    Raises:
        UsageError: a width that does not divide into the groups of the norm, or gives them one channel each.
    """

    reads = frozenset({"size", "original", "canvas"})

    def __init__(self, provides: Mapping[str, int], options: Mapping[str, Any], facts: Facts) -> None:
        super().__init__()
        width = int(options["width"])
        grouped = options["norm"] == "group"
        if grouped and (width % _GROUPS or width == _GROUPS):
            # A group of one channel cannot be normalised where the coarsest level is a single place.
            hint = f"Use a multiple of {_GROUPS} from {2 * _GROUPS} on, or norm none"
            raise UsageError(f"retinanet cannot be {width} channels wide", hint=hint)
        self.pyramid = Pyramid(provides, width, finest=int(options["finest"]), extra="p5")
        self.needs = self.pyramid.needs
        # Whole pixels, as torchvision has them.
        sizes = [[int(4 * stride * scale) for scale in _SCALES] for stride in self.pyramid.strides]
        self.anchors = Anchors(sizes, _RATIOS)
        norm = partial(nn.GroupNorm, _GROUPS) if grouped else None
        self.head = RetinaNetHead(width, len(_SCALES) * len(_RATIOS), len(facts["classes"]), norm)
        for tower in (self.head.classification_head, self.head.regression_head):
            tower.conv = tower.conv[: int(options["depth"])]
        self.head.regression_head._loss_type = str(options["box_loss"])
        self.matcher = Matcher(0.5, 0.4, allow_low_quality_matches=True)
        self.coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
        self.limits = Limits.of(options)

    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        """`classification` (focal) and `boxes`: sums over pictures of each one's loss divided by its matched anchors."""
        pictures = picture_by_picture(targets)
        said, anchors = self._towers(features)
        with torch.autocast(anchors.device.type, enabled=False):
            matched = [self._match(anchors, target["boxes"]) for target in pictures]
            losses = self.head.compute_loss(pictures, said, [anchors] * len(pictures), matched)
            # Torchvision gives the mean over pictures.
            return {part: losses[upstream] * len(pictures) for part, upstream in _PARTS.items()}

    def counts(self, targets: Targets) -> dict[str, Tensor]:
        """Pictures, for every part."""
        return dict.fromkeys(_PARTS, rows_of(targets))

    def outputs(self, features: Features) -> Outputs:
        """`boxes` [B, anchors, 4], corners on the canvas, and `scores` [B, anchors, classes], 0 to 1; float32."""
        said, anchors = self._towers(features)
        with torch.autocast(anchors.device.type, enabled=False):
            # Row by row: how the last few values of a vector are rounded depends on where it ends.
            scores = torch.stack([logits.sigmoid() for logits in said["cls_logits"]])
            return {"boxes": decoded(self.coder, said["bbox_regression"], anchors), "scores": scores}

    def postprocess(self, outputs: Outputs, features: Features) -> Predictions:
        """Objects in original pixels, best first."""
        return objects_of(outputs, features, self.anchors.counts(self.pyramid.sizes(features)), self.limits)

    def translate(self, foreign: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Torchvision's `retinanet_resnet50_fpn`, or a head trained here; class scores are left out."""
        return to_own_names(foreign, len(self.pyramid.maps), ("head.classification_head.cls_logits.",))

    def _match(self, anchors: Tensor, boxes: Tensor) -> Tensor:
        """Which object each anchor answers for, int64 [anchors]; -1 for none, -2 for neither one nor none."""
        if not len(boxes):
            return torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device)
        matched: Tensor = self.matcher(box_iou(boxes, anchors))
        return matched

    def _towers(self, features: Features) -> tuple[dict[str, Tensor], Tensor]:
        """What the towers say, float32 [B, anchors, .] by torchvision's names, and the anchors [anchors, 4]."""
        levels = self.pyramid(features)
        said = {name: output.float() for name, output in self.head(levels).items()}
        return said, torch.cat(self.anchors.on(levels, canvas_of(features)))


def build(spec: Spec, backbone: Backbone, facts: Facts) -> Head:
    """The head `retinanet`."""
    return RetinaNet(backbone.provides, spec.options, facts)
