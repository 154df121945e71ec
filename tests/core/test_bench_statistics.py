"""Means, aggregates over tasks, paired gains and Pareto fronts against published examples, scipy and rliable."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from graftwork.bench.statistics import (
    interquartile_mean,
    interquartile_mean_interval,
    mean_interval,
    median_score,
    median_score_interval,
    normalise,
    optimality_gap,
    optimality_gap_interval,
    paired_gain,
    pareto_front,
    probability_of_improvement,
    probability_of_improvement_interval,
)
from graftwork.errors import DataError, UsageError

pytestmark = pytest.mark.filterwarnings("error")

# Student 1908, "The probable error of a mean", hours of sleep gained; R's documentation prints t.test on the two
HYOSCYAMINE = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
HYOSCINE = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]

OURS = [
    [0.2, 0.1, 0.25, 0.27, 0.02, 0.18],
    [0.56, 0.51, 0.57, 0.23, 0.45, 0.0],
    [0.87, 1.03, 0.91, 0.85, 0.77, 0.85],
    [0.83, 0.95, 0.82, 0.53, 1.18, 1.08],
    [0.68, 0.67, 0.7, 0.64, 0.71, 0.71],
]
THEIRS = [
    [0.08, 0.23, 0.33, 0.31],
    [0.23, 0.31, 0.49, 0.49],
    [0.66, 0.89, 0.89, 0.94],
    [1.09, 1.49, 1.65, 0.95],
    [0.48, 0.67, 0.57, 0.58],
]
# rliable 1.2.0 (numpy 2.4.6, arch 7.2.0) on OURS and THEIRS, transposed: metrics.aggregate_iqm, aggregate_median,
# aggregate_optimality_gap, probability_of_improvement; intervals by library.get_interval_estimates with 50,000
# repetitions (20,000 for the last) and RandomState(0)
IQM, IQM_LOW, IQM_HIGH = 0.641875, 0.5825, 0.686875
MEDIAN, MEDIAN_LOW, MEDIAN_HIGH = 0.6849999999999999, 0.6633333333333334, 0.7033333333333333
GAP, GAP_LOW, GAP_HIGH = 0.4056666666666666, 0.3623333333333334, 0.45433333333333326
BETTER, BETTER_LOW, BETTER_HIGH = 0.4875, 0.3416666666666667, 0.6333333333333334

SCORE = st.integers(-50, 50).map(lambda value: value / 10)
SAME_SEEDS = st.integers(1, 6).flatmap(
    lambda seeds: st.lists(st.lists(SCORE, min_size=seeds, max_size=seeds), min_size=1, max_size=6)
)
ANY_SEEDS = st.lists(st.lists(SCORE, min_size=1, max_size=6), min_size=1, max_size=6)
FEW_POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=15)


def test_the_interval_of_students_sleep_data_is_the_published_one() -> None:
    gain = paired_gain(HYOSCINE, HYOSCYAMINE)
    assert gain.mean.value == pytest.approx(1.58)
    assert (gain.mean.low, gain.mean.high) == pytest.approx((0.7001142, 2.4598858), abs=5e-8)
    assert (gain.mean.n, gain.verdict) == (10, "positive")
    assert paired_gain(HYOSCYAMINE, HYOSCINE).verdict == "negative"
    # three of the pairs, all negative: t = -4.25 where 4.30 is needed
    assert paired_gain(HYOSCYAMINE[:3], HYOSCINE[:3]).verdict == "not shown"


@settings(deadline=None)
@given(st.lists(SCORE, min_size=2, max_size=8).filter(lambda x: len(set(x)) > 1), st.sampled_from([0.5, 0.9, 0.99]))
def test_the_mean_interval_is_scipys(values: list[float], level: float) -> None:
    found = mean_interval(values, level)
    expected = stats.t.interval(level, len(values) - 1, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)
    assert (found.value, found.n) == (pytest.approx(np.mean(values)), len(values))


def test_a_single_run_has_a_mean_without_an_interval_and_a_single_pair_shows_nothing() -> None:
    alone = mean_interval([0.7])
    assert (alone.value, alone.n) == (0.7, 1) and math.isnan(alone.low) and math.isnan(alone.high)
    pair = paired_gain([0.9], [0.1])
    assert pair.verdict == "not shown" and pair.mean.value == pytest.approx(0.8) and math.isnan(pair.mean.low)


def test_equal_scores_are_no_gain_however_they_were_rounded() -> None:
    gain = paired_gain([0.1 + 0.2, 0.1 + 0.2, 0.1 + 0.2], [0.3, 0.3, 0.3])
    assert (gain.mean.value, gain.mean.low, gain.mean.high, gain.verdict) == (0.0, 0.0, 0.0, "not shown")
    assert paired_gain([0.0, 0.0], [0.0, 0.0]).verdict == "not shown"


def test_the_same_gain_in_every_pair_is_shown() -> None:
    gain = paired_gain([0.3, 0.4, 0.9], [0.2, 0.3, 0.8])
    assert gain.verdict == "positive" and gain.mean.low == pytest.approx(0.1) == gain.mean.high


def test_a_higher_level_asks_for_more_before_it_shows_a_gain() -> None:
    target, base = [0.80, 0.83, 0.84, 0.82], [0.79, 0.80, 0.80, 0.81]
    # t = 3.0 at three degrees of freedom: p = 0.0577
    assert stats.ttest_rel(target, base).pvalue == pytest.approx(0.0577, abs=5e-5)
    assert paired_gain(target, base, 0.94).verdict == "positive"
    assert paired_gain(target, base, 0.95).verdict == "not shown"


def test_normalised_scores_are_zero_at_chance_and_one_at_the_reference() -> None:
    found = normalise([[0.1, 0.9], [0.5, 1.0]], 0.1, 0.9)
    assert found == pytest.approx(np.array([[0, 1], [0.5, 1.125]]))


@pytest.mark.parametrize("reference", [0.1, 0.05, math.nan])
def test_a_reference_that_is_no_better_than_chance_is_refused(reference: float) -> None:
    with pytest.raises(UsageError, match="must lie above chance"):
        normalise([0.3], 0.1, reference)


def test_aggregates_are_those_of_rliable() -> None:
    assert interquartile_mean(OURS) == pytest.approx(IQM, abs=1e-12)
    assert median_score(OURS) == pytest.approx(MEDIAN, abs=1e-12)
    assert optimality_gap(OURS) == pytest.approx(GAP, abs=1e-12)
    assert probability_of_improvement(OURS, THEIRS) == pytest.approx(BETTER, abs=1e-12)


def test_bootstrap_intervals_are_those_of_rliable_up_to_the_draw() -> None:
    # the first three move by less than 0.002 from one seed to the next; the last takes values 1/120 apart
    for found, value, low, high, allowed in (
        (interquartile_mean_interval(OURS, resamples=50_000), IQM, IQM_LOW, IQM_HIGH, 0.002),
        (median_score_interval(OURS, resamples=50_000), MEDIAN, MEDIAN_LOW, MEDIAN_HIGH, 0.002),
        (optimality_gap_interval(OURS, resamples=50_000), GAP, GAP_LOW, GAP_HIGH, 0.002),
        (probability_of_improvement_interval(OURS, THEIRS, resamples=20_000), BETTER, BETTER_LOW, BETTER_HIGH, 0.0085),
    ):
        assert found.value == pytest.approx(value, abs=1e-12)
        assert (found.low, found.high) == pytest.approx((low, high), abs=allowed)
    assert interquartile_mean_interval(OURS).n == 30
    assert probability_of_improvement_interval(OURS, THEIRS).n == 50


def test_rliable_itself_agrees_where_it_is_installed() -> None:
    metrics = pytest.importorskip("rliable.metrics", exc_type=ImportError)
    generator = np.random.default_rng(5)
    for _ in range(20):
        ours, theirs = generator.normal(size=(7, 5)).round(1), generator.normal(size=(7, 3)).round(1)
        assert interquartile_mean(ours) == pytest.approx(metrics.aggregate_iqm(ours.T), abs=1e-12)
        assert optimality_gap(ours, 0.5) == pytest.approx(metrics.aggregate_optimality_gap(ours.T, 0.5), abs=1e-12)
        expected = metrics.probability_of_improvement(ours.T, theirs.T)
        assert probability_of_improvement(ours, theirs) == pytest.approx(expected, abs=1e-12)


def test_the_bootstrap_draws_every_resample_of_a_task_equally_often() -> None:
    scores = np.array([[0.0, 1.0, 5.0], [2.0, 2.5, 9.0]])
    every = [
        stats.trim_mean([scores[0, list(one)], scores[1, list(other)]], 0.25, axis=None)
        for one, other in product(product(range(3), repeat=3), repeat=2)
    ]
    found = interquartile_mean_interval(scores, 0.8, resamples=40_000, seed=1)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(every, [0.1, 0.9])), abs=1e-9)


def test_an_interval_is_the_same_for_the_same_seed_and_wider_for_a_higher_level() -> None:
    narrow, wide = (interquartile_mean_interval(OURS, level, 500, seed=3) for level in (0.5, 0.95))
    assert interquartile_mean_interval(OURS, 0.5, 500, seed=3) == narrow
    assert interquartile_mean_interval(OURS, 0.5, 500, seed=4) != narrow
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


def test_resamples_in_chunks_are_as_many_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from graftwork.bench.statistics import aggregates

    monkeypatch.setattr(aggregates, "_AT_ONCE", 100)
    found = interquartile_mean_interval(OURS, resamples=20_000)
    assert (found.low, found.high) == pytest.approx((IQM_LOW, IQM_HIGH), abs=0.004)
    alone = interquartile_mean_interval(OURS, resamples=1)
    assert alone.low == alone.high


def test_a_task_with_one_run_leaves_the_value_and_takes_the_interval() -> None:
    found = interquartile_mean_interval([[0.2, 0.4], [0.6]])
    assert found.value == pytest.approx(0.45) and math.isnan(found.low) and math.isnan(found.high)
    better = probability_of_improvement_interval([[0.9, 0.8]], [[0.1]])
    assert better.value == 1.0 and math.isnan(better.low)


@settings(deadline=None)
@given(SAME_SEEDS)
def test_the_interquartile_mean_is_scipys_trimmed_mean_and_lies_between_the_quartiles(
    scores: list[list[float]],
) -> None:
    found = interquartile_mean(scores)
    assert found == pytest.approx(stats.trim_mean(scores, 0.25, axis=None), abs=1e-12)
    low, high = np.percentile(scores, [25, 75])
    assert low - 1e-12 <= found <= high + 1e-12


@settings(deadline=None)
@given(ANY_SEEDS, st.data())
def test_aggregates_do_not_depend_on_the_order_of_tasks_and_seeds(
    scores: list[list[float]], data: st.DataObject
) -> None:
    shuffled = [data.draw(st.permutations(task)) for task in data.draw(st.permutations(scores))]
    for aggregate in (interquartile_mean, median_score, optimality_gap):
        assert aggregate(shuffled) == pytest.approx(aggregate(scores), abs=1e-12)


@settings(deadline=None)
@given(ANY_SEEDS)
def test_a_task_counts_the_same_with_twice_as_many_runs(scores: list[list[float]]) -> None:
    doubled = [task * (2 if number == 0 else 1) for number, task in enumerate(scores)]
    for aggregate in (median_score, optimality_gap):
        assert aggregate(doubled) == pytest.approx(aggregate(scores), abs=1e-12)
    # what is cut is rounded to runs, so only a number of them that divides by four shows it here
    assert interquartile_mean([[0.0] * 4, [1.0] * 12]) == pytest.approx(0.5)


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.lists(SCORE, min_size=1, max_size=5)] * 2), min_size=1, max_size=5))
def test_the_probability_of_improvement_is_mann_whitneys_u_and_complements_its_reverse(
    tasks: list[tuple[list[float], list[float]]],
) -> None:
    ours, theirs = [task[0] for task in tasks], [task[1] for task in tasks]
    expected = np.mean([stats.mannwhitneyu(x, y, method="exact").statistic / len(x) / len(y) for x, y in tasks])
    assert probability_of_improvement(ours, theirs) == pytest.approx(expected, abs=1e-12)
    assert probability_of_improvement(theirs, ours) == pytest.approx(1 - expected, abs=1e-12)


def test_equal_scores_improve_with_probability_one_half() -> None:
    found = probability_of_improvement_interval([[0.3, 0.3]] * 3, [[0.1 + 0.2, 0.3]] * 3)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5), abs=1e-12)


def test_scores_above_the_target_do_not_make_up_for_those_below() -> None:
    assert optimality_gap([[0.5, 3.0], [1.0, 1.0]]) == pytest.approx(0.125)
    assert optimality_gap([[0.5, 3.0], [1.0, 1.0]], target=2.0) == pytest.approx((1.5 + 0 + 1 + 1) / 4)


@settings(max_examples=200, deadline=None)
@given(FEW_POINTS)
def test_the_pareto_front_is_every_point_that_no_other_dominates(points: list[tuple[int, int]]) -> None:
    costs, scores = [cost for cost, _ in points], [score for _, score in points]
    expected = {
        number
        for number, (cost, score) in enumerate(points)
        if not any(c <= cost and s >= score and (c, s) != (cost, score) for c, s in points)
    }
    front = pareto_front(costs, scores)
    assert set(front) == expected and len(front) == len(expected)
    assert [costs[number] for number in front] == sorted(costs[number] for number in front)


def test_what_cannot_be_evaluated_is_refused_with_its_place() -> None:
    with pytest.raises(DataError, match="task 1: a value is not a finite number"):
        interquartile_mean([[0.1], [math.nan]])
    with pytest.raises(DataError, match="task 1 must be a list of at least one number"):
        interquartile_mean([[0.1], []])
    with pytest.raises(DataError, match="no task"):
        interquartile_mean([])
    with pytest.raises(DataError, match="2 tasks cannot be compared with 1"):
        probability_of_improvement([[0.1], [0.2]], [[0.1]])
    with pytest.raises(DataError, match="2 target scores and 1 base scores"):
        paired_gain([0.1, 0.2], [0.1])
    with pytest.raises(DataError, match="2 costs and 1 scores"):
        pareto_front([1, 2], [0.5])
    with pytest.raises(DataError, match="not a finite number"):
        normalise([math.inf], 0.0, 1.0)
    with pytest.raises(UsageError, match="level must lie between 0 and 1, not 95"):
        mean_interval([0.1, 0.2], 95)
    with pytest.raises(UsageError, match="resamples must be at least 1"):
        interquartile_mean_interval(OURS, resamples=0)
    with pytest.raises(UsageError, match="target must be a finite number"):
        optimality_gap(OURS, math.inf)
