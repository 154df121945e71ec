"""The head `fcos`: every place of a pyramid says how far the four sides of its object are; no anchor shapes to choose.

Source: Tian et al. 2020, "FCOS: A simple and strong anchor-free object detector". Towers, box coding and loss are
torchvision's; matching is torchvision's too, for one picture at a time. Two differences: the loss is normalised in each
picture instead of over the batch, and the pyramid takes any backbone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.fcos import FCOSHead

from graftwork import UsageError
from graftwork.interfaces import Backbone, Facts, Features, Head, Outputs, Predictions, Spec, Targets
from graftwork_detection.heads.dense import Anchors, canvas_of, objects_of, picture_by_picture, rows_of
from graftwork_detection.heads.postprocess import Limits
from graftwork_detection.heads.pyramid import Pyramid
from graftwork_detection.heads.upstream import to_own_names

# Of torchvision's GroupNorm in the towers. A group of one channel has nothing to normalise on a map of 1 x 1.
_GROUPS = 32
_RADIUS = 1.5  # strides around an object's centre within which a place may answer for it (the paper's centre sampling)
_PARTS = {"classification": "classification", "boxes": "bbox_regression", "centerness": "bbox_ctrness"}


class FcosHead(Head):
    """Scores, distances to the four sides, and centerness at every place of every level.

    Args:
        provides: channels of the backbone's features by name.
        options: `width` (channels of pyramid and towers), `depth` (convolutions of a tower), `finest` (stride of the
            finest level), `score_threshold`, `nms_iou`, `detections`.
        facts: `classes`.

    Raises:
        UsageError: a width that does not divide into the 32 groups of the towers' norms, two channels each at least.
    """

    reads = frozenset({"size", "original", "canvas"})

    def __init__(self, provides: Mapping[str, int], options: Mapping[str, Any], facts: Facts) -> None:
        super().__init__()
        width = int(options["width"])
        if width % _GROUPS or width < 2 * _GROUPS:
            raise UsageError(f"fcos cannot be {width} channels wide", hint=f"Use 64 or another multiple of {_GROUPS}")
        self.pyramid = Pyramid(provides, width, finest=int(options["finest"]), extra="p5")
        self.needs = self.pyramid.needs
        # Not boxes but places: one square a cell, as large as the stride.
        self.places = Anchors([[stride] for stride in self.pyramid.strides], [1.0])
        self.head = FCOSHead(width, 1, len(facts["classes"]), int(options["depth"]))
        self.limits = Limits.of(options)

    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        """`classification` (focal), `boxes` (GIoU) and `centerness` (cross-entropy): sums over pictures of each picture's
        loss divided by its matched places (at least 1)."""
        said, places = self._towers(features)
        sizes, every_place = [len(level) for level in places], torch.cat(places)
        parts: dict[str, list[Tensor]] = {part: [] for part in _PARTS}
        with torch.autocast(every_place.device.type, enabled=False):
            for row, target in enumerate(picture_by_picture(targets)):
                one = {name: output[row : row + 1] for name, output in said.items()}
                matched = match(every_place, sizes, target["boxes"])
                losses = self.head.compute_loss([target], one, [every_place], [matched])
                for part, upstream in _PARTS.items():
                    parts[part].append(losses[upstream])
            return {part: torch.stack(values).sum() for part, values in parts.items()}

    def counts(self, targets: Targets) -> dict[str, Tensor]:
        """Pictures, for every part."""
        return dict.fromkeys(_PARTS, rows_of(targets))

    def outputs(self, features: Features) -> Outputs:
        """`boxes` [B, places, 4], corners on the canvas, and `scores` [B, places, classes], 0 to 1: the geometric mean of class
        score and centerness; float32."""
        said, places = self._towers(features)
        with torch.autocast(places[0].device.type, enabled=False):
            boxes: Tensor = self.head.box_coder.decode(said["bbox_regression"], torch.cat(places))
            return {"boxes": boxes, "scores": (said["cls_logits"].sigmoid() * said["bbox_ctrness"].sigmoid()).sqrt()}

    def postprocess(self, outputs: Outputs, features: Features) -> Predictions:
        """Objects in original pixels, best first."""
        return objects_of(outputs, features, self.places.counts(self.pyramid.sizes(features)), self.limits)

    def translate(self, foreign: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Torchvision's `fcos_resnet50_fpn`, or a head trained here; class scores are left out."""
        return to_own_names(foreign, len(self.needs), ("head.classification_head.cls_logits.",))

    def _towers(self, features: Features) -> tuple[dict[str, Tensor], list[Tensor]]:
        """What the towers say, float32 [B, places, .] by torchvision's names, and the places of each level."""
        levels = self.pyramid(features)
        said = {name: output.float() for name, output in self.head(levels).items()}
        return said, self.places.on(levels, canvas_of(features))


def match(places: Tensor, sizes: Sequence[int], boxes: Tensor) -> Tensor:
    """Which object each place answers for: int64 [places], -1 for none.

    A place answers for an object when it lies inside, near the centre, and the object's farthest side is at a distance
    that the level is made for (4 to 8 strides; no lower bound at the finest level, no upper one at the coarsest); for
    the smallest, where there are several. The same rules as in torchvision's `FCOS.compute_loss`.

    Args:
        places: [places, 4] squares as large as their level's stride, levels one after another, fine to coarse.
        sizes: places of each level.
        boxes: [objects, 4] corners in canvas pixels.
    """
    if not len(boxes):
        return torch.full((len(places),), -1, dtype=torch.int64, device=places.device)
    centre, middle = (places[:, :2] + places[:, 2:]) / 2, (boxes[:, :2] + boxes[:, 2:]) / 2
    stride = places[:, 2] - places[:, 0]
    near = (centre[:, None] - middle[None]).abs().amax(dim=2) < _RADIUS * stride[:, None]
    sides = torch.cat([centre[:, None] - boxes[None, :, :2], boxes[None, :, 2:] - centre[:, None]], dim=2)
    least, most = stride * 4, stride * 8
    least[: sizes[0]] = 0
    most[len(most) - sizes[-1] :] = float("inf")
    farthest = sides.amax(dim=2)
    fits = near & (sides.amin(dim=2) > 0) & (farthest > least[:, None]) & (farthest < most[:, None])
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    smallest, index = torch.where(fits, area[None], float("inf")).min(dim=1)
    return torch.where(smallest.isinf(), -1, index)


def build(spec: Spec, backbone: Backbone, facts: Facts) -> Head:
    """The head `fcos`."""
    return FcosHead(backbone.provides, spec.options, facts)
