"""Which settings a resumed run keeps, and where it finds its data: from any folder, and by another name where it has moved."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from graftwork.catalogue import load_catalogue
from graftwork.cli import main
from graftwork.config import override_layer
from graftwork.errors import UsageError
from graftwork.runs.resuming import GIVEN_IN, resolve_resumed

TASK = "text-classification"


def a_run(folder: Path, data: str, began_in: Path | None, **more: str) -> Path:
    """A run directory in which a run was begun, as far as resuming reads it."""
    folder.mkdir(parents=True)
    settings = {"task": TASK, "data": data, "epochs": "3", **more}
    (folder / "config.yaml").write_text("".join(f"{name}: {value}\n" for name, value in settings.items()))
    (folder / "data.json").write_text(json.dumps({} if began_in is None else {GIVEN_IN: str(began_in)}))
    stored = [{"name": "data", "value": data, "origin": "--data", "reason": ""}]
    (folder / "plan.json").write_text(json.dumps({"settings": stored}))
    return folder


@pytest.mark.parametrize("data", ["d/train.csv", "train.csv", "./d", "../home/train.csv", "ümlaut d/train.csv"])
@pytest.mark.parametrize("through_a_link", [False, True])
def test_a_run_finds_its_data_from_any_folder(
    data: str, through_a_link: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    (home / data).parent.mkdir(parents=True, exist_ok=True)
    (home / data).mkdir() if data == "./d" else (home / data).touch()
    out = a_run(home / "runs" / "first", data, home)
    if through_a_link:
        (tmp_path / "link").symlink_to(out)
        out = tmp_path / "link"
    for folder in (home, elsewhere):
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        resolved = resolve_resumed([], load_catalogue(), out)
        assert Path(resolved.config.data).resolve() == (home / data).resolve()
        assert resolved.settings["data"].origin == "--data"
    # The same name here is other data, and is not taken in its place.
    other = elsewhere / data
    other.parent.mkdir(parents=True, exist_ok=True)
    other.touch()
    assert Path(resolve_resumed([], load_catalogue(), out).config.data).resolve() == (home / data).resolve()


def test_names_of_data_and_of_the_catalogue_are_no_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    (home / "graftext-s").mkdir(parents=True)
    out = a_run(home / "run", "sample:none", home, backbone="graftext-s", weights="none")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="unknown dataset"):  # a sample, not a path
        resolve_resumed([], load_catalogue(), out)
    (home / "d.csv").touch()
    out = a_run(home / "other", "d.csv", home, backbone="graftext-s", weights="none")
    config = resolve_resumed([], load_catalogue(), out).config
    assert (config.backbone, config.weights) == ("graftext-s", "none")


@pytest.mark.parametrize("known", [True, False])
def test_data_that_is_gone_may_be_named_anew(known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    out = a_run(home / "run", "train.csv", home if known else None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        resolve_resumed([], load_catalogue(), out)
    expected = f"the run's data {home / 'train.csv'} is no longer there" if known else "was given in another folder"
    assert expected in str(caught.value)
    (tmp_path / "moved.csv").touch()
    assert f"--out {out} --resume --data PATH" in str(caught.value.hint)
    config = resolve_resumed([override_layer({"data": "moved.csv"})], load_catalogue(), out).config
    assert config.data == "moved.csv"
    (home / "train.csv").touch()
    monkeypatch.chdir(home)
    with pytest.raises(UsageError, match=r"data is \.\./moved\.csv \(--data\), was train\.csv"):
        resolve_resumed([override_layer({"data": "../moved.csv"})], load_catalogue(), out)


def test_a_run_goes_on_elsewhere_and_on_from_it_with_more_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Followed to the end: resumed from another folder, then trained on as the refusal of --resume --epochs says."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder in (home / "d", elsewhere):
        folder.mkdir(parents=True)
    rows = "".join(
        f"{word} thing number {at},{label}\n" for at in range(8) for word, label in (("good", "a"), ("bad", "b"))
    )
    (home / "d" / "t.csv").write_text(f"text,label\n{rows}")
    monkeypatch.chdir(home)
    words = ["--strategy", "linear-probe", "--epochs", "1", "--batch-size", "8", "--workers", "0", "--weights", "none"]
    command = ["train", "--task", TASK, "--data", "d/t.csv", "--backbone", "graftext-s", *words]
    assert main([*command, "--out", "run"]) == 0
    (home / "run" / "summary.json").unlink()
    (tmp_path / "link").symlink_to(home / "run")
    monkeypatch.chdir(elsewhere)
    assert main(["train", "--out", "../link", "--resume"]) == 0
    monkeypatch.chdir(home)
    capsys.readouterr()
    assert main(["train", "--out", "run", "--resume", "--epochs", "2"]) == 2
    told = capsys.readouterr().err
    found = re.search(r"learned: graft (train .* --out ANOTHER)", told)
    assert found and "epochs is 2 (--epochs), was 1" in told
    assert main(shlex.split(found[1].replace("ANOTHER", "next"))) == 0
    assert json.loads((home / "next" / "summary.json").read_text())["epochs"] == 2


def test_too_few_rows_to_split_train_once_the_hint_is_followed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = "text,label\ngood,a\nbad,b\n"
    (tmp_path / "few.csv").write_text(table)
    words = [
        "--strategy",
        "linear-probe",
        "--epochs",
        "1",
        "--workers",
        "0",
        "--backbone",
        "graftext-s",
        "--weights",
        "none",
    ]
    command = ["train", "--task", TASK, *words, "--data"]
    assert main([*command, str(tmp_path / "few.csv"), "--out", str(tmp_path / "run")]) == 3
    told = capsys.readouterr().err
    assert "too few rows" in told and "a folder with train.csv and validation.csv" in told
    (tmp_path / "few").mkdir()
    for name in ("train.csv", "validation.csv"):
        (tmp_path / "few" / name).write_text(table)
    assert main([*command, str(tmp_path / "few"), "--out", str(tmp_path / "run")]) == 0
