"""The figure of precision over recall, class by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graftwork.vision.draw import class_colours, line_of

NAMED_UP_TO = 10
"""Classes up to which every curve has its colour and its name."""


def precision_recall_figure(recalls: Sequence[float], lines: Sequence[Mapping[str, Any]]) -> Any:
    """Precision over recall at IoU 0.5 as a matplotlib figure, classes with the largest area first.

    Args:
        recalls: 0 to 1, ascending.
        lines: of classes with objects: `class`, `ap_50`, and `precision`, one number a recall.
    """
    from matplotlib.figure import Figure as Canvas

    named = len(lines) <= NAMED_UP_TO
    figure = Canvas(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.subplots()
    colours = class_colours(len(lines))
    for index, line in sorted(enumerate(lines), key=lambda entry: (-entry[1]["ap_50"], entry[0])):
        red, green, blue = colours[index]
        colour = (red / 255, green / 255, blue / 255) if named else "#c3cad1"
        label = _label(line["class"], line["ap_50"]) if named else None
        axes.plot(recalls, line["precision"], color=colour, linewidth=2 if named else 0.8, label=label)
    if len(lines) > 1:
        mean = np.mean([line["precision"] for line in lines], axis=0)
        label = f"mean of {len(lines)} classes, AP50 {mean.mean():.2f}"
        axes.plot(recalls, mean, color="#1d2730", linewidth=2.2, linestyle=(0, (4, 2)), label=label)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.005), ylim=(0, 1.02))
    axes.grid(color="#e4e8ec", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    legend = axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _label(name: str, ap_50: float) -> str:
    # A leading underscore would hide a label from the legend.
    return f"\u200b{line_of(name)}, AP50 {ap_50:.2f}"
