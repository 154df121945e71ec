"""Predictions as plain values, back from their stored form, and drawn for `graft predict --draw`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graftwork.interfaces import Facts, Predictions


def decode_masks(predictions: Predictions, facts: Facts) -> list[dict[str, Any]]:
    """A dict a picture: `mask`, a palette PNG of class indices in the picture's size, and `shares` of the pixels by class.

    Classes that the mask does not have are left out of `shares`; the largest come first.
    """
    from graftwork.vision.draw import mask_png

    assert isinstance(predictions, list)
    names = facts["classes"]
    rows = []
    for picture in predictions:
        mask = picture["mask"].cpu()
        counts = torch.bincount(mask.reshape(-1).long(), minlength=len(names))
        pixels = max(mask.numel(), 1)
        order = [index for index in counts.argsort(descending=True, stable=True).tolist() if counts[index]]
        shares = {names[index]: round(int(counts[index]) / pixels, 6) for index in order}
        rows.append({"mask": mask_png(mask), "shares": shares})
    return rows


def read_mask(prediction: Mapping[str, Any]) -> Tensor | None:
    """The mask uint8 [H, W] of a prediction as `decode_masks` gave it; None where there is none."""
    from PIL import Image

    if not prediction.get("mask"):
        return None
    with Image.open(io.BytesIO(prediction["mask"])) as image:
        return torch.from_numpy(np.array(image, dtype=np.uint8))


def draw_segmentation(row: Mapping[str, Any], prediction: Mapping[str, Any], facts: Facts) -> Any:
    """The picture of a row under the colours of its predicted classes, above their names; a PIL image, None without a mask.

    Raises:
        DataError: the picture cannot be read.
    """
    from graftwork.vision.decode import decode_rgb
    from graftwork.vision.draw import class_colours, classes_in, draw_mask, with_key
    from graftwork.vision.levels import ranges_of

    mask = read_mask(prediction)
    if mask is None:
        return None
    names = facts["classes"]
    colours = class_colours(len(names))
    present = classes_in(mask, len(names))
    drawn = draw_mask(decode_rgb(row["image"], ranges_of(facts)), mask, len(names))
    return with_key(drawn, [names[index] for index in present], [colours[index] for index in present])
