"""A result set as Markdown, for a paper or a README."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graftwork.bench import wording
from graftwork.bench.analysis import Analysis, Comparison, Entry
from graftwork.bench.hyper import hyper_parameters
from graftwork.console import amount, byte_size, clean, duration


def to_markdown(analysis: Analysis) -> str:
    """Scores, gains, comparisons and costs as tables with the sentences that belong to them."""
    parts = [f"# {_text(analysis.suite)}", _text(analysis.summary)]
    if analysis.entries:
        parts += ["## Scores", *_untested(analysis), *_scores(analysis), "## Gain over scratch", *_gains(analysis)]
        for comparison in analysis.comparisons:
            parts += _comparison(comparison, analysis.level)
        parts += ["## Cost", _costs(analysis.entries)]
        parts += ["## Hyper-parameters", *_hyper_parameters(analysis)]
    if analysis.sweeps:
        header = ("data", "labels", "backbone", "strategy", "point", "validation", "chosen")
        parts += ["## Sweeps", "The best mean score on validation chose."]
        parts.append(
            _table(
                header,
                (
                    [s.data, s.labels, s.backbone, s.strategy, s.point, f"{s.val_score:.3f}", "yes" if s.chosen else ""]
                    for s in analysis.sweeps
                ),
            )
        )
    if analysis.failures:
        parts += ["## Failed", _table(("cell", "cause"), analysis.failures)]
    if analysis.unfinished:
        parts.append(f"Not ended yet: {len(analysis.unfinished)} of {len(analysis.rows)} cells.")
    parts += ["## How the numbers came about", " ".join(wording.protocol(analysis))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _untested(analysis: Analysis) -> list[str]:
    """Which data sets have no test split: what was chosen on validation is scored there too."""
    names = dict.fromkeys(str(row["data"]) for row in analysis.rows if row["scored_on"] == "validation")
    if not names:
        return []
    return [
        f"Without a test split, scored on validation: {_text(', '.join(names))}. Validation chose the epoch and the point "
        "as well, so these scores are too high."
    ]


def _scores(analysis: Analysis) -> list[str]:
    """A table a label budget: methods by data sets, the best of a data set in bold."""
    parts = []
    budgets = list(dict.fromkeys(entry.labels for entry in analysis.entries))
    for labels in budgets:
        entries = [entry for entry in analysis.entries if entry.labels == labels]
        data = list(dict.fromkeys(entry.data for entry in entries))
        metrics = {entry.data: entry.metric for entry in entries}
        best = {name: max(entry.score.value for entry in entries if entry.data == name) for name in data}
        methods = list(dict.fromkeys((entry.backbone, entry.strategy) for entry in entries))
        cells = {(entry.backbone, entry.strategy, entry.data): entry for entry in entries}
        rows = []
        for backbone, strategy in methods:
            found = [cells.get((backbone, strategy, name)) for name in data]
            rows.append([backbone, strategy, *(_score(entry, best) for entry in found)])
        if len(budgets) > 1:
            parts.append(f"Labels: {_text(labels)}.")
        parts.append(_table(["backbone", "strategy", *(f"{name} ({metrics[name]})" for name in data)], rows))
    return parts


def _score(entry: Entry | None, best: dict[str, float]) -> str:
    if entry is None:
        return ""
    text = wording.estimate(entry.score)
    return f"**{text}**" if entry.score.value == best[entry.data] else text


def _gains(analysis: Analysis) -> list[str]:
    found = [entry for entry in analysis.entries if entry.gain is not None]
    if not found:
        return ["No strategy with pretrained weights stands beside scratch on the same backbone."]
    budgets = len({entry.labels for entry in found}) > 1
    worse = [
        f"{entry.method} on {entry.data}" + (f" with labels {entry.labels}" if budgets else "")
        for entry in found
        if entry.gain and entry.gain.verdict == "negative"
    ]
    lines = [f"Negative transfer: {', '.join(worse)}." if worse else "No negative transfer is shown."]
    header = ["data", *(["labels"] if budgets else []), "backbone", "strategy", "gain"]
    rows = (
        [entry.data, *([entry.labels] if budgets else []), entry.backbone, entry.strategy, wording.gain(entry.gain)]
        for entry in found
    )
    return [*map(_text, lines), _table(header, rows)]


def _comparison(comparison: Comparison, level: float) -> list[str]:
    title = {"strategy": "Strategies", "backbone": "Backbones"}[comparison.of]
    rows = (
        [name, f"{rank:.2f}", wording.interval(mean)]
        for name, rank, mean in zip(comparison.names, comparison.ranks, comparison.interquartile_means, strict=True)
    )
    sentences = [_text(line) for line in wording.comparison(comparison, level)]
    return [
        f"## {title} across data sets",
        " ".join(sentences),
        _table([comparison.of, "average rank", "interquartile mean, normalised"], rows),
        "Probability that a run of the row beats one of the column:",
        _table(
            ["", *comparison.names],
            (
                [name, *("" if one == two else wording.interval(found, 2) for two, found in enumerate(line))]
                for one, (name, line) in enumerate(zip(comparison.names, comparison.improvement, strict=True))
            ),
        ),
    ]


def _hyper_parameters(analysis: Analysis) -> list[str]:
    found = hyper_parameters(analysis)
    rows = (
        [entry.data, entry.labels, entry.backbone, entry.strategy, *row]
        for entry, row in zip(analysis.entries, found.rows, strict=True)
    )
    same = _text(wording.same_everywhere(found))
    return [same, _table(["data", "labels", "backbone", "strategy", *found.names], rows)] if found.names else [same]


def _costs(entries: Sequence[Entry]) -> str:
    header = ("data", "labels", "backbone", "strategy", "time", "processor time", "peak memory", "trained")
    return _table(
        header,
        (
            [
                entry.data, entry.labels, entry.backbone, entry.strategy, duration(entry.seconds),
                duration(entry.cpu_seconds), byte_size(entry.peak_memory_bytes), amount(entry.trained),
            ]
            for entry in entries
        ),
    )  # fmt: skip


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text if text == "---" else _text(text).replace("|", "\\|")


def _text(text: str) -> str:
    """On one line, and no markup of the text's own."""
    line = clean(" ".join(text.split())).replace("<", "&lt;").replace("`", "'")
    return line.replace("_", "\\_") if "__" in line else line
