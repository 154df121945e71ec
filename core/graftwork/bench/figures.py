"""The figures of a benchmark's page: heat map, critical-difference diagram, gains, score against time, learning curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from graftwork.bench.analysis import Analysis, Comparison, Entry
from graftwork.bench.wording import half_width
from graftwork.report.figures import COLOURS, STYLE, plain

_INK, _SOFT, _LINE = "#1d2730", "#5d6873", "#e4e8ec"
_VERDICTS = {"positive": ("#2f7d4f", "o"), "negative": ("#a8321f", "X"), "not shown": ("#8a94a0", "s")}
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 2, 1.5, 2)))
_BESIDE = 3  # panels in a row
_NAMED = 8  # curves of a panel with a colour and a name; the others are grey
_WIDEST = 9  # backbones beside each other in the heat map; more stand below each other
_UNKNOWN = "#eef1f3"

Curves = Mapping[str, Sequence[Sequence[float]]]
"""Validation scores by epoch of each method, `[seeds][epochs]`."""


def heat_map(entries: Sequence[Entry]) -> Figure:
    """Data sets by backbones: the score of the strategy that did best on validation, coloured by its normalised score.

    Many backbones stand below each other, since a wide figure is shrunk to the page until nobody can read it."""
    best = best_on_validation(entries)
    rows = list(dict.fromkeys(block_name(entry, entries) for entry in entries))
    columns = list(dict.fromkeys(entry.backbone for entry in entries))
    turned = len(columns) > max(_WIDEST, len(rows))
    if turned:
        rows, columns = columns, rows
    with mpl.rc_context(STYLE):
        size = (2.2 + 1.25 * max(len(columns), 2), 0.9 + 0.55 * len(rows))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.set_xlim(0, len(columns))
        axes.set_ylim(len(rows), 0)
        colours = mpl.colormaps["YlGnBu"]
        for entry in best:
            place = (entry.backbone, block_name(entry, entries))
            row, column = place if turned else place[::-1]
            x, y = columns.index(column), rows.index(row)
            known = entry.normalised is not None
            fill = mpl.colors.to_rgb(
                colours(0.05 + 0.75 * min(1.0, max(0.0, entry.normalised or 0.0))) if known else _UNKNOWN
            )
            axes.add_patch(mpl.patches.Rectangle((x, y), 1, 1, facecolor=fill, edgecolor="#fff"))
            ink = _readable_on(fill)
            axes.text(x + 0.5, y + 0.4, f"{entry.score.value:.3f}", ha="center", va="center", fontsize=10, color=ink)
            axes.text(x + 0.5, y + 0.75, plain(entry.strategy, 16), ha="center", va="center", fontsize=7, color=ink)
        slanted = len(columns) > 6
        axes.set_xticks(
            [at + 0.5 for at in range(len(columns))], [plain(name, 24) for name in columns],
            rotation=35 if slanted else 0, ha="right" if slanted else "center",
        )  # fmt: skip
        axes.set_yticks([at + 0.5 for at in range(len(rows))], [plain(name, 32) for name in rows])
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return figure


def _readable_on(fill: tuple[float, float, float]) -> str:
    """White or ink, whichever has the higher contrast (WCAG 2: relative luminance)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in fill]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#ffffff" if luminance < 0.22 else _INK  # where both contrasts are equal


def best_on_validation(entries: Sequence[Entry]) -> list[Entry]:
    """One entry a data set, budget and backbone: that of the strategy with the best mean validation score."""
    found: dict[tuple[str, str, str], Entry] = {}
    for entry in entries:
        key = (entry.data, entry.labels, entry.backbone)
        if key not in found or entry.val_score > found[key].val_score:
            found[key] = entry
    return list(found.values())


def block_name(entry: Entry, entries: Sequence[Entry]) -> str:
    """The data set, with its budget where there are several."""
    several = len({other.labels for other in entries}) > 1
    return f"{entry.data}, {entry.labels}" if several else entry.data


