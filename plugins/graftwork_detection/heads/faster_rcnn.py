"""The head `faster-rcnn`: proposals first, then a second look at each. The most exact of the heads, and the slowest.

Sources: Ren et al. 2015, "Faster R-CNN"; on a pyramid: Lin et al. 2017, "Feature Pyramid Networks for Object Detection".
Proposal network, sampling, pooling, box head and decoding are torchvision's. One difference: the four losses are
normalised in each picture and summed, where torchvision takes all pictures' samples together; that is the same as long as
every picture gives equally many samples, and it makes a batch in pieces give the whole batch's gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log2
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead, concat_box_prediction_layers
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import initLevelMapper

from graftwork.interfaces import Backbone, Facts, Features, Head, Predictions, Spec, Targets
from graftwork_detection.heads.dense import anchors_by_level, canvas_of, rows_of
from graftwork_detection.heads.postprocess import to_original
from graftwork_detection.heads.pyramid import Pyramid
from graftwork_detection.heads.upstream import to_own_names

_ASPECTS = (0.5, 1.0, 2.0)  # height over width, as in Ren et al.
_STRIDES = (4, 8, 16, 32, 64)  # whose anchors a level has when all levels share them
_COARSEST = 64  # stride of the last level that makes proposals
_POOLED = 7  # cells a side that a proposal's features are brought to
_PARTS = ("objectness", "proposals", "classification", "boxes")


class FasterRcnnHead(Head):
    """A region proposal network on every level, and a box head on what proposals cut out of the backbone's levels.

    Args:
        provides: channels of the backbone's features by name.
        options: `width` (channels of the pyramid), `hidden` (of the box head), `finest` (stride of the finest level),
            `anchor_scale` (an anchor's side over its level's stride), `anchors` (`level`: each level has its own size;
            `shared`: every level has the sizes of all), `proposals` (a picture in prediction; twice as many in
            training), `rpn_samples` and `roi_samples` (anchors and proposals a picture that the losses see),
            `score_threshold`, `nms_iou`, `detections`.
        facts: `classes`.
    """

    reads = frozenset({"size", "original", "canvas"})

    def __init__(self, provides: Mapping[str, int], options: Mapping[str, Any], facts: Facts) -> None:
        super().__init__()
        width = int(options["width"])
        self.pyramid = Pyramid(provides, width, finest=int(options["finest"]), coarsest=_COARSEST, extra="pool")
        self.needs = self.pyramid.needs
        strides = self.pyramid.strides
        self.rpn = _proposal_network(strides, width, options)
        # Proposals come from every level; they are cut out of those that stand on maps of the backbone.
        self.roi_heads = _roi_heads(strides[: len(self.needs)], width, len(facts["classes"]), options)

    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        """`objectness` and `proposals` of the first look, `classification` and `boxes` of the second: sums over pictures
        of each picture's loss divided by its samples. Samples are drawn with torch's global random numbers."""
        assert isinstance(targets, list)
        levels = self.pyramid(features)
        sizes = _sizes(features)
        # torchvision counts classes from 1 and has 0 for the background.
        shifted = [{"boxes": target["boxes"].float(), "labels": target["labels"] + 1} for target in targets]
        proposals, first = self._propose(levels, canvas_of(features), sizes, shifted)
        proposals, _, labels, regression = self.roi_heads.select_training_samples(proposals, shifted)
        scores, deltas = self._look(levels, proposals, sizes)
        counts = [len(chosen) for chosen in proposals]
        second: list[tuple[Tensor, Tensor]] = []
        with torch.autocast(scores.device.type, enabled=False):
            for row, (score, delta) in enumerate(
                zip(torch.split(scores, counts), torch.split(deltas, counts), strict=True)
            ):
                if counts[row]:
                    second.append(fastrcnn_loss(score, delta, [labels[row]], [regression[row]]))
                else:  # a mean over no samples would not be a number
                    second.append((score.sum(), delta.sum()))
        parts = [*zip(*first, strict=True), *zip(*second, strict=True)]
        return {name: torch.stack(list(values)).sum() for name, values in zip(_PARTS, parts, strict=True)}

    def counts(self, targets: Targets) -> dict[str, Tensor]:
        """Pictures, for every part."""
        return dict.fromkeys(_PARTS, rows_of(targets))

    def predict(self, features: Features) -> Predictions:
        """Objects in original pixels, best first."""
        levels = self.pyramid(features)
        sizes = _sizes(features)
        proposals, _ = self._propose(levels, canvas_of(features), sizes, None)
        scores, deltas = self._look(levels, proposals, sizes)
        with torch.autocast(scores.device.type, enabled=False):
            found = zip(*self.roi_heads.postprocess_detections(scores, deltas, proposals, sizes), strict=True)
        return [
            {
                "boxes": to_original(boxes, features["size"][row], features["original"][row]),
                "scores": score,
                "labels": label - 1,
            }
            for row, (boxes, score, label) in enumerate(found)
        ]

    def translate(self, foreign: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Torchvision's `fasterrcnn_*_fpn`, or a head trained here; the box predictor is left out.

        `fasterrcnn_mobilenet_v3_large_*` takes two maps of stride 32 where ours are one a stride, and its anchors are
        `shared`: without that option its proposal layers do not fit.
        """
        return to_own_names(foreign, len(self.needs), ("roi_heads.box_predictor.",))

    def _propose(
        self,
        levels: list[Tensor],
        canvas: tuple[int, int],
        sizes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None,
    ) -> tuple[list[Tensor], list[tuple[Tensor, Tensor]]]:
        """Proposals of each picture, [m, 4] in canvas pixels, and (objectness, box) losses of each where targets are given."""
        scores, deltas = self.rpn.head(levels)
        by_level = [score[0].numel() for score in scores]
        grids = anchors_by_level(self.rpn.anchor_generator, levels, canvas)
        with torch.autocast(levels[0].device.type, enabled=False):
            objectness, regression = concat_box_prediction_layers(
                [score.float() for score in scores], [delta.float() for delta in deltas]
            )
            anchors = [torch.cat(grids)] * len(sizes)
            boxes = self.rpn.box_coder.decode(regression.detach(), anchors).view(len(sizes), -1, 4)
            proposals, _ = self.rpn.filter_proposals(boxes, objectness, sizes, by_level)
            if targets is None:
                return proposals, []
            labels, matched = self.rpn.assign_targets_to_anchors(anchors, targets)
            wanted = self.rpn.box_coder.encode(matched, anchors)
            each = zip(objectness.view(len(sizes), -1), regression.view(len(sizes), -1, 4), labels, wanted, strict=True)
            return proposals, [self.rpn.compute_loss(a, b, [label], [want]) for a, b, label, want in each]

    def _look(
        self, levels: list[Tensor], proposals: list[Tensor], sizes: list[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """Class scores [m, 1 + classes] and box deltas [m, 4 (1 + classes)] of all pictures' proposals, float32."""
        # Pooling computes places between cells: in float32.
        named = {str(index): level.float() for index, level in enumerate(levels[: len(self.needs)])}
        pooled = self.roi_heads.box_roi_pool(named, proposals, sizes)
        scores, deltas = self.roi_heads.box_predictor(self.roi_heads.box_head(pooled))
        return scores.float(), deltas.float()


def _sizes(features: Features) -> list[tuple[int, int]]:
    return [(int(height), int(width)) for height, width in features["size"].tolist()]


def _proposal_network(strides: tuple[int, ...], width: int, options: Mapping[str, Any]) -> RegionProposalNetwork:
    """On every level; thresholds are torchvision's."""
    scale = float(options["anchor_scale"])
    shared = options["anchors"] == "shared"
    shapes = [tuple(scale * size for size in (_STRIDES if shared else (stride,))) for stride in strides]
    generator = AnchorGenerator(tuple(shapes), (_ASPECTS,) * len(shapes))
    proposals = int(options["proposals"])
    kept = {"training": 2 * proposals, "testing": proposals}
    return RegionProposalNetwork(
        generator,
        RPNHead(width, generator.num_anchors_per_location()[0]),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=int(options["rpn_samples"]),
        positive_fraction=0.5,
        pre_nms_top_n=kept,
        post_nms_top_n=kept,
        nms_thresh=0.7,
    )


def _roi_heads(strides: tuple[int, ...], width: int, classes: int, options: Mapping[str, Any]) -> RoIHeads:
    """On the first levels; thresholds are torchvision's."""
    hidden = int(options["hidden"])
    pool = MultiScaleRoIAlign([str(index) for index in range(len(strides))], _POOLED, sampling_ratio=2)
    # Left to itself it takes the scales from the first batch that it sees, as canvas over map of the largest picture: wrong
    # for ever where that batch's padding was more than half of it.
    pool.scales = [1 / stride for stride in strides]
    pool.map_levels = initLevelMapper(int(log2(strides[0])), int(log2(strides[-1])))
    return RoIHeads(
        pool,
        TwoMLPHead(width * _POOLED**2, hidden),
        FastRCNNPredictor(hidden, 1 + classes),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=int(options["roi_samples"]),
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=float(options["score_threshold"]),
        nms_thresh=float(options["nms_iou"]),
        detections_per_img=int(options["detections"]),
    )


def build(spec: Spec, backbone: Backbone, facts: Facts) -> Head:
    """The head `faster-rcnn`."""
    return FasterRcnnHead(backbone.provides, spec.options, facts)
