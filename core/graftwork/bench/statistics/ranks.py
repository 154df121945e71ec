"""Several methods by their ranks over many tasks: after Demšar 2006, "Statistical Comparisons of Classifiers over Multiple
Data Sets". Tests of single pairs are in `pairs`, the groups of a critical-difference diagram in `cliques`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from graftwork.bench.statistics.arrays import Array, as_matrix, check_share, for_ranking
from graftwork.errors import DataError, UsageError


@dataclass(frozen=True)
class Friedman:
    """Friedman's test that all methods are equal.

    Args:
        chi_square: Friedman's statistic, with `methods - 1` degrees of freedom.
        chi_square_p: its p-value.
        f: the statistic of Iman and Davenport 1980, less conservative; infinite when all tasks rank alike without ties.
        f_p: its p-value, from F with `methods - 1` and `(methods - 1) (tasks - 1)` degrees of freedom.
        methods: how many were compared.
        tasks: on how many tasks.
    """

    chi_square: float
    chi_square_p: float
    f: float
    f_p: float
    methods: int
    tasks: int


def average_ranks(scores: ArrayLike) -> Array:
    """The mean rank `[methods]` over tasks: 1 is the best, equal scores share the mean of their ranks.

    Args:
        scores: `[tasks, methods]`, higher is better. Scores that agree to 12 digits are equal.

    Raises:
        DataError: no task, fewer than two methods, a missing score or one that is not finite.
    """
    ranks: Array = _ranks(as_matrix(scores)).mean(axis=0)
    return ranks


def friedman(scores: ArrayLike, *, correct_ties: bool = False) -> Friedman:
    """Friedman's test and its F form by Iman and Davenport.

    Both p-values are approximations, and rough ones for fewer than about ten tasks or six methods; with two methods
    prefer `wilcoxon_holm`, since this is then a sign test. When all scores are equal both statistics are 0 and p is 1.

    Args:
        scores: `[tasks, methods]`, higher is better.
        correct_ties: divide by Conover's correction for ties, as `scipy.stats.friedmanchisquare` does. Demšar's formula,
            the default, does not, which makes ties count against a difference.

    Raises:
        DataError: fewer than two tasks or methods, a missing score or one that is not finite.
    """
    matrix = as_matrix(scores)
    tasks, methods = matrix.shape
    if tasks < 2:
        raise DataError("Friedman's test needs at least two tasks, not one")
    ranks = _ranks(matrix)
    spread = float(((ranks.mean(axis=0) - (methods + 1) / 2) ** 2).sum())
    chi_square = 12 * tasks / (methods * (methods + 1)) * spread
    if correct_ties:
        untied = 1 - sum(_ties(row) for row in ranks) / (tasks * methods * (methods**2 - 1))
        chi_square = chi_square / untied if untied > 0 else 0.0
    largest = tasks * (methods - 1)
    # rounding alone can push a perfect agreement to either side of the largest value
    perfect = math.isclose(chi_square, largest, rel_tol=1e-12)
    f = math.inf if perfect else (tasks - 1) * chi_square / (largest - chi_square)
    return Friedman(
        chi_square=chi_square,
        chi_square_p=float(stats.chi2.sf(chi_square, methods - 1)),
        f=f,
        f_p=float(stats.f.sf(f, methods - 1, (methods - 1) * (tasks - 1))),
        methods=methods,
        tasks=tasks,
    )


def nemenyi_critical_difference(methods: int, tasks: int, alpha: float = 0.05) -> float:
    """By how much two average ranks must differ for the methods to differ (Nemenyi 1963), all pairs considered.

    `q sqrt(k (k + 1) / (6 N))` with q from the studentized range over sqrt(2). It grows past `methods - 1`, the largest
    difference there can be, when the tasks are too few for the test to show anything. Whether two methods differ here
    depends on which others are compared; `wilcoxon_holm` has no such dependence (Benavoli, Corani, Mangili 2016).

    Raises:
        UsageError: fewer than two methods, no task, or an `alpha` that is not between 0 and 1.
    """
    check_share(alpha, "alpha")
    if methods < 2 or tasks < 1:
        raise UsageError(f"a critical difference needs two methods and a task at least, not {methods} and {tasks}")
    q = float(stats.studentized_range.ppf(1 - alpha, methods, np.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * tasks))


def _ranks(matrix: Array) -> Array:
    ranks: Array = stats.rankdata(-for_ranking(matrix), axis=1)
    return ranks


def _ties(ranks: Array) -> int:
    """The sum of `t^3 - t` over groups of t equal ranks."""
    _, counts = np.unique(ranks, return_counts=True)
    return int((counts**3 - counts).sum())
