"""Mean IoU and pixel accuracy against scikit-learn; void, classes that do not occur, two processes."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from graftwork.catalogue import load_catalogue
from graftwork.interfaces import Batch, Facts, Spec
from graftwork_segmentation.decode import decode_masks, read_mask
from graftwork_segmentation.metrics import SegmentationMetrics
from graftwork_segmentation.task import build

CPU = torch.device("cpu")
NAMES = ["sky", "road", "car", "only said", "only true", "never"]
FACTS: Facts = {"classes": NAMES, "train_counts": [9, 9, 9, 9, 9, 0]}
Masks = list[dict[str, Tensor]]


def make_masks(count: int = 12) -> tuple[Masks, Masks]:
    """Masks of many sizes with void; class 3 is only said, class 4 is only true, class 5 is neither."""
    draw = torch.Generator().manual_seed(1)
    said, true = [], []
    for at in range(count):
        size = (20 + at, 33 - at)
        real = torch.tensor([0, 1, 2, 4, 255])[torch.randint(0, 5, size, generator=draw)]
        guess = torch.tensor([0, 1, 2, 3])[torch.randint(0, 4, size, generator=draw)]
        guess = torch.where((torch.rand(size, generator=draw) < 0.6) & (real < 4), real, guess)
        said.append({"mask": guess.to(torch.uint8)})
        true.append({"mask": real.to(torch.uint8)})
    return said, true


def measure(said: Masks, true: Masks) -> SegmentationMetrics:
    metrics = SegmentationMetrics(FACTS, CPU)
    for start in range(0, len(true), 5):
        part = slice(start, start + 5)
        metrics.update(said[part], Batch(torch.arange(len(true))[part], {}, true[part]))
    return metrics


def scored_pixels(said: Masks, true: Masks) -> tuple[np.ndarray, np.ndarray]:
    guess = torch.cat([one["mask"].flatten() for one in said]).numpy()
    real = torch.cat([one["mask"].flatten() for one in true]).numpy()
    return guess[real != 255], real[real != 255]


def test_the_metrics_are_scikit_learns_on_the_same_pixels() -> None:
    from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score, recall_score

    said, true = make_masks()
    metrics = measure(said, true)
    found, details = metrics.compute(), json.loads(json.dumps(metrics.details()))
    guess, real = scored_pixels(said, true)
    assert found["mean_iou"] == pytest.approx(jaccard_score(real, guess, average="macro", zero_division=0), abs=1e-12)
    assert found["pixel_accuracy"] == pytest.approx(accuracy_score(real, guess), abs=1e-12)
    weighted = jaccard_score(real, guess, average="weighted", zero_division=0)
    assert found["frequency_weighted_iou"] == pytest.approx(weighted, abs=1e-12)
    recalls = recall_score(real, guess, average=None, labels=range(6), zero_division=0)
    assert found["mean_accuracy"] == pytest.approx(recalls[[0, 1, 2, 4]].mean(), abs=1e-12)
    assert details["confusion"] == confusion_matrix(real, guess, labels=range(6)).tolist()
    each = jaccard_score(real, guess, average=None, labels=range(6), zero_division=0)
    lines = details["per_class"]
    assert [line["iou"] or 0 for line in lines] == pytest.approx(each.tolist(), abs=1e-12)
    assert [line["accuracy"] or 0 for line in lines] == pytest.approx(recalls.tolist(), abs=1e-12)
    assert [line["pixels"] for line in lines] == np.bincount(real, minlength=6).tolist()
    assert [line["predicted_pixels"] for line in lines] == np.bincount(guess, minlength=6).tolist()
    assert details["unscored_pixels"] == sum(int((one["mask"] == 255).sum()) for one in true)


def test_a_class_that_nobody_has_and_nobody_says_has_no_score() -> None:
    details = measure(*make_masks()).details()
    lines = {line["class"]: line for line in details["per_class"]}
    assert (lines["never"]["iou"], lines["never"]["accuracy"]) == (None, None)
    assert (lines["only said"]["iou"], lines["only said"]["accuracy"]) == (0.0, None)
    assert (lines["only true"]["iou"], lines["only true"]["accuracy"]) == (0.0, 0.0)
    assert [sum(row) for row in details["confusion_shares"]] == pytest.approx([1, 1, 1, 0, 1, 0], abs=1e-3)


def test_chance_is_what_the_largest_class_everywhere_scores() -> None:
    _, true = make_masks()
    pixels = torch.bincount(torch.cat([one["mask"].flatten() for one in true]).long(), minlength=256)[: len(NAMES)]
    facts = {**FACTS, "train_counts": pixels.tolist()}
    guess = [{"mask": torch.full_like(one["mask"], int(pixels.argmax()))} for one in true]
    task = build(Spec("segmentation", load_catalogue().task("segmentation").complete({})))
    assert 0 < task.chance(facts) == pytest.approx(measure(guess, true).compute()["mean_iou"], abs=1e-12)
    assert task.chance({**FACTS, "train_counts": [0] * len(NAMES)}) == 0.0


def test_every_picture_has_its_own_score_in_the_order_of_the_rows() -> None:
    from sklearn.metrics import jaccard_score

    said, true = make_masks()
    true[3] = {"mask": torch.full_like(true[3]["mask"], 255)}
    metrics = SegmentationMetrics(FACTS, CPU)
    for part in ([7, 2, 11, 0], [1, 3, 4, 5, 6], [10, 9, 8]):
        metrics.update([said[at] for at in part], Batch(torch.tensor(part), {}, [true[at] for at in part]))
    found = metrics.details()["picture_iou"]
    assert found.pop(3) is None
    pairs = [scored_pixels([said[at]], [true[at]]) for at in range(12) if at != 3]
    expected = [jaccard_score(real, guess, average="macro", zero_division=0) for guess, real in pairs]
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_right_mask_has_a_perfect_score_whatever_is_said_where_nothing_is_scored() -> None:
    _, true = make_masks()
    said = [{"mask": torch.where(one["mask"] == 255, 3, one["mask"])} for one in true]
    assert set(measure(said, true).compute().values()) == {1.0}


def test_where_no_pixel_is_scored_the_score_is_zero_and_over_no_rows_there_is_none() -> None:
    said, true = make_masks(1)
    void = [{"mask": torch.full_like(true[0]["mask"], 255)}]
    metrics = measure(said, void)
    assert set(metrics.compute().values()) == {0.0}
    assert "NaN" not in json.dumps(metrics.details())
    assert SegmentationMetrics(FACTS, CPU).compute() == {}


PROCESS = """
import sys, json, torch, torch.distributed as distributed
from graftwork.interfaces import Batch
from graftwork_segmentation.metrics import SegmentationMetrics
rank, meeting, data, facts = int(sys.argv[1]), sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
torch.set_num_threads(1)
distributed.init_process_group("gloo", init_method="file://" + meeting, rank=rank, world_size=2)
said, true = torch.load(data)
found = []
for cut in (5, 12):  # uneven, and a process without rows
    part = slice(*[(0, cut), (cut, 12)][rank])
    metrics = SegmentationMetrics(facts, torch.device("cpu"))
    if len(true[part]):
        metrics.update(said[part], Batch(torch.arange(12)[part], {}, true[part]))
    found.append([metrics.compute(), metrics.details()])
print(json.dumps(found))
distributed.barrier()
distributed.destroy_process_group()
"""


@pytest.mark.acceptance
def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    said, true = make_masks()
    torch.save((said, true), tmp_path / "data.pt")
    places = [str(tmp_path / "meeting"), str(tmp_path / "data.pt"), json.dumps(FACTS)]
    processes = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(rank), *places], stdout=subprocess.PIPE) for rank in (0, 1)
    ]
    alone = measure(said, true)
    expected = json.loads(json.dumps([alone.compute(), alone.details()]))
    for process in processes:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0
        assert json.loads(output) == [expected, expected]


def test_a_mask_comes_back_from_its_png_and_its_shares_are_told() -> None:
    said, _ = make_masks()
    rows = decode_masks(said, FACTS)
    for row, picture in zip(rows, said, strict=True):
        mask = read_mask(row)
        assert mask is not None
        assert torch.equal(mask, picture["mask"])
        assert sum(row["shares"].values()) == pytest.approx(1, abs=1e-5)
        assert list(row["shares"].values()) == sorted(row["shares"].values(), reverse=True)
    assert "never" not in rows[0]["shares"]
    assert Image.open(io.BytesIO(rows[0]["mask"])).mode == "P"
    assert read_mask({"mask": None}) is None
