"""Checks of classes by their pixels, for which rows need not be read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from graftwork.data.audit import FEW_ROWS, similar_names
from graftwork.interfaces import Finding
from graftwork.vision.audit import named

IMBALANCE = 10.0
"""Pixels of the largest class by the smallest's, in training; from here on reported, from 100 times on as a warning.
Street scenes have 50 to 100 times as much road as poles, and are trained on without ado."""


def check_pixels(pixels: Mapping[str, Sequence[NDArray[np.int64]]], names: Sequence[str]) -> list[Finding]:
    """Classes without pixels, in one split only, in few pictures; imbalance by pixels; similar names.

    Args:
        pixels: of every class, int64 [classes], a row, by split.
        names: class names by index.
    """
    tables = {split: np.array(rows).reshape(len(rows), len(names)) for split, rows in pixels.items()}
    shown = {split: (table > 0).sum(axis=0) for split, table in tables.items()}
    total = np.sum(list(shown.values()), axis=0) if shown else np.zeros(len(names), dtype=np.int64)
    present = [index for index in range(len(names)) if total[index]]
    findings = similar_names(names)
    if len(present) < 2:
        only = f"only one class, {names[present[0]]!r}" if present else "no class"
        message = f"the masks show {only}; at least two are needed"
        return [*findings, Finding("one-class-only", "error", message, (), len(present))]
    absent = [names[index] for index in range(len(names)) if not total[index]]
    findings += named("empty-class", "warning", "classes of the label map without any pixel", absent)
    findings += _missing(shown, present, names)
    if "train" in tables:
        few = [f"{names[i]} ({shown['train'][i]})" for i in present if 0 < shown["train"][i] < FEW_ROWS]
        findings += named("few-rows", "warning", f"classes in fewer than {FEW_ROWS} training images", few)
        findings += _imbalance(tables["train"].sum(axis=0), names)
    return findings


def _missing(shown: Mapping[str, NDArray[np.int64]], present: Sequence[int], names: Sequence[str]) -> list[Finding]:
    homes = {index: [split for split in shown if shown[split][index]] for index in present}
    lonely = [f"{names[i]} (only {splits[0]})" for i, splits in homes.items() if len(splits) == 1 < len(shown)]
    findings = named("label-in-one-split-only", "warning", "classes that occur in one split only", lonely)
    for split in sorted(shown):
        missing = [names[i] for i, splits in homes.items() if len(splits) > 1 and split not in splits]
        findings += named("class-missing-in-split", "warning", f"classes without {split} pixels", missing)
    return findings


def _imbalance(train: NDArray[np.int64], names: Sequence[str]) -> list[Finding]:
    order = sorted((int(count), name) for count, name in zip(train, names, strict=True) if count)
    if len(order) < 2 or order[-1][0] < IMBALANCE * order[0][0]:
        return []
    (small, smallest), (large, largest) = order[0], order[-1]
    message = (
        f"the largest class, {largest!r} ({large / train.sum():.1%} of training pixels), has {large / small:,.0f} times the "
        f"pixels of the smallest, {smallest!r} ({small:,}); look at mean IoU, or use --imbalance"
    )
    level = "warning" if large >= 100 * small else "note"
    return [Finding("class-imbalance", level, message, (smallest, largest), len(order))]  # type: ignore[arg-type]
