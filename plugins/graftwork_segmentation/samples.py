"""Embedded data for `sample:NAME`: scenes of real handwritten digits with exact masks, offline."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from graftwork.interfaces import Spec

if TYPE_CHECKING:
    from datasets import Dataset

NAMES = ("background", *"0123456789")
"""Class names by mask value."""


def digit_masks(spec: Spec) -> dict[str, Dataset]:
    """Scenes of 0 to 6 handwritten digits on uneven grey: 240 train, 60 validation, 100 test; fixed.

    Columns: `image` and `mask` (PNG bytes; a mask's values are 0 for background, 1 + digit), `classes` (the values in the
    mask; its feature holds their names, which is how a data set of Hugging Face form brings them), `origin`.

    The digits are scikit-learn's copy of the test part of "Optical Recognition of Handwritten Digits" (Alpaydin and
    Kaynak, 1998, UCI, CC BY 4.0); no digit occurs in two splits.
    """
    from datasets import ClassLabel, Dataset, Features, List, Value
    from datasets import Image as ImageFeature

    from graftwork.vision.scenes import COUNTS, compose

    features = Features(
        {
            "image": ImageFeature(decode=False),
            "mask": ImageFeature(decode=False),
            "classes": List(ClassLabel(names=list(NAMES))),
            "origin": Value("string"),
        }
    )
    splits = {}
    for split in COUNTS:
        scenes = compose(split)
        columns: dict[str, list[Any]] = {
            "image": [_png(scene.pixels) for scene in scenes],
            "mask": [_png(scene.mask) for scene in scenes],
            "classes": [np.unique(scene.mask).tolist() for scene in scenes],
            "origin": [f"{split} scene {number}" for number in range(1, len(scenes) + 1)],
        }
        splits[split] = Dataset.from_dict(columns, features=features)
    return splits


def _png(pixels: NDArray[np.uint8]) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}
