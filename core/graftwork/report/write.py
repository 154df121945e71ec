"""Writes the page of one run, or of several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graftwork.catalogue import Catalogue
from graftwork.catalogue.references import CARD
from graftwork.config import RunConfig, validate
from graftwork.errors import GraftworkError
from graftwork.files.atomic import write_file
from graftwork.interfaces import Evaluation, Section
from graftwork.models.artifact import load_artifact
from graftwork.models.build import Builder
from graftwork.report.compare import compare
from graftwork.report.render import render
from graftwork.report.view import RunView, load_view
from graftwork.runs.data import RunData, read_data


def write_report(runs: Sequence[Path], out: Path, catalogue: Catalogue, data: RunData | None = None) -> Path:
    """Write a self-contained HTML page.

    Args:
        runs: run directories; one gives its page, several a comparison.
        out: the file.
        catalogue: of this installation.
        data: of the one run, when it is at hand; read again otherwise, for the pictures.

    Returns:
        The file.
    """
    views = [load_view(run) for run in runs]
    page = compare(views) if len(views) > 1 else render(views[0], _sections(runs[0], views[0], catalogue, data))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_file(out, page.encode())
    return out


def _sections(run: Path, view: RunView, catalogue: Catalogue, data: RunData | None) -> list[Section]:
    """What the run's task has to show; nothing for a run that has not finished."""
    if not view.predictions or not (run / CARD).is_file():
        return []
    artifact = load_artifact(run, Builder(catalogue))
    data = data or _read_again(view, catalogue)
    rows = data.tables.splits.get("test") if data else None
    if rows is not None and len(rows) != len(view.predictions):
        rows = None
    metrics: dict[str, Any] = view.summary.get("test") or {}
    evaluation = Evaluation("test", metrics, view.details, view.predictions, rows, artifact.model)
    return artifact.task.sections(evaluation, artifact.facts)


def _read_again(view: RunView, catalogue: Catalogue) -> RunData | None:
    """The run's data when it is still there and the same; a page without pictures otherwise."""
    try:
        config: RunConfig = validate(view.config)
        data = read_data(config, Builder(catalogue))
    except GraftworkError:
        return None
    return data if data.fingerprint == view.data.get("fingerprint") else None
