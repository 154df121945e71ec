"""Result sets on disk as `graft bench` leaves them, from a few numbers: what the tests of what is said about them begin with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graftwork.bench.folder import CellRecord


@dataclass(frozen=True)
class Toy:
    """One cell. A score of None is a metric that was not finite; a state other than `finished` leaves no summary."""

    score: float | None = 0.5
    val: float = 0.5
    data: str = "shoes"
    task: str = "image-classification"
    backbone: str = "net"
    strategy: str = "full"
    labels: str = "all"
    point: str = ""
    seed: int = 0
    state: str = "finished"
    error: str | None = None
    weights: str = "imagenet"
    chance: float | None = None
    reference: float | None = None
    seconds: float = 10.0
    rows: int = 100
    tested: bool = True
    fingerprint: str = "f0"
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=lambda: {"torch": "2.9"})
    curve: Sequence[float] = (0.2, 0.4)

    @property
    def folder(self) -> str:
        parts = [self.data, self.backbone, self.strategy, self.point, self.labels, f"seed{self.seed}"]
        return ".".join(part for part in parts if part).replace("/", "-").replace("<", "-")


def write_result_set(out: Path, cells: Sequence[Toy], suite: str = "toys", summary: str = "Toys") -> Path:
    """The folder of a result set with these cells, in this order."""
    axes = ("task", "data", "backbone", "strategy", "labels", "point", "seed")
    header = [
        {
            "folder": cell.folder,
            "axes": {axis: str(getattr(cell, axis)) for axis in axes},
            "chance": cell.chance,
            "reference": cell.reference,
        }
        for cell in cells
    ]
    out.mkdir(parents=True, exist_ok=True)
    (out / "bench.json").write_text(json.dumps({"version": 1, "suite": suite, "summary": summary, "cells": header}))
    for cell in cells:
        if cell.state != "missing":
            _write_cell(out / "cells" / cell.folder, cell)
    return out


def _write_cell(folder: Path, cell: Toy) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    CellRecord(cell.state, cell.error, 1, cell.seconds, cell.seconds * 0.9, 1, "local-0", {}).write(folder)  # type: ignore[arg-type]
    if cell.state != "finished":
        return
    weights = "none" if cell.strategy == "scratch" else cell.weights
    config = {"task": cell.task, "strategy": cell.strategy, "seed": cell.seed, "weights": weights, **cell.settings}
    (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    metrics = {"accuracy": cell.score, "macro_f1": 0.1}
    summary = {
        "primary_metric": "accuracy",
        "val": {"accuracy": cell.val},
        "test": metrics if cell.tested else {},
        "chance": 0.25,
        "weights": weights,
        "seconds": 9.0,
        "fit_seconds": 8.0,
        "epochs": len(cell.curve),
        "best_epoch": 1,
        "train_rows": cell.rows,
        "validation_rows": 20,
        "test_rows": 20,
        "device": "cpu",
        "precision": "fp32",
        "peak_memory_bytes": 1_000_000,
        "parameters": {"total": 1000, "trained": 100 if cell.strategy == "probe" else 1000},
        "data": {"source": cell.data, "fingerprint": cell.fingerprint},
        "versions": dict(cell.versions),
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    lines = [{"epoch": at, "val": {"accuracy": value}} for at, value in enumerate(cell.curve, start=1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
