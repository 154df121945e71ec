"""graftwork's public checks on the observers that come with it, exactly as a stranger's plugin runs them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from graftwork.testing import ObserverConformance, PluginConformance


class TestCsv(ObserverConformance):
    observer = "csv"

    def finished(self, folder: Path) -> None:
        for name in ("steps.csv", "epochs.csv"):
            with (folder / name).open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
            numbers = [int(row[name.removesuffix("s.csv")]) for row in rows]
            assert numbers == sorted(set(numbers)) and numbers, f"{name} tells of {numbers}"


class TestTensorBoard(ObserverConformance):
    observer = "tensorboard"

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("tensorboard")


class TestMlflow(ObserverConformance):
    observer = "mlflow"

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("mlflow")
        pytest.importorskip("sqlalchemy")


class TestPackage(PluginConformance):
    plugin = "graftwork-track"
