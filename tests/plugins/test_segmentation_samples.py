"""The embedded scenes: fixed, offline, with masks that are exact."""

from __future__ import annotations

import io

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from graftwork.interfaces import DataRequest, Spec, Tables
from graftwork.vision.decode import decode_rgb
from graftwork.vision.scenes import compose
from graftwork_segmentation.audit import audit_segmentation, facts_of
from graftwork_segmentation.masks import decode_mask
from graftwork_segmentation.read import read_segmentation
from graftwork_segmentation.samples import NAMES, digit_masks


@pytest.fixture(scope="module")
def splits() -> dict[str, Dataset]:
    return digit_masks(Spec("digit-masks"))


@pytest.fixture(scope="module")
def tables(splits: dict[str, Dataset]) -> Tables:
    return read_segmentation(DataRequest("sample:digit-masks", samples=lambda name: splits))


def test_the_scenes_are_read_with_their_class_names(tables: Tables) -> None:
    assert {split: len(rows) for split, rows in tables.splits.items()} == {"train": 240, "validation": 60, "test": 100}
    assert tables.names == NAMES == ("background", *"0123456789")
    assert tables.findings == ()
    assert sorted(tables.splits["train"].column_names) == ["image", "mask", "mask_map", "origin"]


def test_a_row_is_the_scene_that_was_composed(tables: Tables) -> None:
    scene = compose("validation", 3)[2]
    row = tables.splits["validation"][2]
    assert row["origin"] == "validation scene 3"
    assert np.array_equal(decode_rgb(row["image"]).permute(1, 2, 0).numpy(), scene.pixels)
    assert np.array_equal(decode_mask(row["mask"], row["mask_map"], strict=True).numpy(), scene.mask)


def test_the_scenes_are_the_same_each_time(splits: dict[str, Dataset]) -> None:
    again = digit_masks(Spec("digit-masks"))
    for split, rows in splits.items():
        assert rows[:] == again[split][:]


def test_the_audit_keeps_every_scene_and_every_class_is_in_every_split(tables: Tables) -> None:
    audited, findings = audit_segmentation(tables)
    assert {split: len(rows) for split, rows in audited.splits.items()} == {"train": 240, "validation": 60, "test": 100}
    assert {finding.code for finding in findings} == {"class-imbalance", "one-class-mask"}
    assert next(finding for finding in findings if finding.code == "one-class-mask").count == 24  # every 16th is empty
    counts = facts_of(audited)["train_counts"]
    raw = [np.asarray(Image.open(io.BytesIO(row["mask"]["bytes"]))) for row in tables.splits["train"]]
    assert counts == np.bincount(np.concatenate([values.reshape(-1) for values in raw])).tolist()
