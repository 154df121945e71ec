"""The HTML page of a result set: everything that is said about it, one file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from graftwork.bench import figures, wording
from graftwork.bench.analysis import Analysis, Comparison, Entry
from graftwork.bench.folder import CELLS
from graftwork.bench.hyper import hyper_parameters
from graftwork.console import amount, byte_size, clean, duration
from graftwork.errors import UsageError
from graftwork.files.atomic import write_file
from graftwork.interfaces import Figure, Section, Table, Text
from graftwork.report.page import draw_sections, fill
from graftwork.report.view import load_view
from graftwork.runs.directory import REPORT

SCRIPT = """for (const head of document.querySelectorAll("table.sortable th")) head.firstChild.onclick = () => {
  const at = head.cellIndex, body = head.closest("table").tBodies[0], before = head.getAttribute("aria-sort");
  const down = before ? before === "ascending" : head.classList.contains("number");
  const key = row => { const cell = row.cells[at], value = cell.dataset.value;
    return value === undefined ? cell.textContent : Number(value); };
  const empty = row => row.cells[at].textContent === "" ? 1 : 0;
  const order = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  const rows = [...body.rows].sort((a, b) => empty(a) - empty(b) || order(key(a), key(b)) * (down ? -1 : 1));
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  body.append(...rows);
};
"""
"""The one script: it sorts the rows of a table, numbers from the highest and texts from A at first. Cells without a text go
last, equal ones keep their order."""


def write_page(analysis: Analysis, out: Path) -> Path:
    """Write report.html of a result set; the same result set gives the same bytes.

    Args:
        analysis: of `comparisons.analyse`.
        out: the result set's folder; learning curves are read from its cells.

    Returns:
        The page.
    """
    values = {
        "title": analysis.suite,
        "summary": analysis.summary,
        "notices": [clean(line) for line in _notices(analysis)],
        "cards": _cards(analysis),
        "results": _results(analysis) if analysis.entries else None,
        "sections": draw_sections(list(_sections(analysis, out))),
        "failures": _failures(analysis),
        "protocol": wording.protocol(analysis),
        "circumstances": _circumstances(analysis),
        "script": Markup(SCRIPT),
        "script_hash": base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode("ascii"),
    }
    page = out / REPORT
    write_file(page, fill("bench.html.j2", values).encode())
    return page


def _notices(analysis: Analysis) -> list[str]:
    lines = []
    if analysis.unfinished:
        lines.append(
            f"{len(analysis.unfinished)} of {len(analysis.rows)} cells have not ended yet: go on with --resume."
        )
    worse = [entry for entry in analysis.entries if entry.gain is not None and entry.gain.verdict == "negative"]
    if worse:
        names = ", ".join(f"{entry.method} on {figures.block_name(entry, analysis.entries)}" for entry in worse)
        lines.append(f"Negative transfer, worse than the same net from scratch: {names}.")
    return lines


def _cards(analysis: Analysis) -> list[dict[str, str]]:
    finished = [row for row in analysis.rows if row["state"] == "finished"]
    data = list(dict.fromkeys(entry.data for entry in analysis.entries))
    seeds = {seed for entry in analysis.entries for seed in entry.seeds}
    failed = len(analysis.failures)
    tasks = len({entry.task for entry in analysis.entries})
    return [
        _card("cells", f"{len(finished)} of {len(analysis.rows)}", f"{failed} failed" if failed else "none failed"),
        _card("data sets", str(len(data)), f"{tasks} task{'' if tasks == 1 else 's'}"),
        _card("seeds", str(len(seeds)), f"{analysis.level:.0%} intervals" if len(seeds) > 1 else "no intervals"),
        _card(
            "time of all cells",
            duration(sum(row["seconds"] or 0.0 for row in finished)),
            f"processor time {duration(sum(row['cpu_seconds'] or 0.0 for row in finished))}",
        ),
    ]


def _card(label: str, value: str, note: str) -> dict[str, str]:
    return {"label": label, "value": value, "note": note}


def _results(analysis: Analysis) -> dict[str, Any]:
    """The main table: a row an entry, a cell with what is shown and what it is sorted by."""
    budgets = len({entry.labels for entry in analysis.entries}) > 1
    points = any(entry.point for entry in analysis.entries)
    best: dict[tuple[str, str], float] = {}
    for entry in analysis.entries:
        key = (entry.data, entry.labels)
        best[key] = max(best.get(key, entry.score.value), entry.score.value)
    titles = ["data", *(["labels"] if budgets else []), "backbone", "strategy", *(["point"] if points else [])]
    numbers = [
        "score",
        "validation",
        "normalised",
        "gain over scratch",
        "time",
        "processor time",
        "peak memory",
        "trained",
    ]
    columns = [_column(name) for name in titles] + [_column(name, numeric=True) for name in numbers]
    rows = []
    for entry in analysis.entries:
        names = [entry.data, *([entry.labels] if budgets else []), entry.backbone, entry.strategy]
        names += [entry.point] if points else []
        rows.append([*(_cell(name) for name in names), *_numbers(entry, best[entry.data, entry.labels])])
    columns.append(_column("runs"))
    for row, entry in zip(rows, analysis.entries, strict=True):
        runs = zip(entry.seeds, entry.folders, strict=True)
        links = [(f"seed {seed}", f"{CELLS}/{quote(folder)}/{REPORT}") for seed, folder in runs]
        row.append(_cell("", links=links))
    return {"columns": columns, "rows": rows}


def _numbers(entry: Entry, best: float) -> list[dict[str, Any]]:
    gain = entry.gain
    marks = {"positive": "positive", "negative": "negative", "not shown": "quiet"}
    return [
        _cell(wording.estimate(entry.score), entry.score.value, "best" if entry.score.value == best else ""),
        _cell(f"{entry.val_score:.3f}", entry.val_score),
        _cell("" if entry.normalised is None else f"{entry.normalised:.2f}", entry.normalised),
        _cell(wording.gain(gain), gain.mean.value if gain else None, marks[gain.verdict] if gain else ""),
        _cell(duration(entry.seconds), round(entry.seconds, 3)),
        _cell(duration(entry.cpu_seconds), round(entry.cpu_seconds, 3)),
        _cell(byte_size(entry.peak_memory_bytes), entry.peak_memory_bytes),
        _cell(amount(entry.trained), entry.trained),
    ]


def _column(name: str, numeric: bool = False) -> dict[str, Any]:
    return {"name": name, "numeric": numeric}


def _cell(
    text: str, value: float | None = None, mark: str = "", links: Sequence[tuple[str, str]] = ()
) -> dict[str, Any]:
    return {"text": text, "value": value, "mark": mark, "links": links}


def _failures(analysis: Analysis) -> dict[str, Any] | None:
    if not analysis.failures:
        return None
    rows = [[_cell(folder), _cell(cause, mark="words")] for folder, cause in analysis.failures]
    return {"columns": [_column("cell"), _column("cause")], "rows": rows}


def _sections(analysis: Analysis, out: Path) -> Iterable[Section]:
    entries = analysis.entries
    if not entries:
        return
    caption = "Test score of the strategy that did best on validation; the colour is the normalised score."
    yield Section("Data sets and backbones", [Figure(figures.heat_map(entries), caption)])
    gains = figures.gains(entries)
    if gains is not None:
        caption = "Mean over seeds with its interval. Green circle: better; red cross: worse; grey square: not shown."
        yield Section("What transfer brings", [Figure(gains, caption)])
    for comparison in analysis.comparisons:
        yield _across(comparison, analysis.level)
    caption = (
        "A point a method; the line joins those that no other beats in both score and time, named where there is room."
    )
    yield Section("Score and time", [Figure(figures.score_against_time(analysis), caption)])
    curves = _curves(entries, out)
    if curves:
        caption = "Mean over seeds; the band is the range. Of many methods the best eight are named, the others grey."
        yield Section("Learning curves", [Figure(figures.learning_curves(entries, curves), caption)])
    yield _hyper_parameters(analysis)
    if analysis.sweeps:
        rows = [
            [s.data, s.labels, s.backbone, s.strategy, s.point, s.val_score, "chosen" if s.chosen else ""]
            for s in analysis.sweeps
        ]
        titles = ["data", "labels", "backbone", "strategy", "point", "validation", ""]
        yield Section("Sweeps", [Text("The best mean score on validation chose."), Table(titles, rows)])


def _hyper_parameters(analysis: Analysis) -> Section:
    found = hyper_parameters(analysis)
    methods = [(entry.data, entry.labels, entry.backbone, entry.strategy) for entry in analysis.entries]
    table = Table(
        ["data", "labels", "backbone", "strategy", *found.names],
        [[*method, *row] for method, row in zip(methods, found.rows, strict=True)],
    )
    return Section("Hyper-parameters", [Text(wording.same_everywhere(found)), *([table] if found.names else [])])


def _across(comparison: Comparison, level: float) -> Section:
    title = {"strategy": "Strategies", "backbone": "Backbones"}[comparison.of]
    ranked = [
        [name, f"{rank:.2f}", wording.interval(mean)]
        for name, rank, mean in zip(comparison.names, comparison.ranks, comparison.interquartile_means, strict=True)
    ]
    improvement = [
        [name, *("" if one == two else wording.interval(found, 2) for two, found in enumerate(line))]
        for one, (name, line) in enumerate(zip(comparison.names, comparison.improvement, strict=True))
    ]
    return Section(
        f"{title} across data sets",
        [
            *(Text(clean(line)) for line in wording.comparison(comparison, level)),
            Figure(
                figures.critical_differences(comparison),
                "Average ranks, 1 is best; a bar joins what is not told apart.",
            ),
            Table([comparison.of, "average rank", "interquartile mean, normalised"], ranked),
            Text("Probability that a run of the row beats one of the column:"),
            Table(["", *comparison.names], improvement),
        ],
    )


def _curves(entries: Sequence[Entry], out: Path) -> dict[tuple[str, str], dict[str, list[list[float]]]]:
    """The primary metric on validation by epoch; runs that ended at different epochs are cut to the shortest."""
    found: dict[tuple[str, str], dict[str, list[list[float]]]] = {}
    for entry in entries:
        for folder in entry.folders:
            try:
                epochs = load_view(out / CELLS / folder).epochs
            except UsageError:  # the table can be kept without its runs
                continue
            scores = [line["val"].get(entry.metric) for line in epochs if isinstance(line.get("val"), dict)]
            if scores and all(isinstance(score, int | float) for score in scores):
                found.setdefault((entry.data, entry.labels), {}).setdefault(entry.method, []).append(scores)
    return found


def _circumstances(analysis: Analysis) -> list[tuple[str, str]]:
    """What was the same in all cells, and where it was not, everything that occurred."""
    finished = [row for row in analysis.rows if row["state"] == "finished"]
    columns = {"device": "device", "precision": "precision", "threads": "threads of a cell"}
    found = [(title, ", ".join(dict.fromkeys(str(row[name]) for row in finished))) for name, title in columns.items()]
    versions: dict[str, dict[str, None]] = {}
    for row in finished:
        for name, version in json.loads(row["versions"]).items():
            versions.setdefault(name, {})[str(version)] = None
    return [*found, *((name, ", ".join(seen)) for name, seen in versions.items())] if finished else []
