"""Models that earlier versions left are loaded, and predict what they predicted then; see tests/artifacts/README.md."""

from __future__ import annotations

import json
import lzma
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ARTIFACTS = Path(__file__).parents[1] / "artifacts"
KEPT = sorted(file.parent for file in ARTIFACTS.glob("*/*/predictions.json"))
TASKS = {"image-classification", "text-classification", "detection", "segmentation"}


def test_every_version_left_an_artifact_of_every_task() -> None:
    versions = {folder.parent.name for folder in KEPT}
    assert "0.1.0" in versions
    for version in versions:
        assert {folder.name for folder in KEPT if folder.parent.name == version} >= TASKS


@pytest.mark.parametrize("kept", KEPT, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_an_earlier_artifact_predicts_what_it_predicted(
    command: Callable[..., Any], kept: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    shutil.copy(kept / "model.json", model)
    (model / "model.safetensors").write_bytes(lzma.decompress((kept / "model.safetensors.xz").read_bytes()))
    before = json.loads((kept / "predictions.json").read_text(encoding="utf-8"))

    inputs = [prediction["input"] for prediction in before]
    words = ["predict", model, *inputs, "--json", "--device", "cpu", "--out", tmp_path / "files"]
    done = command([sys.executable, ARTIFACTS / "graft_in_fp32.py", *words], cwd=kept)

    assert done.code == 0, done.stderr
    now = json.loads(done.stdout)
    for earlier, later in zip(before, now, strict=True):
        if "mask" in earlier:
            earlier_mask, later_mask = kept / earlier.pop("mask"), Path(later.pop("mask"))
            assert later_mask.name == earlier_mask.name and share_of_other_pixels(earlier_mask, later_mask) <= 1e-4
        assert_like(earlier, later)


def share_of_other_pixels(one: Path, other: Path) -> float:
    """From 0 to 1; another processor may decide a pixel on an edge otherwise."""
    return float((np.asarray(Image.open(one)) != np.asarray(Image.open(other))).mean())


def assert_like(earlier: Any, later: Any) -> None:
    """The same names and labels, in the same order; numbers within 1e-4, and coordinates within 1e-5 of themselves."""
    if isinstance(earlier, dict):
        assert isinstance(later, dict) and list(earlier) == list(later)
        for key, value in earlier.items():
            assert_like(value, later[key])
    elif isinstance(earlier, list):
        assert isinstance(later, list) and len(earlier) == len(later)
        for pair in zip(earlier, later, strict=True):
            assert_like(*pair)
    elif isinstance(earlier, float):
        assert later == pytest.approx(earlier, abs=1e-4, rel=1e-5)
    else:
        assert later == earlier
