"""`graft plugin new`: names that are refused, packages that are whole, and that each of them trains and passes its own tests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scaffolded import GRAFT, NAMES, run, write_and_register

from graftwork import UsageError, __version__
from graftwork.catalogue import load_catalogue, read_registry
from graftwork.scaffold import KINDS
from graftwork.scaffold.package import package_of, refuse_taken, render, supported_versions, write_package


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A plugin of every kind, installed: folder by kind."""
    home = tmp_path_factory.mktemp("plugins")
    return {kind: write_and_register(kind, home) for kind in KINDS}


# Names


@pytest.mark.parametrize("name", ["my-net", "graftwork-my-net"])
def test_a_name_may_come_with_or_without_the_prefix(name: str) -> None:
    package = package_of(name, "backbone")
    assert (package.name, package.distribution, package.package, package.class_name) == (
        "my-net",
        "graftwork-my-net",
        "graftwork_my_net",
        "MyNetBackbone",
    )


@pytest.mark.parametrize(
    ("name", "kind", "class_name"),
    [("my-head", "head", "MyHead"), ("head", "head", "HeadHead"), ("norms", "strategy", "NormsStrategy")],
)
def test_a_class_says_its_kind_once_and_is_never_called_as_graftworks_own(
    name: str, kind: str, class_name: str
) -> None:
    assert package_of(name, kind).class_name == class_name


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("My Net", "Try my-net"),
        ("my_net", "Try my-net"),
        ("graftwork_my_net", "Try my-net"),
        ("3d-net", "Try my-net"),
        ("-", "Try my-net"),
        ("", "Try my-net"),
        ("my--net", "Try my-net"),
        ("net\n", "Try net"),
        ("../net", "Try net"),
        ("x" * 41, "shorter"),
        ("class", "Try my-class"),
        ("none", "Try my-none"),
    ],
)
def test_a_name_that_no_package_can_have_is_refused_with_one_that_it_can(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        package_of(name, "backbone")
    assert hint in str(caught.value)


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean backbone"):
        package_of("my-net", "backbon")


@pytest.mark.parametrize(
    ("name", "kind", "owner"),
    [
        ("resnet18", "backbone", "graftwork-images"),
        ("linear", "head", "graftwork-heads"),
        ("lora", "strategy", "graftwork-strategies"),
        ("digits", "dataset", "graftwork-images"),
        ("detection", "task", "graftwork-detection"),
    ],
)
def test_a_name_of_graftworks_own_is_refused_and_its_owner_named(name: str, kind: str, owner: str) -> None:
    with pytest.raises(UsageError, match=f"{name!r} is taken: plugin {owner}"):
        refuse_taken(package_of(name, kind), load_catalogue())


def test_the_name_of_an_installed_plugin_or_package_is_refused() -> None:
    with pytest.raises(UsageError, match="plugin graftwork-heads is installed"):
        refuse_taken(package_of("heads", "backbone"), load_catalogue())
    with pytest.raises(UsageError, match="plugin graftwork-images is installed"):
        refuse_taken(package_of("images", "backbone"), load_catalogue())


def test_a_name_that_another_kind_has_is_free() -> None:
    refuse_taken(package_of("resnet18", "head"), load_catalogue())


def test_the_range_of_versions_holds_this_version_and_ends_where_the_promise_does() -> None:
    from packaging.specifiers import SpecifierSet

    for version, outside in (("0.1.0", "0.2.0"), ("0.2.0.dev1", "0.3.0"), ("1.4.2", "2.0.0"), ("2.0.0rc1", "3.0.0")):
        allowed = SpecifierSet(supported_versions(version), prereleases=True)
        assert version in allowed and outside not in allowed
    assert __version__ in SpecifierSet(supported_versions(__version__), prereleases=True)


# Files


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_package_says_that_it_supplies_stands_in_its_registry_and_no_more(kind: str, tmp_path: Path) -> None:
    package = package_of(NAMES[kind], kind)
    write_package(package, tmp_path)
    registry = read_registry(tmp_path / package.package / "registry.yaml")
    found = {
        kinds: list(entries)
        for kinds in ("tasks", "backbones", "heads", "strategies", "datasets", "observers", "suites")
        if (entries := getattr(registry, kinds))
    }
    assert found == {kinds: [name] for kinds, name in package.supplies.items()}
    assert list(registry.plugins) == [package.distribution]


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_is_clean_code_whatever_its_name(kind: str, tmp_path: Path) -> None:
    rules = ["--isolated", "--line-length", "130", "--select", "E,F,W,I,UP,B,SIM,RUF,N", "--ignore", "E501,RUF012,N812"]
    for name in ("a", NAMES[kind], "a-rather-long-name-for-a-small-plugin-42"):
        folder = tmp_path / name
        write_package(package_of(name, kind), folder)
        command = [sys.executable, "-m", "ruff", "check", "--no-cache", *rules, "."]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=folder
        )  # where ruff knows what is first-party
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_is_left_with_a_placeholder(kind: str) -> None:
    for name, text in render(package_of(NAMES[kind], kind)).items():
        assert text.endswith("\n") and not text.endswith("\n\n"), name
        assert "{%" not in text and "{{" not in text, name


