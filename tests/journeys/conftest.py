"""Shared by the journeys: a few real photos in folders, and a model that the installed command trained on them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CLASSES = ("dress", "hat", "shoes")
SPLITS = {"train": 6, "validation": 3, "test": 3}
WEIGHTS = "weights/squeezenet1_0-imagenet1k-deepcompression.safetensors"


@pytest.fixture(scope="session")
def photos(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Image folders of three classes of clothing, linked to the real photos: 18 train, 9 validation, 9 test."""
    folder = tmp_path_factory.mktemp("photos")
    for split, count in SPLITS.items():
        for name in CLASSES:
            (folder / split / name).mkdir(parents=True)
            for path in sorted((shared_data / "clothing" / split / name).glob("*.jpg"))[:count]:
                (folder / split / name / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="session")
def settings(photos: Path, shared_data: Path) -> list[str]:
    """The words after `graft train` of a run that takes seconds: real photos, real ImageNet weights, small pictures."""
    return (
        f"--task image-classification --data {photos} --backbone squeezenet1_0 --weights {shared_data / WEIGHTS} "
        "--set backbone_options.image_size=64 --epochs 2 --batch-size 9 --seed 3 --device cpu --precision fp32 --workers 0"
    ).split()


@pytest.fixture(scope="session")
def trained(
    graft: Callable[..., Any], settings: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], str]:
    """A finished run: its directory, what it printed as JSON, what it said."""
    out = tmp_path_factory.mktemp("trained") / "run"
    done = graft("train", *settings, "--out", out, "--json")
    assert done.code == 0, done.stderr
    return out, json.loads(done.stdout), done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 16 MB; skipped where it cannot be mounted (only root may)."""
    import subprocess

    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder]).returncode:
        pytest.skip("a small file system can be mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
