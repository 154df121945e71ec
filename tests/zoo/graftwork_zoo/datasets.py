"""Small data that are right: digits, scenes with boxes, scenes with masks; and data sets with one mistake each.

`of-NAME` are the rows of the task NAME of this plugin.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image, List, Value, concatenate_datasets
from PIL import Image as Pillow
from sklearn.datasets import load_digits

from graftwork.interfaces import Spec
from graftwork_zoo import tasks

Splits = dict[str, Dataset]

CLASSES = ["0", "1", "2"]
_COUNTS = {"train": 8, "validation": 3, "test": 3}
"""Digits of each class; four scenes for one of them."""


def digits(names: Mapping[str, str] | None = None, shift: int = 0) -> Splits:
    """Handwritten digits 0, 1 and 2 in turn: 24 train, 9 validation, 9 test.

    Args:
        names: of the splits, where they are not the usual ones.
        shift: added to every label.
    """
    bunch = load_digits()
    rows = {label: iter(np.flatnonzero(bunch.target == label).tolist()) for label in range(len(CLASSES))}
    features = Features({"image": Image(decode=False), "label": ClassLabel(names=CLASSES), "origin": Value("string")})
    splits: Splits = {}
    for split, count in _COUNTS.items():
        chosen = [(next(rows[label]), label) for _ in range(count) for label in range(len(CLASSES))]
        columns = {
            "image": [_png(bunch.images[row] * 15) for row, _ in chosen],
            "label": [label + shift for _, label in chosen],
            "origin": [f"digit {row}" for row, _ in chosen],
        }
        splits[(names or {}).get(split, split)] = Dataset.from_dict(columns, features=features)
    return splits


def scenes() -> Splits:
    """Bright rectangles on grey with their boxes; pictures of 32 x 32 and 32 x 64 pixels, one without any object."""
    objects = {"bbox": List(List(Value("float64"))), "category": List(ClassLabel(names=CLASSES))}
    features = Features({"image": Image(decode=False), "objects": objects, "origin": Value("string")})
    return {
        split: Dataset.from_dict(
            {
                "image": [_png(picture) for picture, _, _ in drawn],
                "objects": [{"bbox": boxes, "category": labels} for _, boxes, labels in drawn],
                "origin": [f"{split} scene {number}" for number in range(len(drawn))],
            },
            features=features,
        )
        for split, drawn in _all_drawn()
    }


def masks() -> Splits:
    """The same scenes with a mask: 0 is background, other values are 1 + class."""
    kinds = List(ClassLabel(names=["background", *CLASSES]))
    features = Features(
        {"image": Image(decode=False), "mask": Image(decode=False), "classes": kinds, "origin": Value("string")}
    )
    return {
        split: Dataset.from_dict(
            {
                "image": [_png(picture) for picture, _, _ in drawn],
                "mask": [_png(_mask(picture, boxes, labels)) for picture, boxes, labels in drawn],
                "classes": [sorted({0, *(label + 1 for label in labels)}) for _, _, labels in drawn],
                "origin": [f"{split} scene {number}" for number in range(len(drawn))],
            },
            features=features,
        )
        for split, drawn in _all_drawn()
    }


Drawn = tuple[np.ndarray, list[list[float]], list[int]]
"""A picture [height, width, 3], its boxes (left, top, width, height) and their classes."""


def _all_drawn() -> Iterable[tuple[str, list[Drawn]]]:
    random = np.random.default_rng(0)
    for split, count in _COUNTS.items():
        # A scene without objects is among those of training alone: a class must be there to be found in each split.
        yield split, [_drawn(random, number, split == "train" and number == 5) for number in range(4 * count)]


def _drawn(random: np.random.Generator, number: int, empty: bool) -> Drawn:
    width = (32, 64)[number % 2]
    picture = random.integers(90, 120, (32, width, 3)).astype(np.uint8)
    boxes: list[list[float]] = []
    labels: list[int] = []
    for place in range(0 if empty else width // 32):
        label = (number + place) % len(CLASSES)
        wide, high = (int(side) for side in random.integers(8, 14, 2))
        left, top = 32 * place + int(random.integers(1, 17)), int(random.integers(1, 17))
        picture[top : top + high, left : left + wide, label] = 250
        boxes.append([float(left), float(top), float(wide), float(high)])
        labels.append(label)
    return picture, boxes, labels


def _mask(picture: np.ndarray, boxes: list[list[float]], labels: list[int]) -> np.ndarray:
    mask = np.zeros(picture.shape[:2], np.uint8)
    for (left, top, wide, high), label in zip(boxes, labels, strict=True):
        mask[int(top) : int(top + high), int(left) : int(left + wide)] = label + 1
    return mask


def _png(pixels: np.ndarray) -> dict[str, Any]:
    buffer = io.BytesIO()
    Pillow.fromarray(np.asarray(pixels, np.uint8)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def overlapping() -> Splits:
    splits = digits()
    return {**splits, "test": concatenate_datasets([splits["test"], splits["train"].select([3])])}


def reshuffled() -> Splits:
    return {split: rows.shuffle(seed=int(np.random.default_rng().integers(2**31))) for split, rows in digits().items()}


def on_the_network() -> Splits:
    socket.create_connection(("localhost", 9), timeout=1).close()
    return digits()


def seeding() -> Splits:
    np.random.seed(0)
    return {split: rows.select(np.random.permutation(len(rows))) for split, rows in digits().items()}


MADE: Mapping[str, Callable[[], Splits]] = {
    "tame-digits": digits,
    "miscounted-digits": digits,  # what is wrong stands in registry.yaml
    "tame-scenes": scenes,
    "tame-masks": masks,
    "overlapping": overlapping,
    "reshuffled": reshuffled,
    "on-the-network": on_the_network,
    "own-split-names": lambda: digits({"validation": "dev"}),
    "labels-outside": lambda: digits(shift=-1),
    "seeding": seeding,
}


def names() -> list[str]:
    """All of them, with those of the tasks."""
    return [*MADE, *(f"of-{task}" for task in tasks.ALL if task not in tasks.TAME)]


def build(spec: Spec) -> Splits:
    if spec.name in MADE:
        return MADE[spec.name]()
    return scenes() if issubclass(tasks.ALL[spec.name.removeprefix("of-")], tasks.TameDetection) else digits()
