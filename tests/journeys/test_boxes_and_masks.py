"""From boxes and masks to models: the installed command in fresh processes, on real pictures with real weights."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Graft = Callable[..., Any]
WEIGHTS = "weights/squeezenet1_0-imagenet1k-deepcompression.safetensors"
QUICK = ["--epochs", "2", "--batch-size", "4", "--device", "cpu", "--workers", "0", "--seed", "1"]


@pytest.fixture(scope="module")
def cells(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few of the blood cells as Pascal VOC: 12 train, 6 validation, 6 test."""
    source = shared_data / "bccd"
    if not source.is_dir():
        pytest.skip(f"the real data set is not there: no folder {source}")
    folder = tmp_path_factory.mktemp("cells")
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    for part in ("Annotations", "JPEGImages"):
        (folder / part).mkdir()
    for split, count in (("train", 12), ("val", 6), ("test", 6)):
        names = (source / "ImageSets" / "Main" / f"{split}.txt").read_text().split()[:count]
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names))
        for name in names:
            (folder / "Annotations" / f"{name}.xml").symlink_to(source / "Annotations" / f"{name}.xml")
            (folder / "JPEGImages" / f"{name}.jpg").symlink_to(source / "JPEGImages" / f"{name}.jpg")
    return folder


@pytest.fixture(scope="module")
def streets(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few of the streets with their masks: 12 train, 6 validation, 6 test."""
    source = shared_data / "camvid"
    if not source.is_dir():
        pytest.skip(f"the real data set is not there: no folder {source}")
    folder = tmp_path_factory.mktemp("streets")
    (folder / "labels.yaml").write_text((source / "labels.yaml").read_text())
    for split, count in (("train", 12), ("validation", 6), ("test", 6)):
        for part in ("images", "masks"):
            (folder / split / part).mkdir(parents=True)
            for file in sorted((source / split / part).iterdir())[:count]:
                (folder / split / part / file.name).symlink_to(file)
    return folder


Run = tuple[Path, dict[str, Any], str]


@pytest.fixture(scope="module")
def detector(graft: Graft, cells: Path, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A detector that was trained for seconds: its directory, its summary, what was said."""
    out = tmp_path_factory.mktemp("detector") / "run"
    words = ["--task", "detection", "--data", cells, "--backbone", "squeezenet1_0", "--weights", shared_data / WEIGHTS]
    words += ["--head", "retinanet", "--strategy", "full", "--set", "task_options.size=128", "--lr", "0.002"]
    done = graft("train", *words, "--set", "head_options.width=64", *QUICK, "--out", out, "--json")
    assert done.code == 0, done.stderr
    return out, json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def segmenter(graft: Graft, streets: Path, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A segmenter that was trained for seconds."""
    out = tmp_path_factory.mktemp("segmenter") / "run"
    words = ["--task", "segmentation", "--data", streets, "--backbone", "squeezenet1_0"]
    words += ["--weights", shared_data / WEIGHTS, "--head", "fpn", "--strategy", "full"]
    done = graft("train", *words, "--set", "task_options.size=128", *QUICK, "--out", out, "--json")
    assert done.code == 0, done.stderr
    return out, json.loads(done.stdout), done.stderr


def test_a_detector_is_trained_proved_and_reported(detector: Run) -> None:
    out, summary, said = detector
    assert summary["primary_metric"] == "map" and {"map", "map_50", "ar_100"} <= set(summary["test"])
    assert summary["proofs"]["artifact"].endswith("bit-identically")
    assert "50 tensors fitted" in said
    page = (out / "report.html").read_text()
    assert "Platelets" in page and "data:image/jpeg;base64," in page
    card = json.loads((out / "model.json").read_text())
    assert 0 < card["facts"]["threshold"] < 1 and card["facts"]["classes"] == ["Platelets", "RBC", "WBC"]


def test_evaluate_gives_the_test_metrics_of_the_detector(graft: Graft, detector: Run, cells: Path) -> None:
    out, summary, _ = detector
    done = graft("evaluate", out, "--data", cells, "--split", "test", "--device", "cpu", "--json")
    assert done.code == 0, done.stderr
    metrics = json.loads(done.stdout)["metrics"]
    assert {name: round(value, 6) for name, value in metrics.items()} == {
        name: round(value, 6) for name, value in summary["test"].items()
    }


def test_predict_tells_objects_in_pixels_of_the_picture_and_draws_them(
    graft: Graft, detector: Run, cells: Path, tmp_path: Path
) -> None:
    out, _, _ = detector
    photo = next(iter(sorted((cells / "JPEGImages").iterdir())))
    done = graft("predict", out, photo, "--draw", "--out", tmp_path / "drawn", "--json", "--device", "cpu")
    assert done.code == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["input"] == str(photo) and len(row["objects"]) <= 100
    for found in row["objects"]:
        left, top, width, height = found["bbox"]
        assert left >= 0 and top >= 0 and left + width <= 640.01 and top + height <= 480.01
        assert found["category"] == ["Platelets", "RBC", "WBC"][found["category_id"]] and 0 < found["score"] <= 1
    with Image.open(row["drawn"]) as drawn:
        assert min(drawn.size) >= 480
    told = graft("predict", out, photo, "--device", "cpu", "--out", tmp_path / "none")
    above = sum(found["score"] >= row["threshold"] for found in row["objects"])
    assert told.stdout.strip() == f"{photo}\tobjects={above}"
    assert not (tmp_path / "none").exists()


def test_a_detector_starts_from_an_earlier_one_but_for_its_class_scores(
    graft: Graft, detector: Run, tmp_path: Path
) -> None:
    source, _, _ = detector
    words = ["--task", "detection", "--data", "sample:digit-scenes", "--limit-train", "20", "--head", "retinanet"]
    words += ["--backbone", f"run:{source}", "--strategy", "linear-probe", "--set", "head_options.width=64"]
    done = graft("train", *words, *QUICK, "--epochs", "1", "--out", tmp_path / "run", "--json")
    assert done.code == 0, done.stderr
    weights = json.loads((tmp_path / "run" / "plan.json").read_text())["weights"]
    assert weights["fresh"] and all("cls_logits" in name for name in weights["fresh"])
    assert "of the head start anew" in done.stderr


@pytest.mark.acceptance
def test_a_classifiers_backbone_feeds_a_detector(
    graft: Graft, trained: tuple[Path, dict[str, Any], str], cells: Path, tmp_path: Path
) -> None:
    source, _, _ = trained
    words = ["--task", "detection", "--data", cells, "--backbone", f"run:{source}", "--head", "ssdlite"]
    words += ["--strategy", "linear-probe", "--set", "task_options.size=96"]
    done = graft("train", *words, *QUICK, "--epochs", "1", "--out", tmp_path / "run", "--json")
    assert done.code == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["backbone"] == f"run:{source}" and "bit-identical" in summary["proofs"]["frozen"][0]


def test_a_segmenter_is_trained_proved_and_reported(segmenter: Run) -> None:
    out, summary, _ = segmenter
    assert summary["primary_metric"] == "mean_iou" and 0 < summary["test"]["pixel_accuracy"] <= 1
    assert summary["proofs"]["artifact"].endswith("bit-identically")
    assert "bicyclist" in (out / "report.html").read_text()


def test_predict_writes_a_mask_of_the_pictures_own_size(
    graft: Graft, segmenter: Run, streets: Path, tmp_path: Path
) -> None:
    out, _, _ = segmenter
    photo = next(iter(sorted((streets / "test" / "images").iterdir())))
    done = graft("predict", out, photo, "--draw", "--out", tmp_path / "masks", "--json", "--device", "cpu")
    assert done.code == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert Path(row["mask"]).name == f"{photo.stem}.mask.png"
    with Image.open(row["mask"]) as mask, Image.open(photo) as picture:
        assert mask.size == picture.size
        values = np.unique(np.asarray(mask))
    assert values.max() < 11
    assert sum(row["shares"].values()) == pytest.approx(1, abs=0.01)
    assert Image.open(io.BytesIO(Path(row["drawn"]).read_bytes())).format == "PNG"


def test_predictions_of_another_picture_with_the_same_name_are_kept_apart(
    graft: Graft, segmenter: Run, streets: Path, tmp_path: Path
) -> None:
    out, _, _ = segmenter
    first, second = sorted((streets / "test" / "images").iterdir())[:2]
    for folder, file in (("a", first), ("b", second)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "photo.jpg").symlink_to(file)
    words = (tmp_path / "a" / "photo.jpg", tmp_path / "b" / "photo.jpg", "--out", tmp_path / "masks", "--json")
    done = graft("predict", out, *words, "--device", "cpu")
    assert done.code == 0, done.stderr
    masks = [Path(row["mask"]).relative_to(tmp_path / "masks").as_posix() for row in json.loads(done.stdout)]
    assert masks == ["a/photo.mask.png", "b/photo.mask.png"]


def test_drawing_is_refused_where_there_is_nothing_to_draw(
    graft: Graft, trained: tuple[Path, dict[str, Any], str], photos: Path
) -> None:
    out, _, _ = trained
    done = graft("predict", out, next(iter((photos / "test" / "hat").iterdir())), "--draw", "--device", "cpu")
    assert done.code == 2 and "draws no predictions" in done.errors[0]
