"""Statistics over the scores of many runs: arrays in, numbers out. No run, file or page is known here, and no torch.

`estimates` is about one set of runs, `aggregates` about one or two methods over many tasks, `ranks` and `pairs` compare
several methods over many tasks, `pareto` weighs score against cost. Scores are higher-is-better throughout.
"""

from __future__ import annotations

from graftwork.bench.statistics.aggregates import (
    interquartile_mean,
    interquartile_mean_interval,
    median_score,
    median_score_interval,
    optimality_gap,
    optimality_gap_interval,
    probability_of_improvement,
    probability_of_improvement_interval,
)
from graftwork.bench.statistics.cliques import cliques_of_pairs, cliques_of_ranks
from graftwork.bench.statistics.estimates import Estimate, PairedGain, Verdict, mean_interval, normalise, paired_gain
from graftwork.bench.statistics.pairs import PairTest, tasks_needed, wilcoxon_holm
from graftwork.bench.statistics.pareto import pareto_front
from graftwork.bench.statistics.ranks import Friedman, average_ranks, friedman, nemenyi_critical_difference

__all__ = [
    "Estimate", "Friedman", "PairTest", "PairedGain", "Verdict", "average_ranks", "cliques_of_pairs",
    "cliques_of_ranks", "friedman", "interquartile_mean", "interquartile_mean_interval", "mean_interval",
    "median_score", "median_score_interval", "nemenyi_critical_difference", "normalise", "optimality_gap",
    "optimality_gap_interval", "paired_gain", "pareto_front", "probability_of_improvement",
    "probability_of_improvement_interval", "tasks_needed", "wilcoxon_holm",
]  # fmt: skip
