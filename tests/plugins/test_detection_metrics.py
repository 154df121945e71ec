"""Average precision against pycocotools; matching, thresholds, and two processes that agree."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from graftwork.interfaces import Batch, Facts
from graftwork_detection.decode import decode_objects, read_objects
from graftwork_detection.matching import FALSE_ALARM, OF_A_CROWD, best_threshold, match, totals
from graftwork_detection.metrics import DetectionMetrics

CPU = torch.device("cpu")
NAMES = ["a", "b", "c", "d", "never"]
FACTS: Facts = {"classes": NAMES, "train_counts": [9, 9, 9, 9, 0]}
TWELVE = (
    *("map", "map_50", "map_75", "map_small", "map_medium", "map_large"),
    *("ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large"),
)

Pictures = list[dict[str, Tensor]]


def make_pictures(count: int = 40, seed: int = 0) -> tuple[Pictures, Pictures]:
    """Objects of all sizes with crowds, every fifth picture empty; predictions near them, false alarms and equal scores.

    Class `d` is predicted and never true, `never` is neither.
    """
    draw = torch.Generator().manual_seed(seed)

    def boxes(number: int) -> Tensor:
        corner = torch.rand(number, 2, generator=draw) * 400
        return torch.cat([corner, corner + 4 + torch.rand(number, 2, generator=draw) ** 2 * 200], dim=1)

    said, true = [], []
    for at in range(count):
        number = 0 if at % 5 == 0 else int(torch.randint(1, 16, (), generator=draw))
        objects, labels = boxes(number), torch.randint(0, 3, (number,), generator=draw)
        crowd = torch.rand(number, generator=draw) < 0.15
        true.append({"boxes": objects, "labels": labels, "crowd": crowd})
        wrong = int(torch.randint(0, 20, (), generator=draw))
        near = objects + torch.randn(number, 4, generator=draw) * 3
        near = torch.cat([near[:, :2], torch.maximum(near[:, 2:], near[:, :2] + 1)], dim=1)
        scores = torch.cat([0.3 + 0.7 * torch.rand(number, generator=draw), 0.8 * torch.rand(wrong, generator=draw)])
        scores, order = ((scores * 50).round() / 50).sort(descending=True, stable=True)
        both = torch.cat([labels, torch.randint(0, 4, (wrong,), generator=draw)])
        said.append({"boxes": torch.cat([near, boxes(wrong)])[order], "labels": both[order], "scores": scores})
    return said, true


def nothing(pictures: Pictures) -> Pictures:
    return [{name: values[:0] for name, values in picture.items()} for picture in pictures]


def measure(said: Pictures, true: Pictures, order: Sequence[int] = (), facts: Facts = FACTS) -> DetectionMetrics:
    """Metrics of pictures that came in batches of seven, in some order."""
    metrics = DetectionMetrics(facts, CPU)
    numbers = list(order) or list(range(len(true)))
    for start in range(0, len(numbers), 7):
        part = numbers[start : start + 7]
        metrics.update([said[at] for at in part], Batch(torch.tensor(part), {}, [true[at] for at in part]))
    return metrics


def coco_truth(true: Pictures) -> dict[str, Any]:
    """The truth as an annotation file."""
    annotations = []
    for image, picture in enumerate(true):
        for (left, top, right, bottom), label, crowd in zip(
            picture["boxes"].double().tolist(), picture["labels"].tolist(), picture["crowd"].tolist(), strict=True
        ):
            width, height = right - left, bottom - top
            one = {"bbox": [left, top, width, height], "area": width * height, "iscrowd": int(crowd)}
            annotations.append({"id": len(annotations) + 1, "image_id": image, "category_id": label, **one})
    images = [{"id": image} for image in range(len(true))]
    categories = [{"id": at, "name": name} for at, name in enumerate(NAMES)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def pycocotools_numbers(truth: Path, results: Path) -> dict[str, float]:
    """What pycocotools says of an annotation file and a results file."""
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed (extra dev)")
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        given = coco.COCO(str(truth))
        evaluation = COCOeval(given, given.loadRes(str(results)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(TWELVE, evaluation.stats.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_the_twelve_numbers_of_stored_predictions_are_pycocotools(tmp_path: Path, seed: int) -> None:
    said, true = make_pictures(seed=seed)
    found = measure(said, true)
    stored = [json.dumps(row["objects"]) for row in decode_objects(said, FACTS)]  # as a table keeps them
    results = [
        {"image_id": image, **{key: one[key] for key in ("category_id", "bbox", "score")}}
        for image, text in enumerate(stored)
        for one in read_objects({"objects": text})
    ]
    (tmp_path / "truth.json").write_text(json.dumps(coco_truth(true)))
    (tmp_path / "results.json").write_text(json.dumps(results))
    expected = pycocotools_numbers(tmp_path / "truth.json", tmp_path / "results.json")
    twelve = found.details()["coco"]
    assert all(value > 0 for value in expected.values())
    assert twelve == pytest.approx(expected, abs=1e-6)
    assert found.compute().items() <= twelve.items()


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_batches_does_not_decide_between_equal_scores(seed: int) -> None:
    said, true = make_pictures(seed=seed)
    order = np.random.default_rng(seed).permutation(len(true)).tolist()
    assert measure(said, true, order).compute() == measure(said, true).compute()


def test_classes_are_measured_one_by_one() -> None:
    said, true = make_pictures()
    details = json.loads(json.dumps(measure(said, true).details()))
    lines = {line["class"]: line for line in details["per_class"]}
    assert list(lines) == NAMES
    with_objects = [line for line in lines.values() if line["objects"]]
    assert [line["class"] for line in with_objects] == ["a", "b", "c"]
    assert np.mean([line["ap"] for line in with_objects]) == pytest.approx(details["coco"]["map"], abs=1e-6)
    assert np.mean([line["ap_50"] for line in with_objects]) == pytest.approx(details["coco"]["map_50"], abs=1e-6)
    assert np.mean([line["ar"] for line in with_objects]) == pytest.approx(details["coco"]["ar_100"], abs=1e-6)
    assert lines["d"] == {"class": "d", "objects": 0, "ap": None, "ap_50": None, "ar": None, "precision": None}
    assert len(lines["a"]["precision"]) == len(details["recalls"]) == 101
    assert np.mean(lines["a"]["precision"]) == pytest.approx(lines["a"]["ap_50"])
    scored = sum(int((~picture["crowd"]).sum()) for picture in true)
    assert sum(line["objects"] for line in details["sizes"]) == sum(line["objects"] for line in with_objects) == scored
    assert sum(line["found"] for line in details["sizes"]) == round(details["recall"] * scored)
    assert details["iou_thresholds"] == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]


def test_perfect_predictions_have_a_perfect_score() -> None:
    _, true = make_pictures()
    said = [
        {"boxes": one["boxes"][~one["crowd"]], "labels": one["labels"][~one["crowd"]],
         "scores": torch.ones(int((~one["crowd"]).sum()))} for one in true
    ]  # fmt: skip
    metrics = measure(said, true)
    assert set(metrics.compute().values()) == {1.0}
    assert metrics.details()["f1"] == 1.0


@pytest.mark.filterwarnings("error")
def test_where_there_is_nothing_the_score_is_zero() -> None:
    said, true = make_pictures()
    zero = {"map": 0.0, "map_50": 0.0, "map_75": 0.0, "ar_100": 0.0}
    assert measure(nothing(said), true).compute() == zero | {"map_small": 0.0, "map_medium": 0.0, "map_large": 0.0}
    assert measure(said, nothing(true)).compute() == zero
    assert measure(nothing(said), nothing(true)).compute() == zero
    for pair in ((nothing(said), true), (said, nothing(true)), (nothing(said), nothing(true))):
        details = measure(*pair).details()
        assert "NaN" not in json.dumps(details)
        assert (details["threshold"], details["f1"]) == (0.5, 0.0)
    crowds = [{**picture, "crowd": torch.ones_like(picture["crowd"])} for picture in true]
    assert measure(said, crowds).compute() == zero


def test_metrics_over_no_rows_are_empty() -> None:
    metrics = DetectionMetrics(FACTS, CPU)
    assert metrics.compute() == {}
    assert metrics.details()["classes"] == NAMES


def test_a_hundred_pictures_full_of_boxes_take_less_than_two_seconds() -> None:
    said, true = make_pictures(100)
    full = [
        {"boxes": one["boxes"][:1].repeat(100, 1), "labels": torch.zeros(100, dtype=torch.int64),
         "scores": torch.linspace(1, 0, 100)} if len(one["boxes"]) else one for one in said
    ]  # fmt: skip
    metrics = measure(full, true)
    began = time.perf_counter()
    metrics.compute()
    metrics.details()
    assert time.perf_counter() - began < 2


def test_a_threshold_of_the_facts_is_kept() -> None:
    said, true = make_pictures()
    chosen = measure(said, true).details()
    kept = measure(said, true, facts={**FACTS, "threshold": 0.9}).details()
    assert kept["threshold"] == 0.9
    assert kept["f1"] < chosen["f1"]
    assert kept["coco"] == chosen["coco"]


def array(*rows: Sequence[float]) -> np.ndarray:
    return np.asarray(rows, dtype=np.float64).reshape(-1, 4)


def test_the_surest_box_takes_the_object_and_a_crowd_takes_any_number() -> None:
    objects = array((0, 0, 10, 10), (20, 20, 30, 30), (50, 50, 100, 100))
    boxes = array((0, 0, 10, 9), (0, 0, 10, 10), (20, 20, 30, 30), (55, 55, 65, 65), (70, 70, 80, 80), (40, 0, 45, 5))
    scores = np.asarray([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    labels, true_labels = np.asarray([0, 0, 1, 0, 0, 0]), np.asarray([0, 0, 0])
    matched = match(boxes, scores, labels, objects, true_labels, np.asarray([False, False, True]))
    assert matched.found.tolist() == [0, FALSE_ALARM, FALSE_ALARM, OF_A_CROWD, OF_A_CROWD, FALSE_ALARM]
    assert (matched.objects, matched.missed_from(0.0), matched.missed_from(0.95)) == (2, {1}, {0, 1})
    assert matched.f1(0.85) == pytest.approx(2 / 3)
    assert matched.f1(0.0) == pytest.approx(2 / (2 + 4))


def test_the_threshold_is_the_best_of_all() -> None:
    said, true = make_pictures()
    pairs = zip(said, true, strict=True)
    matched = [
        match(*(one[key].numpy() for key in ("boxes", "scores", "labels")),
              *(real[key].numpy() for key in ("boxes", "labels", "crowd"))) for one, real in pairs
    ]  # fmt: skip
    best = best_threshold(matched)
    every = np.unique(np.concatenate([one.scores for one in matched]))
    assert totals(matched, best)["f1"] == max(totals(matched, float(least))["f1"] for least in every)
    assert best_threshold([]) == 0.5


PROCESS = """
import sys, json, torch, torch.distributed as distributed
from graftwork.interfaces import Batch
from graftwork_detection.metrics import DetectionMetrics
rank, meeting, data, facts = int(sys.argv[1]), sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
torch.set_num_threads(1)
distributed.init_process_group("gloo", init_method="file://" + meeting, rank=rank, world_size=2)
said, true = torch.load(data)
found = []
for mine in ([range(0, 40, 2), range(1, 40, 2)][rank], [range(40), []][rank]):  # dealt out; a process without rows
    metrics = DetectionMetrics(facts, torch.device("cpu"))
    if len(mine):
        batch = Batch(torch.tensor(list(mine)), {}, [true[at] for at in mine])
        metrics.update([said[at] for at in mine], batch)
    found.append([metrics.compute(), metrics.details()])
print(json.dumps(found))
distributed.barrier()
distributed.destroy_process_group()
"""


@pytest.mark.acceptance
def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    said, true = make_pictures()
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


def test_predictions_are_stored_as_coco_results_that_lose_nothing() -> None:
    said, _ = make_pictures()
    rows = decode_objects(said, FACTS)
    assert list(rows[1]["objects"][0]) == ["category", "category_id", "bbox", "score"]
    stored = json.loads(json.dumps(rows))
    for row, picture in zip(stored, said, strict=True):
        scores = torch.tensor([one["score"] for one in row["objects"]])
        assert torch.equal(scores, picture["scores"])
        boxes = torch.tensor([one["bbox"] for one in row["objects"]]).reshape(-1, 4)
        assert torch.equal(boxes[:, 2:], picture["boxes"][:, 2:] - picture["boxes"][:, :2])
        assert [one["category"] for one in row["objects"]] == [NAMES[label] for label in picture["labels"].tolist()]
    assert len(str(stored[1]["objects"][0]["bbox"][0])) < 12
