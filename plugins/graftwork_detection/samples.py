"""Embedded data for `sample:NAME`: scenes of real digits with exact boxes, offline."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from graftwork.interfaces import Spec
from graftwork.vision.scenes import COUNTS, NAMES, Scene, compose

if TYPE_CHECKING:
    from datasets import Dataset


def digit_scenes(spec: Spec) -> dict[str, Dataset]:
    """Scenes of 1 to 6 handwritten digits, or none, on uneven grey: 240 train, 60 validation, 100 test; fixed.

    Pictures of 96×128, 128×96 and 128×128 pixels as PNG bytes; boxes are tight around the drawn pixels. The digits are
    those of `sample:digits`, split by split.
    """
    from datasets import ClassLabel, Dataset, Features, Image, List, Value

    objects = {"bbox": List(List(Value("float64"))), "category": List(ClassLabel(names=list(NAMES)))}
    features = Features({"image": Image(decode=False), "objects": objects, "origin": Value("string")})
    made = {}
    for split in COUNTS:
        scenes = compose(split)
        columns = {
            "image": [{"bytes": _png(scene), "path": None} for scene in scenes],
            "objects": [{"bbox": list(map(list, scene.boxes)), "category": list(scene.labels)} for scene in scenes],
            "origin": [f"{split} scene {number}" for number in range(len(scenes))],
        }
        made[split] = Dataset.from_dict(columns, features=features)
    return made


def _png(scene: Scene) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(scene.pixels).save(buffer, "PNG", compress_level=1)  # noise; more effort saves little
    return buffer.getvalue()
