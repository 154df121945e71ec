"""A run directory as plain values, read leniently: a run that was killed has no summary yet, and gets a page all the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from graftwork.errors import GraftworkError, UsageError
from graftwork.files.yaml import read_yaml

if TYPE_CHECKING:
    import pyarrow as pa

EVIDENCE = ("config.yaml", "plan.json", "metrics.jsonl", "summary.json")
"""One of these makes a directory a run directory."""

_TOGETHER = 1000  # rows


@dataclass(frozen=True)
class RunView:
    """What a run directory holds. What is not there is empty.

    Args:
        name: the directory's name.
        config: config.yaml, every setting of the run.
        plan: plan.json: phases, settings with their origin, what of the weights fitted.
        epochs: metrics.jsonl, a dict an epoch, in order, one for each epoch.
        summary: summary.json; empty while the run has not finished.
        data: data.json: source, findings, rows by split, facts, fingerprint.
        predictions: predictions/test.parquet, a dict a row.
        details: predictions/test.json, what the metrics know beside numbers.
        problems: files that are there and could not be read, one line each.
    """

    name: str
    config: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    predictions: Sequence[dict[str, Any]] = ()
    details: dict[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether the run came to its summary."""
        return bool(self.summary)

    @property
    def primary_metric(self) -> str:
        """The metric that chose the best epoch; of an unfinished run the first that was measured, or `accuracy`."""
        measured = next((list(line["val"]) for line in self.epochs if line.get("val")), [])
        return str(self.summary.get("primary_metric") or (measured[0] if measured else "accuracy"))

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights were kept; of an unfinished run the best so far."""
        if isinstance(self.summary.get("best_epoch"), int):
            return int(self.summary["best_epoch"])
        name = self.primary_metric
        scored = [(line["val"][name], -line["epoch"]) for line in self.epochs if name in (line.get("val") or {})]
        return -max(scored)[1] if scored else None


def load_view(run_dir: Path) -> RunView:
    """Read a run directory.

    Raises:
        UsageError: it is no run directory.
    """
    run_dir = Path(run_dir)
    if not any((run_dir / name).is_file() for name in EVIDENCE):
        raise UsageError(
            "is no run directory", where=str(run_dir), hint=f"A run directory holds {', '.join(EVIDENCE[:3])}"
        )
    problems: list[str] = []
    config: dict[str, Any] = {}
    if (run_dir / "config.yaml").is_file():
        try:
            config, _ = read_yaml(run_dir / "config.yaml")
        except GraftworkError as error:
            problems.append(f"config.yaml: {error.what}")
    return RunView(
        name=run_dir.resolve().name,
        config=config,
        plan=_read_json(run_dir / "plan.json", problems),
        epochs=_read_epochs(run_dir / "metrics.jsonl", problems),
        summary=_read_json(run_dir / "summary.json", problems),
        data=_read_json(run_dir / "data.json", problems),
        predictions=_read_predictions(run_dir / "predictions" / "test.parquet", problems),
        details=_read_json(run_dir / "predictions" / "test.json", problems),
        problems=tuple(problems),
    )


def _read_json(path: Path, problems: list[str]) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problems.append(f"{path.name}: {error}")
        return {}
    if not isinstance(value, dict):
        problems.append(f"{path.name}: not a JSON object")
        return {}
    return value


def _read_epochs(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    """A resumed run may have written an epoch twice: the later line counts."""
    if not path.is_file():
        return []
    found: dict[int, dict[str, Any]] = {}
    for number, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        try:
            line = json.loads(text)
            found[int(line["epoch"])] = line
        except (ValueError, KeyError, TypeError):
            problems.append(f"{path.name}: line {number} is not an epoch")
    return [found[epoch] for epoch in sorted(found)]


class _Lines(Sequence[dict[str, Any]]):
    """A table's rows as dicts, made when they are asked for: all of them at once would take ten times the memory."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        row: dict[str, Any] = self._table.slice(range(len(self))[index], 1).to_pylist()[0]
        return row

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self._table.to_batches(max_chunksize=_TOGETHER):
            yield from batch.to_pylist()


def _read_predictions(path: Path, problems: list[str]) -> Sequence[dict[str, Any]]:
    if not path.is_file():
        return ()
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    try:
        return _Lines(parquet.read_table(path.absolute()))
    except (OSError, arrow.ArrowException) as error:
        problems.append(f"{path.name}: {error}")
        return ()
