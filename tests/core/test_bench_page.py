"""The page of a result set: complete without a script, sortable with the one that its policy names, safe with hostile names."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
from bench_toys import Toy, write_result_set

from graftwork.bench.comparisons import analyse
from graftwork.bench.page import write_page
from graftwork.bench.results import collect


def page(folder: Path, cells: list[Toy], summary: str = "Toys") -> str:
    write_result_set(folder, cells)
    return write_page(analyse(collect(folder), "toys", summary), folder).read_text(encoding="utf-8")


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
    assert table.count('<button type="button">') == table.count("<th ")
    values = [float(value) for value in re.findall(r'data-value="([^"]+)"><bdi>\d+\.\d s', table)]
    assert {5.0, 6.0} <= set(values)


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
        pytest.param(grid("abcdefghij", strategies=12), id="twelve strategies on ten data sets"),
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
