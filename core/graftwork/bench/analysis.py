"""What a result set says: the values behind the page, the Markdown and `graft bench compare`. Computed in `comparisons`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from graftwork.bench.statistics import Estimate, Friedman, PairedGain, PairTest

Row = Mapping[str, Any]
"""One cell of a result set, by column; see `results.COLUMNS`."""

Factor = Literal["strategy", "backbone"]
"""What a comparison is about; everything else about a run is held fixed in it."""


@dataclass(frozen=True)
class Entry:
    """One data set, label budget, backbone and strategy, over its seeds.

    Args:
        task, data, labels, backbone, strategy: names in the suite.
        point: of the strategy's sweep that has the best mean validation score; empty where nothing was swept.
        metric: the task's primary one, in which scores are.
        score: on the test split, the mean over seeds with Student's interval.
        val_score: mean on the validation split.
        normalised: the mean test score with chance 0 and reference 1; None where the two do not differ.
        gain: over the same backbone trained from scratch, seed by seed; None for scratch, without it, or where nothing was
            transferred (no pretrained weights).
        seconds: mean wall-clock seconds of a cell.
        cpu_seconds: mean seconds of processor time of a cell.
        peak_memory_bytes: largest of its cells.
        trained: parameters that any phase trains.
        total: parameters of the model.
        seeds: that finished, in their order.
        folders: of the cells, in the order of `seeds`.
    """

    task: str
    data: str
    labels: str
    backbone: str
    strategy: str
    point: str
    metric: str
    score: Estimate
    val_score: float
    normalised: float | None
    gain: PairedGain | None
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    trained: int
    total: int
    seeds: tuple[int, ...]
    folders: tuple[str, ...]

    @property
    def method(self) -> str:
        """Backbone and strategy: `graftnet-s/lp-ft`."""
        return f"{self.backbone}/{self.strategy}"


@dataclass(frozen=True)
class Comparison:
    """Several strategies, or several backbones, over data sets.

    Strategies are compared backbone by backbone and budget by budget, backbones strategy by strategy, wherever all of them
    finished. Ranks and tests take one score a data set, the mean over what was held there: tests assume independent tasks,
    which two backbones on the same rows are not.

    Args:
        of: what is compared.
        names: by average rank, the best first.
        data: names of the data sets that they were compared on.
        held: what was held: backbones of compared strategies, strategies of compared backbones.
        left_out: others of the suite, which did not finish wherever these did.
        ranks: average ranks, in the order of `names`.
        friedman: the test that all are equal; None with fewer than two data sets.
        critical_difference: Nemenyi's, at the level of the analysis.
        rank_cliques: groups not shown to differ by Nemenyi.
        pairs: Wilcoxon-Holm for every pair, on normalised scores.
        pair_cliques: groups of which no pair differs by Wilcoxon-Holm.
        data_needed: from how many data sets on Wilcoxon-Holm can show a difference at all.
        interquartile_means: of normalised scores over everything held and seeds, in the order of `names`.
        improvement: `[i][j]`: the probability that a run of `names[i]` beats one of `names[j]`, ties half; the diagonal 0.5.
    """

    of: Factor
    names: tuple[str, ...]
    data: tuple[str, ...]
    held: tuple[str, ...]
    left_out: tuple[str, ...]
    ranks: tuple[float, ...]
    friedman: Friedman | None
    critical_difference: float
    rank_cliques: tuple[tuple[str, ...], ...]
    pairs: tuple[PairTest, ...]
    pair_cliques: tuple[tuple[str, ...], ...]
    data_needed: int
    interquartile_means: tuple[Estimate, ...]
    improvement: tuple[tuple[Estimate, ...], ...]


@dataclass(frozen=True)
class SweepPoint:
    """One point of a sweep over its seeds, as validation saw it."""

    data: str
    labels: str
    backbone: str
    strategy: str
    point: str
    val_score: float
    chosen: bool


@dataclass(frozen=True)
class Front:
    """Score against seconds on one data set and label budget.

    Args:
        data: name in the suite.
        labels: budget.
        entries: positions in `Analysis.entries`, by rising seconds, of those that no other beats in both.
    """

    data: str
    labels: str
    entries: tuple[int, ...]


@dataclass(frozen=True)
class Analysis:
    """Everything that is said about one result set.

    Args:
        suite: its name.
        summary: one line about it, from its file.
        rows: all cells, failed ones too, in the suite's order.
        entries: in the suite's order.
        comparisons: of strategies, then of backbones, where at least two met.
        sweeps: every point of every sweep.
        fronts: one a data set and label budget.
        failures: folder and cause of cells that failed.
        unfinished: folders of cells that have not ended yet.
        level: of all intervals, 0.95; tests use alpha = 1 - level.
    """

    suite: str
    summary: str
    rows: tuple[Row, ...]
    entries: tuple[Entry, ...]
    comparisons: tuple[Comparison, ...]
    sweeps: tuple[SweepPoint, ...]
    fronts: tuple[Front, ...]
    failures: tuple[tuple[str, str], ...]
    unfinished: tuple[str, ...]
    level: float
