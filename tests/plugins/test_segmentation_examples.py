"""Pictures with masks as batches: what is kept changes nothing but time, and nobody can spoil it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from graftwork.data.loader import load_batches
from graftwork.data.sampler import Sampler
from graftwork.interfaces import Batch, DataRequest, ImageInput, Spec
from graftwork.vision import kept
from graftwork.vision.frames import FrameOptions, Pictures
from graftwork_segmentation import examples as module
from graftwork_segmentation.examples import SegmentationExamples
from graftwork_segmentation.read import read_segmentation
from graftwork_segmentation.samples import digit_masks

OPTIONS = FrameOptions(size=64, longest=0, augment="strong", flip="both")


def make_examples(train: bool, options: FrameOptions = OPTIONS) -> SegmentationExamples:
    tables = read_segmentation(DataRequest("sample:digit-masks", samples=lambda name: digit_masks(Spec("digit-masks"))))
    return SegmentationExamples(tables.splits["train"].select(range(12)), ImageInput(224, 256), options, train)


def two_epochs(examples: SegmentationExamples) -> list[Batch]:
    sampler = Sampler(len(examples), 4, seed=1, sizes=examples.sizes())
    specs = [spec for epoch in range(2) for spec in sampler.epoch(epoch)]
    return list(load_batches(examples, specs, 1, 0))


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.inputs["pixels"], other.inputs["pixels"])
        if isinstance(one.targets, list):
            masks = zip(one.targets, other.targets, strict=True)
            assert all(torch.equal(mine["mask"], right["mask"]) for mine, right in masks)
        else:
            assert torch.equal(one.targets["mask"], other.targets["mask"])


@pytest.mark.parametrize("train", [True, False])
def test_batches_are_the_same_whether_pictures_and_masks_are_kept_or_not(
    train: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = make_examples(train)
    found = two_epochs(examples)
    assert len(examples._kept._memory) == 12
    monkeypatch.setattr(module, "MASK_BYTES", 0)
    monkeypatch.setattr(Pictures.__init__, "__defaults__", (0, {}))
    plain = make_examples(train)
    assert_same(found, two_epochs(plain))
    assert not plain._kept._memory


@pytest.mark.parametrize("train", [True, False])
def test_what_is_done_to_a_batch_does_not_reach_what_is_kept(train: bool) -> None:
    examples = make_examples(train, FrameOptions(96, 0, "none", "none"))
    first = two_epochs(examples)
    copies = two_epochs(examples)
    for batch in first:
        batch.inputs["pixels"].zero_()
        for mask in batch.targets if isinstance(batch.targets, list) else [batch.targets]:
            mask["mask"].fill_(7)
    assert_same(two_epochs(examples), copies)


def test_pictures_come_from_a_store_as_they_were_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path))
    from graftwork_segmentation.audit import audit_segmentation

    tables = read_segmentation(DataRequest("sample:digit-masks", samples=lambda name: digit_masks(Spec("digit-masks"))))
    rows = audit_segmentation(tables)[0].splits["train"].select(range(12))
    plain = Pictures(rows, OPTIONS, True, cache_bytes=0)
    some = Pictures(rows, OPTIONS, True, cache_bytes=200_000)
    for _ in range(3):
        assert all(torch.equal(some.pixels(row), plain.pixels(row)) for row in range(12))
    assert list(tmp_path.glob("pictures/*/segment-*"))
    assert kept.CONTENT in rows.column_names
