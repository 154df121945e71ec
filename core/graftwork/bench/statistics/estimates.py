"""One set of runs: a mean over seeds with its interval, scores on a common scale, gain over a base run seed by seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from graftwork.bench.statistics.arrays import Array, as_list, check_share, differences
from graftwork.errors import DataError, UsageError

Verdict = Literal["positive", "negative", "not shown"]


@dataclass(frozen=True)
class Estimate:
    """A number with its confidence interval.

    Args:
        value: the estimate.
        low: lower end of the interval; NaN where the runs are too few for one.
        high: upper end.
        n: how many runs (of a gain: pairs of runs) it rests on.
    """

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class PairedGain:
    """The mean difference of paired runs, and whether its interval excludes zero."""

    mean: Estimate
    verdict: Verdict


def mean_interval(values: ArrayLike, level: float = 0.95) -> Estimate:
    """The mean of `values` `[seeds]` with Student's t interval; NaN ends for a single value.

    Raises:
        DataError: no values, or one that is not finite.
        UsageError: `level` is not between 0 and 1.
    """
    check_share(level, "level")
    return _student(as_list(values, "values"), level)


def normalise(scores: ArrayLike, chance: float, reference: float) -> Array:
    """`(scores - chance) / (reference - chance)`, any shape: 0 is guessing, 1 the reference; may lie outside.

    Args:
        scores: in the metric's own units.
        chance: what guessing scores, in the same units.
        reference: what a good model scores.

    Raises:
        UsageError: `reference` does not lie above `chance`.
        DataError: a score is not finite.
    """
    if not (math.isfinite(chance) and math.isfinite(reference) and reference > chance):
        raise UsageError(
            f"the reference score ({reference}) must lie above chance ({chance})",
            hint="Give a reference that is better than guessing",
        )
    array = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(array).all():
        raise DataError("a score is not a finite number", hint="Leave out the runs that failed")
    return (array - chance) / (reference - chance)


def paired_gain(target: ArrayLike, base: ArrayLike, level: float = 0.95) -> PairedGain:
    """The mean of `target - base`, run by run, with Student's t interval and a verdict: transfer gain when base is scratch.

    The verdict is `positive` or `negative` (negative transfer) when the interval excludes zero, `not shown` otherwise, and
    `not shown` for a single pair. Pairs that all differ by the same amount have an interval without width, so that even
    two of them decide: right where a seed changes nothing, bold where a small test set makes equal steps likely.

    Args:
        target: scores `[pairs]`.
        base: scores `[pairs]` with the same seeds in the same order.
        level: of the interval.

    Raises:
        DataError: different numbers of scores, none, or one that is not finite.
        UsageError: `level` is not between 0 and 1.
    """
    check_share(level, "level")
    ours, theirs = as_list(target, "target scores"), as_list(base, "base scores")
    if ours.shape != theirs.shape:
        raise DataError(
            f"{len(ours)} target scores and {len(theirs)} base scores cannot be paired", hint="Give one of each a seed"
        )
    mean = _student(differences(ours, theirs), level)
    verdict: Verdict = "positive" if mean.low > 0 else "negative" if mean.high < 0 else "not shown"
    return PairedGain(mean, verdict)


def _student(values: Array, level: float) -> Estimate:
    n, mean = len(values), float(values.mean())
    if n == 1:
        return Estimate(mean, math.nan, math.nan, 1)
    half = float(stats.t.ppf(0.5 + level / 2, n - 1) * values.std(ddof=1) / math.sqrt(n))
    return Estimate(mean, mean - half, mean + half, n)
