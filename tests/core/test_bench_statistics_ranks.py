"""Ranks, tests of many methods and their groups against Demšar 2006, scipy and scikit-posthocs."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from graftwork.bench.statistics import (
    PairTest,
    average_ranks,
    cliques_of_pairs,
    cliques_of_ranks,
    friedman,
    nemenyi_critical_difference,
    tasks_needed,
    wilcoxon_holm,
)
from graftwork.errors import DataError, UsageError

pytestmark = pytest.mark.filterwarnings("error")

NAMES = ["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"]
# Demšar 2006, Table 6. It prints 0.975 twice in the row before the last but ranks the two apart, from more digits than
# it prints: the 1 in the fourth place is that order.
AUC = np.array([
    [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
    [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
    [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
    [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
    [0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970],
])  # fmt: skip

# normal(0 | 0.3 | 0.35 | 0.9, 0.3), rounded; the p-values are scikit-posthocs 0.17.1 (scipy 1.17.1, statsmodels 0.15.0):
# posthoc_wilcoxon(..., zero_method="zsplit") without and with p_adjust="holm", posthoc_nemenyi_friedman
FOUR = np.array([
    [0.612, -0.467, 0.475, 0.73], [-0.136, 0.235, -0.256, 0.83], [-0.26, 1.297, 0.418, 0.794],
    [-0.084, 0.1, 0.033, 0.783], [0.145, 0.228, 0.637, 0.84], [0.007, 0.764, 0.514, 0.748],
    [-0.055, 0.462, 0.931, 0.819], [-0.073, 0.601, 0.084, 0.812], [0.265, 0.474, 0.377, 1.101],
    [-0.848, 0.606, 0.062, 0.399], [0.083, 0.51, 0.217, 0.577], [0.008, 0.284, 0.772, 1.124],
])  # fmt: skip
PAIRS = ["ab", "ac", "ad", "bc", "bd", "cd"]
WILCOXON = [0.02099609375, 0.01220703125, 0.00048828125, 0.5185546875, 0.02099609375, 0.0009765625]
HOLM = [0.06298828125, 0.048828125, 0.0029296875, 0.5185546875, 0.06298828125, 0.0048828125]
NEMENYI = [
    0.014171584059995634, 0.22910353693815166, 2.687988661420615e-05, 0.6853421409087448, 0.3894010874026904,
    0.03617630923630499,
]  # fmt: skip

MATRICES = st.tuples(st.integers(2, 8), st.integers(2, 6)).flatmap(
    lambda shape: st.lists(
        st.lists(st.integers(0, 9), min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0]
    )
)


def test_demsars_table_gives_the_printed_ranks_and_tests() -> None:
    assert average_ranks(AUC).tolist() == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    found = friedman(AUC)
    assert found.chi_square == pytest.approx(9.28, abs=5e-3)
    assert found.f == pytest.approx(3.69, abs=5e-3)
    assert (found.methods, found.tasks) == (4, 14)
    # "the critical value of F(3, 39) for alpha = 0.05 is 2.85, so we reject the null-hypothesis"
    assert stats.f.isf(0.05, 3, 39) == pytest.approx(2.85, abs=5e-3)
    assert found.f_p == pytest.approx(float(stats.f.sf(found.f, 3, 39))) and found.f_p < 0.05


def test_critical_differences_are_those_of_demsars_tables() -> None:
    assert nemenyi_critical_difference(4, 14) == pytest.approx(1.25, abs=5e-3)
    assert nemenyi_critical_difference(4, 14, 0.10) == pytest.approx(1.12, abs=5e-3)
    # Table 5 (a), for 2 to 10 methods; its q is our value without the factor of tasks
    printed = {
        0.05: [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164],
        0.10: [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920],
    }
    for alpha, values in printed.items():
        for methods, q in enumerate(values, start=2):
            found = nemenyi_critical_difference(methods, 1, alpha) / math.sqrt(methods * (methods + 1) / 6)
            assert found == pytest.approx(q, abs=1.01e-3)


def test_nemenyis_groups_are_those_demsar_reads_from_his_table() -> None:
    ranks = average_ranks(AUC).tolist()
    # "the difference between the best and the worst is already smaller than that"
    assert cliques_of_ranks(NAMES, ranks, nemenyi_critical_difference(4, 14)) == [
        ("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5")
    ]
    # at 0.10 C4.5 is worse than two, and C4.5+cf cannot be told from either side
    assert cliques_of_ranks(NAMES, ranks, nemenyi_critical_difference(4, 14, 0.10)) == [
        ("C4.5+m+cf", "C4.5+m", "C4.5+cf"),
        ("C4.5+cf", "C4.5"),
    ]


def test_the_wilcoxon_example_of_demsar_comes_out_as_printed() -> None:
    # its Table 2: R+ 93, R- 12, z = -2.54 without a correction for ties, "the null-hypothesis is rejected"
    [pair] = wilcoxon_holm(AUC[:, :2], NAMES[:2])
    n = len(AUC)
    z = stats.norm.isf(pair.p / 2)
    ties = 2 * (2**3 - 2)  # of the differences 0 and 0.005, each twice
    variance = n * (n + 1) * (2 * n + 1) / 24
    assert z * math.sqrt((variance - ties / 48) / variance) == pytest.approx(2.54, abs=5e-3)
    assert pair.p == pair.adjusted_p < 0.05 and pair.differs


@settings(deadline=None)
@given(MATRICES)
def test_friedmans_test_with_ties_corrected_is_scipys(scores: list[list[int]]) -> None:
    matrix = np.array(scores)
    tied = (matrix == matrix[:, :1]).all()
    found = friedman(matrix, correct_ties=True)
    if matrix.shape[1] > 2 and not tied:  # what scipy takes
        expected = stats.friedmanchisquare(*matrix.T)
        assert found.chi_square == pytest.approx(expected.statistic, abs=1e-9)
        assert found.chi_square_p == pytest.approx(expected.pvalue, abs=1e-9)
    assert found.chi_square >= friedman(matrix).chi_square - 1e-9


@settings(deadline=None)
@given(MATRICES)
def test_ranks_sum_to_the_same_and_are_scipys(scores: list[list[int]]) -> None:
    matrix = np.array(scores)
    ranks = average_ranks(matrix)
    assert ranks.sum() == pytest.approx(matrix.shape[1] * (matrix.shape[1] + 1) / 2)
    assert ranks.tolist() == pytest.approx(stats.rankdata(-matrix, axis=1).mean(axis=0).tolist())


@settings(deadline=None)
@given(MATRICES, st.data())
def test_ranks_and_friedmans_test_see_only_the_order_within_a_task(
    scores: list[list[int]], data: st.DataObject
) -> None:
    matrix = np.array(scores, dtype=float)
    before = friedman(matrix)
    rows = data.draw(st.permutations(range(len(matrix))))
    stretched = np.array([np.exp(matrix[row] / 3) * 10.0 ** (row - 4) - row for row in rows])
    assert average_ranks(stretched).tolist() == pytest.approx(average_ranks(matrix).tolist())
    after = friedman(stretched)
    assert after.chi_square == pytest.approx(before.chi_square, abs=1e-9)
    assert after.f == pytest.approx(before.f, abs=1e-6)


def test_scores_that_differ_by_rounding_alone_share_a_rank() -> None:
    assert average_ranks([[0.1 + 0.2, 0.3, 0.5]]).tolist() == [2.5, 2.5, 1.0]
    assert average_ranks([[1e-9, 2e-9]]).tolist() == [2.0, 1.0]
    assert wilcoxon_holm([[0.1 + 0.2, 0.3]] * 9, ["a", "b"])[0].p == 1.0


@pytest.mark.parametrize("tasks", [2, 6, 13, 14, 60])
def test_when_all_scores_are_equal_nothing_differs(tasks: int) -> None:
    same = np.full((tasks, 3), 0.5)
    for correct_ties in (False, True):
        found = friedman(same, correct_ties=correct_ties)
        assert (found.chi_square, found.chi_square_p, found.f, found.f_p) == (0.0, 1.0, 0.0, 1.0)
    assert average_ranks(same).tolist() == [2.0, 2.0, 2.0]
    pairs = wilcoxon_holm(same, ["a", "b", "c"])
    assert all((pair.p, pair.adjusted_p, pair.differs) == (1.0, 1.0, False) for pair in pairs)
    assert cliques_of_pairs(["a", "b", "c"], pairs) == [("a", "b", "c")]
    assert cliques_of_ranks(["a", "b", "c"], [2.0, 2.0, 2.0], 0.5) == [("a", "b", "c")]


@pytest.mark.parametrize(("methods", "tasks"), [(2, 2), (3, 7), (7, 41), (9, 31), (10, 25), (10, 53)])
def test_tasks_that_all_rank_alike_give_the_largest_statistics(methods: int, tasks: int) -> None:
    # the later sizes miss the largest value by a rounding, on either side
    order = np.random.default_rng(0).permutation(methods)
    found = friedman(np.tile(order, (tasks, 1)))
    assert found.chi_square == pytest.approx(tasks * (methods - 1))
    assert (found.f, found.f_p) == (math.inf, 0.0)


def test_with_two_methods_friedmans_test_is_a_sign_test_and_holm_changes_nothing() -> None:
    scores = np.array([[1.0, 0.0]] * 8 + [[0.0, 1.0]] * 2)
    assert friedman(scores).chi_square == pytest.approx((8 - 2) ** 2 / 10)
    [pair] = wilcoxon_holm(AUC[:, 2:], ["a", "b"])
    assert pair.p == pair.adjusted_p
    assert nemenyi_critical_difference(2, 9) == pytest.approx(stats.norm.isf(0.025) / 3, abs=1e-6)


def test_pairs_and_their_correction_are_those_of_scikit_posthocs() -> None:
    found = wilcoxon_holm(FOUR, list("abcd"))
    assert [pair.first + pair.second for pair in found] == PAIRS
    assert [pair.p for pair in found] == pytest.approx(WILCOXON, abs=1e-9)
    assert [pair.adjusted_p for pair in found] == pytest.approx(HOLM, abs=1e-9)
    assert [pair.differs for pair in found] == [False, True, True, False, False, True]


def test_nemenyis_p_values_of_scikit_posthocs_turn_at_our_critical_difference() -> None:
    ranks = average_ranks(FOUR)
    for (first, second), p in zip(combinations(range(4), 2), NEMENYI, strict=True):
        apart = abs(ranks[first] - ranks[second])
        # the critical difference at alpha = p is the difference that was found
        assert nemenyi_critical_difference(4, 12, p) == pytest.approx(apart, abs=1e-5)


@pytest.mark.parametrize(("methods", "tasks"), [(2, 6), (3, 7), (4, 8), (5, 9)])
def test_fewer_tasks_than_needed_show_no_difference_whatever_the_scores(methods: int, tasks: int) -> None:
    assert tasks_needed(methods) == tasks
    scores = np.outer(np.arange(1, tasks + 1), np.arange(methods))  # the same method wins everywhere, by other margins
    names = [str(number) for number in range(methods)]
    assert all(pair.differs for pair in wilcoxon_holm(scores, names))
    assert not any(pair.differs for pair in wilcoxon_holm(scores[:-1], names))
    assert [pair.p for pair in wilcoxon_holm(scores[:1], names)] == [1.0] * (methods * (methods - 1) // 2)


@settings(max_examples=40, deadline=None)
@given(MATRICES)
def test_adjusted_p_values_keep_the_order_and_lie_between_p_and_bonferronis(scores: list[list[int]]) -> None:
    pairs = wilcoxon_holm(scores, [str(number) for number in range(len(scores[0]))])
    assert all(pair.p <= pair.adjusted_p <= min(1.0, len(pairs) * pair.p) + 1e-12 for pair in pairs)
    by_p = sorted(pairs, key=lambda pair: (pair.p, pair.adjusted_p))
    assert [pair.adjusted_p for pair in by_p] == sorted(pair.adjusted_p for pair in pairs)


def test_a_group_of_pairs_need_not_be_contiguous() -> None:
    pairs = [
        PairTest("a", "b", 0.01, 0.03, True),
        PairTest("c", "a", 0.4, 0.4, False),
        PairTest("b", "c", 0.0, 0.0, True),
    ]
    assert cliques_of_pairs(["a", "b", "c"], pairs) == [("a", "c")]
    with pytest.raises(UsageError, match="no verdict on a and d"):
        cliques_of_pairs(["a", "d"], pairs)


@settings(deadline=None)
@given(st.integers(1, 7), st.data())
def test_groups_of_pairs_are_all_largest_sets_without_a_difference(methods: int, data: st.DataObject) -> None:
    names = "abcdefg"[:methods]
    differs = {pair: data.draw(st.booleans()) for pair in combinations(names, 2)}
    pairs = [PairTest(first, second, 0.0, 0.0, shown) for (first, second), shown in differs.items()]
    alike = [
        set(group)
        for size in range(2, methods + 1)
        for group in combinations(names, size)
        if not any(differs[pair] for pair in combinations(group, 2))
    ]
    expected = {tuple(sorted(group)) for group in alike if not any(group < other for other in alike)}
    found = cliques_of_pairs(names, pairs)
    assert set(found) == expected and found == sorted(expected)


@settings(deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=7), st.integers(1, 8))
def test_groups_of_ranks_are_the_groups_of_the_pairs_that_lie_close(ranks: list[int], apart: int) -> None:
    names = [str(number) for number in range(len(ranks))]
    pairs = [
        PairTest(names[first], names[second], 0.0, 0.0, abs(ranks[first] - ranks[second]) >= apart)
        for first, second in combinations(range(len(ranks)), 2)
    ]
    ordered = sorted(names, key=lambda name: (ranks[int(name)], int(name)))
    assert cliques_of_ranks(names, ranks, apart) == cliques_of_pairs(ordered, pairs)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match="two methods at least, not of shape"):
        average_ranks([[0.5], [0.6]])
    with pytest.raises(DataError, match="every task needs a score of every method"):
        average_ranks([[0.5, 0.6], [0.6]])
    with pytest.raises(DataError, match="not a finite number"):
        wilcoxon_holm([[0.5, math.nan]], ["a", "b"])
    with pytest.raises(DataError, match="at least two tasks"):
        friedman([[0.5, 0.6]])
    with pytest.raises(UsageError, match="2 methods need as many different names"):
        wilcoxon_holm([[0.5, 0.6]], ["a", "a"])
    with pytest.raises(UsageError, match="two methods and a task at least"):
        nemenyi_critical_difference(1, 5)
    with pytest.raises(UsageError, match="alpha must lie between 0 and 1, not 5"):
        tasks_needed(3, 5)
    with pytest.raises(UsageError, match="2 ranks need as many names"):
        cliques_of_ranks(["a"], [1.0, 2.0], 1.0)


def test_statistics_import_no_torch() -> None:
    code = "import sys, graftwork.bench.statistics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_one_task_shows_nothing_whether_its_scores_are_equal_or_not() -> None:
    assert [pair.p for pair in wilcoxon_holm([[0.5, 0.5, 0.7]], ["a", "b", "c"])] == [1.0, 1.0, 1.0]
