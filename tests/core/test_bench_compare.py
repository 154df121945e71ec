"""Two result sets: what differs beyond chance, seed by seed, and what must not be compared."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from bench_toys import Toy, write_result_set
from scipy import stats

from graftwork.bench.compare import Differences, compare, describe
from graftwork.bench.results import collect

BASE = [
    Toy(score + seed / 50, strategy=strategy, seed=seed)
    for strategy, score in (("full", 0.6), ("probe", 0.5), ("scratch", 0.3))
    for seed in range(3)
]


def held(folder: Path, before: list[Toy], after: list[Toy]) -> Differences:
    sets = [collect(write_result_set(folder / name, cells)) for name, cells in (("a", before), ("b", after))]
    return compare(*sets)


def moved(cells: list[Toy], **steps: tuple[float, float, float]) -> list[Toy]:
    """The cells with the scores of some strategies moved, a step a seed."""
    return [
        replace(cell, score=(cell.score or 0) + steps[cell.strategy][cell.seed]) if cell.strategy in steps else cell
        for cell in cells
    ]


def test_the_same_twice_is_identical_to_the_last_bit(tmp_path: Path) -> None:
    found = held(tmp_path, BASE, BASE)
    assert found.identical and [change.verdict for change in found.changes] == ["not shown"] * 3
    assert describe(found)[0] == "All scores are identical to the last bit, in 3 methods on their data sets."
    assert not any(line.startswith(("worse", "better")) for line in describe(found))


def test_metrics_of_other_tasks_beside_them_make_no_difference(tmp_path: Path) -> None:
    after = collect(write_result_set(tmp_path / "b", BASE))
    wider = [{**row, "test.map": None, "val.mean_iou": None} for row in after]
    assert compare(collect(write_result_set(tmp_path / "a", BASE)), wider).identical


def test_the_last_bit_is_a_difference(tmp_path: Path) -> None:
    found = held(tmp_path, BASE, moved(BASE, full=(1e-16, 0, 2e-16)))
    assert not found.identical


def test_a_regression_is_found_seed_by_seed_and_corrected_for_the_number(tmp_path: Path) -> None:
    steps = (-0.050, -0.052, -0.051)
    found = held(tmp_path, BASE, moved(BASE, full=steps, probe=(0.01, -0.02, 0.015)))
    full, probe, scratch = found.changes
    assert full.verdict == "worse" and full.difference.value == pytest.approx(-0.051)
    raw = stats.ttest_1samp(steps, 0).pvalue
    assert full.p == pytest.approx(raw, rel=1e-6) and full.adjusted_p == pytest.approx(3 * raw, rel=1e-6)
    assert probe.verdict == scratch.verdict == "not shown"
    lines = describe(found)
    assert lines[0].startswith("worse: shoes, net/full: accuracy 0.620 → 0.569 (-0.051 ± 0.002, p ")
    assert "1 of 3 differences are shown at 0.05, Holm's correction for their number included." in lines


def test_an_improvement_is_better(tmp_path: Path) -> None:
    found = held(tmp_path, BASE, moved(BASE, scratch=(0.10, 0.11, 0.105)))
    assert [change.verdict for change in found.changes] == ["not shown", "not shown", "better"]


def test_correction_holds_back_what_alone_would_count(tmp_path: Path) -> None:
    """A single p of 0.03 among twenty comparisons is what chance gives."""
    before = [Toy(0.5 + seed / 50, data=f"d{at}", seed=seed) for at in range(20) for seed in range(4)]
    steps = (0.01, 0.02, 0.03, 0.012)
    after = [replace(cell, score=(cell.score or 0) + (steps[cell.seed] if cell.data == "d0" else 0)) for cell in before]
    found = held(tmp_path, before, after)
    assert found.changes[0].p < 0.05 and found.changes[0].verdict == "not shown"


def test_the_same_step_with_every_seed_is_a_change(tmp_path: Path) -> None:
    found = held(tmp_path, BASE, moved(BASE, full=(0.25, 0.25, 0.25)))
    assert found.changes[0].verdict == "better"


def test_one_seed_each_cannot_be_tested(tmp_path: Path) -> None:
    found = held(tmp_path, [Toy(0.5)], [Toy(0.9)])
    (change,) = found.changes
    assert change.verdict == "not testable" and math.isnan(change.p) and math.isnan(change.difference.low)
    assert "one seed or no spread, not testable: shoes, net/full: accuracy 0.500 → 0.900 (+0.400)" in describe(found)


def test_other_seeds_are_compared_by_welchs_test(tmp_path: Path) -> None:
    before = [Toy(score, seed=seed) for seed, score in enumerate((0.5, 0.52, 0.54))]
    after = [Toy(score, seed=seed + 10) for seed, score in enumerate((0.8, 0.81, 0.83, 0.8))]
    (change,) = held(tmp_path, before, after).changes
    assert not change.paired and change.verdict == "better"
    assert change.p == pytest.approx(stats.ttest_ind((0.8, 0.81, 0.83, 0.8), (0.5, 0.52, 0.54), equal_var=False).pvalue)


def test_rounding_is_no_change(tmp_path: Path) -> None:
    """The same last bit with every seed has no spread, and still shows nothing."""
    after = [replace(cell, score=math.nextafter(cell.score or 0, 1)) for cell in BASE]
    found = held(tmp_path, BASE, after)
    assert not found.identical
    assert [change.verdict for change in found.changes] == ["not shown"] * 3
    assert [change.p for change in found.changes] == [1.0] * 3


def test_a_single_common_seed_does_not_throw_the_others_away(tmp_path: Path) -> None:
    before = [Toy(score, seed=seed) for seed, score in enumerate((0.5, 0.52, 0.54))]
    after = [Toy(score, seed=seed + 2) for seed, score in enumerate((0.8, 0.81, 0.83))]
    (change,) = held(tmp_path, before, after).changes
    assert not change.paired and change.verdict == "better" and change.before == pytest.approx(0.52)


def test_runs_without_spread_are_not_said_to_be_one_seed(tmp_path: Path) -> None:
    found = held(tmp_path, [Toy(0.5, seed=at) for at in range(3)], [Toy(0.75, seed=at) for at in range(10, 13)])
    line = "one seed or no spread, not testable: shoes, net/full: accuracy 0.500 → 0.750 (+0.250, not paired by seed)"
    assert line in describe(found)


def test_another_metric_or_split_is_not_compared_and_said(tmp_path: Path) -> None:
    before = collect(write_result_set(tmp_path / "a", BASE))
    renamed = [{**row, "metric": "macro_f1"} if row["strategy"] == "full" else row for row in before]
    after = [{**row, "scored_on": "validation"} if row["strategy"] == "probe" else row for row in renamed]
    found = compare(before, after)
    assert [change.name for change in found.changes] == ["shoes, net/scratch"]
    assert len(found.measured_otherwise) == 6 and found.identical
    assert any(line.startswith("another metric or split, not compared: shoes.net.full") for line in describe(found))


def test_a_metric_that_is_not_a_number_twice_is_the_same(tmp_path: Path) -> None:
    sets = [
        [{**row, "test.macro_f1": float("nan")} for row in collect(write_result_set(tmp_path / name, BASE))]
        for name in "ab"
    ]
    assert compare(*sets).identical


def test_other_data_is_not_compared_and_said(tmp_path: Path) -> None:
    after = [replace(cell, fingerprint="f1") if cell.strategy == "full" else cell for cell in BASE]
    found = held(tmp_path, BASE, after)
    assert [change.name for change in found.changes] == ["shoes, net/probe", "shoes, net/scratch"]
    assert len(found.incomparable) == 3
    assert any(
        line.startswith("other data (fingerprints differ), not compared: shoes.net.full") for line in describe(found)
    )


def test_what_is_in_one_alone_and_what_fails_now_is_said(tmp_path: Path) -> None:
    after = [
        *[replace(cell, state="failed", error="broke") for cell in BASE[:1]],
        *BASE[1:-1],
        Toy(strategy="lora"),
    ]
    found = held(tmp_path, BASE, after)
    assert found.newly_failed == (("shoes.net.full.all.seed0", "broke"),)
    assert found.only_before == ("shoes.net.scratch.all.seed2",)
    assert found.only_after == ("shoes.net.lora.all.seed0",)
    lines = describe(found)
    assert "failed now: shoes.net.full.all.seed0: broke" in lines
    assert "only after: shoes.net.lora.all.seed0" in lines


def test_settings_versions_and_cost_that_changed_are_named(tmp_path: Path) -> None:
    after = [replace(cell, settings={"lr": 0.1}, versions={"torch": "3.0"}, seconds=20.0) for cell in BASE]
    found = held(tmp_path, [replace(cell, settings={"lr": 0.01}) for cell in BASE], after)
    assert found.settings == ("lr: 0.01 → 0.1 (9 cells)",)
    assert found.versions == ("torch: 2.9 → 3.0 (9 cells)",)
    assert found.seconds == 2.0
    assert any("A cell takes 2.00 times as long as before" in line for line in describe(found))


def test_nothing_in_common_is_said(tmp_path: Path) -> None:
    found = held(tmp_path, [Toy()], [Toy(data="boots")])
    assert describe(found)[0] == "The two result sets have no finished cell on the same data in common."
    assert not found.identical


def test_two_equal_steps_are_chance_enough_on_a_small_test_split(tmp_path: Path) -> None:
    before = [Toy(0.5, seed=0), Toy(0.52, seed=1)]
    after = [Toy(0.51, seed=0), Toy(0.53, seed=1)]
    (change,) = held(tmp_path, before, after).changes
    assert change.verdict == "not testable"


def test_over_all_each_data_set_counts_once(tmp_path: Path) -> None:
    """Six methods that move together on one data set are no six observations."""
    before = [Toy(0.5 + seed / 90, strategy=f"s{at}", seed=seed) for at in range(6) for seed in range(3)]
    after = [replace(cell, score=(cell.score or 0) + 0.01 + cell.seed / 500) for cell in before]
    assert math.isnan(held(tmp_path / "one", before, after).overall_p)
    many = [[replace(cell, data=f"d{at}") for at in range(6) for cell in cells] for cells in (before, after)]
    assert held(tmp_path / "six", *many).overall_p == pytest.approx(2 / 2**6)
