"""Thirty strangers' plugins beside one another, some of them broken: nobody else's run notices.

Real packages with real metadata in a folder on PYTHONPATH, as pip would leave them. One raises at import, one hangs there, one
has a broken registry.yaml, one is for another graftwork, two claim one name, one claims graftwork's own names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from installed_plugins import strategy_registry, write_plugin

Graft = Callable[..., Any]

COUNT = 30
RAISES, HANGS, BROKEN, OTHER, TWIN, TWIN_TOO, NAMESAKE = (
    f"graft-p{number:02}" for number in (3, 7, 11, 13, 17, 19, 23)
)

STRATEGY = """
from graftwork import hookimpl

@hookimpl
def graftwork_strategies():
    from graftwork.strategies import full

    return {"%s": full.build}
"""
NAMESAKES = """
from graftwork import hookimpl


@hookimpl
def graftwork_strategies():
    from graftwork.strategies import partial

    def build(spec):
        print(f"namesake built {spec.name} {spec.argument}")
        assert spec.name == "partial"
        return partial.build(spec)

    return {"partial": build}


@hookimpl
def graftwork_heads():
    from graftwork.classification import heads

    def build(spec, backbone, facts):
        assert spec.name == "linear"
        return heads.build_linear(spec, backbone, facts)

    return {"linear": build}


@hookimpl
def graftwork_datasets():
    from graftwork_images import samples

    def digits(spec):
        assert spec.name == "digits"
        return {split: rows.select(range(60)) for split, rows in samples.digits(spec).items()}

    return {"digits": digits}
"""
NAMESAKES_REGISTRY = f"""version: 1
plugins:
  {NAMESAKE}: {{package: graft_p23, summary: Names that are graftwork's own}}
strategies:
  partial:
    plugin: {NAMESAKE}
    factory: "graft_p23:partial"
    summary: Another partial
    argument: {{type: int, default: 1, minimum: 1, summary: stages}}
    recipe: {{source: test, settings: {{lr: 0.0007}}}}
heads:
  linear:
    plugin: {NAMESAKE}
    factory: "graft_p23:linear"
    summary: Another linear
    tasks: [image-classification]
    needs: [pooled]
    options:
      dropout: {{type: float, default: 0.0, summary: x}}
      label_smoothing: {{type: float, default: 0.0, summary: x}}
      imbalance: {{type: str, default: none, summary: x}}
      focal_gamma: {{type: float, default: 2.0, summary: x}}
datasets:
  digits:
    plugin: {NAMESAKE}
    factory: "graft_p23:digits"
    summary: Fewer
    task: image-classification
    rows: 180
    licence: x
    source: y
"""
FEW = (
    "--task",
    "image-classification",
    "--epochs",
    1,
    "--limit-train",
    40,
    "--batch-size",
    20,
    "--workers",
    0,
    "--seed",
    1,
)


def install_thirty(folder: Path) -> None:
    """Writes the thirty into a folder of sys.path."""
    for number in range(COUNT):
        name = f"graft-p{number:02}"
        strategy = "shared" if name in (TWIN, TWIN_TOO) else f"s{number:02}"
        registry: str = strategy_registry(name, strategy, ', requires-graftwork: ">=0.1"')
        code = STRATEGY % strategy
        if name == RAISES:
            code = "raise RuntimeError('no good morning')"
        elif name == HANGS:
            code = f"import time\ntime.sleep(5)\n{code}"
        elif name == BROKEN:
            registry = "version: 1\nstrategies: {s11: [\n"
        elif name == OTHER:
            registry = strategy_registry(name, strategy, ', requires-graftwork: ">=90,<91"')
        elif name == NAMESAKE:
            registry, code = NAMESAKES_REGISTRY, NAMESAKES
        write_plugin(folder, name, registry, code)


@pytest.fixture(scope="module")
def thirty(graft: Graft, tmp_path_factory: pytest.TempPathFactory) -> Graft:
    """The installed command with all of them installed, and a memory of its own."""
    folder = tmp_path_factory.mktemp("site")
    install_thirty(folder)
    own = {
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
        "GRAFTWORK_CACHE": str(tmp_path_factory.mktemp("cache")),
    }

    def call(*words: Any, env: dict[str, str] | None = None, **options: Any) -> Any:
        return graft(*words, env={**own, **(env or {})}, **options)

    return call


@pytest.fixture(scope="module")
def picked(thirty: Graft, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run with every name picked from the namesake; its directory and its summary."""
    out = tmp_path_factory.mktemp("picked") / "run"
    words = (
        "--data",
        f"sample:{NAMESAKE}:digits",
        "--head",
        f"{NAMESAKE}:linear",
        "--strategy",
        f"{NAMESAKE}:partial:2",
    )
    done = thirty("train", *FEW, *words, "--out", out, "--json")
    assert done.code == 0, done.stderr
    assert "namesake built partial 2" in done.stderr
    return out, json.loads(done.stdout)


def test_list_names_what_is_broken_and_imports_nobody(thirty: Graft) -> None:
    done = thirty("list", "plugins", "--json")
    assert done.code == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert sum(name.startswith("graft-p") for name in rows) == COUNT
    assert (rows[BROKEN]["state"], rows[OTHER]["state"]) == ("broken", "other version")
    assert "registry.yaml:3" in rows[BROKEN]["cause"] and "not valid YAML" in rows[BROKEN]["cause"]
    assert rows[OTHER]["cause"].startswith("needs graftwork >=90,<91, this is 0.")
    assert rows["graft-p00"]["state"] == "ok" and rows["graft-p00"]["provides"] == {"strategies": ["s00"]}
    assert "graftwork-images" in rows and rows["graftwork-images"]["first_party"]

    done = thirty("list")
    assert f"plugin {BROKEN} could not be read" in done.stderr
    assert (
        f"strategies 'shared' is claimed by {TWIN} and {TWIN_TOO}: say {TWIN}:shared or {TWIN_TOO}:shared"
        in done.stderr
    )
    assert f"strategies 'partial' is graftwork's own; that of {NAMESAKE} is {NAMESAKE}:partial" in done.stderr
    table = thirty("list", "strategies").stdout
    assert f"\n{NAMESAKE}:partial:N " in table and "\npartial:N " in table and f"\n{TWIN}:shared " in table


@pytest.mark.acceptance
def test_training_on_something_else_notices_nobody(thirty: Graft, graft: Graft, tmp_path: Path) -> None:
    words = ("train", *FEW, "--data", "sample:digits", "--strategy", "partial:1", "--json")
    among = thirty(*words, "--out", tmp_path / "among")
    assert among.code == 0, among.stderr
    assert "graft-p" not in among.stderr and "namesake" not in among.stderr
    assert graft(*words, "--out", tmp_path / "alone").code == 0
    model = "model.safetensors"
    assert (tmp_path / "among" / model).read_bytes() == (tmp_path / "alone" / model).read_bytes()


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (("--strategy", "s03"), 4, f"plugin '{RAISES}' cannot be loaded (RuntimeError: no good morning)"),
        (("--strategy", "s11"), 2, f"{BROKEN} ("),
        (("--strategy", "s13"), 2, "needs graftwork >=90,<91"),
        (("--strategy", f"{OTHER}:s13"), 2, f"plugin {OTHER} is not in use. Needs graftwork >=90,<91"),
        (("--strategy", "shared"), 2, f"Pick one: {TWIN}:shared or {TWIN_TOO}:shared"),
        (("--strategy", f"{NAMESAKE}:parsial:2"), 2, f"Did you mean {NAMESAKE}:partial?"),
        (("--strategy", f"{NAMESAKE}:partial:0"), 2, "must be at least 1"),
        (("--head", f"{TWIN}:linear"), 2, f"plugin {TWIN} has no such head"),
        (("--backbone", f"{NAMESAKE}:graftnet-s"), 2, f"plugin {NAMESAKE} has no such backbone"),
    ],
)  # fmt: skip
def test_who_names_a_broken_plugin_gets_one_line_with_the_way_out(
    thirty: Graft, tmp_path: Path, words: tuple[str, ...], code: int, what: str
) -> None:
    done = thirty("train", *FEW, "--data", "sample:digits", *words, "--out", tmp_path / "run")
    assert (done.code, done.stdout) == (code, ""), done.stderr
    assert len(done.errors) == 1 and what in done.errors[0], done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.acceptance
