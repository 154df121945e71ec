"""Score against cost: which methods no other beats in both."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from graftwork.bench.statistics.arrays import as_list
from graftwork.errors import DataError


def pareto_front(costs: ArrayLike, scores: ArrayLike) -> list[int]:
    """The points to which no other is preferable: at most the cost and at least the score, and better in one of them.

    Args:
        costs: `[points]`, lower is better: seconds, bytes, trained parameters.
        scores: `[points]`, higher is better.

    Returns:
        Their indices by rising cost; points equal in both are all in or all out.

    Raises:
        DataError: different numbers of costs and scores, none, or one that is not finite.
    """
    cost, score = as_list(costs, "costs"), as_list(scores, "scores")
    if cost.shape != score.shape:
        raise DataError(f"{len(cost)} costs and {len(score)} scores do not make points")
    front: list[int] = []
    for point in np.lexsort((-score, cost)).tolist():
        equal = bool(front) and cost[point] == cost[front[-1]] and score[point] == score[front[-1]]
        if not front or equal or score[point] > score[front[-1]]:
            front.append(point)
    return front