def critical_differences(comparison: Comparison) -> Figure:
    """Average ranks on an axis, bars over those that Nemenyi's test does not tell apart (Demšar 2006)."""
    names, ranks = comparison.names, comparison.ranks
    left = (len(names) + 1) // 2
    depth = max(left, len(names) - left)
    bars = len(comparison.rank_cliques)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 1.3 + 0.16 * bars + 0.27 * depth), layout="constrained")
        axes = figure.subplots()
        low, high = 1.0, float(len(names))
        axes.set_xlim(low - 0.45 * (high - low) - 0.1, high + 0.45 * (high - low) + 0.1)
        axes.axis("off")
        axes.plot([low, high], [0, 0], color=_INK, linewidth=1.2)
        for tick in range(1, len(names) + 1, 1 if len(names) <= 15 else 5):
            axes.plot([tick, tick], [0, 0.18], color=_INK, linewidth=1.2)
            axes.text(tick, 0.28, str(tick), ha="center", va="bottom", fontsize=9, color=_SOFT)
        span = min(comparison.critical_difference, high - low)
        axes.plot([low, low + span], [1.15, 1.15], color=_INK, linewidth=1.6)
        for end in (low, low + span):
            axes.plot([end, end], [1.05, 1.25], color=_INK, linewidth=1.6)
        beyond = " (beyond the axis)" if comparison.critical_difference > high - low else ""
        said = f"critical difference {comparison.critical_difference:.2f}{beyond}"
        _beside(axes, (low + span, 1.15), said, to_the_right=True)
        for number, clique in enumerate(comparison.rank_cliques):
            places = [ranks[names.index(name)] for name in clique]
            height = -0.22 - 0.2 * number
            axes.plot(
                [min(places) - 0.03, max(places) + 0.03],
                [height] * 2,
                color="#d1603d",
                linewidth=3.5,
                solid_capstyle="butt",
            )
        for at, (name, rank) in enumerate(zip(names, ranks, strict=True)):
            first = at < left
            level = -0.5 - 0.2 * bars - 0.42 * (at if first else len(names) - 1 - at)
            side = low - 0.06 * (high - low) if first else high + 0.06 * (high - low)
            axes.plot([rank, rank, side], [0, level, level], color=_SOFT, linewidth=0.9)
            _beside(axes, (side, level), f"{plain(name, 28)} {rank:.2f}", to_the_right=not first)
        axes.set_ylim(-0.75 - 0.2 * bars - 0.42 * (depth - 1), 1.5)
    return figure


def _beside(axes: Any, place: tuple[float, float], text: str, to_the_right: bool) -> None:
    """Text next to a line's end. An offset and no spaces, which SVG drops at either end of a text."""
    offset, side = ((6, 0), "left") if to_the_right else ((-6, 0), "right")
    axes.annotate(text, place, xytext=offset, textcoords="offset points", ha=side, va="center", fontsize=9, color=_INK)


def gains(entries: Sequence[Entry]) -> Figure | None:
    """Gain over scratch with its interval, a line an entry; None where there is none."""
    found = [entry for entry in entries if entry.gain is not None]
    if not found:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.5, 0.9 + 0.26 * len(found)), layout="constrained")
        axes = figure.subplots()
        for at, entry in enumerate(found):
            assert entry.gain is not None
            mean, half = entry.gain.mean, half_width(entry.gain.mean)
            colour, marker = _VERDICTS[entry.gain.verdict]
            axes.errorbar(
                mean.value, at, xerr=half or 0.0, fmt=marker, color=colour, markersize=5, capsize=2.5, linewidth=1.4
            )
        axes.axvline(0, color=_INK, linewidth=1)
        names = [plain(f"{block_name(entry, entries)}  {entry.method}", 60) for entry in found]
        axes.set_yticks(range(len(found)), names, fontsize=8.5)
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.set_xlabel("test score above the same net from scratch")
        axes.grid(axis="x", color=_LINE, linewidth=0.8)
        axes.set_axisbelow(True)
        if len(found) > 40:  # taller than a screen
            axes.tick_params(top=True, labeltop=True)
    return figure


def score_against_time(analysis: Analysis) -> Figure:
    """A panel a data set: mean score over mean seconds of a cell; those that none beats in both are joined, and
    named as far as there is room."""
    styles = _styles(analysis.entries)

    def draw(axes: Any, at: int) -> None:
        front = analysis.fronts[at]
        mine = [entry for entry in analysis.entries if (entry.data, entry.labels) == (front.data, front.labels)]
        for entry in mine:
            axes.plot(entry.seconds, entry.score.value, "o", color=styles[entry.method][0], markersize=5)
        best = [analysis.entries[position] for position in front.entries]
        axes.plot([e.seconds for e in best], [e.score.value for e in best], color=_SOFT, linewidth=1, zorder=0)
        axes.set_xscale("log")
        axes.margins(x=0.35, y=0.16)
        _seconds(axes, [entry.seconds for entry in mine])
        axes.set_title(plain(block_name(mine[0], analysis.entries)), fontsize=10)
        axes.set_xlabel("seconds of a cell")
        axes.set_ylabel(plain(mine[0].metric))
        _name_points(axes, best, mine)

    return _panels(len(analysis.fronts), draw)