def test_a_folder_that_is_not_empty_is_refused_and_an_empty_one_is_filled(tmp_path: Path) -> None:
    package = package_of("my-net", "backbone")
    (tmp_path / "empty").mkdir()
    assert "pyproject.toml" in write_package(package, tmp_path / "empty")
    before = sorted((tmp_path / "empty").rglob("*"))
    with pytest.raises(UsageError, match="is there already, and not empty"):
        write_package(package, tmp_path / "empty")
    assert sorted((tmp_path / "empty").rglob("*")) == before
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        write_package(package, tmp_path / "file")


# The command


def test_the_command_writes_the_package_and_says_what_comes_next(tmp_path: Path) -> None:
    done = run([GRAFT, "plugin", "new", "graftwork-my-net", "--kind", "backbone"], {}, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "graftwork-my-net" / "graftwork_my_net" / "backbone.py").is_file()
    told = [line.strip() for line in done.stdout.splitlines()]
    assert "cd graftwork-my-net" in told and "pip install -e '.[test]'" in told
    assert "graft plugin check graftwork-my-net" in told
    again = run([GRAFT, "plugin", "new", "my-net", "--kind", "backbone"], {}, tmp_path)
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr.startswith("graft: error: graftwork-my-net: is there already") and again.stderr.count("\n") == 1


def test_the_command_gives_one_json_document_and_writes_where_it_is_told(tmp_path: Path) -> None:
    words = [GRAFT, "plugin", "new", "norms", "--kind", "strategy", "--out", "a folder/x", "--json"]
    found = json.loads(run(words, {}, tmp_path).stdout)
    assert found["next"][0] == "cd 'a folder/x'"
    assert {file for file in found["files"] if (tmp_path / found["folder"] / file).is_file()} == set(found["files"])


def test_a_package_cannot_be_written_twice_under_one_name_once_it_is_installed(
    installed: dict[str, Path], tmp_path: Path
) -> None:
    done = run([GRAFT, "plugin", "new", "my-backbone", "--kind", "backbone"], installed, tmp_path)
    assert done.returncode == 2
    assert "'my-backbone' is taken: plugin graftwork-my-backbone" in done.stderr


def test_writing_a_plugin_imports_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom graftwork.cli import main\n"
        f"assert main(['plugin', 'new', 'my-net', '--kind', 'task', '--out', {str(tmp_path / 'x')!r}]) == 0\n"
        "heavy = {'torch', 'numpy', 'datasets', 'pytest', 'graftwork_images', 'graftwork.interfaces'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


# What was written works


