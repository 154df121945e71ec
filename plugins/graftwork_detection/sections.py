"""The report's part on detection: classes, curves, what was found by size, and the worst pictures drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graftwork.classification.sections import short
from graftwork.errors import DataError
from graftwork.interfaces import Evaluation, Facts, Figure, Pictures, Section, Table, Text
from graftwork.vision.draw import AGREED, UNSCORED, WRONG, draw_boxes
from graftwork_detection.curves import precision_recall_figure
from graftwork_detection.decode import as_arrays, box_text, read_objects
from graftwork_detection.matching import FALSE_ALARM, IOU, OF_A_CROWD, THRESHOLD, Matched, match

WORST = 16
"""Pictures that are shown at most."""

PANEL = 440
"""Pixels, the longer side of each of the two pictures that stand side by side."""

LINES = 60
"""Classes that a table shows at most."""


@dataclass(frozen=True)
class Judged:
    """A row with its objects and its predicted boxes, matched; boxes are left, top, right, bottom in pixels."""

    at: int
    origin: str
    boxes: np.ndarray
    labels: np.ndarray
    true_boxes: np.ndarray
    true_labels: np.ndarray
    matched: Matched


def detection_sections(evaluation: Evaluation, facts: Facts) -> list[Section]:
    """Sections for one split; a part whose facts are missing is left out."""
    details = evaluation.details
    lines = details.get("per_class") or []
    sections = []
    if lines:
        sections.append(Section("Classes", _classes(lines, facts)))
    drawn = [line for line in lines if line.get("precision")]
    if drawn and details.get("recalls"):
        caption = (
            "At an overlap (IoU) of 0.5. From left to right less sure boxes are taken in: more objects are found, and more "
            "boxes are wrong. The area under a curve is the class's AP50."
        )
        sections.append(
            Section("Precision and recall", [Figure(precision_recall_figure(details["recalls"], drawn), caption)])
        )
    if details.get("sizes"):
        sections.append(Section("Found and missed by size", _sizes(details)))
    if evaluation.predictions:
        sections.append(Section("Worst pictures", _worst(evaluation, facts)))
    return sections


def _classes(lines: Sequence[Mapping[str, Any]], facts: Facts) -> list[Any]:
    trained = dict(zip(facts.get("classes", ()), facts.get("train_counts", ()), strict=False))
    blocks: list[Any] = []
    shown = lines
    if len(lines) > LINES:
        shown = sorted((line for line in lines if line["objects"]), key=lambda line: line["ap"])[:LINES]
        blocks.append(
            Text(f"The {len(shown)} of {len(lines)} classes with the lowest AP among those that have objects.")
        )
    columns = ("class", "AP", "AP50", "AR", "objects", "training objects")
    keys = ("ap", "ap_50", "ar", "objects")
    rows = [(short(line["class"]), *(line[key] for key in keys), trained.get(line["class"])) for line in shown]
    return [*blocks, Table(columns, rows)]


def _sizes(details: Mapping[str, Any]) -> list[Any]:
    blocks: list[Any] = []
    if details.get("threshold") is not None and details.get("f1") is not None:
        told = (
            f"Boxes with a score of {details['threshold']:.2f} and more, at an overlap (IoU) of {IOU}: "
            f"{100 * details['recall']:.0f} % of the objects are found, {100 * details['precision']:.0f} % of the boxes are "
            f"right (F1 {details['f1']:.2f}). Small: boxes of up to 32² pixels; medium: up to 96²."
        )
        blocks.append(Text(told))
    rows = [
        (line["size"], line["objects"], line["found"], line["objects"] - line["found"], _percent(line))
        for line in details["sizes"]
    ]
    return [*blocks, Table(("size", "objects", "found", "missed", "share found"), rows)]


def _percent(line: Mapping[str, Any]) -> str:
    return f"{100 * line['found'] / line['objects']:.0f} %" if line["objects"] else "–"


def _worst(evaluation: Evaluation, facts: Facts) -> list[Any]:
    rows = evaluation.rows
    if rows is None or not {"image", "objects"} <= set(rows.column_names):
        return [Text("The data is no longer where it was, so its pictures cannot be shown.")]
    chosen = evaluation.details.get("threshold")
    threshold = THRESHOLD if chosen is None else float(chosen)
    judged = judge(rows["objects"], evaluation.predictions, facts["classes"])
    bad = worst_first(judged, threshold)
    if not bad:
        return [Text(f"There is none: every object was found, without a false alarm (scores from {threshold:.2f} on).")]
    told = (
        f"{len(bad):,} of {len(judged):,} pictures have a missed object or a false alarm; those with the lowest F1 (IoU {IOU}, "
        f"scores from {threshold:.2f} on) come first. Left: the objects as annotated; right: the predicted boxes. Blue: "
        "object and box agree. Orange: on the left missed objects, on the right false alarms. Grey: crowds and what lies in "
        "them, not counted. Look for wrong and missing annotations too."
    )
    pictures = []
    for one in bad[:WORST]:
        picture = _draw(rows[one.at], one, threshold, facts)
        if picture is not None:
            pictures.append((picture, _caption(one, threshold, facts["classes"])))
    return [Text(told), Pictures(pictures, side=2 * PANEL + 6)]


def judge(
    objects: Iterable[Mapping[str, Any]], predictions: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> list[Judged]:
    """Match every row's objects ({bbox, category, crowd}) with its predicted boxes."""
    found = []
    for at, (truth, said) in enumerate(zip(objects, predictions, strict=False)):
        boxes, scores, labels = as_arrays(read_objects(said), classes)
        true_boxes = np.asarray(truth["bbox"], dtype=np.float64).reshape(-1, 4)
        true_boxes = np.concatenate([true_boxes[:, :2], true_boxes[:, :2] + true_boxes[:, 2:]], axis=1)
        true_labels = np.asarray(truth["category"], dtype=np.int64)
        crowd = np.asarray(truth.get("crowd") or [False] * len(true_labels), dtype=bool)
        matched = match(boxes, scores, labels, true_boxes, true_labels, crowd)
        origin = str(said.get("origin") or f"row {at}")
        found.append(Judged(at, origin, boxes, labels, true_boxes, true_labels, matched))
    return found


