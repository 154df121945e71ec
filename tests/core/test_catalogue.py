"""The catalogue: registry.yaml files, clashes, broken plugins, names and their neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from graftwork.catalogue import (
    KINDS,
    Catalogue,
    Option,
    Registry,
    StrategyEntry,
    first_party_registry,
    load_catalogue,
    offline,
    read_registry,
    split_strategy,
    strategy_argument,
)
from graftwork.errors import UsageError

STRATEGY = """\
version: 1
plugins:
  {plugin}: {{summary: x, package: {package}}}
strategies:
  {name}: {{plugin: {plugin}, factory: "{package}.code:build", summary: a strategy}}
"""

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a distribution with a graftwork entry point on sys.path, as pip would."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install_plugin(name: str, registry: str | None, init: str = "", point: str | None = None) -> Path:
        package = name.replace("-", "_")
        folder = tmp_path / package
        folder.mkdir()
        (folder / "__init__.py").write_text(init)
        if registry is not None:
            (folder / "registry.yaml").write_text(registry)
        info = tmp_path / f"{package}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[graftwork]\n{name} = {point or package}\n")
        return folder

    yield install_plugin


def test_our_own_registry_is_valid_and_every_entry_names_one_of_its_plugins() -> None:
    registry = read_registry(first_party_registry())
    owners = {entry.plugin for kind in KINDS for entry in getattr(registry, kind).values()}
    assert owners <= set(registry.plugins)


def test_our_own_defaults_name_what_exists() -> None:
    catalogue = load_catalogue()
    for name, task in catalogue.entries["tasks"].items():
        assert catalogue.backbone(task.default_backbone).modality == task.modality
        assert name in catalogue.head(task.default_head).tasks
    for name, backbone in catalogue.entries["backbones"].items():
        assert backbone.default_weights is None or backbone.default_weights in backbone.weights, name
        assert backbone.stages > 0 and backbone.parameters > 0, name


def test_default_options_of_the_catalogue_fit_their_own_limits() -> None:
    catalogue = load_catalogue()
    for kind in ("tasks", "backbones", "heads", "strategies"):
        for name, entry in catalogue.entries[kind].items():
            for key, option in entry.options.items():
                assert option.check(option.default) is None, (name, key)


def test_recipes_set_only_settings_and_options_that_exist() -> None:
    from graftwork.config import RunConfig

    catalogue = load_catalogue()
    recipes = [
        (name, entry)
        for kind in ("tasks", "backbones", "strategies", "datasets")
        for name, entry in catalogue.entries[kind].items()
        if entry.recipe
    ]
    assert recipes
    for name, entry in recipes:
        assert entry.recipe.source, name
        for key in entry.recipe.settings:
            assert key.partition(".")[0] in RunConfig.model_fields, (name, key)


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("version: 1\nstrategies:\n  full: {plugin: p, summary: s, factory: 'm:f', colour: red}", 3, "colour"),
        ("version: 1\nstrategies:\n  full:\n    plugin: p\n    factory: m:f", 4, "summary"),
        ("version: 1\nstrategies:\n  full:\n    plugin: p\n    summary: s\n    factory: os.system('x')", 6, "factory"),
        ("version: 1\nstrategies:\n  Full: {plugin: p, summary: s, factory: 'm:f'}", 3, "'Full' is not a catalogue name"),
        ('version: 1\nstrategies:\n  "full\\n": {plugin: p, summary: s, factory: "m:f"}', 3, "not a catalogue name"),
        ("version: 1\nstrategies:\n  ../full: {plugin: p, summary: s, factory: 'm:f'}", 3, "not a catalogue name"),
        ("version: 2", 1, "version"),
        ("plugins: {}", 1, "version"),
        ("version: 1\nsecrets: {}", 2, "secrets"),
        ("version: 1\nstrategies: []", 2, "strategies"),
    ],
)  # fmt: skip
def test_a_broken_registry_is_named_with_file_line_and_key(tmp_path: Path, text: str, line: int, what: str) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_registry(path)
    assert what in str(caught.value)
    where = str(caught.value).split(": ")[0]
    assert where in (f"{path}:{line}", f"{path}:{max(line - 1, 1)}")


@pytest.mark.parametrize("source", ["http://example.org/w.pth", "file:///etc/passwd", "../w.pth", "git+https://x"])
def test_weights_come_only_over_https_or_from_a_package(source: str) -> None:
    from graftwork.catalogue import Weights

    facts = {"size": 1, "sha256": "0" * 64, "revision": "r", "licence": "l", "summary": "s"}
    Weights.model_validate({"source": "https://example.org/w.pth", **facts})
    with pytest.raises(ValueError, match="source"):
        Weights.model_validate({"source": source, **facts})


def test_an_installed_plugin_brings_its_entries_without_being_imported(install: Install) -> None:
    install(
        "graft-extra", STRATEGY.format(plugin="graft-extra", package="graft_extra", name="fancy"), "raise SystemExit"
    )
    catalogue = load_catalogue()
    assert catalogue.strategy("fancy").plugin == "graft-extra"
    state = catalogue.plugins["graft-extra"]
    assert (state.distribution, state.version, state.problem) == ("graft-extra", "1.2", None)


def test_a_plugin_is_found_by_its_top_package_only(install: Install) -> None:
    text = STRATEGY.format(plugin="graft-deep", package="graft_deep", name="deep")
    folder = install("graft-deep", text, "raise SystemExit", point="graft_deep.inner.hooks")
    (folder / "inner").mkdir()
    (folder / "inner" / "hooks.py").write_text("raise SystemExit")
    assert load_catalogue().strategy("deep").plugin == "graft-deep"


@pytest.mark.parametrize(
    ("registry", "cause"),
    [
        (None, "has no registry.yaml"),
        ("version: 1\nstrategies: [", "not valid YAML"),
        ("version: 1\ntasks: &a {}", "alias or anchor"),
        ("version: 9", "version"),
        (STRATEGY.format(plugin="graftwork-images", package="x", name="sneaky"), "names another plugin"),
    ],
)
def test_a_plugin_with_a_broken_registry_breaks_only_itself(install: Install, registry: str | None, cause: str) -> None:
    install("graft-broken", registry)
    catalogue = load_catalogue()
    assert cause in (catalogue.plugins["graft-broken"].problem or "")
    assert catalogue.strategy("full").plugin == "graftwork-strategies"
    assert "sneaky" not in catalogue.entries["strategies"]
    with pytest.raises(UsageError, match=r"could not be read: graft-broken"):
        catalogue.strategy("sneaky")


def test_a_plugin_whose_package_is_gone_says_so(install: Install) -> None:
    install("graft-gone", None, point="no_such_package_anywhere")
    assert "not installed completely" in (load_catalogue().plugins["graft-gone"].problem or "")


def test_a_name_of_graftworks_own_cannot_be_taken(install: Install) -> None:
    install("graft-twin", STRATEGY.format(plugin="graft-twin", package="graft_twin", name="full"))
    catalogue = load_catalogue()
    assert catalogue.strategy("full").plugin == "graftwork-strategies"
    assert catalogue.strategy("graft-twin:full").plugin == "graft-twin"
    assert catalogue.strategy("graftwork-strategies:full") is catalogue.strategy("full")
    assert catalogue.shadowed == {("strategies", "full"): ["graft-twin"]}
    assert catalogue.entries["strategies"]["graft-twin:full"] is catalogue.strategy("graft-twin:full")


def test_a_name_that_third_parties_share_stops_only_who_uses_it_and_says_how_to_pick(install: Install) -> None:
    for name in ("graft-a", "graft-b", "graft-c"):
        install(name, STRATEGY.format(plugin=name, package=name.replace("-", "_"), name="fancy"))
    catalogue = load_catalogue()
    with pytest.raises(UsageError, match=r"strategy 'fancy' is claimed by graft-a and graft-b and graft-c") as caught:
        catalogue.strategy("fancy")
    assert "graft-a:fancy or graft-b:fancy or graft-c:fancy" in str(caught.value)
    for name in ("graft-a", "graft-b", "graft-c"):
        assert catalogue.strategy(f"{name}:fancy").plugin == name
    assert "fancy" not in catalogue.entries["strategies"]
    assert catalogue.strategy("lp-ft")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("graft-a:fency", r"plugin graft-a has no such strategy.*Did you mean graft-a:fancy"),
        ("graft-d:fancy", r"no plugin 'graft-d' is installed.*Did you mean fancy"),
        ("nobody:nothing", r"no plugin 'nobody' is installed.*graft list plugins"),
        ("graft-a:", "plugin graft-a has no such strategy"),
        ("graft-a:fancy:2", "plugin graft-a has no such strategy"),
        (":fancy", "unknown strategy ':fancy'"),
    ],
)
def test_a_pick_that_is_wrong_gets_its_neighbours(install: Install, name: str, what: str) -> None:
    install("graft-a", STRATEGY.format(plugin="graft-a", package="graft_a", name="fancy"))
    with pytest.raises(UsageError, match=what):
        load_catalogue().strategy(name)


def test_the_name_that_is_kept_means_the_same_whatever_is_installed_later(install: Install) -> None:
    install("graft-a", STRATEGY.format(plugin="graft-a", package="graft_a", name="fancy"))
    catalogue = load_catalogue()
    assert catalogue.qualified("strategies", "fancy") == "graft-a:fancy"
    assert catalogue.qualified("strategies", "graft-a:fancy") == "graft-a:fancy"
    assert catalogue.qualified("strategies", "full") == "full"
    assert catalogue.qualified("strategies", "graftwork-strategies:full") == "full"
    install("graft-b", STRATEGY.format(plugin="graft-b", package="graft_b", name="fancy"))
    assert load_catalogue().strategy("graft-a:fancy").plugin == "graft-a"


def test_a_reference_means_what_the_plugin_that_makes_it_has_itself(install: Install) -> None:
    task = """\
