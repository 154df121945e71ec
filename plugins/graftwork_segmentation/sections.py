"""The report's part on segmentation: classes, confusion, and the worst pictures with their masks laid over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graftwork.classification.sections import confusion_figure, short
from graftwork.errors import DataError
from graftwork.interfaces import Evaluation, Facts, Figure, Pictures, Section, Table, Text
from graftwork.vision.draw import WRONG, class_colours, line_of
from graftwork.vision.levels import Ranges, ranges_of
from graftwork_segmentation.decode import read_mask
from graftwork_segmentation.masks import decode_mask
from graftwork_segmentation.metrics import count_cells

WORST = 16
"""Pictures that are shown at most."""

PANEL = 320
"""Pixels, the longer side of each of the four pictures that stand side by side."""

NOT_SCORED = (215, 220, 225)
"""Light grey."""

CLASSES = 60
"""Classes that a table or a figure shows at most."""


def segmentation_sections(evaluation: Evaluation, facts: Facts) -> list[Section]:
    """Sections for one split; a part whose facts are missing is left out."""
    details = evaluation.details
    classes = [str(name) for name in details.get("classes") or facts["classes"]]
    sections = []
    if details.get("per_class"):
        sections.append(Section("Classes", _classes(details["per_class"], facts)))
    if details.get("confusion"):
        sections.append(Section("Confusion matrix", _confusion(details["confusion"], classes)))
    if evaluation.predictions and details.get("picture_iou"):
        sections.append(Section("Worst pictures", _worst(evaluation, classes, ranges_of(facts))))
    return sections


def _classes(lines: Sequence[Mapping[str, Any]], facts: Facts) -> list[Any]:
    colours = class_colours(len(lines))
    shown = [(line, colours[index]) for index, line in enumerate(lines)]
    blocks: list[Any] = []
    if len(lines) > CLASSES:
        shown = sorted((pair for pair in shown if pair[0]["iou"] is not None), key=lambda pair: pair[0]["iou"])[
            :CLASSES
        ]
        blocks.append(Text(f"The {len(shown)} of {len(lines)} classes with the lowest IoU among those that occur."))
    total = max(sum(line["pixels"] for line in lines), 1)
    trained = dict(zip(facts.get("classes", ()), facts.get("train_counts", ()), strict=False))
    columns = ("class", "IoU", "accuracy", "pixels", "of all pixels", "training pixels")
    rows = [
        (
            short(line["class"]),
            line["iou"],
            line["accuracy"],
            line["pixels"],
            f"{100 * line['pixels'] / total:.1f} %",
            trained.get(line["class"]),
        )
        for line, _ in shown
    ]
    drawn = [(line, colour) for line, colour in shown if line["iou"] is not None]
    if drawn:
        caption = "Intersection over union of each class over the whole split, in the colours of the pictures below."
        blocks.append(Figure(iou_figure(drawn), caption))
    return [*blocks, Table(columns, rows)]


def iou_figure(lines: Sequence[tuple[Mapping[str, Any], tuple[int, int, int]]]) -> Any:
    """A bar a class, the best first, as a matplotlib figure.

    Args:
        lines: `class` and `iou`, and the class's colour.
    """
    from matplotlib.figure import Figure as Canvas

    ordered = sorted(lines, key=lambda pair: -pair[0]["iou"])
    figure = Canvas(figsize=(7.2, 0.9 + 0.28 * len(ordered)), layout="constrained")
    axes = figure.subplots()
    values = [line["iou"] for line, _ in ordered]
    colours = [tuple(part / 255 for part in colour) for _, colour in ordered]
    axes.barh(range(len(ordered)), values, color=colours, edgecolor="#8a94a0", linewidth=0.5)
    for at, value in enumerate(values):
        axes.text(value + 0.01, at, f"{value:.2f}", va="center", fontsize=9)
    names = [line_of(line["class"]) for line, _ in ordered]
    axes.set_yticks(range(len(ordered)), names, fontsize=9, parse_math=False)
    axes.set(xlim=(0, 1.08), xlabel="IoU", ylim=(len(ordered) - 0.4, -0.6))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _confusion(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> list[Any]:
    counts = np.asarray(confusion, dtype=np.int64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    blocks: list[Any] = []
    if len(classes) <= CLASSES:
        caption = "Rows: true class. Columns: predicted. Numbers and colour: per cent of the true class's pixels."
        blocks.append(Figure(confusion_figure(np.rint(100 * shares).astype(np.int64), classes), caption))
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    cells = [divmod(int(cell), len(classes)) for cell in np.argsort(-wrong, axis=None, kind="stable")[:8]]
    lines = [
        (short(classes[true]), short(classes[said]), int(wrong[true, said]), f"{100 * shares[true, said]:.0f} %")
        for true, said in cells
        if wrong[true, said]
    ]
    if not lines:
        return [*blocks, Text("No pixel was classified wrongly.")]
    return [*blocks, Text("Most frequent confusions:"), Table(("true", "predicted", "pixels", "of its class"), lines)]


def _worst(evaluation: Evaluation, classes: Sequence[str], ranges: Ranges) -> list[Any]:
    rows = evaluation.rows
    if rows is None or not {"image", "mask", "mask_map"} <= set(rows.column_names):
        return [Text("The data is no longer where it was, so its pictures cannot be shown.")]
    scores = evaluation.details["picture_iou"]
    usable = min(len(scores), len(rows), len(evaluation.predictions))
    order = sorted((at for at in range(usable) if scores[at] is not None), key=lambda at: (scores[at], at))
    told = (
        "Those with the lowest mean IoU of their own classes come first. From left to right: the picture; its annotated "
        "classes; its predicted classes; and in orange what of it is wrong, in light grey what is not scored. Look for wrong "
        "annotations too."
    )
    pictures = []
    for at in order[:WORST]:
        line = evaluation.predictions[at]
        drawn = _draw(rows[at], line, classes, ranges)
        if drawn is not None:
            origin = str(line.get("origin") or rows[at].get("origin") or f"row {at}")
            pictures.append((drawn[0], f"{short(origin)} · mean IoU {scores[at]:.2f}{drawn[1]}"))
    if not pictures:
        return [Text("None of the pictures can be read any more.")]
    return [Text(told), Pictures(pictures, side=4 * PANEL + 15)]


def _draw(
    row: Mapping[str, Any], prediction: Mapping[str, Any], classes: Sequence[str], ranges: Ranges
) -> tuple[Any, str] | None:
    """The four pictures in a row, and what was mistaken for what; None when a file cannot be read any more."""
    from graftwork.vision.decode import decode_rgb
    from graftwork.vision.draw import draw_mask, paint, resize, side_by_side, stretch

    try:
        pixels = decode_rgb(row["image"], ranges)
        said = read_mask(prediction)
        true = decode_mask(row["mask"], row["mask_map"], shape=None if said is None else said.shape)
    except (DataError, OSError):
        return None  # moved or deleted since; its line is in the predictions all the same
    if said is None or said.shape != true.shape:
        return None
    size = len(classes)
    wrong, unscored = (true != said) & (true < size), true >= size
    small = resize(pixels, PANEL)
    height, width = small.shape[-2:]
    # Darkened, so that what is painted on it stands out of bright pictures too.
    grey = (0.6 * small.float().mean(dim=0, keepdim=True)).expand(3, -1, -1).to(torch.uint8).contiguous()
    errors = paint(grey, stretch(unscored, height, width), NOT_SCORED, alpha=1.0)
    errors = paint(errors, stretch(wrong, height, width), WRONG)
    panels = [small, draw_mask(pixels, true, size, most=PANEL), draw_mask(pixels, said, size, most=PANEL), errors]
    share = int(wrong.sum()) / max(int((~unscored).sum()), 1)
    captions = ["picture", "annotated", "predicted", f"wrong: {100 * share:.0f} % of the scored pixels"]
    return side_by_side(panels, captions), _mistakes(true, said, classes)


def _mistakes(true: Tensor, said: Tensor, classes: Sequence[str]) -> str:
    """The largest confusions of a picture, as the end of a caption."""
    size = len(classes)
    counts = count_cells(true, said, size)[:-1].reshape(size, size)
    total = max(int(counts.sum()), 1)
    counts.fill_diagonal_(0)
    cells = counts.flatten().argsort(descending=True, stable=True)[:3].tolist()
    parts = [
        f"{100 * int(counts.flatten()[cell]) / total:.0f} % "
        f"{short(classes[cell // size], 24)} taken for {short(classes[cell % size], 24)}"
        for cell in cells
        if counts.flatten()[cell] * 100 >= total
    ]
    return f" · of its pixels {', '.join(parts)}" if parts else ""
