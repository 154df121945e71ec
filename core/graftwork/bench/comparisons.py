"""From the table of a result set to what it says: means over seeds, gains, comparisons across data sets, fronts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from graftwork.bench.analysis import Analysis, Comparison, Entry, Factor, Front, Row, SweepPoint
from graftwork.bench.statistics import (
    Estimate,
    PairedGain,
    average_ranks,
    cliques_of_pairs,
    cliques_of_ranks,
    friedman,
    interquartile_mean_interval,
    mean_interval,
    nemenyi_critical_difference,
    normalise,
    paired_gain,
    pareto_front,
    probability_of_improvement_interval,
    tasks_needed,
    wilcoxon_holm,
)

SCRATCH = "scratch"
_METHOD = ("data", "labels", "backbone", "strategy")


def analyse(rows: Sequence[Row], suite: str, summary: str, level: float = 0.95) -> Analysis:
    """Everything that is said about a result set.

    Normalised scores have chance at 0 and the suite's reference at 1. Where it names none, the best mean test score on the
    data set at the largest number of training rows counts as 1: such scores depend on who took part.

    Args:
        rows: of `results.collect`.
        suite: its name.
        summary: one line about it.
        level: of all intervals; tests use alpha = 1 - level.
    """
    finished = [row for row in rows if row["state"] == "finished"]
    chosen, sweeps = _choose_points(finished)
    scale = _scales(chosen)
    entries = tuple(_entry(cells, chosen, scale, level) for cells in chosen)
    found = [_compare(factor, entries, chosen, scale, level) for factor in ("strategy", "backbone")]
    return Analysis(
        suite,
        summary,
        tuple(rows),
        entries,
        tuple(comparison for comparison in found if comparison is not None),
        tuple(sweeps),
        tuple(_fronts(entries)),
        tuple((str(row["folder"]), str(row["error"])) for row in rows if row["state"] == "failed"),
        tuple(str(row["folder"]) for row in rows if row["state"] in ("running", "missing")),
        level,
    )


Cells = list[Row]
"""The finished cells of one entry, a cell a seed, in the suite's order of seeds."""

Scale = Mapping[str, tuple[float, float] | None]
"""Chance and reference by data set; None where they do not make a scale."""


def _choose_points(rows: Sequence[Row]) -> tuple[list[Cells], list[SweepPoint]]:
    """The cells of each entry; of a sweep those of the point with the best mean on validation, the first of equals.

    A point that lost seeds to failures is not chosen before one that has more of them: a lucky seed is no mean.
    """
    methods: dict[tuple[Any, ...], dict[str, Cells]] = {}
    for row in rows:
        key = tuple(row[name] for name in _METHOD)
        methods.setdefault(key, {}).setdefault(str(row["point"]), []).append(row)
    chosen, sweeps = [], []
    for key, points in methods.items():
        means = {point: float(np.mean([row["val_score"] for row in cells])) for point, cells in points.items()}
        best = max(means, key=lambda point: (len(points[point]), means[point]))
        chosen.append(points[best])
        if any(means):
            names = [str(part) for part in key]
            sweeps += [_point(names, point, mean, point == best) for point, mean in means.items()]
    return chosen, sweeps


def _point(method: Sequence[str], point: str, mean: float, best: bool) -> SweepPoint:
    data, labels, backbone, strategy = method
    return SweepPoint(data, labels, backbone, strategy, point, mean, best)


def _scales(chosen: Sequence[Cells]) -> dict[str, tuple[float, float] | None]:
    scales: dict[str, tuple[float, float] | None] = {}
    for data in dict.fromkeys(str(cells[0]["data"]) for cells in chosen):
        mine = [cells for cells in chosen if cells[0]["data"] == data]
        most = max(_rows(cells) for cells in mine)
        # By name of the budget: with seeds whose splits differ by a row, a method lacking one of them still takes part.
        largest = {cells[0]["labels"] for cells in mine if _rows(cells) == most}
        full = [cells for cells in mine if cells[0]["labels"] in largest]
        chance = float(full[0][0]["chance"] or 0.0)
        reference = mine[0][0]["reference"]
        if reference is None:
            reference = max(_mean(cells) for cells in full)
        scales[data] = (chance, float(reference)) if reference > chance else None
    return scales


def _rows(cells: Cells) -> int:
    return max(int(row["train_rows"] or 0) for row in cells)


def _mean(cells: Cells) -> float:
    return float(np.mean([row["score"] for row in cells]))


def _entry(cells: Cells, chosen: Sequence[Cells], scales: Scale, level: float) -> Entry:
    first = cells[0]
    scale = scales[first["data"]]
    score = mean_interval([row["score"] for row in cells], level)
    return Entry(
        task=str(first["task"]),
        data=str(first["data"]),
        labels=str(first["labels"]),
        backbone=str(first["backbone"]),
        strategy=str(first["strategy"]),
        point=str(first["point"]),
        metric=str(first["metric"]),
        score=score,
        val_score=float(np.mean([row["val_score"] for row in cells])),
        normalised=float(normalise(score.value, *scale)) if scale else None,
        gain=_gain(cells, chosen, level),
        seconds=float(np.mean([row["seconds"] for row in cells])),
        cpu_seconds=float(np.mean([row["cpu_seconds"] for row in cells])),
        peak_memory_bytes=max(int(row["peak_memory_bytes"] or 0) for row in cells),
        trained=int(first["parameters_trained"]),
        total=int(first["parameters_total"]),
        seeds=tuple(int(row["seed"]) for row in cells),
        folders=tuple(str(row["folder"]) for row in cells),
    )


