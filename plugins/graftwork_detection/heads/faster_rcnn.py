"""The head `faster-rcnn`: proposals first, then a second look at each. The most exact of the heads, and the slowest.

Sources: Ren et al. 2015, "Faster R-CNN"; on a pyramid: Lin et al. 2017, "Feature Pyramid Networks for Object Detection".
Proposal network, sampling, pooling, box head and decoding are torchvision's. One difference: the four losses are
normalised in each picture and summed, where torchvision takes all pictures' samples together; that is the same as long as
every picture gives equally many samples, and it makes a batch in pieces give the whole batch's gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log2
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead, concat_box_prediction_layers
from torchvision.ops import MultiScaleRoIAlign, batched_nms, remove_small_boxes
from torchvision.ops.poolers import initLevelMapper

from graftwork.interfaces import Backbone, Facts, Features, Head, Outputs, Predictions, Spec, Targets
from graftwork_detection.heads.dense import Anchors, canvas_of, decoded, picture_by_picture, rows_of
from graftwork_detection.heads.postprocess import SMALLEST, Limits, clipped, to_original
from graftwork_detection.heads.proposals import cut_out, propose
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
        self.proposals = int(options["proposals"])
        self.limits = Limits.of(options)
        self.rpn = _proposal_network(strides, width, options)
        # Proposals come from every level; they are cut out of those that stand on maps of the backbone.
        self.roi_heads = _roi_heads(strides[: len(self.needs)], width, len(facts["classes"]), options)

    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        """`objectness` and `proposals` of the first look, `classification` and `boxes` of the second: sums over pictures
        of each picture's loss divided by its samples. Samples are drawn with torch's global random numbers."""
        # torchvision counts classes from 1 and has 0 for the background.
        wanted = [
            {"boxes": target["boxes"].float(), "labels": target["labels"] + 1} for target in picture_by_picture(targets)
        ]
        levels = self.pyramid(features)
        seen = self._first_look(levels, features, 2 * self.proposals)
        first = self._first_losses(seen, wanted)
        proposals = [boxes[there] for boxes, there in zip(seen.boxes, seen.there, strict=True)]
        proposals, _, labels, regression = self.roi_heads.select_training_samples(proposals, wanted)
        pooled = self.roi_heads.box_roi_pool(self._named(levels), proposals, [])
        scores, deltas = self._second_look(pooled)
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

    def outputs(self, features: Features) -> Outputs:
        """`boxes` [B, A, 4], corners on the canvas, and `scores` [B, A, classes], 0 to 1; float32.

        A is `proposals` times the classes that may pass: each class has a box of its own, so a row of `scores` is 0 but for
        the class that its box is for. As the scores of a proposal sum to 1, few can be above `score_threshold`: more of the
        best than that many are left out. Where there are fewer proposals, scores are 0.
        """
        levels = self.pyramid(features)
        seen = self._first_look(levels, features, self.proposals)
        pool = self.roi_heads.box_roi_pool
        scores, deltas = self._second_look(cut_out(pool, list(self._named(levels).values()), seen.boxes))
        with torch.autocast(scores.device.type, enabled=False):
            # The first class is the background.
            boxes = self.roi_heads.box_coder.decode_single(deltas, seen.boxes.flatten(0, 1)).unflatten(1, (-1, 4))[
                :, 1:
            ]
            scores = scores.softmax(dim=1)[:, 1:] * seen.there.view(-1, 1)
            return best_classes(boxes, scores, self.proposals, self.limits.score_threshold)

    def postprocess(self, outputs: Outputs, features: Features) -> Predictions:
        """Objects in original pixels, best first."""
        predictions = []
        for row, (boxes, scores) in enumerate(zip(outputs["boxes"], outputs["scores"], strict=True)):
            place, label = torch.where(scores > self.limits.score_threshold)
            found, score = clipped(boxes[place], features["size"][row]), scores[place, label]
            kept = remove_small_boxes(found, SMALLEST)
            # Classes from 1, as torchvision counts them: numbers shift the boxes that it compares, and so their rounding.
            best = batched_nms(found[kept], score[kept], 1 + label[kept], self.limits.nms_iou)
            kept = kept[best[: self.limits.detections]]
            objects = to_original(found[kept], features["size"][row], features["original"][row])
            predictions.append({"boxes": objects, "scores": score[kept], "labels": label[kept]})
        return predictions

    def translate(self, foreign: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Torchvision's `fasterrcnn_*_fpn`, or a head trained here; the box predictor is left out.

        `fasterrcnn_mobilenet_v3_large_*` takes two maps of stride 32 where ours are one a stride, and its anchors are
        `shared`: without that option its proposal layers do not fit.
        """
        return to_own_names(foreign, len(self.needs), ("roi_heads.box_predictor.",))

    def _first_look(self, levels: list[Tensor], features: Features, most: int) -> _FirstLook:
        """What the proposal network says of each anchor, and the `most` proposals of each picture that come of it."""
        scores, deltas = self.rpn.head(levels)
        anchors = self.rpn.anchor_generator.on(levels, canvas_of(features))
        with torch.autocast(levels[0].device.type, enabled=False):
            objectness, regression = concat_box_prediction_layers(
                [score.float() for score in scores], [delta.float() for delta in deltas]
            )
            every, sizes = torch.cat(anchors), [len(level) for level in anchors]
            objectness, regression = objectness.view(-1, len(every)), regression.view(-1, len(every), 4)
            boxes = decoded(self.rpn.box_coder, regression.detach(), every)
            proposals, there = propose(self.rpn, boxes, objectness.detach(), sizes, features["size"], most)
            return _FirstLook(every, objectness, regression, proposals, there)

    def _first_losses(self, seen: _FirstLook, targets: list[dict[str, Tensor]]) -> list[tuple[Tensor, Tensor]]:
        """The losses of each picture's objectness and proposals."""
        anchors = [seen.anchors] * len(targets)
        with torch.autocast(seen.anchors.device.type, enabled=False):
            labels, matched = self.rpn.assign_targets_to_anchors(anchors, targets)
            wanted = self.rpn.box_coder.encode(matched, anchors)
            each = zip(seen.objectness, seen.deltas, labels, wanted, strict=True)
            return [self.rpn.compute_loss(a, b, [label], [want]) for a, b, label, want in each]

    def _named(self, levels: list[Tensor]) -> dict[str, Tensor]:
        """The levels that proposals are cut out of, by the pool's names. In float32: it computes places between cells."""
        return {str(index): level.float() for index, level in enumerate(levels[: len(self.needs)])}

    def _second_look(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Class scores [m, 1 + classes] and box deltas [m, 4 (1 + classes)] of what was cut out, float32."""
        scores, deltas = self.roi_heads.box_predictor(self.roi_heads.box_head(pooled))
        return scores.float(), deltas.float()


@dataclass(frozen=True)
class _FirstLook:
    """What the proposal network has seen.

    Args:
        anchors: [anchors, 4], corners on the canvas.
        objectness, deltas: [B, anchors] before the sigmoid, and [B, anchors, 4].
        boxes: [B, proposals, 4], corners on the canvas, without gradients.
        there: bool [B, proposals], false where there are fewer.
    """

    anchors: Tensor
    objectness: Tensor
    deltas: Tensor
    boxes: Tensor
    there: Tensor


def best_classes(boxes: Tensor, scores: Tensor, proposals: int, threshold: float) -> Outputs:
    """Boxes of each class [m, classes, 4] and scores [m, classes] of so many proposals a row, as a head's outputs.

    Of each proposal the best classes, in their order; so many that every score above the threshold is among them.
    """
    classes = scores.shape[1]
    most = min(classes, int(1 / threshold) + 1) if threshold else classes
    best = scores.topk(most, dim=1).indices.sort(dim=1).values.unsqueeze(2)
    apart = scores.new_zeros(scores.shape[0], most, classes)
    return {
        "boxes": boxes.gather(1, best.expand(-1, -1, 4)).view(-1, proposals * most, 4),
        "scores": apart.scatter(2, best, scores.unsqueeze(2).gather(1, best)).view(-1, proposals * most, classes),
    }


def _proposal_network(strides: tuple[int, ...], width: int, options: Mapping[str, Any]) -> RegionProposalNetwork:
    """On every level; thresholds are torchvision's."""
    scale = float(options["anchor_scale"])
    shared = options["anchors"] == "shared"
    generator = Anchors(
        [[scale * size for size in (_STRIDES if shared else (stride,))] for stride in strides], _ASPECTS
    )
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
