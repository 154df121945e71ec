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


PADDED = {"0.1.0": {"detection", "segmentation"}}
"""Versions that padded pictures of several sizes for one another, by which predictions differed from those of each alone."""


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
    padded = kept.name in PADDED.get(kept.parent.name, ())
    companies = [[one] for one in inputs] if padded else [inputs]
    now = []
    for number, company in enumerate(companies):
        words = ["predict", model, *company, "--json", "--device", "cpu", "--out", tmp_path / f"files-{number}"]
        done = command([sys.executable, ARTIFACTS / "graft_in_fp32.py", *words], cwd=kept)
        assert done.code == 0, done.stderr
        now += json.loads(done.stdout)
    if padded:
        now = said_in_one_batch(model, [str(kept / one) for one in inputs], tmp_path / "padded", now)
    for earlier, later in zip(before, now, strict=True):
        if "mask" in earlier:
            earlier_mask, later_mask = kept / earlier.pop("mask"), Path(later.pop("mask"))
            assert later_mask.name == earlier_mask.name and share_of_other_pixels(earlier_mask, later_mask) <= 1e-4
        assert_like(earlier, later)


def said_in_one_batch(model: Path, inputs: list[str], out: Path, alone: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the model says of inputs that were padded for one another, under the names of what it says of each alone."""
    from graftwork.catalogue import load_catalogue
    from graftwork.data.loader import load_batches
    from graftwork.data.sampler import in_order
    from graftwork.models.artifact import load_artifact
    from graftwork.models.build import Builder
    from graftwork.runs.outputs import write_files

    artifact = load_artifact(model, Builder(load_catalogue()))
    rows = artifact.task.read_inputs(inputs, artifact.facts)
    examples = artifact.task.examples(rows, artifact.model.backbone.input, artifact.facts, False)
    (batch,) = load_batches(examples, in_order(len(rows), len(rows)), 0, 0)
    decoded = artifact.task.decode(artifact.model.predict(batch), artifact.facts)
    return [write_files({"input": single["input"], **said}, out) for single, said in zip(alone, decoded, strict=True)]


def share_of_other_pixels(one: Path, other: Path) -> float:
    """From 0 to 1; another processor may decide a pixel on an edge otherwise."""
    return float((np.asarray(Image.open(one)) != np.asarray(Image.open(other))).mean())


def assert_like(earlier: Any, later: Any) -> None:
    """The same names and labels, in the same order, and maybe more names; numbers within 1e-4, and coordinates within 1e-5 of
    themselves."""
    if isinstance(earlier, dict):
        assert isinstance(later, dict) and list(earlier) == [name for name in later if name in earlier]
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