@pytest.mark.acceptance
def test_every_package_passes_its_own_tests(installed: dict[str, Path], tmp_path: Path) -> None:
    tests = [folder / "tests" for folder in installed.values()]
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-c", os.devnull, "--rootdir", tmp_path, "-rs"]
    words = [sys.executable, "-P", "-m", "pytest", *options, "--import-mode=importlib", *tests]
    done = run(words, installed, tmp_path)
    assert done.returncode == 0, done.stdout[-6000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) > 150


@pytest.fixture(scope="module")
def together(installed: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run with all five that need no task of their own: its folder and its summary."""
    folder = tmp_path_factory.mktemp("together")
    words = (
        "train --task image-classification --data sample:my-dataset --backbone my-backbone --head my-head "
        "--strategy my-strategy --set observers=my-observer --limit-train 200 --epochs 2 --workers 0 "
        "--device cpu --out run --json"
    )
    done = run([GRAFT, *words.split()], installed, folder)
    assert done.returncode == 0, done.stderr
    return {"folder": folder / "run", "summary": json.loads(done.stdout), "said": done.stderr}


def test_all_kinds_that_need_no_task_train_together(together: dict[str, Any]) -> None:
    summary = together["summary"]
    assert (summary["backbone"], summary["head"], summary["strategy"]) == ("my-backbone", "my-head", "my-strategy")
    assert "switched off" not in together["said"]
    assert summary["parameters"]["trained"] < summary["parameters"]["total"]


def test_the_observer_left_a_line_for_every_event(together: dict[str, Any]) -> None:
    lines = [json.loads(line) for line in (together["folder"] / "my-observer.jsonl").read_text().splitlines()]
    events = [line["event"] for line in lines]
    assert (events[0], events[-1]) == ("fit_start", "fit_end")
    assert [line["step"] for line in lines if line["event"] == "step"] == list(range(1, lines[0]["steps"] + 1))
    assert events.count("epoch") == 2


@pytest.mark.acceptance
def test_the_task_learns_predicts_and_evaluates(installed: dict[str, Path], tmp_path: Path) -> None:
    words = "train --task my-task --data sample:my-task-wine --workers 0 --device cpu --out run --json"
    done = run([GRAFT, *words.split()], installed, tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["test"]["accuracy"] >= 0.85  # two thirds of the rows are of other classes
    from sklearn.datasets import load_wine

    wine = load_wine()
    columns = [*reversed(wine.feature_names), "label"]  # the order of columns does not matter
    rows = [
        [*map(str, reversed(row)), str(wine.target_names[label])]
        for row, label in zip(wine.data.tolist(), wine.target, strict=True)
    ]
    (tmp_path / "wine.csv").write_text("\n".join(",".join(row) for row in [columns, *rows]) + "\n")
    done = run([GRAFT, "predict", "run", "wine.csv", "--json"], installed, tmp_path)
    assert done.returncode == 0, done.stderr
    labels = [prediction["label"] for prediction in json.loads(done.stdout)]
    assert sum(label == row[-1] for label, row in zip(labels, rows, strict=True)) > 0.9 * len(rows)
    (tmp_path / "odd.csv").write_text(",".join(columns) + "\n" + ",".join(["x", *rows[0][1:]]) + "\n")
    done = run([GRAFT, "predict", "run", "odd.csv"], installed, tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "odd.csv row 1, column proline: 'x' is not a number" in done.stderr


def test_the_task_names_what_is_wrong_with_a_table(installed: dict[str, Path], tmp_path: Path) -> None:
    lines = ["Age,size,kind", *(f"{row},{row * 3 % 7},{'ab'[row % 2]}" for row in range(40)), "41,,a"]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    words = [GRAFT, "inspect", "--task", "my-task", "--data", "rows.csv"]
    done = run([*words, "--column", "label=kind", "--json"], installed, tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {finding["code"] for finding in found["findings"]} >= {"missing-number"}
    assert sorted(found["facts"]["columns"]) == ["Age", "size"]
    done = run(words, installed, tmp_path)
    assert done.returncode == 3 and "has no column for 'label'" in done.stderr