version: 1
tasks:
  detection: {plugin: graft-own, factory: "graft_own:t", summary: t, modality: image, primary_metric: m,
    default_backbone: graftnet-s, default_head: linear}
heads:
  linear: {plugin: graft-own, factory: "graft_own:h", summary: h, tasks: [detection], needs: [pooled]}
"""
    install("graft-own", task)
    catalogue = load_catalogue()
    head, ours = catalogue.head("graft-own:linear"), catalogue.head("linear")
    assert catalogue.refers("graft-own", "tasks", head.tasks, "graft-own:detection") == "detection"
    assert catalogue.refers("graft-own", "tasks", head.tasks, "detection") is None
    assert catalogue.refers("graftwork-heads", "tasks", ours.tasks, "image-classification") == "image-classification"
    assert catalogue.name_for("graft-own", "heads", "linear") == "graft-own:linear"
    assert catalogue.name_for("graft-own", "backbones", "graftnet-s") == "graftnet-s"


def test_an_unknown_name_gets_its_neighbours() -> None:
    with pytest.raises(UsageError, match=r"unknown strategy 'ful'.*Did you mean full"):
        load_catalogue().strategy("ful")
    with pytest.raises(UsageError, match="There is none"):
        Catalogue().backbone("resnet18")


@pytest.mark.parametrize("name", ["", " ", "full ", "os:system", "../full", "full\n", "é", "a" * 10_000])
def test_odd_names_are_unknown_and_nothing_worse(name: str) -> None:
    with pytest.raises(UsageError, match="unknown strategy"):
        load_catalogue().strategy(name)


@pytest.mark.parametrize(
    ("facts", "good", "bad"),
    [
        ({"type": "int", "default": 1, "minimum": 1, "maximum": 9}, [1, 9], [0, 10, 1.5, True, "1", None, []]),
        ({"type": "float", "default": 0.5, "minimum": 0}, [0, 0.1, 10**9], [-0.1, False, "x", None, {}]),
        ({"type": "bool", "default": False}, [True, False], [0, 1, "true", None]),
        ({"type": "str", "default": "a", "choices": ["a", "b"]}, ["a", "b"], ["c", "", 1, None, True]),
        ({"type": "str", "default": None}, ["", "x", None], [1]),
    ],
)
def test_an_option_takes_what_it_says_and_nothing_else(facts: dict, good: list, bad: list) -> None:
    option = Option.model_validate({**facts, "summary": "s"})
    assert [value for value in good if option.check(value) is not None] == []
    assert [value for value in bad if option.check(value) is None] == []


def test_complete_fills_in_defaults_and_drops_nothing_that_was_given() -> None:
    entry = load_catalogue().strategy("l2-sp")
    assert entry.complete({"alpha": 0.0}) == {"alpha": 0.0, "beta": entry.options["beta"].default}


def _strategy(argument: dict | None) -> StrategyEntry:
    facts = {"plugin": "p", "summary": "s", "factory": "m:f", "argument": argument}
    return StrategyEntry.model_validate(facts)


def test_a_strategy_argument_is_read_as_its_type() -> None:
    entry = _strategy({"type": "int", "default": 1, "minimum": 1, "summary": "stages"})
    assert strategy_argument(entry, "partial") == 1
    assert strategy_argument(entry, "partial:3") == 3
    for spec in ("partial:", "partial:0", "partial:-1", "partial:two", "partial:2.5", "partial:1:2", "partial:true"):
        with pytest.raises(UsageError, match="argument of"):
            strategy_argument(entry, spec)
    assert strategy_argument(_strategy(None), "full") is None
    for spec in ("full:", "full:1"):
        with pytest.raises(UsageError, match="takes no argument"):
            strategy_argument(_strategy(None), spec)


def test_a_strategy_spec_splits_at_its_first_colon() -> None:
    assert split_strategy("full") == ("full", None)
    assert split_strategy("partial:2") == ("partial", "2")
    assert split_strategy("partial:") == ("partial", "")
    assert split_strategy("a:b:c") == ("a", "b:c")


def test_a_strategy_of_a_picked_plugin_keeps_its_argument(install: Install) -> None:
    for name in ("graft-a", "partial"):
        install(name, STRATEGY.format(plugin=name, package=name.replace("-", "_"), name="fancy"))
    catalogue = load_catalogue()
    assert split_strategy("graft-a:fancy", catalogue) == ("graft-a:fancy", None)
    assert split_strategy("graft-a:fancy:2", catalogue) == ("graft-a:fancy", "2")
    assert split_strategy("graft-a:fency:2", catalogue) == ("graft-a:fency", "2")
    assert split_strategy("nobody:2", catalogue) == ("nobody", "2")
    # A plugin that is called like a strategy takes nothing from it.
    assert split_strategy("partial:2", catalogue) == ("partial", "2")
    assert split_strategy("partial:fancy", catalogue) == ("partial:fancy", None)
    assert split_strategy("partial:fancy:3", catalogue) == ("partial:fancy", "3")
    assert strategy_argument(catalogue.strategy("partial"), "partial:2", catalogue) == 2
    assert strategy_argument(catalogue.strategy("graft-a:fancy"), "graft-a:fancy", catalogue) is None
    with pytest.raises(UsageError, match="'graft-a:fancy' takes no argument, got '2'"):
        strategy_argument(catalogue.strategy("graft-a:fancy"), "graft-a:fancy:2", catalogue)


def test_an_empty_registry_needs_only_its_version() -> None:
    assert Registry.model_validate({"version": 1}).backbones == {}


@pytest.mark.parametrize(
    ("value", "expected"), [("1", True), ("true", True), ("ON", True), ("0", False), ("", False), ("False", False)]
)
def test_the_network_is_forbidden_by_each_variable(monkeypatch: pytest.MonkeyPatch, value: str, expected: bool) -> None:
    names = ("GRAFTWORK_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
    for name in names:
        for each in names:
            monkeypatch.delenv(each, raising=False)
        assert not offline() and not offline("HF_DATASETS_OFFLINE")
        monkeypatch.setenv(name, value)
        assert offline() is (expected and name != "HF_DATASETS_OFFLINE")  # that one is about data alone
        assert offline("HF_DATASETS_OFFLINE") is expected
