"""A trained model at work stays within what the control group allows, as training does, and lets go of it afterwards."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from graftwork.catalogue import Catalogue, load_catalogue
from graftwork.config import override_layer
from graftwork.config.check import resolve_and_check
from graftwork.errors import UsageError
from graftwork.log import heard
from graftwork.machine import device, memory
from graftwork.machine.cgroup import MemoryLimit
from graftwork.run import execute
from graftwork.runs import predict as inference

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux counts a process's memory so")

SETTINGS = {
    "task": "image-classification", "data": "sample:digits", "backbone": "graftnet-s", "weights": "none", "epochs": 1,
    "limit_train": 20, "batch_size": 10, "workers": 0, "device": "cpu", "strategy": "full",
}  # fmt: skip
SAID = ["threads: 1 instead of 2, as the control group allows", "memory: the control group leaves"]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


@pytest.fixture(scope="module")
def run(catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    execute(resolve_and_check([override_layer(SETTINGS)], catalogue), catalogue, out)
    return out


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a control group with one core and 2 GiB left, on a machine with two."""
    monkeypatch.setattr(memory, "memory_limit", lambda: MemoryLimit(1 << 32, 1 << 31, "there"))
    monkeypatch.setattr(device, "usable_cores", lambda: 1)
    for name in device.THREADS:
        monkeypatch.delenv(name, raising=False)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def bound() -> int:
    return resource.getrlimit(resource.RLIMIT_DATA)[0]


def test_evaluating_keeps_within_the_control_group(run: Path, catalogue: Catalogue, group: None) -> None:
    before = bound()
    said: list[tuple[str, bool]] = []

    def say(line: str) -> None:
        said.append((line, bound() != before))

    with heard(say):
        found = inference.evaluate_run(run, "sample:digits", "test", {}, catalogue, "cpu")
    assert found["rows"] > 0
    assert [line.startswith(start) for (line, _), start in zip(said, SAID, strict=True)] == [True, True]
    assert said[1][1], "the bound stands when it is told"
    assert bound() == before and torch.get_num_threads() == 1


def test_predicting_keeps_within_the_control_group_until_the_last_prediction(
    run: Path, catalogue: Catalogue, group: None, tmp_path: Path, said: list[str]
) -> None:
    for name in ("a.png", "b.png"):
        Image.new("L", (8, 8)).save(tmp_path / name)
    before = bound()
    found = inference.predict_with(run, [str(tmp_path)], catalogue, "cpu")
    assert next(found)["input"].endswith("a.png")
    assert bound() != before and [line[:20] for line in said] == [line[:20] for line in SAID]
    assert len(list(found)) == 1
    assert bound() == before


def test_predicting_lets_go_when_it_fails_or_nobody_asks_for_more(
    run: Path, catalogue: Catalogue, group: None, tmp_path: Path
) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    before = bound()
    with pytest.raises(UsageError, match="draws no predictions"):
        list(inference.predict_with(run, [str(tmp_path)], catalogue, "cpu", draw=True))
    assert bound() == before
    found = inference.predict_with(run, [str(tmp_path)], catalogue, "cpu")
    next(found)
    assert bound() != before
    found.close()  # type: ignore[attr-defined]
    assert bound() == before
