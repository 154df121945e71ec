"""What a suite expands into: how many cells, in which order, with which settings, and what is refused before anything runs."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from graftwork.bench.cell import Cell, cell_layer
from graftwork.bench.cells import expand, missing_data, select
from graftwork.bench.suite import Suite, find_suite, load_suite
from graftwork.catalogue import load_catalogue
from graftwork.config.check import resolve_and_check
from graftwork.errors import UsageError
from graftwork.files.yaml import to_yaml

CATALOGUE = load_catalogue()
SHIPPED = [name for name, entry in CATALOGUE.entries["suites"].items() if entry.plugin == "graftwork-bench"]
IMAGES = {"task": "image-classification", "data": "sample:digits"}
TEXTS = {"task": "text-classification", "data": "sample:messages"}


def suite_of(tmp_path: Path, **changes: Any) -> Suite:
    """A small suite with some of its keys changed."""
    value: dict[str, Any] = {
        "version": 1,
        "settings": {"epochs": 5},
        "data": {"digits": IMAGES},
        "backbones": {"graftnet-s": {}},
        "strategies": {"scratch": None, "full": None},
    }
    path = tmp_path / "mine.yaml"
    path.write_text(to_yaml({**value, **changes}), encoding="utf-8")
    return load_suite(path)


def cells_of(tmp_path: Path, **changes: Any) -> list[Cell]:
    return expand(suite_of(tmp_path, **changes), CATALOGUE, tmp_path)


def refused(tmp_path: Path, **changes: Any) -> str:
    with pytest.raises(UsageError) as caught:
        cells_of(tmp_path, **changes)
    return str(caught.value)


def line_of(tmp_path: Path, text: str) -> int:
    """The line of the suite that holds a text."""
    lines = (tmp_path / "mine.yaml").read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_a_cell_resolves_to_the_configuration_of_an_ordinary_run(tmp_path: Path) -> None:
    cell = cells_of(tmp_path, labels=[100], seeds=[3])[1]
    resolved = resolve_and_check([cell_layer(cell)], CATALOGUE)
    config = resolved.config
    assert (config.task, config.data, config.backbone) == ("image-classification", "sample:digits", "graftnet-s")
    assert (config.strategy, config.epochs, config.limit_train, config.seed) == ("full", 5, 100, 3)
    assert resolved.settings["epochs"].origin == f"mine.yaml:{line_of(tmp_path, 'epochs')}"
    assert cell.origin["seed"] == f"mine.yaml:{line_of(tmp_path, '- 3')}"
    assert resolved.explicit("limit_train") and not resolved.explicit("lr")


def test_a_cell_names_its_axes_its_method_and_a_folder(tmp_path: Path) -> None:
    cell = cells_of(tmp_path, strategies={"lp-ft": None}, labels=["10/class"], seeds=1)[0]
    assert cell.folder == "digits.graftnet-s.lp-ft.10-class.seed0"
    assert cell.method == "graftnet-s/lp-ft"
    assert cell.axes == {
        "task": "image-classification", "data": "digits", "backbone": "graftnet-s", "strategy": "lp-ft",
        "labels": "10/class", "point": "", "seed": "0",
    }  # fmt: skip
    assert len({cell, cell}) == 1


def test_label_budgets_become_limits_over_those_of_the_data_set(tmp_path: Path) -> None:
    data = {"digits": {**IMAGES, "settings": {"limit_train": 500}}}
    cells = cells_of(tmp_path, data=data, strategies={"full": None}, labels=["10/class", 100, "all"])
    assert [cell.settings["limit_train"] for cell in cells] == ["10/class", 100, 500]


def test_budgets_of_rows_a_class_give_runs_that_resolve(tmp_path: Path) -> None:
    cells = cells_of(tmp_path, strategies={"full": None}, labels=["10/class", "50/class", "all"], seeds=1)
    found = [resolve_and_check([cell_layer(cell)], CATALOGUE) for cell in cells]
    assert [resolved.config.limit_train for resolved in found] == ["10/class", "50/class", None]
    assert [resolved.explicit("limit_train") for resolved in found] == [True, True, False]
    assert len({cell.folder for cell in cells}) == 3


@pytest.mark.parametrize("wrong", ["10/klass", "0/class", 0])
def test_a_wrong_limit_among_a_suites_settings_is_told_with_its_line(tmp_path: Path, wrong: object) -> None:
    with pytest.raises(UsageError, match=r"\.yaml:\d+: limit_train = .*write 500 or 10/class"):
        cells_of(tmp_path, settings={"limit_train": wrong})


def test_all_labels_without_any_limit_leave_the_run_unlimited(tmp_path: Path) -> None:
    assert "limit_train" not in cells_of(tmp_path)[0].settings


def test_a_time_budget_takes_the_place_of_epochs_wherever_it_stands(tmp_path: Path) -> None:
    data = {"digits": {**IMAGES, "settings": {"budget": "10s"}}, "more": IMAGES}
    cells = cells_of(tmp_path, settings={"budget": "5m"}, data=data, strategies={"full": {"settings": {"lr": 0.01}}})
    found = [resolve_and_check([cell_layer(cell)], CATALOGUE).config for cell in cells]
    assert [(config.budget, config.lr) for config in found] == [(10.0, 0.01), (300.0, 0.01)]


def test_a_sweep_gives_cells_of_their_own_that_are_one_method(tmp_path: Path) -> None:
    cells = cells_of(tmp_path, strategies={"full": {"sweep": {"lr": [0.001, 0.0003]}}}, seeds=2)
    assert [(cell.point, cell.settings["lr"], cell.seed) for cell in cells] == [
        ("lr=0.001", 0.001, 0), ("lr=0.0003", 0.0003, 0), ("lr=0.001", 0.001, 1), ("lr=0.0003", 0.0003, 1),
    ]  # fmt: skip
    assert len({cell.method for cell in cells}) == 1
    assert cells[1].folder == "digits.graftnet-s.full.lr-0.0003.all.seed0"


def test_backbones_and_strategies_are_for_the_data_or_the_tasks_that_they_name(tmp_path: Path) -> None:
    cells = cells_of(
        tmp_path,
        data={"digits": IMAGES, "messages": TEXTS},
        backbones={"small": {"backbone": "graftnet-s", "tasks": ["image-classification"]}, "graftext-s": {"data": "messages"}},
        strategies={"full": None, "adapters": {"strategy": "lora", "tasks": "text-classification"}},
    )  # fmt: skip
    assert [(cell.data, cell.method) for cell in cells] == [
        ("digits", "small/full"), ("messages", "graftext-s/full"), ("messages", "graftext-s/adapters"),
    ]  # fmt: skip
    assert [cell.settings["backbone"] for cell in cells] == ["graftnet-s", "graftext-s", "graftext-s"]
    assert cells[2].settings["strategy"] == "lora"


def test_cells_on_the_same_data_and_backbone_stand_together_and_a_seeds_strategies_too(tmp_path: Path) -> None:
    cells = cells_of(
        tmp_path,
        data={"one": IMAGES, "two": IMAGES},
        backbones={"a": {"backbone": "graftnet-s"}, "b": {"backbone": "resnet18"}},
        labels=[50, "all"],
        seeds=2,
    )
    together = [key for key, _ in groupby(cells, key=lambda cell: (cell.data, cell.backbone))]
    assert together == [("one", "a"), ("one", "b"), ("two", "a"), ("two", "b")]
    assert [(cell.labels, cell.seed, cell.strategy) for cell in cells[:3]] == [
        ("50", 0, "scratch"), ("50", 0, "full"), ("50", 1, "scratch"),
    ]  # fmt: skip


def test_expanding_twice_gives_the_same_cells_in_the_same_order(tmp_path: Path) -> None:
    suite = load_suite(find_suite("smoke", CATALOGUE))
    assert expand(suite, CATALOGUE, tmp_path) == expand(suite, CATALOGUE, tmp_path)


def test_excluded_cells_are_left_out(tmp_path: Path) -> None:
    cells = cells_of(tmp_path, labels=[50, "all"], exclude=[{"strategy": ["full"], "labels": 50}])
    assert [(cell.strategy, cell.labels) for cell in cells] == [("scratch", "50"), ("scratch", "all"), ("full", "all")]


def test_an_exclude_that_matches_no_cell_is_an_error(tmp_path: Path) -> None:
    strategies = {"full": None, "scratch": {"data": ["two"]}}
    exclude = [{"data": "one", "strategy": "scratch"}]
    message = refused(tmp_path, data={"one": IMAGES, "two": IMAGES}, strategies=strategies, exclude=exclude)
    line = line_of(tmp_path, "- data: one")
    assert message.startswith(f"{tmp_path / 'mine.yaml'}:{line}: exclude matches no cell")


def test_a_suite_without_any_cell_is_an_error(tmp_path: Path) -> None:
    assert "has no cell. Exclude less" in refused(tmp_path, exclude=[{"data": "digits"}])


def test_later_overrides_win_over_earlier_ones_and_over_everything_else(tmp_path: Path) -> None:
    cells = cells_of(
        tmp_path,
        data={"digits": {**IMAGES, "settings": {"lr": 0.1, "task_options": {"augment": "none", "flip": True}}}},
        strategies={"scratch": {"settings": {"lr": 0.2}}, "full": None},
        overrides=[
            {"where": {"strategy": ["scratch", "full"]}, "settings": {"lr": 0.3, "task_options": {"flip": False}}},
            {"where": {"strategy": "full"}, "settings": {"lr": 0.4}},
        ],
    )
    assert [cell.settings["lr"] for cell in cells] == [0.3, 0.4]
    assert cells[0].settings["task_options"] == {"augment": "none", "flip": False}
    assert cells[1].origin["lr"] == f"mine.yaml:{line_of(tmp_path, 'lr: 0.4')}"


def test_an_override_that_matches_no_cell_is_an_error(tmp_path: Path) -> None:
    overrides = [{"where": {"strategy": "full"}, "settings": {"lr": 0.1}}]
    message = refused(tmp_path, exclude=[{"strategy": "full"}], overrides=overrides)
    assert "where matches no cell" in message


def test_an_override_of_what_a_sweep_or_labels_vary_is_an_error(tmp_path: Path) -> None:
    overrides = [{"where": {"strategy": "full"}, "settings": {"lr": 0.1, "limit_train": 5}}]
    strategies = {"full": {"sweep": {"lr": [0.1, 0.2]}}}
    message = refused(tmp_path, strategies=strategies, labels=[10], overrides=overrides)
    assert "lr is overridden where full sweeps it" in message
    assert "limit_train is overridden where labels says it" in message


def test_an_override_of_another_option_than_the_swept_one_is_taken(tmp_path: Path) -> None:
    strategies = {"lora": {"sweep": {"strategy_options.rank": [2, 4]}}}
    overrides = [{"where": {"strategy": "lora"}, "settings": {"strategy_options": {"alpha": 4.0}}}]
    cells = cells_of(tmp_path, strategies=strategies, overrides=overrides)
    assert [cell.settings["strategy_options"] for cell in cells] == [
        {"rank": 2, "alpha": 4.0},
        {"rank": 4, "alpha": 4.0},
    ]


def test_scratch_stays_without_weights_where_its_backbone_names_some(tmp_path: Path) -> None:
    weights = tmp_path / "packs" / "net.safetensors"
    weights.parent.mkdir()
    weights.touch()
    backbones = {"net": {"backbone": "resnet18", "settings": {"weights": "packs/net.safetensors"}}}
    cells = cells_of(tmp_path, backbones=backbones)
    found = [resolve_and_check([cell_layer(cell)], CATALOGUE).config.weights for cell in cells]
    assert found == ["none", str(weights)]


def test_a_strategys_own_weights_count_even_over_its_recipe(tmp_path: Path) -> None:
    strategies = {"scratch": {"settings": {"weights": "cifar10"}}}
    config = resolve_and_check([cell_layer(cells_of(tmp_path, strategies=strategies)[0])], CATALOGUE).config
    assert config.weights == "cifar10"


def test_relative_paths_are_below_the_data_root_and_names_are_not(tmp_path: Path) -> None:
    data = {"photos": {**IMAGES, "data": "clothing"}, "digits": IMAGES, "there": {**IMAGES, "data": str(tmp_path)}}
    cells = cells_of(tmp_path, data=data, strategies={"full": None})
    assert [cell.settings["data"] for cell in cells] == [str(tmp_path / "clothing"), "sample:digits", str(tmp_path)]
    assert missing_data(cells) == [str(tmp_path / "clothing")]


@pytest.mark.parametrize(
    ("changes", "at", "said"),
    [
        ({"data": {"digits": {**IMAGES, "task": "image-clasification"}}}, "task:", "Did you mean image-classification"),
        ({"backbones": {"graftnet": {}}}, "graftnet:", "unknown backbone 'graftnet'. Did you mean graftnet-s"),
        ({"backbones": {"x": {"backbone": "hf:a/b"}}}, "hf:a/b", "no backbone for image opens 'hf:a/b'"),
        ({"strategies": {"fulll": None}}, "fulll:", "unknown strategy 'fulll'. Did you mean full"),
        ({"strategies": {"x": {"strategy": "full:2"}}}, "full:2", "takes no argument"),
        ({"strategies": {"x": {"strategy": "partial:0"}}}, "partial:0", "must be at least 1"),
        ({"backbones": {"graftext-s": {}}}, "graftext-s:", "takes text, 'digits' (image-classification) needs image"),
        ({"settings": {"strategy_options": {"decya": 1}}}, "decya:", "strategy_options.decya is not an"),
        ({"settings": {"task_options": {"flip": 3}}}, "flip:", "task_options.flip must be bool"),
        ({"settings": {"head": "linaer"}}, "head:", "Did you mean linear"),
        ({"settings": {"weights": "cifar"}}, "weights:", "unknown weights 'cifar' for graftnet-s"),
        ({"settings": {"weights": "a.safetensors"}}, "weights:", "a.safetensors does not exist"),
        ({"settings": {"observers": ["cvs"]}}, "- cvs", "Did you mean csv"),
        ({"data": {"digits": {**IMAGES, "data": "sample:messages"}}}, "sample:messages", "is for text-classification"),
        ({"data": {"digits": {**IMAGES, "data": "sample:digit"}}}, "sample:digit", "unknown dataset 'digit'"),
    ],
)  # fmt: skip
def test_what_the_catalogue_does_not_know_is_told_with_its_line(
    tmp_path: Path, changes: dict[str, Any], at: str, said: str
) -> None:
    message = refused(tmp_path, **changes)
    assert message.startswith(f"{tmp_path / 'mine.yaml'}:{line_of(tmp_path, at)}: ")
    assert said in message


def test_unknown_names_are_told_all_at_once(tmp_path: Path) -> None:
    message = refused(tmp_path, backbones={"graftnet": {}}, strategies={"fulll": None})
    assert "graftnet-s" in message and "Did you mean full" in message


def test_a_data_set_that_no_backbone_or_strategy_is_for_is_an_error(tmp_path: Path) -> None:
    two = {"digits": IMAGES, "more": IMAGES}
    message = refused(tmp_path, data=two, backbones={"graftnet-s": {"data": "digits"}})
    assert "no backbone is for the data set 'more'" in message
    message = refused(tmp_path, data=two, strategies={"full": {"data": "digits"}})
    assert "no strategy is for the data set 'more'" in message


def test_two_cells_in_one_folder_are_an_error(tmp_path: Path) -> None:
    backbones = {"b": {"backbone": "graftnet-s"}, "b.c": {"backbone": "graftnet-s"}}
    strategies = {"c.full": {"strategy": "full"}, "full": None}
    assert "would share a folder, digits.b.c.full.all.seed0" in refused(
        tmp_path, backbones=backbones, strategies=strategies
    )


def test_a_folder_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    long = {name * 60: {"backbone": "graftnet-s"} for name in "b"}
    message = refused(
        tmp_path, data={"d" * 60: IMAGES}, backbones=long, strategies={"s" * 64: {"strategy": "full"}},
        labels=["1000000000/class"],
    )  # fmt: skip
    assert "at most 200 together" in message


def test_cells_are_selected_by_the_names_on_their_axes(tmp_path: Path) -> None:
    cells = cells_of(tmp_path, labels=[50, "all"], seeds=3)
    found = select(cells, ["labels=all", "seed=0,2", "strategy=full"])
    assert [(cell.labels, cell.seed, cell.strategy) for cell in found] == [("all", 0, "full"), ("all", 2, "full")]
    assert select(cells, ["seed=0", "seed=2"]) == select(cells, ["seed=0,2"])
    assert select(cells, []) == cells


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["full"], "Write AXIS=NAME"),
        (["stratgy=full"], "Did you mean strategy"),
        (["strategy=ful"], "no cell has the strategy 'ful'. Did you mean full"),
        (["data=one", "strategy=scratch"], "no cell is left by data=one strategy=scratch"),
    ],
)
def test_a_selection_that_means_nothing_is_an_error(tmp_path: Path, words: list[str], said: str) -> None:
    strategies = {"full": None, "scratch": {"data": "two"}}
    cells = cells_of(tmp_path, data={"one": IMAGES, "two": IMAGES}, strategies=strategies)
    with pytest.raises(UsageError, match=re.escape(said)):
        select(cells, words)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_suite_expands_into_runs_that_resolve(tmp_path: Path, name: str) -> None:
    weights = tmp_path / "weights" / "squeezenet1_0-imagenet1k-deepcompression.safetensors"
    weights.parent.mkdir()
    weights.touch()
    suite = load_suite(find_suite(name, CATALOGUE))
    cells = expand(suite, CATALOGUE, tmp_path)
    assert len(cells) >= 24
    assert {cell.strategy for cell in cells} >= {"scratch", "full"}
    assert len({cell.seed for cell in cells}) >= 2
    for cell in cells[:: max(1, len(cells) // 20)]:
        assert resolve_and_check([cell_layer(cell)], CATALOGUE).config.data == cell.settings["data"]


def test_the_smoke_suite_has_every_task_and_needs_neither_files_nor_network() -> None:
    cells = expand(load_suite(find_suite("smoke", CATALOGUE)), CATALOGUE)
    assert {cell.task for cell in cells} == {"image-classification", "text-classification", "detection", "segmentation"}
    assert all(cell.settings["data"].startswith("sample:") for cell in cells)
    places = [
        place
        for backbone in {cell.settings["backbone"] for cell in cells}
        for file in (*CATALOGUE.backbone(backbone).weights.values(), *CATALOGUE.backbone(backbone).input_files.values())
        for place in file.places
    ]
    assert places and all(place.startswith("package:") for place in places)


def test_expanding_a_suite_imports_no_torch() -> None:
    code = (
        "import sys; from graftwork.bench.cells import expand; from graftwork.bench.suite import *;"
        "from graftwork.catalogue import load_catalogue;"
        "c = load_catalogue(); expand(load_suite(find_suite('smoke', c)), c);"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


NAMES = st.lists(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,8}", fullmatch=True), min_size=1, max_size=3, unique=True)


@hypothesis_settings(max_examples=40, deadline=None)
@given(
    data=NAMES,
    backbones=NAMES,
    strategies=NAMES,
    labels=st.lists(st.sampled_from(["all", 7, 50, "3/class"]), min_size=1, max_size=3, unique=True),
    seeds=st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True),
    points=st.integers(1, 3),
    choose=st.data(),
)
def test_the_cells_are_the_product_without_what_is_excluded_each_with_a_folder_of_its_own(
    data: list[str],
    backbones: list[str],
    strategies: list[str],
    labels: list[Any],
    seeds: list[int],
    points: int,
    choose: st.DataObject,
) -> None:
    axes = {"data": data, "backbone": backbones, "strategy": strategies, "labels": labels, "seed": seeds}
    excluded = {
        axis: choose.draw(st.lists(st.sampled_from(names), min_size=1, unique=True), label=axis)
        for axis, names in axes.items()
    }
    total = gone = 1
    for axis, names in axes.items():
        total *= len(names)
        gone *= len(excluded[axis])
    left = (total - gone) * points
    with tempfile.TemporaryDirectory() as folder:
        changes = {
            "data": dict.fromkeys(data, IMAGES),
            "backbones": {name: {"backbone": "graftnet-s"} for name in backbones},
            "strategies": {
                name: {"strategy": "full", "sweep": {"weight_decay": [0.1 * n for n in range(points)]}}
                for name in strategies
            },
            "labels": labels,
            "seeds": seeds,
            "exclude": [excluded],
        }
        if left == 0:
            assert "has no cell" in refused(Path(folder), **changes)
            return
        cells = cells_of(Path(folder), **changes)
    assert len(cells) == left
    folders = [cell.folder for cell in cells]
    assert len({name.lower() for name in folders}) == len(folders)
    assert all(re.fullmatch(r"[a-z0-9][A-Za-z0-9._-]{0,199}", name) for name in folders)
    for cell in cells:
        hits = [cell.axes[axis] in [str(name) for name in names] for axis, names in excluded.items()]
        assert not all(hits)
