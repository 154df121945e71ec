"""A run as values: another choice is assembled anew over the same data, and lines for people are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from graftwork import DataError, UsageError
from graftwork.catalogue import Catalogue, load_catalogue
from graftwork.config import override_layer
from graftwork.config.check import choose, resolve_and_check
from graftwork.engine.checkpoint import CheckpointStore
from graftwork.engine.observers import Observers
from graftwork.log import heard, muted, say
from graftwork.machine.device import Device
from graftwork.run import assemble, execute, fit, settle
from graftwork.runs.directory import RunDirectory
from graftwork.runs.resuming import resolve_resumed

SETTINGS = {
    "task": "image-classification",
    "data": "sample:digits",
    "limit_train": 30,
    "device": "cpu",
    "precision": "fp32",
}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


def test_a_strategy_that_is_chosen_lays_its_recipe_and_leaves_what_the_user_set(catalogue: Catalogue) -> None:
    resolved = resolve_and_check([override_layer({**SETTINGS, "epochs": 7})], catalogue)
    assert (resolved.config.strategy, resolved.config.views) == ("full", None)
    chosen = choose(resolved, {"strategy": "linear-probe"}, "0.81 against 0.77 in five folds", catalogue)
    assert (chosen.config.strategy, chosen.config.views, chosen.config.epochs) == ("linear-probe", 1, 7)
    assert (chosen.settings["strategy"].origin, chosen.settings["epochs"].origin) == ("automatic", "--epochs")
    assert "five folds" in chosen.settings["strategy"].reason and chosen.settings["views"].origin == "recipe"
    again = choose(chosen, {"strategy": "full"}, "after all", catalogue)
    assert again.config == resolved.config


def test_a_choice_against_the_users_word_changes_nothing(catalogue: Catalogue) -> None:
    resolved = resolve_and_check([override_layer({**SETTINGS, "strategy": "partial:1"})], catalogue)
    assert choose(resolved, {"strategy": "full"}, "better", catalogue).config == resolved.config


def test_another_choice_is_assembled_over_the_data_that_was_read(catalogue: Catalogue, tmp_path: Path) -> None:
    resolved = resolve_and_check([override_layer({**SETTINGS, "epochs": 1, "workers": 0, "compile": "off"})], catalogue)
    first = assemble(resolved, catalogue)
    second = assemble(choose(resolved, {"strategy": "linear-probe"}, "tried", catalogue), catalogue, data=first.data)
    assert second.data.tables is first.data.tables and second.model is not first.model
    device = Device("cpu", "fp32")
    planned = settle(second, device)
    fitted = fit(planned, CheckpointStore(tmp_path / "checkpoints"), Observers(()))
    assert fitted.planned is planned and fitted.progress.best_epoch == 1
    assert not (tmp_path / "metrics.jsonl").exists(), "a fit without a directory leaves none"


def test_a_run_keeps_the_lines_that_people_saw_and_why_it_ended(
    catalogue: Catalogue, tmp_path: Path, said: list[str]
) -> None:
    resolved = resolve_and_check([override_layer({**SETTINGS, "epochs": 1})], catalogue)
    execute(resolved, catalogue, tmp_path / "run")
    kept = (tmp_path / "run/log.txt").read_text().splitlines()
    assert kept == [line for text in said for line in text.splitlines()] and any("plan: full" in line for line in kept)
    (tmp_path / "empty").mkdir()
    wrong = resolve_and_check([override_layer({**SETTINGS, "data": str(tmp_path / "empty")})], catalogue)
    with pytest.raises(DataError) as caught:
        execute(wrong, catalogue, tmp_path / "wrong")
    assert (tmp_path / "wrong/log.txt").read_text() == f"failed: {' '.join(str(caught.value).split())}\n"


def test_what_other_processes_say_is_not_heard(said: list[str]) -> None:
    with muted():
        say("from rank 1")
    say("from rank 0")
    assert said == ["from rank 0"]


def test_lines_hold_no_terminal_codes(tmp_path: Path) -> None:
    with RunDirectory(tmp_path).log() as take, heard(take):
        say("a class called \x1b[31mred")
    assert (tmp_path / "log.txt").read_text() == "a class called \\x1b[31mred\n"


def test_resuming_follows_the_same_rules_for_everybody(catalogue: Catalogue, tmp_path: Path, said: list[str]) -> None:
    whole = override_layer({**SETTINGS, "epochs": 1})
    with pytest.raises(UsageError, match="needs to know the run"):
        resolve_resumed([whole], catalogue, None)
    with pytest.raises(UsageError, match="holds no run to go on with"):
        resolve_resumed([override_layer({"epochs": 1})], catalogue, tmp_path)
    assert resolve_resumed([whole], catalogue, tmp_path).config.epochs == 1 and "holds no run yet" in said[-1]
    execute(resolve_and_check([whole], catalogue), catalogue, tmp_path / "run")
    resumed = resolve_resumed([], catalogue, tmp_path / "run")
    assert resumed.config.epochs == 1 and resumed.settings["epochs"].origin == "--epochs"
    with pytest.raises(UsageError, match=r"epochs is 2 \(--epochs\), was 1"):
        resolve_resumed([override_layer({"epochs": 2})], catalogue, tmp_path / "run")
