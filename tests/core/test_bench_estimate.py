"""What a cell will cost: as timed here, else a rough guess that says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from graftwork.bench.cell import Cell
from graftwork.bench.cells import expand
from graftwork.bench.estimate import Estimate, Timings, estimate, wall_seconds
from graftwork.bench.suite import find_suite, load_suite
from graftwork.catalogue import Catalogue, load_catalogue


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


@pytest.fixture
def cells(catalogue: Catalogue) -> list[Cell]:
    return expand(load_suite(find_suite("smoke", catalogue)), catalogue)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))


def test_nothing_timed_is_a_guess_for_every_cell(cells: list[Cell], catalogue: Catalogue) -> None:
    found = estimate(cells, catalogue, Timings(1), keep_models=False)
    assert len(found) == len(cells)
    assert all(cost.timed == 0 and cost.seconds > 1 and cost.bytes > 0 for cost in found)


def test_what_was_timed_is_known_for_other_seeds_too(cells: list[Cell], catalogue: Catalogue) -> None:
    first = cells[0]
    other_seed = next(cell for cell in cells if cell.method == first.method and cell.seed != first.seed)
    timings = Timings(1)
    for seconds in (10.0, 30.0, 12.0):
        timings.add(first.settings, seconds, 500)
    found = dict(zip((cell.folder for cell in cells), estimate(cells, catalogue, Timings(1), False), strict=True))
    assert found[first.folder] == Estimate(12.0, 500, 3)
    assert found[other_seed.folder] == Estimate(12.0, 500, 3)


def test_other_settings_and_other_threads_are_other_cells(cells: list[Cell]) -> None:
    Timings(1).add(cells[0].settings, 10.0, 1)
    assert Timings(1).find(cells[0].settings)
    assert not Timings(2).find(cells[0].settings)
    assert not Timings(1).find({**cells[0].settings, "epochs": 999})


def test_guesses_are_put_to_the_scale_of_what_was_timed(cells: list[Cell], catalogue: Catalogue) -> None:
    before = estimate(cells, catalogue, Timings(1), False)
    Timings(1).add(cells[0].settings, before[0].seconds * 7, 1)
    after = estimate(cells, catalogue, Timings(1), False)
    untimed = next(at for at, cost in enumerate(after) if not cost.timed)
    # The machine's speed is measured anew each time, so that this holds roughly only.
    assert 3 < after[untimed].seconds / before[untimed].seconds < 14


def test_only_the_last_times_count(cells: list[Cell]) -> None:
    timings = Timings(1)
    for seconds in range(20):
        timings.add(cells[0].settings, float(seconds), 1)
    assert [seconds for seconds, _ in Timings(1).find(cells[0].settings)] == [15.0, 16.0, 17.0, 18.0, 19.0]


def test_a_broken_file_of_timings_is_forgotten(cells: list[Cell], tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "timings"
    folder.mkdir(parents=True)
    for text in ("{", "[]", '{"x": 1}', '{"x": [["a", 2]]}'):
        (folder / "cells.json").write_text(text)
        assert Timings(1).find(cells[0].settings) == []


def test_a_time_budget_bounds_the_guess(cells: list[Cell], catalogue: Catalogue) -> None:
    from dataclasses import replace

    long = replace(cells[0], settings={**cells[0].settings, "epochs": 100_000})
    origin = {**long.origin, "budget": "here"}
    bounded = replace(long, settings={**long.settings, "budget": "1m"}, origin=origin)
    slow, quick = estimate([long, bounded], catalogue, Timings(1), False)
    assert slow.seconds > 300
    assert 60 <= quick.seconds < 90


def test_cells_are_laid_out_over_workers() -> None:
    costs = [Estimate(seconds, 0, 1) for seconds in (10.0, 20.0, 30.0, 5.0)]
    assert wall_seconds(costs, 1) == 65
    assert wall_seconds(costs, 2) == 40  # 10 + 30 beside 20 + 5
    assert wall_seconds(costs, 9) == 30
