"""Benchmarks of degrees of fine-tuning run to their end at their tiniest size, so that none of them rots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file
from torchvision import models

Run = Callable[..., str]
Results = Callable[[Path, str], dict[str, Any]]


def picture(index: int, size: int) -> Image.Image:
    """Noise: no two pictures are near duplicates of each other."""
    generator = np.random.default_rng(index)
    return Image.fromarray(generator.integers(0, 256, (size, size, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Image folders: two classes, 8 rows for training, 4 for validation, 4 for the test."""
    root = tmp_path_factory.mktemp("photos")
    index = 0
    for split, rows in (("train", 4), ("validation", 2), ("test", 2)):
        for name in ("chair", "lamp"):
            (root / split / name).mkdir(parents=True)
            for _ in range(rows):
                index += 1
                picture(index, 48).save(root / split / name / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def ten_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parquet files as CIFAR-10's: 4 training rows and 2 test rows of each class."""
    import datasets

    root = tmp_path_factory.mktemp("cifar")
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    for split, rows in (("train", 4), ("test", 2)):
        labels = list(range(10)) * rows
        first = 1000 if split == "test" else 0
        images = [picture(first + index, 32) for index in range(len(labels))]
        made = datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)
        made.to_parquet(str(root / f"{split}.parquet"))
    return root


@pytest.mark.acceptance
def test_clothing_transfer_compares_strategies_and_keeps_finished_runs(
    run: Run, results: Results, photos: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "squeezenet.safetensors"
    save_file(models.squeezenet1_0(weights=None).state_dict(), str(weights))
    words = (
        "--data",
        photos,
        "--weights",
        weights,
        "--out",
        tmp_path / "out",
        "--strategies",
        "linear-probe",
        "scratch",
    )
    size = ("--set", "backbone_options.image_size=64")
    run("clothing_transfer.py", *words, *size)
    rows = results(tmp_path / "out", "clothing_transfer")["rows"]
    assert [row["strategy"] for row in rows] == ["linear-probe", "scratch"]
    run("clothing_transfer.py", *words, *size)
    assert results(tmp_path / "out", "clothing_transfer")["rows"] == rows


def test_the_seed_procedure_separates_source_and_target_classes(
    run: Run, results: Results, ten_classes: Path, tmp_path: Path
) -> None:
    words = ("--data", ten_classes, "--out", tmp_path, "--labels", 1, "--source-limit", 0, "--epochs", 1)
    assert "over scratch" in run("seed_procedure.py", *words, "--strategies", "full")
    rows = results(tmp_path, "seed_procedure")["rows"]
    assert [row["strategy"] for row in rows] == ["full", "scratch"]
    assert all((row["train rows"], row["test rows"]) == (4, 8) for row in rows)

    import datasets

    target = {split: set(_labels(datasets, tmp_path, "target", split)) for split in ("train", "validation", "test")}
    assert set(map(frozenset, target.values())) == {frozenset({"cat", "deer", "horse", "truck"})}
    assert not set(_labels(datasets, tmp_path, "source", "train")) & target["train"]
    assert len(_labels(datasets, tmp_path, "target", "validation")) == 4


def _labels(datasets: Any, out: Path, kind: str, split: str) -> list[str]:
    rows = datasets.Dataset.from_parquet(str(out / "runs" / "data" / kind / f"{split}.parquet"))
    labels: list[str] = rows["label"][:]
    return labels


def test_degrees_of_fine_tuning_of_a_text_encoder_are_compared(run: Run, results: Results, tmp_path: Path) -> None:
    words = ("--data", "sample:messages", "--backbone", "graftext-s", "--weights", "none", "--epochs", 1)
    few = ("--strategies", "full", "bitfit", "--per-class", 2, "--classes", 7)
    assert "labels a class" in run("text_strategies.py", *words, *few, "--out", tmp_path)
    rows = results(tmp_path, "text_strategies")["rows"]
    assert [row["strategy"] for row in rows] == ["full", "bitfit"] and rows[0]["trained"] > 5 * rows[1]["trained"]


def test_arms_of_a_detection_are_compared_and_objects_cut_out(run: Run, results: Results, tmp_path: Path) -> None:
    from tiny import voc

    data = voc(tmp_path, {"train": 6, "val": 4, "test": 4})
    assert "objects in cells/" in run("dense_transfer.py", "--data", data, "--cells", tmp_path / "cells")
    assert {folder.name for folder in (tmp_path / "cells" / "train").iterdir()} == {"red", "green"}
    arm = "full=--backbone graftnet-s --weights none --strategy full --set task_options.size=64"
    run("dense_transfer.py", "--data", data, "--arm", arm, "--out", tmp_path / "out")
    (row,) = results(tmp_path / "out", "dense_transfer")["rows"]
    assert row["arm"] == "full" and 0 <= row["test map"] <= 1
