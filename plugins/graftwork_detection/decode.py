"""Predictions as plain values, back from their stored form, and drawn for `graft predict --draw`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graftwork.interfaces import Facts, Predictions
from graftwork_detection.matching import THRESHOLD


def decode_objects(predictions: Predictions, facts: Facts) -> list[dict[str, Any]]:
    """A dict a picture: {"objects": [...]}, surest first, each with the keys of COCO's results form and the class's name.

    Example:
        {"category": "cat", "category_id": 0, "bbox": [12.5, 20.0, 64.25, 48.0], "score": 0.93}: bbox is left, top, width,
        height in pixels of the picture as stored; category_id is the training data's own (COCO's), or else the class's index.
    """
    assert isinstance(predictions, list)
    names = facts["classes"]
    ids = facts.get("category_ids") or range(len(names))
    rows = []
    for picture in predictions:
        boxes = picture["boxes"].float().cpu()
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1)
        rows.append(
            {
                "objects": [
                    {"category": names[label], "category_id": ids[label], "bbox": box, "score": score}
                    for label, box, score in zip(
                        picture["labels"].tolist(), _short(boxes), _short(picture["scores"].float().cpu()), strict=True
                    )
                ]
            }
        )
    return rows


def read_objects(prediction: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The `objects` of a prediction as `decode_objects` gave them, or as a table keeps them: as JSON text."""
    found = prediction.get("objects") or []
    objects: list[dict[str, Any]] = json.loads(found) if isinstance(found, str | bytes) else list(found)
    return objects


def as_arrays(objects: list[dict[str, Any]], classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes [m, 4] (left, top, right, bottom), scores [m] and class indices [m] of read objects."""
    boxes = np.asarray([one["bbox"] for one in objects], dtype=np.float64).reshape(-1, 4)
    boxes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    scores = np.asarray([one["score"] for one in objects], dtype=np.float64)
    index = {name: place for place, name in enumerate(classes)}
    return boxes, scores, np.asarray([index[one["category"]] for one in objects], dtype=np.int64)


def draw_detection(row: Mapping[str, Any], prediction: Mapping[str, Any], facts: Facts) -> Any:
    """The picture of a row with the predicted boxes from the facts' `threshold` (or 0.5) on, as a PIL image.

    Raises:
        DataError: the picture cannot be read.
    """
    from graftwork.vision.decode import decode_rgb
    from graftwork.vision.draw import class_colours, draw_boxes, to_picture
    from graftwork.vision.levels import ranges_of

    least = facts.get("threshold", THRESHOLD)
    # The surest last, so that they lie above the others.
    shown = [one for one in reversed(read_objects(prediction)) if one["score"] >= least]
    colours = class_colours(len(facts["classes"]))
    boxes, _, labels = as_arrays(shown, facts["classes"])
    return to_picture(
        draw_boxes(
            decode_rgb(row["image"], ranges_of(facts)),
            torch.from_numpy(boxes),
            [box_text(one["category"], one["score"]) for one in shown],
            [colours[label] for label in labels.tolist()],
        )
    )


def box_text(category: str, score: float) -> str:
    """What stands on a box: a name that leaves room for the score."""
    from graftwork.vision.draw import TEXT, line_of

    return f"{line_of(category, TEXT - 6)}: {score:.2f}"


def _short(values: Tensor) -> Any:
    """Nested lists of the shortest decimals that give the same float32 again.

    Rounding to fixed places would make equal scores of different ones, and move boxes over an IoU threshold: average
    precision of stored predictions would no longer be the one that was reported.
    """
    if values.ndim > 1:
        return [_short(part) for part in values]
    return [float(str(value)) for value in values.numpy()]
