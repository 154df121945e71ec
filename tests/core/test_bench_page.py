"""The page of a result set: complete without a script, sortable with the one that its policy names, safe with hostile names."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from bench_toys import Toy, write_result_set
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from graftwork.bench import figures
from graftwork.bench.analysis import Analysis
from graftwork.bench.comparisons import analyse
from graftwork.bench.page import write_page
from graftwork.bench.results import collect


def page(folder: Path, cells: list[Toy], summary: str = "Toys") -> str:
    write_result_set(folder, cells)
    return write_page(analyse(collect(folder), "toys", summary), folder).read_text(encoding="utf-8")


def analysis_of(folder: Path, cells: list[Toy]) -> Analysis:
    write_result_set(folder, cells)
    return analyse(collect(folder), "toys", "Toys")


def grid(data: str = "abc", strategies: int = 2, seeds: int = 2, backbones: tuple[str, ...] = ("net",)) -> list[Toy]:
    names = ["scratch", "full", *(f"s{at}" for at in range(2, strategies))][:strategies]
    return [
        Toy(
            0.3 + at / 40 + seed / 100 + where / 30, data=name, strategy=strategy, seed=seed, backbone=backbone,
            seconds=5.0 + at, curve=(0.1, 0.2 + at / 50, 0.3 + seed / 50),
        )
        for name in data
        for where, backbone in enumerate(backbones)
        for at, strategy in enumerate(names)
        for seed in range(seeds)
    ]  # fmt: skip


def test_everything_is_on_the_page(tmp_path: Path) -> None:
    text = page(tmp_path, grid(backbones=("net", "big")))
    for title in (
        "Results", "Data sets and backbones", "What transfer brings", "Strategies across data sets",
        "Backbones across data sets", "Score and time", "Learning curves", "How the numbers came about",
    ):  # fmt: skip
        assert f"<h2>{title}</h2>" in text, title
    assert text.count("<svg") == 6
    assert "critical difference" in text and "not told apart" in text
    assert 'href="cells/a.net.full.all.seed1/report.html"' in text
    assert "24 of 24" in text and "none failed" in text


def test_the_only_script_is_the_one_that_the_policy_names(tmp_path: Path) -> None:
    text = page(tmp_path, grid())
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert not re.search(r"\son\w+=", text), "an inline handler would be blocked"


def test_columns_sort_by_numbers_and_not_by_how_they_are_written(tmp_path: Path) -> None:
    text = page(tmp_path, grid())
    table = text[text.index('<table class="sortable">') : text.index("</table>")]
    heads = re.findall(r"<th [^>]*>(.*?)</th>", table)
    assert heads and all(re.fullmatch(r'<button type="button">[^<]+</button>', head) for head in heads)
    values = [float(value) for value in re.findall(r'data-value="([^"]+)"><bdi>\d+\.\d s', table)]
    assert {5.0, 6.0} <= set(values)
    assert re.search(r'<td class=" ">(<a href="[^"]+">seed \d</a> ){2}</td></tr>', table), "one cell holds all runs"


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '"><img src=x>', "$x_1$", "_under", "\u202eevil", "x" * 150]
)
def test_hostile_names_are_text(tmp_path: Path, name: str) -> None:
    cells = [replace(cell, backbone=name) for cell in grid("a")]
    cells.append(Toy(data="b", state="failed", error=f"cannot read {name}"))
    text = page(tmp_path, cells, summary=name)
    assert "<script>alert" not in text and "<img" not in text
    assert len(re.findall("<script", text)) == 1
    assert "<h2>Failed cells</h2>" in text


def test_a_name_that_turns_the_direction_of_text_turns_no_sentence(tmp_path: Path) -> None:
    turned = "\u202eevil"
    cells = [replace(cell, data=turned if cell.data == "a" else "b", backbone=turned) for cell in grid("ab", seeds=3)]
    worse = [replace(cell, score=0.9 + cell.seed / 200) if cell.strategy == "scratch" else cell for cell in cells]
    text = page(tmp_path, worse)
    assert "Negative transfer" in text and text.count(r"\u202eevil") > 2
    outside = re.sub(r"<bdi>.*?</bdi>", "", text, flags=re.DOTALL)
    assert "\u202e" not in outside


def test_a_heat_map_of_many_backbones_is_no_wider_than_the_page(tmp_path: Path) -> None:
    many = analysis_of(tmp_path, grid("ab", seeds=1, backbones=tuple(f"backbone-{at}" for at in range(30))))
    figure = figures.heat_map(many.entries)
    assert figure.get_figwidth() < 11, "inches; the page shrinks what is wider"
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]
    assert len(axes.get_yticklabels()) == 30 and len(axes.patches) == 60


def test_values_of_a_heat_map_are_dark_on_light_and_light_on_dark(tmp_path: Path) -> None:
    cells = [Toy(0.25 + at / 40, backbone=f"net{at}", chance=0.25, reference=1.0) for at in range(30)]
    (axes,) = figures.heat_map(analysis_of(tmp_path, cells).entries).axes
    texts = [text for text in axes.texts if text.get_fontsize() == 10]
    assert len(texts) == len(axes.patches) == 30
    for text, patch in zip(texts, axes.patches, strict=True):
        high, low = sorted((luminance(text.get_color()), luminance(patch.get_facecolor())), reverse=True)
        assert (high + 0.05) / (low + 0.05) > 3.7


def luminance(colour: object) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]  # type: ignore[arg-type]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("prefix", ["", "a-rather-long-name-of-a-net-"])
def test_names_of_points_overlap_neither_each_other_nor_the_next_panel(tmp_path: Path, prefix: str) -> None:
    cells = [
        Toy(0.3 + at / 60, data=data, backbone=f"{prefix}net{at}", seconds=5.0 + at**1.5, chance=0.25, reference=1.0)
        for data in "abc"
        for at in range(30)
    ]
    figure = figures.score_against_time(analysis_of(tmp_path, cells))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for axes in figure.axes:
        boxes = [text.get_window_extent(canvas.get_renderer()) for text in axes.texts]
        assert len(boxes) >= 2 and all(not one.overlaps(two) for one, two in combinations(boxes, 2))
        panel = axes.get_window_extent()
        assert panel.width > 200 and all(panel.x0 - 4 < box.x0 and box.x1 < panel.x1 + 4 for box in boxes)


def test_ids_stand_once(tmp_path: Path) -> None:
    ids = re.findall(r'\sid="([^"]+)"', page(tmp_path, grid(backbones=("net", "big"))))
    assert len(ids) > 20 and len(ids) == len(set(ids))


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    assert page(tmp_path / "a", grid()) == page(tmp_path / "b", grid())


@pytest.mark.parametrize(
    "cells",
    [
        pytest.param(grid("a", strategies=1, seeds=1), id="one cell"),
        pytest.param(grid("a", seeds=1), id="one seed"),
        pytest.param(
            grid("abcdefghij", strategies=12), id="twelve strategies on ten data sets", marks=pytest.mark.acceptance
        ),
        pytest.param(
            grid("a", strategies=2, backbones=tuple(f"backbone-{at}" for at in range(20))), id="twenty backbones"
        ),
        pytest.param([Toy(seconds=0.0), Toy(strategy="scratch", seconds=1e5)], id="no time and a day"),
        pytest.param([Toy(0.0), Toy(0.0, strategy="scratch")], id="nothing above chance"),
    ],
)
def test_every_shape_of_a_suite_has_a_page(tmp_path: Path, cells: list[Toy]) -> None:
    text = page(tmp_path, cells)
    assert "<h2>Results</h2>" in text and "nan" not in re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL).lower()


def test_nothing_finished_is_a_page_with_the_causes(tmp_path: Path) -> None:
    text = page(tmp_path, [Toy(state="failed", error="one class only"), Toy(seed=1, state="missing")])
    assert "one class only" in text and "0 of 2" in text and "<svg" not in text
    assert "1 of 2 cells have not ended yet" in text


def test_negative_transfer_stands_at_the_top(tmp_path: Path) -> None:
    cells = [Toy(0.8 + seed / 100, strategy="scratch", seed=seed) for seed in range(3)]
    cells += [Toy(0.3 + seed / 90, seed=seed) for seed in range(3)]
    text = page(tmp_path, cells)
    assert "Negative transfer, worse than the same net from scratch: net/full on shoes." in text
    assert 'class="number negative"' in text


def test_runs_without_their_curves_leave_the_figure_out(tmp_path: Path) -> None:
    cells = grid("a")
    write_result_set(tmp_path, cells)
    for file in tmp_path.glob("cells/*/metrics.jsonl"):
        file.write_text("")
    text = write_page(analyse(collect(tmp_path), "toys", ""), tmp_path).read_text()
    assert "Learning curves" not in text and "Score and time" in text


def test_epochs_that_nobody_can_read_leave_the_others(tmp_path: Path) -> None:
    write_result_set(tmp_path, grid("a"))
    file = next(tmp_path.glob("cells/*/metrics.jsonl"))
    file.write_text('{"epoch": 1, "val": [0.5]}\n{"epoch": 2, "val": {"accuracy": null}}\nno JSON\n')
    text = write_page(analyse(collect(tmp_path), "toys", ""), tmp_path).read_text()
    assert "<h2>Learning curves</h2>" in text
