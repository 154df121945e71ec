"""Embedded data for `sample:NAME`: real images that ship with a dependency, so they work offline."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from graftwork.interfaces import Spec

if TYPE_CHECKING:
    from datasets import Dataset

_SEED = 0
_TEST, _VALIDATION = 497, 300


def digits(spec: Spec) -> dict[str, Dataset]:
    """Handwritten digits, 8×8 grey pixels, 1,797 rows: 1,000 train, 300 validation, 497 test; stratified and fixed.

    scikit-learn's copy of the test part of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998, UCI,
    CC BY 4.0). Values 0..16 are scaled to 0..255; stored as PNG bytes.
    """
    from datasets import ClassLabel, Dataset, Features, Value
    from datasets import Image as ImageFeature
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.tolist()
    rest, test = train_test_split(range(len(labels)), test_size=_TEST, random_state=_SEED, stratify=labels)
    kept = [labels[row] for row in rest]
    train, validation = train_test_split(rest, test_size=_VALIDATION, random_state=_SEED, stratify=kept)
    names = [str(name) for name in bunch.target_names]
    features = Features(
        {"image": ImageFeature(decode=False), "label": ClassLabel(names=names), "origin": Value("string")}
    )
    splits = {"train": sorted(train), "validation": sorted(validation), "test": sorted(test)}
    return {
        split: Dataset.from_dict(
            {
                "image": [{"bytes": _png(pixels[row]), "path": None} for row in rows],
                "label": [labels[row] for row in rows],
                "origin": [f"digit {row}" for row in rows],
            },
            features=features,
        )
        for split, rows in splits.items()
    }


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
