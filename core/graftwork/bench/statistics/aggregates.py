"""One number for many tasks and seeds, with its interval: after Agarwal et al. 2021, "Deep Reinforcement Learning at the
Edge of the Statistical Precipice" (their library: rliable). Comparisons of several methods are in `ranks` and `pairs`.

Scores are `[tasks, seeds]`, normalised where tasks differ in scale. We differ in one point: the tasks may have different
numbers of seeds, and then each task still counts the same. With equal numbers the values are rliable's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from graftwork.bench.statistics.arrays import Array, Runs, as_runs, check_share, for_ranking
from graftwork.bench.statistics.estimates import Estimate
from graftwork.errors import DataError, UsageError

RESAMPLES = 10_000
_AT_ONCE = 2_000_000  # numbers held for the resamples of one chunk: 16 MB, however large the suite

Weights: TypeAlias = list[Array]
"""One array `[resamples, seeds]` a task: the share of each run in its task, each row summing to one."""


def interquartile_mean(scores: Runs) -> float:
    """The mean of the middle half of all runs: less swayed by outliers than the mean, less wasteful than the median.

    `scipy.stats.trim_mean(scores, 0.25, axis=None)` when all tasks have equally many seeds.

    Args:
        scores: `[tasks, seeds]`.

    Raises:
        DataError: no task, a task without a run, or a score that is not finite.
    """
    return _estimate(as_runs(scores), _trimmed)


def interquartile_mean_interval(
    scores: Runs, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """`interquartile_mean` with a percentile interval, bootstrapped by resampling the seeds within each task.

    The ends are NaN when a task has a single run, which has no spread to resample. With few seeds (below about ten) such
    intervals come out too narrow.

    Raises:
        DataError: as `interquartile_mean`.
        UsageError: `level` is not between 0 and 1, or there is less than one resample.
    """
    return _interval(as_runs(scores), _trimmed, level, resamples, seed)


def optimality_gap(scores: Runs, target: float = 1.0) -> float:
    """How far the runs stay below `target` on average: mean of `max(target - score, 0)`. Lower is better.

    Args:
        scores: `[tasks, seeds]`, normalised.
        target: where more is not counted as better; 1 is the reference of every task.
    """
    return _estimate(_clipped(scores, target), _mean_gap(target))


def optimality_gap_interval(
    scores: Runs, target: float = 1.0, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """`optimality_gap` with its interval, as in `interquartile_mean_interval`."""
    return _interval(_clipped(scores, target), _mean_gap(target), level, resamples, seed)


def median_score(scores: Runs) -> float:
    """The median over tasks of the mean over seeds of `scores` `[tasks, seeds]`."""
    return _estimate(as_runs(scores), _median)


def median_score_interval(scores: Runs, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """`median_score` with its interval, as in `interquartile_mean_interval`."""
    return _interval(as_runs(scores), _median, level, resamples, seed)


def probability_of_improvement(ours: Runs, theirs: Runs) -> float:
    """How likely a run of `ours` beats a run of `theirs` on a task drawn at random, ties counting half.

    The mean over tasks of the Mann-Whitney `U / (n m)`.

    Args:
        ours: `[tasks, seeds]`.
        theirs: the same tasks in the same order; the numbers of seeds may differ.

    Raises:
        DataError: different numbers of tasks, a task without a run, or a score that is not finite.
    """
    return float(np.mean([_wins(x, y).mean() for x, y in _same_tasks(ours, theirs)]))


def probability_of_improvement_interval(
    ours: Runs, theirs: Runs, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """`probability_of_improvement` with a percentile interval; the seeds of both are resampled on their own, by task.

    When all of our runs win on all tasks, so do those of every resample: the interval then has no width.

    Raises:
        DataError: as `probability_of_improvement`.
        UsageError: `level` is not between 0 and 1, or there is less than one resample.
    """
    tasks = _same_tasks(ours, theirs)
    wins = [_wins(x, y) for x, y in tasks]

    def chance_to_win(runs: list[Array], weights: Weights) -> Array:
        sides = zip(wins, weights[::2], weights[1::2], strict=True)
        chances: Array = np.mean([((mine @ won) * other).sum(axis=1) for won, mine, other in sides], axis=0)
        return chances

    return _interval([runs for pair in tasks for runs in pair], chance_to_win, level, resamples, seed)


_Statistic: TypeAlias = Callable[[list[Array], Weights], Array]


def _estimate(runs: list[Array], statistic: _Statistic) -> float:
    return float(statistic(runs, [np.full((1, len(task)), 1 / len(task)) for task in runs])[0])


def _interval(runs: list[Array], statistic: _Statistic, level: float, resamples: int, seed: int) -> Estimate:
    check_share(level, "level")
    if resamples < 1:
        raise UsageError(f"resamples must be at least 1, not {resamples}")
    value, n = _estimate(runs, statistic), sum(len(task) for task in runs)
    if any(len(task) == 1 for task in runs):
        return Estimate(value, math.nan, math.nan, n)
    drawn = np.concatenate([statistic(runs, weights) for weights in _resample(runs, resamples, seed)])
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2])
    return Estimate(value, float(low), float(high), n)


def _resample(runs: list[Array], resamples: int, seed: int) -> Iterator[Weights]:
    """Bootstrap resamples, in chunks: drawing seeds with replacement is drawing how often each of them comes."""
    generator = np.random.default_rng(seed)
    chunk = max(1, _AT_ONCE // sum(len(task) for task in runs))
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        yield [generator.multinomial(len(task), np.full(len(task), 1 / len(task)), size) / len(task) for task in runs]


def _trimmed(runs: list[Array], weights: Weights) -> Array:
    """The mean after a quarter of the runs, rounded down as in scipy, is cut from either end; runs count by weight."""
    values = np.concatenate(runs)
    order = np.argsort(values, kind="stable")
    cut = len(values) // 4 / len(values)
    reached = np.cumsum(np.concatenate(weights, axis=1)[:, order] / len(runs), axis=1).clip(cut, 1 - cut)
    kept: Array = np.diff(reached, axis=1, prepend=cut) / (1 - 2 * cut)
    return kept @ values[order]


def _median(runs: list[Array], weights: Weights) -> Array:
    medians: Array = np.median([weight @ task for task, weight in zip(runs, weights, strict=True)], axis=0)
    return medians


def _mean_gap(target: float) -> _Statistic:
    def mean_gap(runs: list[Array], weights: Weights) -> Array:
        gaps: Array = np.mean([weight @ (target - task) for task, weight in zip(runs, weights, strict=True)], axis=0)
        return gaps

    return mean_gap


def _clipped(scores: Runs, target: float) -> list[Array]:
    if not math.isfinite(target):
        raise UsageError(f"target must be a finite number, not {target}")
    return [np.minimum(task, target) for task in as_runs(scores)]


def _same_tasks(ours: Runs, theirs: Runs) -> list[tuple[Array, Array]]:
    mine, other = as_runs(ours), as_runs(theirs)
    if len(mine) != len(other):
        raise DataError(f"{len(mine)} tasks cannot be compared with {len(other)}", hint="Give both the same tasks")
    return list(zip(mine, other, strict=True))


def _wins(ours: Array, theirs: Array) -> Array:
    """`[seeds of ours, seeds of theirs]`: 1 where ours is higher, 0.5 where they are equal, 0 where it is lower."""
    both = for_ranking(np.concatenate([ours, theirs]))
    mine, other = both[: len(ours), None], both[None, len(ours) :]
    wins: Array = (mine > other) + 0.5 * (mine == other)
    return wins