def _name_points(axes: Any, named: Sequence[Entry], points: Sequence[Entry]) -> None:
    """A name at each point of a front where it hides no other name or point, the best and the fastest first.

    Left above comes first: no point lies there, or it would be on the front instead."""
    width, height, size = 190.0, 128.0, 7.0  # points: a panel's axes and the font; the browser's own differs a little
    (left, right), (bottom, top) = (map(math.log, axes.get_xlim()), axes.get_ylim())
    across, up = width / (right - left), height / (top - bottom)

    def place(entry: Entry) -> tuple[float, float]:
        seconds = max(entry.seconds, math.exp(left))  # nothing at all has no place on a logarithmic axis
        return (math.log(seconds) - left) * across, (entry.score.value - bottom) * up

    taken = [(x - 2.5, y - 2.5, x + 2.5, y + 2.5) for x, y in map(place, points)]
    for entry in [*named[-1:], *named[:-1]]:
        text = plain(entry.method, 28)
        long, (x, y) = 0.56 * size * len(text), place(entry)
        for dx, dy in ((-4, 3), (4, -9), (4, 3), (-4, -9)):
            start = x + dx - (long if dx < 0 else 0)
            box = (start, y + dy, start + long, y + dy + size)
            inside = box[0] > 0 and box[2] < width and box[1] > 0 and box[3] < height
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                axes.annotate(
                    text, (entry.seconds, entry.score.value), textcoords="offset points", xytext=(dx, dy), fontsize=size,
                    ha="right" if dx < 0 else "left", va="bottom", color=_INK,
                ).set_in_layout(False)  # fmt: skip
                break


def _overlap(one: Sequence[float], two: Sequence[float]) -> bool:
    """Whether two boxes, left, bottom, right and top, share an area."""
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]


def _seconds(axes: Any, seconds: Sequence[float]) -> None:
    """Plain numbers on a logarithmic axis, few enough to be read."""
    low, high = min(seconds) / 1.6, max(seconds) * 1.6
    steps = [step * 10**power for power in range(-1, 6) for step in (1, 2, 5)]
    ticks = [step for step in steps if low <= step <= high]
    while len(ticks) > 5:
        ticks = ticks[::2]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())


def learning_curves(entries: Sequence[Entry], curves: Mapping[tuple[str, str], Curves]) -> Figure:
    """A panel a data set: the validation score by epoch, the mean over seeds with the range as a band.

    The best are named, the others grey."""
    styles = _styles(entries)
    several = len({labels for _, labels in curves}) > 1
    blocks = list(curves.items())
    long = max(len(name) for methods in curves.values() for name in methods) > 26

    def draw(axes: Any, at: int) -> None:
        (data, labels), methods = blocks[at]
        best = sorted(methods, key=lambda name: -max(_mean_curve(methods[name])))[:_NAMED]
        for name, seeds in methods.items():
            means = _mean_curve(seeds)
            epochs = range(1, len(means) + 1)
            if name not in best:
                axes.plot(epochs, means, color=_LINE, linewidth=1, zorder=0)
                continue
            colour, dash = styles[name]
            axes.plot(epochs, means, color=colour, linestyle=dash, linewidth=1.5, label=plain(name, 42))
            if len(seeds) > 1:
                columns = list(zip(*seeds, strict=False))
                lows, highs = [min(column) for column in columns], [max(column) for column in columns]
                axes.fill_between(epochs, lows, highs, color=colour, alpha=0.12, linewidth=0)
        axes.set_title(plain(f"{data}, {labels}" if several else data), fontsize=10)
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"validation {plain(next(entry.metric for entry in entries if entry.data == data))}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=1 if long else 2)

    return _panels(len(blocks), draw, height=4.2 if long else 3.7)


def _mean_curve(seeds: Sequence[Sequence[float]]) -> list[float]:
    """The mean of each epoch, up to the shortest run's last."""
    return [sum(column) / len(column) for column in zip(*seeds, strict=False)]


def _styles(entries: Sequence[Entry]) -> dict[str, tuple[str, Any]]:
    """A colour and a line a method, the same in every figure."""
    methods = list(dict.fromkeys(entry.method for entry in entries))
    return {
        name: (COLOURS[at % len(COLOURS)], _DASHES[at // len(COLOURS) % len(_DASHES)])
        for at, name in enumerate(methods)
    }


def _panels(count: int, draw: Callable[[Any, int], None], height: float = 2.9) -> Figure:
    columns = min(count, _BESIDE)
    lines = math.ceil(count / columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(4.6, 3.6 * columns), height * lines), layout="constrained")
        grid = figure.subplots(lines, columns, squeeze=False)
        for at, axes in enumerate(grid.flat):
            if at < count:
                draw(axes, at)
                axes.grid(axis="y", color=_LINE, linewidth=0.8)
                axes.set_axisbelow(True)
            else:
                axes.axis("off")
    return figure
