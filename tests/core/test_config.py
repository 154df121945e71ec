"""Settings: layers, what is stronger, where a value came from, and clear lines for wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graftwork.catalogue import BackboneEntry, Catalogue, DatasetEntry, HeadEntry, Recipe, TaskEntry, load_catalogue
from graftwork.config import Layer, RunConfig, file_layer, override_layer, parse_duration, resolve, validate
from graftwork.errors import UsageError
from graftwork.files.yaml import to_yaml

BASE = {"task": "toy", "data": "sample:toy-data"}
COMMON = {"plugin": "p", "summary": "s", "factory": "m:f"}


@pytest.fixture
def catalogue() -> Catalogue:
    """Our strategies, and a toy task, backbone, head and sample with recipes that contradict each other."""
    found = load_catalogue()
    source = "a test"
    found.entries["tasks"]["toy"] = TaskEntry.model_validate(
        {
            **COMMON, "modality": "image", "primary_metric": "accuracy", "default_backbone": "toynet",
            "default_head": "toyhead",
            "options": {
                "flip": {"type": "bool", "default": True, "summary": "s"},
                "size": {"type": "int", "default": 0, "summary": "s"},
            },
            "recipe": {"source": source, "settings": {"batch_size": 7, "ema": 0.5, "patience": 1, "grad_clip": 5.0}},
        }
    )  # fmt: skip
    found.entries["backbones"]["toynet"] = BackboneEntry.model_validate(
        {
            **COMMON, "modality": "image", "features": {"pooled": 8}, "stages": 2, "parameters": 10, "licence": "MIT",
            "input": {}, "recipe": {"source": source, "settings": {"ema": 0.6, "patience": 2}},
        }
    )  # fmt: skip
    found.entries["heads"]["toyhead"] = HeadEntry.model_validate({**COMMON, "tasks": ["toy"], "needs": ["pooled"]})
    found.entries["datasets"]["toy-data"] = DatasetEntry.model_validate(
        {
            **COMMON, "task": "toy", "rows": 3, "licence": "MIT", "source": "s",
            "recipe": {"source": source, "settings": {"patience": 3, "task_options.flip": False, "task_options.size": 8}},
        }
    )  # fmt: skip
    return found


def test_defaults_stand_when_nothing_is_said(catalogue: Catalogue) -> None:
    resolved = resolve([override_layer(BASE)], catalogue)
    assert resolved.config.momentum == 0.9
    assert resolved.settings["momentum"].origin == "default"
    assert not resolved.explicit("momentum")
    assert resolved.settings["task"].origin == "--task"
    assert resolved.explicit("task")
    assert set(resolved.settings) == set(RunConfig.model_fields)


def test_recipes_are_ordered_task_backbone_sample_strategy(catalogue: Catalogue) -> None:
    resolved = resolve([override_layer({**BASE, "strategy": "full"})], catalogue)
    config = resolved.config
    assert (config.batch_size, config.ema, config.patience) == (7, 0.6, 3)
    assert config.lr == catalogue.strategy("full").recipe.settings["lr"]  # type: ignore[union-attr]
    assert resolved.settings["ema"].origin == "recipe"
    assert resolved.settings["ema"].reason == "backbone toynet: a test"
    assert not resolved.explicit("ema")


def test_the_command_line_is_stronger_than_the_file_and_the_file_than_recipes(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("task: toy\ndata: sample:toy-data\nlr: 1e-2\nema: 0.25\nepochs: 4\n")
    resolved = resolve([override_layer({"epochs": 9}), file_layer(path)], catalogue)
    assert (resolved.config.epochs, resolved.config.lr, resolved.config.ema) == (9, 0.01, 0.25)
    origins = {name: resolved.settings[name].origin for name in ("epochs", "lr", "ema", "patience")}
    assert origins == {"epochs": "--epochs", "lr": "own.yaml:3", "ema": "own.yaml:4", "patience": "recipe"}
    assert resolved.explicit("lr") and resolved.explicit("epochs")


def test_an_explicit_value_that_equals_the_default_still_beats_a_recipe(catalogue: Catalogue) -> None:
    default = RunConfig.model_fields["ema"].default
    resolved = resolve([override_layer({**BASE, "ema": default})], catalogue)
    assert resolved.config.ema == default
    assert resolved.explicit("ema")


def test_falsy_values_count_as_given(catalogue: Catalogue) -> None:
    resolved = resolve([override_layer({**BASE, "grad_clip": 0.0, "patience": 0, "workers": 0})], catalogue)
    assert (resolved.config.grad_clip, resolved.config.patience, resolved.config.workers) == (0.0, 0, 0)


def test_mappings_are_merged_key_by_key_over_all_layers(catalogue: Catalogue) -> None:
    layers = [
        override_layer(BASE, ["task_options.flip=true"]),
        Layer({"task_options": {"flip": False, "more": 1}}, {"task_options": "own.yaml:2"}),
    ]
    resolved = resolve(layers, catalogue)
    assert resolved.config.task_options == {"flip": True, "more": 1, "size": 8}


def test_a_missing_task_or_data_is_asked_for(catalogue: Catalogue) -> None:
    with pytest.raises(UsageError, match="--task is missing"):
        resolve([Layer({}, {})], catalogue)
    with pytest.raises(UsageError, match="--data is missing"):
        resolve([override_layer({"task": "toy"})], catalogue)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"task": "toi"}, "Did you mean toy"),
        ({"strategy": "ful"}, "Did you mean full"),
        ({"data": "sample:toy-dat"}, "Did you mean toy-data"),
    ],
)
def test_names_are_checked_while_recipes_are_looked_up(catalogue: Catalogue, change: dict, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        resolve([override_layer({**BASE, **change})], catalogue)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0), ("epochs", -1), ("epochs", "many"), ("epochs", 1.5), ("batch_size", 0), ("lr", 0), ("lr", -1e-3),
        ("lr", float("inf")), ("lr", float("nan")), ("lr", 1e4), ("ema", 1.0), ("ema", -0.1), ("warmup", 1.1),
        ("momentum", 1.0), ("weight_decay", -1), ("grad_clip", -1), ("optimizer", "adam"), ("schedule", "linear"),
        ("imbalance", "smote"), ("precision", "int8"), ("device", "gpu"), ("device", "cuda:x"), ("device", "cuda:0\n"),
        ("workers", -1), ("workers", "many"), ("seed", -1), ("seed", 2**31), ("limit_train", 0), ("limit_train", "0/class"),
        ("limit_train", "10/klass"), ("limit_train", "10/class "), ("limit_train", 2.5), ("limit_train", True),
        ("limit_train", -3), ("limit_train", [1]), ("limit_train", ""), ("micro_batch", 0),
        ("budget", "soon"), ("budget", "0s"), ("budget", -5), ("checkpoint_seconds", -1), ("columns", {"label": 5}),
        ("columns", "label"), ("head_options", [1]), ("data", 5), ("lr", None),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_clear_line_that_names_it(name: str, value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        validate({**BASE, name: value})
    assert str(caught.value).startswith(name)
    assert "\n" not in str(caught.value)
    assert "pydantic" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "kept"), [(500, 500), ("500", 500), ("10/class", "10/class"), ("010/class", "10/class"), (None, None)]
)
def test_a_limit_is_rows_or_rows_a_class(given: Any, kept: Any) -> None:
    found = validate({**BASE, "limit_train": given}).limit_train
    assert (found, type(found)) == (kept, type(kept))


@pytest.mark.parametrize("wrong", ["10/klass", "0/class", "2.5", "[1]"])
def test_a_wrong_limit_in_a_file_is_told_with_its_line_and_what_to_write(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"lr: 0.1\nlimit_train: {wrong}\n")
    with pytest.raises(UsageError) as caught:
        file_layer(path)
    assert str(caught.value).startswith(f"{path}:2: limit_train: ")
    assert str(caught.value).endswith("is no number of rows from 1 on; write 500 or 10/class")


def test_the_first_wrong_value_names_its_line_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    for text, line, what in (
        ("task: toy\n\nepochs: none\n", 3, "epochs"),
        ("lr: 1e-3\nstratgy: full\n", 2, "Did you mean strategy"),
        ("columns:\n  image: path\n  label: 5\n", 3, "columns.label"),
        ("lr:\n", 1, "lr"),
        ("lr: 1e-3\nlr: 1e-4\n", 2, "twice"),
        ("head_options: &x {a: 1}\n", 1, "anchor"),
        ("lr: '-1'\n", 1, "lr"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=what) as caught:
            file_layer(path)
        assert str(caught.value).startswith(f"{path}:{line}")


def test_a_stored_configuration_reads_back_to_the_same_run(catalogue: Catalogue, tmp_path: Path) -> None:
    flags = {**BASE, "lr": 1e-5, "budget": "10m", "weight_decay": 1e-22, "columns": {"label": "yes", "image": "007"}}
    config = resolve([override_layer(flags, ["head_options.a=1e-7", "observers=x,y"])], catalogue).config
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config.model_dump(mode="json")))
    again = resolve([file_layer(path)], catalogue).config
    assert again == config
    assert again.budget == 600.0


def test_flags_that_were_not_given_make_no_layer() -> None:
    layer = override_layer({"lr": None, "weight_decay": 0.0, "batch_size": 4})
    assert dict(layer.values) == {"weight_decay": 0.0, "batch_size": 4}
    assert dict(layer.origin) == {"weight_decay": "--weight-decay", "batch_size": "--batch-size"}


def test_assignments_take_scalars_and_inner_keys() -> None:
    layer = override_layer(
        {"columns": {"image": "file"}},
        ["lr=1e-3", "head_options.dropout=0.2", "head_options.act=relu", "columns.label=a=b", "data=007", "budget=5m"],
    )
    assert layer.values["lr"] == 1e-3
    assert layer.values["head_options"] == {"dropout": 0.2, "act": "relu"}
    assert layer.values["columns"] == {"image": "file", "label": "a=b"}
    assert layer.values["data"] == "007"
    assert layer.origin["lr"] == layer.origin["columns"] == "--set"


def test_a_setting_that_is_text_stays_text_when_it_looks_like_a_number(catalogue: Catalogue) -> None:
    assert override_layer({}, ["data=2024", "weights=1e3"]).values == {"data": "2024", "weights": "1e3"}


@pytest.mark.parametrize(
    ("assignment", "what"),
    [
        ("lr", "has no '='"),
        ("=1", "unknown setting ''"),
        ("", "has no '='"),
        ("learning_rate=1", "unknown setting 'learning_rate'"),
        ("epoch=1", "Did you mean epochs"),
        ("lr.x=1", "does not fit"),
        ("head_options=1", "does not fit"),
        ("model_config=1", "unknown setting"),
        ("__class__=1", "unknown setting"),
    ],
)
def test_an_assignment_that_does_not_fit_says_how_to_write_it(assignment: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        override_layer({}, [assignment])


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("90s", 90.0), ("10m", 600.0), ("1.5h", 5400.0), (" 2 m ", 120.0)]
)
def test_durations_are_read_with_their_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "10 minutes", "-5s", "1e3", "1d", "1h30m", "inf", "nan", "5s\n5s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


def test_an_automatic_choice_is_marked_as_one(catalogue: Catalogue) -> None:
    resolved = resolve([override_layer(BASE)], catalogue).replace("precision", "bf16", "the machine has it")
    setting = resolved.settings["precision"]
    assert (resolved.config.precision, setting.value, setting.origin) == ("bf16", "bf16", "automatic")
    assert setting.to_json()["reason"] == "the machine has it"
    assert not resolved.explicit("precision")


@given(st.dictionaries(st.sampled_from(["lr", "weight_decay", "ema", "warmup"]), st.floats(1e-9, 0.9), min_size=1))
def test_whatever_is_given_is_what_runs(values: dict[str, float]) -> None:
    catalogue = load_catalogue() if not _CATALOGUE else _CATALOGUE[0]
    _CATALOGUE[:] = [catalogue]
    catalogue.entries["tasks"]["toy"] = TaskEntry.model_validate(
        {**COMMON, "modality": "image", "primary_metric": "a", "default_backbone": "b", "default_head": "h"}
    )
    resolved = resolve([override_layer({"task": "toy", "data": "x", "strategy": "l2-sp", **values})], catalogue)
    assert {name: getattr(resolved.config, name) for name in values} == values


_CATALOGUE: list[Catalogue] = []  # read once for all examples of the property test


def test_recipes_for_a_strategy_are_stronger_than_the_strategys_own_the_backbones_strongest(
    catalogue: Catalogue,
) -> None:
    def lr_with(**recipes: dict[str, Any]) -> float:
        for kind, entries in recipes.items():
            for name, entry in catalogue.entries[kind].items():  # type: ignore[index]
                changed = {key: Recipe(source="s", settings=settings) for key, settings in entries.items()}
                catalogue.entries[kind][name] = entry.model_copy(update={"recipes": changed})  # type: ignore[index]
        return resolve([override_layer({**BASE, "strategy": "full"})], catalogue).config.lr

    own = lr_with()
    assert lr_with(tasks={"lora": {"lr": 0.25}}) == own, "another strategy's recipe"
    assert lr_with(tasks={"full": {"lr": 0.25}}) == 0.25
    assert lr_with(tasks={"full": {"lr": 0.25}}, backbones={"full": {"lr": 0.125}}) == 0.125
