"""The tour: what its suites say, whose suites it runs, and what comes out of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from installed_plugins import write_plugin

from graftwork.bench.cell import cell_layer
from graftwork.bench.cells import expand
from graftwork.bench.suite import find_suite, load_suite
from graftwork.bench.tour import PREFIX, run_quickstart
from graftwork.catalogue import Catalogue, load_catalogue
from graftwork.config.check import resolve_and_check

STRANGERS = """version: 1
plugins:
  graft-tour: {summary: not the tour, package: graft_tour}
suites:
  quickstart-mine: {plugin: graft-tour, summary: not of the tour, file: mine.yaml}
"""


def only(catalogue: Catalogue, *names: str) -> Catalogue:
    """The catalogue with these suites alone."""
    catalogue.entries["suites"] = {name: catalogue.suite(name) for name in names}
    return catalogue


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "quickstart-images",
            {"backbone": "graftnet-s", "limit_train": 100, "epochs": 20, "batch_size": 20, "lr": 0.001},
        ),
        ("quickstart-texts", {"backbone": "minilm-l6", "limit_train": 140, "epochs": 8, "batch_size": 20}),
    ],
)
def test_a_suite_of_the_tour_sets_a_pretrained_net_against_the_same_net_from_scratch(
    name: str, expected: dict[str, Any]
) -> None:
    catalogue = load_catalogue()
    cells = expand(load_suite(find_suite(name, catalogue)), catalogue)
    assert [cell.strategy for cell in cells] == ["transfer", "scratch"]
    found = [resolve_and_check([cell_layer(cell)], catalogue).config for cell in cells]
    assert [(config.strategy, config.weights == "none") for config in found] == [("full", False), ("scratch", True)]
    assert all({key: getattr(config, key) for key in expected} == expected for config in found)
    assert {config.data for config in found} <= {"sample:digits", "sample:messages"}


def test_a_strangers_suite_is_no_part_of_the_tour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    write_plugin(tmp_path, "graft-tour", STRANGERS)  # and no mine.yaml, which would be an error if it were looked for
    catalogue = only(load_catalogue(), f"{PREFIX}mine")
    assert run_quickstart(tmp_path / "out", 1, catalogue) == {"tours": {}}


@pytest.mark.acceptance
def test_the_tour_of_images_runs_and_transfer_beats_scratch(tmp_path: Path, said: list[str]) -> None:
    out = tmp_path / "tour"
    found = run_quickstart(out, 1, only(load_catalogue(), f"{PREFIX}images"))
    tour = found["tours"].pop("image-classification")
    assert found == {"tours": {}}
    assert [(row["name"], row["seed"]) for row in tour["rows"]] == [("transfer", 0), ("scratch", 0)]
    assert tour["difference"] == tour["transfer"] - tour["scratch"] > 0.2
    assert Path(tour["report"]) == out / "images" / "report.html"
    assert "transfer, seed 0: 100 labelled rows of sample:digits" in said
    summary = json.loads((out / "images" / "scratch-seed0" / "summary.json").read_text())
    assert (summary["chance"], summary["weights"]) == (0.1, "none")
