"""The classification part of a report: confusion matrix, classes, calibration. A plugin shows its mistakes itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graftwork.interfaces import Evaluation, Facts, Figure, Section, Table, Text

NUMBERS_UP_TO = 20
"""Classes up to which the confusion matrix shows its numbers."""

NAMES_UP_TO = 60
"""Classes up to which its axes show the names."""


def classification_sections(evaluation: Evaluation, facts: Facts) -> list[Section]:
    """Sections for one split, by what a label is; a part whose facts are missing is left out."""
    details = evaluation.details
    kind = facts.get("labels", "single")
    if kind == "multi":
        return _several(details, facts)
    if kind == "number":
        return _numbers(details)
    classes = [str(name) for name in details.get("classes") or facts["classes"]]
    sections = []
    if details.get("confusion"):
        sections.append(Section("Confusion matrix", _confusion(details["confusion"], classes)))
    if details.get("per_class"):
        sections.append(Section("Classes", _classes(details["per_class"], facts)))
    if details.get("calibration"):
        sections.append(Section("Calibration", _calibration(details["calibration"], evaluation.metrics)))
    return sections


def wrong_rows(evaluation: Evaluation, classes: Sequence[str]) -> list[tuple[int, str]] | None:
    """Rows with another class than said: (row, true class), the surest first; None without the data."""
    rows = evaluation.rows
    if rows is None or "label" not in rows.column_names:
        return None
    truth = [classes[label] for label in rows["label"][:]]
    pairs = enumerate(zip(truth, evaluation.predictions, strict=False))
    wrong = sorted((-line["confidence"], at) for at, (true, line) in pairs if line["label"] != true)
    return [(at, truth[at]) for _, at in wrong]


def _several(details: Mapping[str, Any], facts: Facts) -> list[Section]:
    trained = dict(zip(facts["classes"], facts["train_counts"], strict=True))
    few, lines = _lowest(sorted(details.get("per_class", ()), key=lambda line: line["f1"]))
    table = Table(
        ("class", "average precision", "F1", "rows", "training rows"),
        [(short(x["class"]), x["average_precision"], x["f1"], x["rows"], trained.get(x["class"])) for x in lines],
    )
    chosen = Text(
        f"A class is named from a probability of {details.get('threshold', 0.5):.3f} on, chosen on validation."
    )
    return [Section("Classes", [chosen, *few, table])]


def _numbers(details: Mapping[str, Any]) -> list[Section]:
    from matplotlib.figure import Figure as Canvas

    points = np.asarray(details.get("points") or np.zeros((0, 2)))
    figure = Canvas(figsize=(5.2, 5.0), layout="constrained")
    axes = figure.subplots()
    axes.plot(points[:, 0], points[:, 1], ".", color="#1f6f8b", alpha=0.5)
    if len(points):
        ends = [points.min(), points.max()]
        axes.plot(ends, ends, linestyle=(0, (4, 3)), color="#8a94a0", linewidth=1)
    axes.set(xlabel="true", ylabel="predicted")
    axes.spines[["top", "right"]].set_visible(False)
    return [Section("Predicted and true", [Figure(figure, "On the dashed line a prediction is right.")])]


def _confusion(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> list[Any]:
    counts = np.asarray(confusion, dtype=np.int64)
    caption = "Rows: true class. Columns: predicted. Colour: share of the row."
    return [Figure(confusion_figure(counts, classes), caption), *_confusions(counts, classes)]


def confusion_figure(counts: np.ndarray, classes: Sequence[str]) -> Any:
    """The confusion matrix [C, C] as a matplotlib figure, each row coloured by its shares."""
    from matplotlib.figure import Figure as Canvas

    size = len(classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    inches = min(max(2.6 + 0.42 * size, 4.0), 11.0)
    figure = Canvas(figsize=(inches + 1.0, inches), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("true")
    axes.set_xlabel("predicted")
    if size <= NAMES_UP_TO:
        small = 9 if size <= NUMBERS_UP_TO else 6
        names = [short(name, 24) for name in classes]
        axes.set_xticks(
            range(size), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=small, parse_math=False
        )
        axes.set_yticks(range(size), names, fontsize=small, parse_math=False)
    if size <= NUMBERS_UP_TO:
        for true, predicted in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[true, predicted] > 0.5 else "#1d2730"
            axes.text(predicted, true, f"{counts[true, predicted]}", ha="center", va="center", fontsize=9, color=colour)
    else:
        figure.colorbar(image, shrink=0.6, label="share of the true class")
    return figure


def _confusions(counts: np.ndarray, classes: Sequence[str]) -> list[Any]:
    """The largest cells beside the diagonal, as a table: a large matrix cannot be read."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    rows = counts.sum(axis=1)
    order = np.argsort(-wrong, axis=None, kind="stable")[:8]
    cells = [divmod(int(cell), len(classes)) for cell in order]
    lines = [
        (
            short(classes[true]),
            short(classes[said]),
            int(wrong[true, said]),
            f"{100 * wrong[true, said] / rows[true]:.0f} %",
        )
        for true, said in cells
        if wrong[true, said]
    ]
    if not lines:
        return [Text("No row was classified wrongly.")]
    return [Text("Most frequent confusions:"), Table(("true", "predicted", "rows", "of its class"), lines)]