def test_a_picked_name_is_kept_by_the_run_and_found_again(
    thirty: Graft, picked: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, summary = picked
    card = json.loads((out / "model.json").read_text())
    assert (card["head"]["name"], card["head"]["plugin"]) == ("linear", NAMESAKE)
    assert card["backbone"]["name"] == "graftnet-s" and "plugin" not in card["backbone"]
    assert summary["strategy"] == f"{NAMESAKE}:partial:2" and summary["test_rows"] == 60
    kept = (out / "config.yaml").read_text()
    assert f"{NAMESAKE}:linear" in kept and f"{NAMESAKE}:partial:2" in kept and f"sample:{NAMESAKE}:digits" in kept
    assert "lr: 0.0007" in kept, "the recipe is the picked strategy's"

    done = thirty("evaluate", out, "--data", f"sample:{NAMESAKE}:digits", "--json")
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["metrics"]["accuracy"] == summary["test"]["accuracy"]
    again = thirty("train", "--config", out / "config.yaml", "--out", tmp_path / "again", "--json")
    assert again.code == 0, again.stderr
    model = "model.safetensors"
    assert (tmp_path / "again" / model).read_bytes() == (out / model).read_bytes()
    other = thirty(
        "train", *FEW, "--data", "sample:digits", "--backbone", f"run:{out}", "--out", tmp_path / "on", "--json"
    )
    assert other.code == 0, other.stderr


@pytest.mark.acceptance
def test_a_model_of_a_plugin_that_is_left_out_says_what_it_needs(
    thirty: Graft, picked: tuple[Path, dict[str, Any]]
) -> None:
    out, _ = picked
    for selection in ("", "graft-p00", f"-{NAMESAKE}"):
        done = thirty("evaluate", out, "--data", "sample:digits", env={"GRAFTWORK_PLUGINS": selection})
        assert done.code == 2 and f"plugin {NAMESAKE} is not in use. Left out by GRAFTWORK_PLUGINS" in done.errors[0]


@pytest.mark.acceptance
def test_a_plugin_that_hangs_for_a_while_delays_only_who_uses_it(thirty: Graft) -> None:
    done = thirty("doctor", "--json", env={"GRAFTWORK_PLUGINS": f"{HANGS},{RAISES},graft-p00"})
    assert done.code == 0, done.stderr
    found = json.loads(done.stdout)["plugins"]
    assert found[HANGS]["state"] == "ok" and "its import takes 5." in found[HANGS]["notes"][0]
    assert "no good morning" in found[RAISES]["state"] and found["graft-p00"]["state"] == "ok"
    assert found[TWIN]["state"] == "left out by GRAFTWORK_PLUGINS"
    assert f"plugin {RAISES} cannot be loaded (RuntimeError: no good morning)" in thirty("list").stderr