def _gain(cells: Cells, chosen: Sequence[Cells], level: float) -> PairedGain | None:
    """Over the same backbone from scratch, on the seeds that both have; None where nothing was transferred."""
    if _from_scratch(cells[0]) or cells[0]["weights"] == "none":
        return None
    same = ("data", "labels", "backbone")
    base = next(
        (
            other
            for other in chosen
            if _from_scratch(other[0]) and all(other[0][name] == cells[0][name] for name in same)
        ),
        None,
    )
    if base is None:
        return None
    theirs = {row["seed"]: row["score"] for row in base}
    common = [row for row in cells if row["seed"] in theirs]
    if not common:
        return None
    return paired_gain([row["score"] for row in common], [theirs[row["seed"]] for row in common], level)


def _from_scratch(row: Row) -> bool:
    return bool(json.loads(row["settings"]).get("strategy") == SCRATCH)


def _compare(
    of: Factor, entries: Sequence[Entry], chosen: Sequence[Cells], scales: Scale, level: float
) -> Comparison | None:
    """Strategies backbone by backbone, or backbones strategy by strategy; None where no two met."""
    other = "backbone" if of == "strategy" else "strategy"
    blocks: dict[Block, dict[str, list[float]]] = {}
    for cells, entry in zip(chosen, entries, strict=True):
        scale = scales[entry.data]
        if scale is not None:
            scores = normalise([row["score"] for row in cells], *scale).tolist()
            block = (entry.data, entry.labels, str(getattr(entry, other)))
            blocks.setdefault(block, {})[str(getattr(entry, of))] = scores
    names = _who_met(blocks.values())
    if not names:
        return None
    kept = {block: scores for block, scores in blocks.items() if set(names) <= set(scores)}
    runs = {name: [scores[name] for scores in kept.values()] for name in names}
    data, means = _by_data(kept, names)
    ranks = average_ranks(means)
    order = sorted(range(len(names)), key=lambda at: (ranks[at], at))
    ordered = tuple(names[at] for at in order)
    means, ranks = means[:, order], ranks[order]
    alpha = 1 - level
    critical = nemenyi_critical_difference(len(ordered), len(data), alpha)
    pairs = wilcoxon_holm(means, ordered, alpha)
    everyone = dict.fromkeys(name for scores in blocks.values() for name in scores)
    return Comparison(
        of=of,
        names=ordered,
        data=data,
        held=tuple(dict.fromkeys(held for _, _, held in kept)),
        left_out=tuple(name for name in everyone if name not in ordered),
        ranks=tuple(ranks.tolist()),
        friedman=friedman(means) if len(data) > 1 else None,
        critical_difference=critical,
        rank_cliques=tuple(cliques_of_ranks(ordered, ranks.tolist(), critical)),
        pairs=tuple(pairs),
        pair_cliques=tuple(cliques_of_pairs(ordered, pairs)),
        data_needed=tasks_needed(len(ordered), alpha),
        interquartile_means=tuple(interquartile_mean_interval(runs[name], level) for name in ordered),
        improvement=tuple(tuple(_improvement(runs, one, two, level) for two in ordered) for one in ordered),
    )


Block = tuple[str, str, str]
"""Data set, label budget, and the name that is held: of the backbone where strategies are compared, or of the strategy."""


def _by_data(blocks: Mapping[Block, Mapping[str, list[float]]], names: Sequence[str]) -> tuple[tuple[str, ...], Any]:
    """The data sets, and `[data sets, names]`: the mean over each data set's blocks of the mean over seeds."""
    data = tuple(dict.fromkeys(block[0] for block in blocks))
    means = [
        [np.mean([np.mean(scores[name]) for block, scores in blocks.items() if block[0] == one]) for name in names]
        for one in data
    ]
    return data, np.array(means)


def _who_met(blocks: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Not all ran everywhere: names that met on a block, such that names times blocks that have them all is the largest."""
    sets = [tuple(scores) for scores in blocks]
    candidates = [names for names in dict.fromkeys(sets) if len(names) > 1]

    def size(names: tuple[str, ...]) -> tuple[int, int]:
        return len(names) * sum(set(names) <= set(other) for other in sets), len(names)

    return max(candidates, key=size, default=())


def _improvement(runs: Mapping[str, list[list[float]]], one: str, two: str, level: float) -> Estimate:
    if one == two:
        return Estimate(0.5, 0.5, 0.5, sum(map(len, runs[one])))
    return probability_of_improvement_interval(runs[one], runs[two], level)


def _fronts(entries: Sequence[Entry]) -> Iterable[Front]:
    for data, labels in dict.fromkeys((entry.data, entry.labels) for entry in entries):
        positions = [at for at, entry in enumerate(entries) if (entry.data, entry.labels) == (data, labels)]
        costs = [entries[at].seconds for at in positions]
        front = pareto_front(costs, [entries[at].score.value for at in positions])
        yield Front(data, labels, tuple(positions[at] for at in front))
