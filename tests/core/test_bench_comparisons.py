"""From the table to what it says: hand-computed means, gains, choices on validation, and who is compared with whom."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from bench_toys import Toy, write_result_set

from graftwork.bench.analysis import Analysis, Comparison
from graftwork.bench.comparisons import analyse
from graftwork.bench.results import collect


def said(folder: Path, cells: list[Toy], level: float = 0.95) -> Analysis:
    return analyse(collect(write_result_set(folder, cells)), "toys", "Toys", level)


def compared(analysis: Analysis, of: str) -> Comparison:
    return next(comparison for comparison in analysis.comparisons if comparison.of == of)


def test_an_entry_is_the_mean_over_seeds_with_students_interval(tmp_path: Path) -> None:
    cells = [Toy(score, val=score + 0.1, seed=seed, seconds=seed + 1.0) for seed, score in enumerate((0.5, 0.6, 0.7))]
    (entry,) = said(tmp_path, cells).entries
    assert entry.score.value == pytest.approx(0.6) and entry.score.n == 3
    # t(0.975, 2) = 4.302653, s = 0.1: half = 4.302653 * 0.1 / sqrt(3).
    assert entry.score.high - entry.score.value == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-6)
    assert entry.val_score == pytest.approx(0.7) and entry.seconds == 2.0 and entry.cpu_seconds == pytest.approx(1.8)
    assert entry.seeds == (0, 1, 2) and entry.method == "net/full"


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    (entry,) = said(tmp_path, [Toy(0.5)]).entries
    assert entry.score.value == 0.5 and math.isnan(entry.score.low)


def test_the_suites_reference_counts_as_one(tmp_path: Path) -> None:
    (entry,) = said(tmp_path, [Toy(0.5, chance=0.1, reference=0.9)]).entries
    assert entry.normalised == pytest.approx(0.5)


def test_without_a_reference_the_best_at_the_largest_budget_counts_as_one(tmp_path: Path) -> None:
    cells = [
        Toy(0.9, labels="10", rows=10, chance=0.1),  # lucky on few labels: not what counts as 1
        Toy(0.5, labels="all", rows=100, chance=0.1),
        Toy(0.3, labels="all", rows=100, chance=0.1, strategy="probe"),
    ]
    entries = said(tmp_path, cells).entries
    assert [entry.normalised for entry in entries] == pytest.approx([2.0, 1.0, 0.5])


def test_a_split_that_is_a_row_larger_with_one_seed_decides_no_reference(tmp_path: Path) -> None:
    cells = [Toy(0.5, rows=100, seed=0), Toy(0.5, rows=101, seed=1), Toy(0.9, rows=100, strategy="probe")]
    cells = [replace(cell, chance=0.1) for cell in cells]
    assert [entry.normalised for entry in said(tmp_path, cells).entries] == pytest.approx([0.5, 1.0])


def test_nothing_above_chance_has_no_scale(tmp_path: Path) -> None:
    analysis = said(tmp_path, [Toy(0.1, chance=0.2), Toy(0.15, chance=0.2, strategy="probe")])
    assert [entry.normalised for entry in analysis.entries] == [None, None]
    assert analysis.comparisons == ()


def test_gain_is_paired_by_seed_with_scratch_on_the_same_backbone(tmp_path: Path) -> None:
    cells = [
        *(Toy(score, strategy="scratch", seed=seed) for seed, score in enumerate((0.3, 0.5, 0.4))),
        *(Toy(score, strategy="full", seed=seed) for seed, score in enumerate((0.51, 0.72, 0.6, 0.1))),
        Toy(0.9, strategy="full", backbone="alone"),
    ]
    analysis = said(tmp_path, cells)
    scratch, full, alone = analysis.entries
    assert scratch.gain is None and alone.gain is None
    assert full.gain is not None
    assert full.gain.mean.value == pytest.approx((0.21 + 0.22 + 0.20) / 3) and full.gain.mean.n == 3
    assert full.gain.verdict == "positive"


def test_negative_transfer_is_told(tmp_path: Path) -> None:
    cells = [Toy(0.5 + seed / 100, strategy="scratch", seed=seed) for seed in range(3)]
    cells += [Toy(0.3 + seed / 90, strategy="full", seed=seed) for seed in range(3)]
    gain = said(tmp_path, cells).entries[1].gain
    assert gain is not None and gain.verdict == "negative"


def test_random_weights_transfer_nothing(tmp_path: Path) -> None:
    cells = [Toy(0.3, strategy="scratch"), Toy(0.5, strategy="full", weights="none")]
    assert said(tmp_path, cells).entries[1].gain is None


def test_validation_chooses_the_point_of_a_sweep_and_test_does_not(tmp_path: Path) -> None:
    cells = [
        Toy(0.9, val=0.4, point="lr=0.1", seed=0), Toy(0.9, val=0.6, point="lr=0.1", seed=1),
        Toy(0.2, val=0.5, point="lr=0.01", seed=0), Toy(0.3, val=0.52, point="lr=0.01", seed=1),
        Toy(0.8, val=0.51, point="lr=0.001", seed=0), Toy(0.8, val=0.51, point="lr=0.001", seed=1),
    ]  # fmt: skip
    analysis = said(tmp_path, cells)
    (entry,) = analysis.entries
    assert entry.point == "lr=0.01" and entry.score.value == pytest.approx(0.25)
    assert [(point.point, point.chosen) for point in analysis.sweeps] == [
        ("lr=0.1", False), ("lr=0.01", True), ("lr=0.001", False),
    ]  # fmt: skip


def test_a_point_that_lost_a_seed_is_not_chosen_before_one_that_has_all(tmp_path: Path) -> None:
    cells = [
        Toy(0.5, val=0.55, point="lr=1", seed=0), Toy(0.5, val=0.55, point="lr=1", seed=1),
        Toy(0.9, val=0.58, point="lr=2", seed=0), Toy(state="failed", error="x", point="lr=2", seed=1),
    ]  # fmt: skip
    assert said(tmp_path, cells).entries[0].point == "lr=1"


def test_of_equal_points_the_first_of_the_suite_is_chosen(tmp_path: Path) -> None:
    analysis = said(tmp_path, [Toy(0.1, val=0.5, point="b=2"), Toy(0.9, val=0.5, point="a=1")])
    assert analysis.entries[0].point == "b=2"


def grid(strategies: dict[str, float], data: tuple[str, ...], backbone: str = "net") -> list[Toy]:
    return [
        Toy(score + at / 50 + seed / 100, data=name, strategy=strategy, seed=seed, backbone=backbone, reference=1.0)
        for at, name in enumerate(data)
        for strategy, score in strategies.items()
        for seed in range(2)
    ]


def test_strategies_are_ranked_on_the_blocks_that_all_finished(tmp_path: Path) -> None:
    names = tuple("abcdefgh")
    cells = grid({"probe": 0.5, "full": 0.6, "scratch": 0.3}, names) + grid({"lora": 0.7}, names[:2])
    found = compared(said(tmp_path, cells), "strategy")
    assert found.names == ("full", "probe", "scratch") and found.ranks == (1, 2, 3)
    assert found.left_out == ("lora",)
    assert found.data == names and found.held == ("net",)
    assert found.friedman is not None and found.friedman.f_p < 0.001 and math.isinf(found.friedman.f)
    assert found.critical_difference == pytest.approx(2.343 * math.sqrt(3 * 4 / (6 * 8)), abs=2e-3)  # Demšar's table 5
    assert found.rank_cliques == (("full", "probe"), ("probe", "scratch"))
    assert found.data_needed == 7  # 2 / 2^7 * 3 = 0.047
    assert {pair.differs for pair in found.pairs} == {True}
    assert found.improvement[0][2].value == 1.0 and found.improvement[1][1].value == 0.5


def test_backbones_are_compared_strategy_by_strategy(tmp_path: Path) -> None:
    cells = grid({"probe": 0.5, "full": 0.6}, ("a",)) + grid({"probe": 0.7, "full": 0.8}, ("a",), backbone="big")
    cells += grid({"probe": 0.4}, ("words",), backbone="text")
    found = compared(said(tmp_path, cells), "backbone")
    assert found.names == ("big", "net") and found.left_out == ("text",)
    assert found.data == ("a",) and found.held == ("probe", "full")
    assert found.friedman is None  # two strategies on the same rows are not two independent tasks


def test_several_backbones_on_a_data_set_count_once(tmp_path: Path) -> None:
    """Ranks are of the mean over backbones: full wins by much on one, and loses by little on the other."""
    cells = grid({"probe": 0.5, "full": 0.8}, ("a", "b")) + grid(
        {"probe": 0.6, "full": 0.55}, ("a", "b"), backbone="big"
    )
    found = compared(said(tmp_path, cells), "strategy")
    assert found.data == ("a", "b") and found.held == ("net", "big")
    assert found.names == ("full", "probe") and found.ranks == (1, 2)
    assert found.interquartile_means[0].n == 8  # two data sets, two backbones, two seeds


def test_a_failed_method_is_left_out_or_costs_its_block(tmp_path: Path) -> None:
    """Of four data sets one lacks a method: three complete blocks of three are more than four of two."""
    cells = grid({"probe": 0.5, "full": 0.6, "scratch": 0.3}, tuple("abcd"))
    cells = [
        Toy(state="failed", error="no", data=cell.data, strategy=cell.strategy, seed=cell.seed)
        if (cell.data, cell.strategy) == ("d", "full")
        else cell
        for cell in cells
    ]
    analysis = said(tmp_path, cells)
    found = compared(analysis, "strategy")
    assert len(found.names) == 3 and found.data == ("a", "b", "c")
    assert analysis.failures == (("d.net.full.all.seed0", "no"), ("d.net.full.all.seed1", "no"))


def test_alone_nothing_is_compared(tmp_path: Path) -> None:
    assert said(tmp_path, [Toy(0.5)]).comparisons == ()


def test_the_front_is_what_nothing_beats_in_score_and_time(tmp_path: Path) -> None:
    cells = [
        Toy(0.5, strategy="slow", seconds=90), Toy(0.5, strategy="quick", seconds=10),
        Toy(0.4, strategy="quickest", seconds=5), Toy(0.3, strategy="bad", seconds=50),
    ]  # fmt: skip
    analysis = said(tmp_path, cells)
    (front,) = analysis.fronts
    assert [analysis.entries[at].strategy for at in front.entries] == ["quickest", "quick"]


def test_what_has_not_ended_is_named(tmp_path: Path) -> None:
    analysis = said(tmp_path, [Toy(), Toy(seed=1, state="running"), Toy(seed=2, state="missing")])
    assert analysis.unfinished == ("shoes.net.full.all.seed1", "shoes.net.full.all.seed2")
    assert len(analysis.rows) == 3 and len(analysis.entries) == 1


def test_nothing_finished_says_nothing(tmp_path: Path) -> None:
    analysis = said(tmp_path, [Toy(state="failed", error="x")])
    assert analysis.entries == () and analysis.comparisons == () and analysis.fronts == ()


def test_the_same_table_says_the_same(tmp_path: Path) -> None:
    cells = grid({"probe": 0.5, "full": 0.52, "scratch": 0.51}, tuple("abc"))
    assert said(tmp_path / "one", cells) == said(tmp_path / "two", cells)
