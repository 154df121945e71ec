"""Pictures with boxes as batches: what training sees, what evaluation scores, and that loading repeats itself."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image

from graftwork.data.loader import load_batches
from graftwork.data.sampler import Sampler
from graftwork.interfaces import Batch, ImageInput
from graftwork.vision.frames import FrameOptions
from graftwork_detection.examples import DetectionExamples
from graftwork_detection.rows import features

INPUT = ImageInput(size=224, resize=256)
SHAPES = [(60, 80), (80, 60), (64, 64), (60, 80), (80, 60), (48, 96)]


def rows(count: int = 6) -> Dataset:
    """Dark pictures, each with a white object, a crowd of its own, and (the third) none at all."""
    table: dict[str, list[Any]] = {name: [] for name in ("image", "objects", "origin", "width", "height")}
    for row in range(count):
        height, width = SHAPES[row]
        pixels = np.full((height, width, 3), 40, dtype=np.uint8)
        pixels[10:30, 20:50] = 255
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        table["image"].append({"bytes": buffer.getvalue(), "path": None})
        empty = row == 2
        table["objects"].append(
            {
                "bbox": [] if empty else [[20.0, 10.0, 30.0, 20.0], [0.0, 0.0, 5.0, 5.0]],
                "category": [] if empty else [1, 0],
                "crowd": [] if empty else [False, True],
            }
        )
        table["origin"].append(f"{row}.png")
        table["width"].append(width)
        table["height"].append(height)
    return Dataset.from_dict(table, features=features())


def examples(train: bool, augment: str = "light", flip: str = "both") -> DetectionExamples:
    return DetectionExamples(rows(), INPUT, FrameOptions(96, 0, augment, flip), train)


def batches(found: DetectionExamples, workers: int = 0, epoch: int = 0) -> list[Batch]:
    sampler = Sampler(len(found), 3, 0, sizes=found.sizes())
    return list(load_batches(found, sampler.epoch(epoch), 0, workers))


@pytest.mark.parametrize("augment", ["none", "light", "strong"])
def test_boxes_in_training_lie_on_their_objects_on_the_canvas(augment: str) -> None:
    seen = 0
    for batch in batches(examples(True, augment)):
        assert isinstance(batch.targets, list) and len(batch.targets) == len(batch)
        for pixels, size, target in zip(batch.inputs["pixels"], batch.inputs["size"], batch.targets, strict=True):
            assert len(target["boxes"]) == len(target["labels"]) == len(target["crowd"]) <= 1
            assert not target["crowd"].any()
            for box in target["boxes"]:
                seen += 1
                left, top, right, bottom = box.tolist()
                assert 0 <= left < right <= size[1] and 0 <= top < bottom <= size[0]
                white = torch.nonzero(pixels[:, : size[0], : size[1]].float().mean(0) > 150)
                assert torch.allclose(white.amin(0).flip(0).float(), box[:2], atol=2.5)
                assert torch.allclose(white.amax(0).flip(0).float() + 1, box[2:], atol=2.5)
    assert seen >= 4


def test_evaluation_scores_objects_as_they_were_annotated_crowds_included() -> None:
    for batch in batches(examples(False)):
        assert isinstance(batch.targets, list)
        for row, target in zip(batch.rows.tolist(), batch.targets, strict=True):
            wanted = [] if row == 2 else [[20.0, 10.0, 50.0, 30.0], [0.0, 0.0, 5.0, 5.0]]
            assert target["boxes"].tolist() == wanted and target["boxes"].shape[1:] == (4,)
            assert target["labels"].tolist() == ([] if row == 2 else [1, 0])
            assert target["crowd"].tolist() == ([] if row == 2 else [False, True])
        assert batch.inputs["original"].tolist() == [list(SHAPES[row]) for row in batch.rows.tolist()]


def test_rows_without_objects_to_learn_from_have_no_targets() -> None:
    bare = rows().remove_columns(["objects", "width", "height"])
    found = DetectionExamples(bare, INPUT, FrameOptions(96, 0, "light", "both"), False)
    assert found.sizes() == examples(False).sizes()
    assert all(batch.targets == {} for batch in batches(found))


def test_batches_are_the_same_with_workers_and_after_a_pickle() -> None:
    found = examples(True, "strong")
    for again in (batches(found, workers=2), batches(pickle.loads(pickle.dumps(found)))):
        for one, other in zip(batches(found), again, strict=True):
            assert torch.equal(one.rows, other.rows)
            assert all(torch.equal(one.inputs[name], other.inputs[name]) for name in one.inputs)
            assert isinstance(one.targets, list) and isinstance(other.targets, list)
            for a, b in zip(one.targets, other.targets, strict=True):
                assert all(torch.equal(a[name], b[name]) for name in a)


def test_another_epoch_shows_other_crops_of_the_same_rows() -> None:
    found = examples(True)
    first, second = ({row: frame for batch in batches(found, epoch=e) for row, frame in zip(
        batch.rows.tolist(), batch.inputs["pixels"], strict=True)} for e in (0, 1))  # fmt: skip
    assert sorted(first) == sorted(second)
    assert any(first[row].shape != second[row].shape or not torch.equal(first[row], second[row]) for row in first)
