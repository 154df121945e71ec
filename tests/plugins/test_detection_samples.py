"""The embedded scenes: real digits, exact boxes and masks, splits that share no digit."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from graftwork.interfaces import DataRequest, Spec
from graftwork.vision.scenes import COUNTS, MOST, NAMES, SIZES, Scene, compose
from graftwork_detection.audit import audit_detection, facts_of
from graftwork_detection.read import read_detection
from graftwork_detection.samples import digit_scenes
from graftwork_images.samples import digits


@pytest.fixture(scope="module")
def scenes() -> dict[str, list[Scene]]:
    return {split: compose(split) for split in COUNTS}


def test_scenes_vary_in_size_and_number_of_digits_and_some_are_empty(scenes: dict[str, list[Scene]]) -> None:
    assert {split: len(found) for split, found in scenes.items()} == {"train": 240, "validation": 60, "test": 100}
    for found in scenes.values():
        assert {scene.mask.shape for scene in found} == set(SIZES)
        assert {len(scene.labels) for scene in found} == set(range(MOST + 1))
        assert sum(not scene.labels for scene in found) == len(found) // 16
        assert {label for scene in found for label in scene.labels} == set(range(10))


def test_boxes_are_tight_around_the_mask_and_masks_do_not_overlap(scenes: dict[str, list[Scene]]) -> None:
    for scene in (scene for found in scenes.values() for scene in found):
        left = scene.mask.copy()
        for (x, y, width, height), label in zip(scene.boxes, scene.labels, strict=True):
            inside = scene.mask[int(y) : int(y + height), int(x) : int(x + width)] == label + 1
            assert inside[[0, -1]].any(axis=1).all()
            assert inside[:, [0, -1]].any(axis=0).all()
            left[int(y) : int(y + height), int(x) : int(x + width)][inside] = 0
        assert not left.any()


def test_digits_are_real_and_no_split_shares_one(scenes: dict[str, list[Scene]]) -> None:
    target = load_digits().target
    used = {split: {row for scene in found for row in scene.digits} for split, found in scenes.items()}
    assert not used["train"] & used["validation"]
    assert not used["train"] & used["test"]
    assert not used["validation"] & used["test"]
    for scene in (scene for found in scenes.values() for scene in found):
        assert [int(target[row]) for row in scene.digits] == list(scene.labels)


def test_digits_stay_in_the_split_that_the_digits_sample_gives_them(scenes: dict[str, list[Scene]]) -> None:
    for split, rows in digits(Spec("digits")).items():
        there = {int(origin.split()[1]) for origin in rows["origin"]}
        assert {row for scene in scenes[split] for row in scene.digits} <= there


def test_digits_stand_out_from_what_they_lie_on(scenes: dict[str, list[Scene]]) -> None:
    for scene in scenes["test"]:
        grey = scene.pixels.mean(axis=2)
        for (x, y, width, height), label in zip(scene.boxes, scene.labels, strict=True):
            place = np.s_[int(y) : int(y + height), int(x) : int(x + width)]
            drawn = scene.mask[place] == label + 1
            around = scene.mask[place] == 0
            if around.any():
                assert abs(grey[place][drawn].mean() - grey[place][around].mean()) > 20


def test_scenes_are_the_same_every_time_and_fewer_are_the_first_of_more() -> None:
    first, more = compose("validation", 5), compose("validation", 9)
    for one, other in zip(first, more, strict=False):
        assert np.array_equal(one.pixels, other.pixels)
        assert (one.boxes, one.labels) == (other.boxes, other.labels)
    other_seed = compose("validation", 5, seed=1)
    assert not all(
        np.array_equal(a.pixels, b.pixels)
        for a, b in zip(first, other_seed, strict=True)
        if a.mask.shape == b.mask.shape
    )


def test_the_sample_is_read_and_audited_without_a_fault(scenes: dict[str, list[Scene]]) -> None:
    tables = read_detection(DataRequest("sample:digit-scenes", samples=lambda name: digit_scenes(Spec(name))))
    assert tables.names == NAMES
    assert not tables.findings
    made, findings = audit_detection(tables)
    assert {finding.code: finding.count for finding in findings} == {"empty-image": 15 + 3 + 6}
    assert sum(facts_of(made)["train_counts"]) == sum(len(scene.labels) for scene in scenes["train"])
    for row, scene in zip(made.splits["test"], scenes["test"], strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))), scene.pixels)
        assert (row["height"], row["width"]) == scene.mask.shape
        assert [tuple(box) for box in row["objects"]["bbox"]] == list(scene.boxes)