def _classes(lines: Sequence[Mapping[str, Any]], facts: Facts) -> list[Any]:
    blocks, lines = _lowest(lines)
    trained = dict(zip(facts.get("classes", ()), facts.get("train_counts", ()), strict=False))
    table = Table(
        ("class", "precision", "recall", "F1", "rows", "training rows"),
        [
            (
                short(line["class"]),
                line["precision"],
                line["recall"],
                line["f1"],
                line["rows"],
                trained.get(line["class"]),
            )
            for line in lines
        ],
    )
    return [*blocks, table]


def _lowest(lines: Sequence[Mapping[str, Any]]) -> tuple[list[Any], Sequence[Mapping[str, Any]]]:
    """The lines of classes that a table has room for, after a paragraph that says so where some are left out."""
    if len(lines) <= NAMES_UP_TO:
        return [], lines
    shown = sorted((line for line in lines if line["rows"]), key=lambda line: line["f1"])[:NAMES_UP_TO]
    told = f"The {len(shown)} of {len(lines)} classes with the lowest F1 among those that have rows."
    return [Text(told)], shown


def _calibration(bins: Sequence[Mapping[str, Any]], metrics: Mapping[str, float]) -> list[Any]:
    caption = (
        "Bars: accuracy of the rows in each confidence bin; dots: their mean confidence. On the dashed line a model is "
        "as often right as it says."
    )
    blocks: list[Any] = [Figure(calibration_figure(bins), caption)]
    rows = sum(line["count"] for line in bins)
    gap = sum((line["confidence"] - line["accuracy"]) * line["count"] for line in bins) / max(rows, 1)
    if "ece" in metrics:
        leaning = "more sure than right" if gap > 0 else "less sure than right"
        blocks.append(
            Text(
                f"Expected calibration error {metrics['ece']:.3f}. On average the model is {leaning}, "
                f"by {100 * abs(gap):.1f} percentage points."
            )
        )
    return blocks


def calibration_figure(bins: Sequence[Mapping[str, Any]]) -> Any:
    """A reliability diagram (Niculescu-Mizil & Caruana 2005) over a histogram of the confidences."""
    from matplotlib.figure import Figure as Canvas

    figure = Canvas(figsize=(5.2, 5.0), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    start = [line["from"] for line in bins]
    width = [line["to"] - line["from"] for line in bins]
    upper.plot([0, 1], [0, 1], linestyle=(0, (4, 3)), color="#8a94a0", linewidth=1)
    upper.bar(start, [line["accuracy"] for line in bins], width, align="edge", color="#9cc3d1", edgecolor="white")
    upper.plot([line["confidence"] for line in bins], [line["accuracy"] for line in bins], "o", color="#1f6f8b")
    lower.bar(start, [line["count"] for line in bins], width, align="edge", color="#b9c1c9", edgecolor="white")
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    lower.set(ylabel="rows", xlabel="confidence")
    return figure


def short(name: str, limit: int = 80) -> str:
    """A class name as the page shows it: one line, printable, of limited length."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in name).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
