"""Figures and pictures as text inside a page: matplotlib to SVG, PIL to data URIs, and the learning curves."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import re
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from graftwork.report.view import RunView

COLOURS = ("#1f6f8b", "#d1603d", "#5b8c5a", "#7d5ba6", "#b8860b", "#c2528b", "#3d3d8f", "#6b6b6b")

STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: searchable, small, and the browser knows every script
    "font.family": ["sans-serif"],
    "font.size": 10,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a94a0",
    "axes.labelcolor": "#3b4650",
    "xtick.color": "#3b4650",
    "ytick.color": "#3b4650",
}
_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def to_svg(figure: Figure, salt: str) -> str:
    """The figure as an `<svg>` element; the same figure and salt give the same text.

    Args:
        figure: not tied to pyplot.
        salt: differs between the figures of a page, since its ids must.
    """
    target = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": salt}), warnings.catch_warnings():
        # A script that matplotlib's own font lacks is drawn by the browser.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        figure.savefig(target, format="svg", metadata=_METADATA, bbox_inches="tight", transparent=True)
    text = target.getvalue()
    text = text[text.index("<svg") :]
    head, body = text.split(">", 1)
    width = re.search(r' width="([\d.]+)pt"', head)
    pixels = round(float(width[1]) * 4 / 3) if width else 800
    head = re.sub(r' (width|height)="[\d.]+pt"', "", head)
    # Its style sheet would reach every other element of the page.
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)
    # Names such as "axes_1" stand in every figure; a page must not hold an id twice.
    mark = hashlib.sha256(salt.encode()).hexdigest()[:6]
    body = re.sub(r'<g id="([A-Za-z0-9.]+_\d+)"', rf'<g id="{mark}_\1"', body)
    return (
        f'{head} style="width:100%;max-width:{pixels}px;min-width:{min(pixels, 560)}px;height:auto" role="img">{body}'
    )


def to_data_uri(image: Any, side: int) -> str:
    """A PIL image as a JPEG in a `data:` URI, its longer side `side` pixels at most."""
    small = image.convert("RGB")
    small.thumbnail((side, side))
    target = io.BytesIO()
    small.save(target, format="JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(target.getvalue()).decode("ascii")


def learning_curves(views: Sequence[RunView], names: Sequence[str]) -> Figure | None:
    """Training loss and the validation metrics by epoch; None when no epoch has ended.

    One run shows all its metrics with its phases and best epoch, several show the primary metric of each.

    Args:
        views: one or more runs.
        names: what to call them, in the same order.
    """
    if not any(view.epochs for view in views):
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        for index, (view, name) in enumerate(zip(views, names, strict=True)):
            colour = COLOURS[index % len(COLOURS)]
            epochs = [line["epoch"] for line in view.epochs]
            loss = [_number(line.get("train_loss")) for line in view.epochs]
            left.plot(epochs, loss, "o-", color=colour, markersize=3.5, label=plain(name), linewidth=1.8)
            _draw_metrics(right, view, name, colour, alone=len(views) == 1)
        alone = len(views) == 1
        left.set_ylabel("training loss")
        right.set_ylabel("validation" if alone else f"validation {plain(views[0].primary_metric)}")
        for axes in (left, right):
            axes.set_xlabel("epoch")
            axes.grid(axis="y", color="#e4e8ec", linewidth=0.8)
            axes.set_axisbelow(True)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if alone:
                _draw_phases(axes, views[0])
        (right if alone else left).legend(frameon=False, fontsize=9)
    return figure


def plain(text: object, limit: int = 40) -> str:
    """Text for a figure: one line, no control characters, of limited length."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in str(text)).split())
    # A leading underscore would hide a label from matplotlib's legend.
    line = "\u200b" + line if line.startswith("_") else line
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _draw_metrics(axes: Any, view: RunView, name: str, colour: str, alone: bool) -> None:
    primary = view.primary_metric
    measured = list(dict.fromkeys(key for line in view.epochs for key in line.get("val") or {}))
    others = [metric for metric in measured if metric != primary] if alone else []
    for index, metric in enumerate([primary, *others]):
        points = [
            (line["epoch"], _number(line["val"][metric])) for line in view.epochs if metric in (line.get("val") or {})
        ]
        first = index == 0
        axes.plot(
            [epoch for epoch, _ in points],
            [value for _, value in points],
            "o-" if first else "-",
            color=colour if first else COLOURS[index % len(COLOURS)],
            linewidth=2.2 if first else 1.1,
            markersize=3.5,
            label=plain(metric if alone else name),
        )
        best = [point for point in points if first and point[0] == view.best_epoch]
        if best:
            axes.plot(*best[0], marker="*", markersize=13, color=colour, label="best epoch" if alone else None)


def _draw_phases(axes: Any, view: RunView) -> None:
    """A line where the phase changes, with the name of the one that starts there."""
    phases = [str(line.get("phase", "")) for line in view.epochs]
    for before, after, line in zip(phases, phases[1:], view.epochs[1:], strict=False):
        if before != after:
            at = line["epoch"] - 0.5
            axes.axvline(at, color="#8a94a0", linewidth=1, linestyle=(0, (4, 3)))
            axes.annotate(plain(after, 24), (at, 1.0), xycoords=("data", "axes fraction"), xytext=(3, -2),
                          textcoords="offset points", va="top", fontsize=8, color="#5d6873")  # fmt: skip


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
