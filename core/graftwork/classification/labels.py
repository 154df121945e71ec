"""What a label is, one class, several classes or a number, and what follows: strata, facts, metrics, decoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graftwork.interfaces import Facts, Metrics, Predictions

BINS = 10
"""Strata of labels that are numbers: tenths of the rows."""

PRIMARY = {"single": "accuracy", "multi": "map", "number": "spearman"}
"""The metric that chooses the best epoch, by what a label is."""

THRESHOLD = 0.5
"""Probability above which a class is named, until validation has chosen another."""


def strata(labels: Sequence[Any], kind: str) -> list[int]:
    """A class for every row, to split and to balance by.

    Args:
        labels: class indices, lists of class indices, or numbers, by `kind`.
        kind: `single`, `multi` (a row's rarest class; rows without any are a class of their own) or `number` (tenths).
    """
    if kind == "single":
        return list(labels)
    if not len(labels):
        return []
    if kind == "number":
        values = np.asarray(labels, dtype=np.float64)
        edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
        found: list[int] = np.searchsorted(edges, values, side="right").tolist()
        return found
    counts: dict[int, int] = {}
    for row in labels:
        for label in row:
            counts[label] = counts.get(label, 0) + 1
    return [min(row, key=lambda label: (counts[label], label)) + 1 if len(row) else 0 for row in labels]


def facts_of(labels: Sequence[Any], names: Sequence[str], kind: str) -> Facts:
    """The facts of training labels: `labels`, `classes`, `train_counts`, `train_rows`; of numbers `mean` and `std`."""
    facts: Facts = {"labels": kind, "classes": list(names), "train_counts": [0] * len(names), "train_rows": len(labels)}
    if kind == "number":
        values = np.asarray(labels, dtype=np.float64)
        return {**facts, "mean": float(values.mean()), "std": float(values.std())}
    for row in labels:
        for label in row if kind == "multi" else (row,):
            facts["train_counts"][label] += 1
    return facts


def targets_of(labels: Sequence[Any], facts: Facts) -> tuple[str, Tensor]:
    """The targets of all rows, and their name: `label` int64 [N], `labels` float32 [N, classes] or `value` float32 [N]."""
    kind = facts.get("labels", "single")
    if kind == "number":
        return "value", torch.tensor(labels, dtype=torch.float32)
    if kind == "single":
        return "label", torch.tensor(labels, dtype=torch.int64)
    hot = torch.zeros(len(labels), len(facts["classes"]), dtype=torch.float32)
    for row, present in enumerate(labels):
        hot[row, list(present)] = 1
    return "labels", hot


def chance(facts: Facts) -> float:
    """What guessing is expected to score in the usual primary metric of what a label is.

    One class: `accuracy` of any class as likely as the other. Several: `map` of rows in any order, in which a class's average
    precision is the share of rows that have it, but for what it exceeds that by on few rows. A number: `spearman`, 0.
    """
    kind = facts.get("labels", "single")
    if kind == "single":
        return 1 / len(facts["classes"])
    counts = [count for count in facts["train_counts"] if count] if kind == "multi" else []
    return sum(counts) / len(counts) / facts["train_rows"] if counts else 0.0


def metrics_of(facts: Facts, device: torch.device) -> Metrics:
    """Fresh metrics for what a label is."""
    from graftwork.classification.metrics import ClassificationMetrics
    from graftwork.classification.multilabel import MultiLabelMetrics
    from graftwork.classification.numbers import NumberMetrics

    kinds: Mapping[str, type[Metrics]] = {
        "single": ClassificationMetrics,
        "multi": MultiLabelMetrics,
        "number": NumberMetrics,
    }
    made: Metrics = kinds[facts.get("labels", "single")](facts, device)  # type: ignore[call-arg]
    return made


def decode(predictions: Mapping[str, Any] | Predictions, facts: Facts) -> list[dict[str, Any]]:
    """Predictions as plain values, one dict a row.

    One class: `label`, the most probable; `confidence`, its probability; `probabilities` by class. Several: `labels`, those
    above the threshold; `probabilities`. A number: `value`.
    """
    assert isinstance(predictions, dict)
    kind, names = facts.get("labels", "single"), facts["classes"]
    if kind == "number":
        return [{"value": value} for value in predictions["value"].float().cpu().tolist()]
    probabilities = predictions["probabilities"].float().cpu()
    rows = [dict(zip(names, row, strict=True)) for row in probabilities.tolist()]
    if kind == "multi":
        least = facts.get("threshold", THRESHOLD)
        return [{"labels": [name for name in names if row[name] >= least], "probabilities": row} for row in rows]
    confidence, index = probabilities.max(dim=1)
    return [
        {"label": names[best], "confidence": sure, "probabilities": row}
        for best, sure, row in zip(index.tolist(), confidence.tolist(), rows, strict=True)
    ]