def worst_first(judged: Sequence[Judged], threshold: float) -> list[Judged]:
    """Those with a mistake: by F1, then by how many mistakes."""

    def badness(one: Judged) -> tuple[float, int, int]:
        mistakes = len(one.matched.missed_from(threshold)) + one.matched.false_alarms_from(threshold)
        return one.matched.f1(threshold), -mistakes, one.at

    return sorted((one for one in judged if one.matched.f1(threshold) < 1), key=badness)


def _caption(one: Judged, threshold: float, classes: Sequence[str]) -> str:
    missed = Counter(short(classes[one.true_labels[index]], 24) for index in sorted(one.matched.missed_from(threshold)))
    wrong = (one.matched.found == FALSE_ALARM) & (one.matched.scores >= threshold)
    alarms = Counter(short(classes[label], 24) for label in one.labels[wrong].tolist())
    parts = [f"F1 {one.matched.f1(threshold):.2f}"]
    parts += [f"{name}: {_count(found)}" for name, found in (("missed", missed), ("false alarms", alarms)) if found]
    return f"{short(one.origin)} · {' · '.join(parts)}"


def _count(found: Counter[str]) -> str:
    return ", ".join(f"{count} × {name}" for name, count in found.most_common(4)) + (", …" if len(found) > 4 else "")


def _draw(row: Mapping[str, Any], one: Judged, threshold: float, facts: Facts) -> Any:
    """Truth and prediction side by side; None when the picture cannot be read any more."""
    from graftwork.vision.decode import decode_rgb
    from graftwork.vision.draw import side_by_side
    from graftwork.vision.levels import ranges_of

    classes = facts["classes"]
    try:
        pixels = decode_rgb(row["image"], ranges_of(facts))
    except DataError:
        return None  # moved or deleted since; its line is in the predictions all the same
    missed, alarms = one.matched.missed_from(threshold), one.matched.false_alarms_from(threshold)
    boxes = int((one.matched.scores >= threshold).sum())
    captions = [f"annotated objects: {len(one.true_labels)}, missed: {len(missed)}"]
    captions += [f"predicted boxes: {boxes}, false alarms: {alarms}"]
    return side_by_side([_truth(pixels, one, missed, classes), _said(pixels, one, threshold, classes)], captions)


def _truth(pixels: Tensor, one: Judged, missed: set[int], classes: Sequence[str]) -> Tensor:
    """Missed objects last, so that they lie above the others."""
    order = sorted(range(len(one.true_labels)), key=lambda at: at in missed)
    colours = [UNSCORED if one.matched.crowd[at] else WRONG if at in missed else AGREED for at in order]
    names = [classes[one.true_labels[at]] for at in order]
    return draw_boxes(pixels, torch.from_numpy(one.true_boxes[order].reshape(-1, 4)), names, colours, PANEL)


def _said(pixels: Tensor, one: Judged, threshold: float, classes: Sequence[str]) -> Tensor:
    """The surest boxes last, so that they lie above the others."""
    scores, found = one.matched.scores, one.matched.found
    shown = [at for at in np.argsort(scores, kind="stable").tolist() if scores[at] >= threshold]
    colours = [{FALSE_ALARM: WRONG, OF_A_CROWD: UNSCORED}.get(int(found[at]), AGREED) for at in shown]
    texts = [box_text(classes[one.labels[at]], scores[at]) for at in shown]
    return draw_boxes(pixels, torch.from_numpy(one.boxes[shown].reshape(-1, 4)), texts, colours, PANEL)
