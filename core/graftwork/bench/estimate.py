"""What cells will cost, before anything runs: as it was timed on this machine, else a rough guess that says so. Light.

Timings are kept beside the other things that can be made again (see cache/room.py); losing them costs nothing but the estimate.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graftwork.bench.cell import Cell
from graftwork.bench.folder import plain
from graftwork.cache.room import cache_folder, write_once
from graftwork.catalogue import Catalogue
from graftwork.catalogue.references import backbone_entry
from graftwork.config import Layer, parse_limit, resolve
from graftwork.data.sources import parse_source

_KEPT = 5  # timings of one cell
_START = 4.0  # seconds: reading the data, building the model, writing the report
_UNKNOWN_ROWS = 10_000
_CLASSES = 10  # where a budget counts rows of each class
_TEXT_ROW = 80  # bytes of a row in a table of texts
_TOKENS = 32  # of a text with its padding
_IMAGE_REUSE = 250  # multiply-adds a parameter at 224 pixels: 155 in resnet18, 200 in vit-b, 700 in squeezenet
_PASSES = 3  # forward and backward
_SHARE = 0.25  # of a matrix product's speed that training reaches
_FILES = 200 << 10  # bytes of a run without its model


@dataclass(frozen=True)
class Estimate:
    """What a cell costs.

    Args:
        seconds: wall-clock.
        bytes: on disk when it has finished.
        timed: how often this cell was timed here; 0 is a rough guess.
    """

    seconds: float
    bytes: int
    timed: int


class Timings:
    """What finished cells have cost on this machine, other seeds counting as the same cell.

    Args:
        threads: that a cell computes with.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._path = cache_folder("timings") / "cells.json"
        self._known: dict[str, list[list[float]]] = self._read()

    def _read(self) -> dict[str, list[list[float]]]:
        with suppress(OSError, ValueError, TypeError):
            value = json.loads(self._path.read_text(encoding="utf-8"))
            if isinstance(value, dict):
                return {key: [[float(s), float(b)] for s, b in pairs] for key, pairs in value.items()}
        return {}

    def find(self, settings: Mapping[str, Any]) -> list[list[float]]:
        """Seconds and bytes of the last times."""
        return self._known.get(self._key(settings), [])

    def add(self, settings: Mapping[str, Any], seconds: float, size: int) -> None:
        """Remember one more. Where nothing can be kept, nothing is."""
        self._known = self._read()  # another benchmark may have written meanwhile
        key = self._key(settings)
        self._known[key] = [*self._known.get(key, []), [seconds, float(size)]][-_KEPT:]
        text = json.dumps(self._known)
        with suppress(OSError):
            write_once(self._path, lambda path: _fill(path, text))

    def _key(self, settings: Mapping[str, Any]) -> str:
        facts = plain({name: value for name, value in settings.items() if name != "seed"})
        if parse_source(str(facts["data"])).scheme == "path":
            facts["data"] = str(Path(facts["data"]).expanduser().absolute())
        text = json.dumps([facts, self._threads, os.cpu_count()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]


def _fill(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def estimate(cells: Sequence[Cell], catalogue: Catalogue, timings: Timings, keep_models: bool) -> list[Estimate]:
    """One for each cell, in their order.

    Rough guesses are put to the scale of what was timed, where some cells were and others were not.

    Args:
        cells: of a suite.
        catalogue: of this installation.
        timings: of this machine.
        keep_models: whether models stay in the run directories.
    """
    timed = [timings.find(cell.settings) for cell in cells]
    if all(timed):
        return [_of_timings(pairs) for pairs in timed]
    speed = _multiply_adds_per_second()
    rows: dict[str, int] = {}
    rough = [_rough(cell, catalogue, speed, keep_models, rows) for cell in cells]
    known = [(_of_timings(pairs).seconds, guess.seconds) for pairs, guess in zip(timed, rough, strict=True) if pairs]
    scale = statistics.median(measured / guess for measured, guess in known) if known else 1.0
    return [
        _of_timings(pairs) if pairs else Estimate(guess.seconds * scale, guess.bytes, 0)
        for pairs, guess in zip(timed, rough, strict=True)
    ]


def _of_timings(pairs: Sequence[Sequence[float]]) -> Estimate:
    return Estimate(
        statistics.median(seconds for seconds, _ in pairs), round(statistics.median(b for _, b in pairs)), len(pairs)
    )


def _rough(cell: Cell, catalogue: Catalogue, speed: float, keep_models: bool, rows: dict[str, int]) -> Estimate:
    """By the backbone's size, the rows and the epochs; right within a factor of a few at best."""
    config = resolve([Layer(cell.settings, cell.origin)], catalogue).config
    task = catalogue.task(cell.task)
    entry = backbone_entry(config.backbone, catalogue, task.modality)
    count = rows.setdefault(config.data, _rows(config.data, catalogue))
    if config.limit_train is not None:
        limit, of_each_class = parse_limit(config.limit_train)
        count = min(count, limit * _CLASSES if of_each_class else limit)
    if task.modality == "text":
        work = float(entry.parameters * _TOKENS)
    else:
        side = config.task_options.get("size") or config.backbone_options.get("image_size") or entry.input.get("size")
        side = side[-1] if isinstance(side, list | tuple) else side
        work = entry.parameters * _IMAGE_REUSE * (float(side or 224) / 224) ** 2
    seconds = _START + count * config.epochs * work * _PASSES / (speed * _SHARE)
    if config.budget is not None:
        seconds = min(seconds, _START + config.budget)
    return Estimate(seconds, _FILES + (entry.parameters * 4 if keep_models else 0), 0)


def _rows(data: str, catalogue: Catalogue) -> int:
    """Training rows as far as names and sizes of files tell."""
    source = parse_source(data)
    if source.scheme == "sample" and catalogue.find("datasets", source.name) is not None:
        return catalogue.dataset(source.name).rows
    path = Path(data).expanduser()
    if source.scheme != "path" or not path.exists():
        return _UNKNOWN_ROWS
    files = [entry for entry in path.rglob("*") if entry.is_file()] if path.is_dir() else [path]
    tables = [file for file in files if file.suffix.lower() in (".csv", ".tsv", ".jsonl", ".json", ".parquet")]
    if len(files) - len(tables) < 20 and tables:
        return max(1, max(file.stat().st_size for file in tables) // _TEXT_ROW)
    return max(1, len(files))


def _multiply_adds_per_second() -> float:
    """How fast one thread multiplies matrices here."""
    import numpy as np

    one = np.ones((512, 512), dtype=np.float32)
    one @ one
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        one @ one
        best = min(best, time.perf_counter() - started)
    return float(512**3 / best)


def wall_seconds(estimates: Sequence[Estimate], workers: int) -> float:
    """How long cells take in their order on so many workers."""
    free = [0.0] * max(1, workers)
    for cell in estimates:
        slot = free.index(min(free))
        free[slot] += cell.seconds
    return max(free)
