"""What is wrong with an installed plugin is its state, told by its files: nothing is imported, and the rest works."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from installed_plugins import strategy_registry, write_plugin

from graftwork import __version__
from graftwork.catalogue import Catalogue, PluginState, load_catalogue
from graftwork.errors import PluginError, UsageError
from graftwork.plugins import Plugins

TRAP = "raise SystemExit('imported')"
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a plugin whose import would be noticed."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("GRAFTWORK_PLUGINS", raising=False)

    def install_plugin(name: str, registry: str | bytes | None, code: str | None = TRAP, **more: object) -> Path:
        return write_plugin(tmp_path, name, registry, code, **more)  # type: ignore[arg-type]

    return install_plugin


def state_of(name: str) -> PluginState:
    """The state of a plugin, after a look at the rest, which must work."""
    catalogue = load_catalogue()
    assert catalogue.strategy("full").plugin == "graftwork-strategies"
    return catalogue.plugins[name]


def refused(name: str, state: str) -> str:
    """Why a plugin is not in use; nothing of it is in the catalogue, and its code is not loaded."""
    catalogue = load_catalogue()
    found = catalogue.plugins[name]
    assert found.state == state, found
    assert found.problem
    assert name not in {entry.plugin for entries in catalogue.entries.values() for entry in entries.values()}
    with pytest.raises(PluginError, match="not in use") as caught:
        Plugins(catalogue).builders("strategies", name)
    assert found.problem in str(caught.value)
    return found.problem


def test_a_good_plugin_is_ok_and_says_where_it_is_from(install: Install, tmp_path: Path) -> None:
    home = install("graft-good", strategy_registry("graft-good", "fancy"))
    found = state_of("graft-good")
    assert (found.state, found.problem, found.distribution, found.version) == ("ok", None, "graft-good", "1.2")
    assert (found.origin, found.editable, found.folder) == (str(tmp_path), False, home)


def test_an_editable_installation_names_its_source(install: Install, tmp_path: Path) -> None:
    source = tmp_path / "my source"
    install("graft-edit", strategy_registry("graft-edit", "fancy"), editable=source)
    found = state_of("graft-edit")
    assert (found.origin, found.editable) == (str(source), True)


@pytest.mark.parametrize("wanted", [f"=={__version__}", ">=0.0.1", ">=0.0.1,<99", f"~={__version__}", "!=9.9"])
def test_a_plugin_for_this_version_is_taken_in(install: Install, wanted: str) -> None:
    install("graft-fit", strategy_registry("graft-fit", "fancy", f', requires-graftwork: "{wanted}"'))
    assert state_of("graft-fit").problem is None
    assert load_catalogue().strategy("fancy").plugin == "graft-fit"


@pytest.mark.parametrize("wanted", [">=99", "<0.0.1", "==0.0.1", ">=0.0.1,!=" + __version__])
def test_a_plugin_for_another_version_stays_out_and_says_both(install: Install, wanted: str) -> None:
    install("graft-other", strategy_registry("graft-other", "fancy", f', requires-graftwork: "{wanted}"'))
    assert f"needs graftwork {wanted}, this is {__version__}" in refused("graft-other", "other version")
    with pytest.raises(UsageError, match=r"unknown strategy 'fancy'.*needs graftwork"):
        load_catalogue().strategy("fancy")


def test_a_plugin_for_a_later_version_is_told_so_and_not_that_its_keys_are_unknown(install: Install) -> None:
    text = strategy_registry("graft-later", "fancy", ', requires-graftwork: ">=99", colour: red') + "surprises: {}\n"
    install("graft-later", text.replace("version: 1", "version: 7"))
    assert "needs graftwork >=99" in refused("graft-later", "other version")


@pytest.mark.parametrize("wanted", ['"0.1"', '">>0.1"', '""', '" "', '">=x"', '"latest"', "0.1", "[1]"])
def test_a_malformed_range_is_named_with_its_line(install: Install, wanted: str) -> None:
    home = install("graft-range", strategy_registry("graft-range", "fancy", f", requires-graftwork: {wanted}"))
    problem = refused("graft-range", "broken")
    assert problem.startswith(f"{home}/registry.yaml:3: plugins.graft-range.requires-graftwork: ")
    assert "Value error" not in problem


HUGE = b"version: 1\n#" + b"x" * (5 * 1024 * 1024)


@pytest.mark.parametrize(
    ("registry", "cause"),
    [
        (b"version: 1\nstrategies: [", "not valid YAML"),
        (b"version: 1\n# \xff\xfe", "is not UTF-8 text (invalid start byte)"),
        (b"version: 1\n\x00", "not valid YAML"),
        (HUGE, "is larger than"),
        (b"- a\n- b\n", "must be a mapping"),
        (b"", "version: Field required"),
        (b"version: 1\nplugins: {graftwork-images: {package: x, summary: y}}", "names another plugin: graftwork-images"),
        (b"version: 1\n" + b"a: " * 100, "not valid YAML"),
        (b"version: 1\nplugins: " + b"{a: " * 100 + b"}" * 100, "nests more than"),
    ],
)  # fmt: skip
def test_a_registry_that_cannot_be_used_is_a_state_with_its_cause(
    install: Install, registry: bytes, cause: str
) -> None:
    install("graft-bad", registry)
    assert cause in refused("graft-bad", "broken")


def test_a_registry_that_is_a_folder_or_missing_is_a_state(install: Install) -> None:
    (install("graft-folder", None) / "registry.yaml").mkdir()
    install("graft-none", None)
    assert "registry.yaml is not a file" in refused("graft-folder", "half-installed")
    assert "registry.yaml is missing" in refused("graft-none", "half-installed")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_registry_that_may_not_be_read_is_a_state(install: Install) -> None:
    (install("graft-closed", strategy_registry("graft-closed", "fancy")) / "registry.yaml").chmod(0)
    assert "cannot be read" in refused("graft-closed", "broken")


def test_half_an_installation_says_which_half_is_missing(install: Install, tmp_path: Path) -> None:
    good = strategy_registry("graft-half", "fancy")
    install("graft-gone", good, point="no_such_package_anywhere")
    install("graft-left", good, None)
    install("graft-single", good, point="graft_module")
    (tmp_path / "graft_module.py").write_text(TRAP)
    install("graft-inner", good, point="graft_inner.hooks")
    install("graft-json", good, point="json")
    install("graft-empty", good, point="[x]")
    assert "only its metadata is there. Reinstall it: pip install" in refused("graft-gone", "half-installed")
    assert "has no __init__.py" in refused("graft-left", "half-installed")
    assert "not a package but a single module" in refused("graft-single", "half-installed")
    assert "names the module graft_inner.hooks, which is not there" in refused("graft-inner", "half-installed")
    assert "json has no registry.yaml" in refused("graft-json", "half-installed")
    assert "names no module" in refused("graft-empty", "half-installed")


def test_an_entry_point_that_names_another_plugins_package_takes_nothing_from_it(install: Install) -> None:
    install("graft-real", strategy_registry("graft-real", "fancy"))
    install("graft-thief", None, point="graft_real")
    assert "names another plugin: graft-real" in refused("graft-thief", "broken")
    assert load_catalogue().strategy("fancy").plugin == "graft-real"


def test_two_distributions_with_one_plugins_name_are_named_and_neither_is_used(install: Install) -> None:
    for distribution in ("first-dist", "second-dist"):
        package = distribution.replace("-", "_")
        registry = strategy_registry("graft-same", distribution)
        install("graft-same", registry, distribution=distribution, package=package)
    problem = refused("graft-same", "clash")
    assert "first-dist 1.2 and second-dist 1.2 both bring a plugin of this name" in problem
    assert "Uninstall one" in problem


def test_a_distribution_that_takes_the_name_of_one_of_ours_is_told_of_and_not_used(install: Install) -> None:
    registry = strategy_registry("graftwork-strategies", "fancy")
    install("graftwork-strategies", registry, distribution="impostor")
    catalogue = load_catalogue()
    assert catalogue.plugins["graftwork-strategies"].distribution == "graftwork"
    assert callable(Plugins(catalogue).builder("strategies", "full"))
    told = catalogue.plugins["graftwork-strategies (impostor)"]
    assert told.state == "clash" and "comes with graftwork" in (told.problem or "")
    with pytest.raises(UsageError, match="unknown strategy"):
        catalogue.strategy("fancy")


def test_the_same_distribution_on_two_folders_of_the_path_is_no_clash(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("graft-twice", strategy_registry("graft-twice", "fancy"), version="1.0")
    (tmp_path / "first").mkdir()
    registry = strategy_registry("graft-twice", "fancy")
    write_plugin(tmp_path / "first", "graft-twice", registry, TRAP, distribution="Graft.Twice", package="graft_twice")
    monkeypatch.syspath_prepend(str(tmp_path / "first"))
    found = state_of("graft-twice")
    assert (found.state, found.distribution, found.version) == ("ok", "Graft.Twice", "1.2")


def test_one_distribution_that_names_a_plugin_twice(install: Install, tmp_path: Path) -> None:
    for name, second in (("graft-equal", "graft_equal"), ("graft-unequal", "graft_equal")):
        install(name, strategy_registry(name, f"{name}-s"))
        points = tmp_path / f"{name.replace('-', '_')}-1.2.dist-info" / "entry_points.txt"
        points.write_text(f"[graftwork]\n{name} = {name.replace('-', '_')}\n{name} = {second}\n")
    assert state_of("graft-equal").state == "ok"
    assert "brings it twice" in refused("graft-unequal", "clash")


@pytest.mark.parametrize("name", ["run", "hf", "sample", "x", "Upper", "a:b", "with space", "é"])
def test_a_plugin_cannot_be_called_what_means_something_else(install: Install, tmp_path: Path, name: str) -> None:
    install("graft-odd", strategy_registry("graft-odd", "fancy"))
    points = tmp_path / "graft_odd-1.2.dist-info" / "entry_points.txt"
    points.write_text(f"[graftwork]\n{name} = graft_odd\n", encoding="utf-8")
    found = load_catalogue().plugins
    states = [state for state in found.values() if state.distribution == "graft-odd"]
    # `a:b = x` is the entry point `a:b`, however strange; every one is told of.
    assert [state.state for state in states] == ["broken"], states
    assert "plugin" in (states[0].problem or "")


@pytest.mark.parametrize(
    ("points", "cause"),
    [(b"[graftwork]\ngraft-odd graft_odd\n", "malformed"), (b"[graftwork]\ngraft-odd = graft_odd # \xff\n", "UTF-8")],
)
def test_entry_points_that_cannot_be_read_hide_nobody_else(
    install: Install, tmp_path: Path, points: bytes, cause: str
) -> None:
    install("graft-odd", strategy_registry("graft-odd", "fancy"))
    install("graft-good", strategy_registry("graft-good", "nice"))
    (tmp_path / "graft_odd-1.2.dist-info" / "entry_points.txt").write_bytes(points)
    assert cause in refused("graft-odd", "broken")
    assert load_catalogue().strategy("nice").plugin == "graft-good"


def test_metadata_without_a_name_or_version_is_no_obstacle(install: Install, tmp_path: Path) -> None:
    install("graft-bare", strategy_registry("graft-bare", "fancy"))
    (tmp_path / "graft_bare-1.2.dist-info" / "METADATA").unlink()
    found = state_of("graft-bare")
    assert (found.state, found.version) == ("ok", "?")


def _in_use(catalogue: Catalogue) -> set[str]:
    return {state.name for state in catalogue.plugins.values() if state.problem is None} - catalogue.ours


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (None, {"graft-a", "graft-b", "graft-c"}),
        ("", set()),
        ("graft-a", {"graft-a"}),
        (" graft-a , graft-c,", {"graft-a", "graft-c"}),
        ("-graft-a", {"graft-b", "graft-c"}),
        ("graft-a,graft-b,-graft-a", {"graft-b"}),
        ("graftwork-images", set()),
    ],
)
def test_the_environment_selects_plugins(
    install: Install, monkeypatch: pytest.MonkeyPatch, selection: str | None, expected: set[str]
) -> None:
    for letter in "abc":
        install(f"graft-{letter}", strategy_registry(f"graft-{letter}", f"fancy-{letter}"))
    before = _in_use(load_catalogue()) - {"graft-a", "graft-b", "graft-c"}
    if selection is not None:
        monkeypatch.setenv("GRAFTWORK_PLUGINS", selection)
    catalogue = load_catalogue()
    assert _in_use(catalogue) - before == expected
    assert catalogue.ours and catalogue.strategy("full")
    for name in {"graft-a", "graft-b", "graft-c"} - expected:
        assert catalogue.plugins[name].state == "left out"
        with pytest.raises(UsageError, match=r"unknown strategy 'fancy-.*Left out by GRAFTWORK_PLUGINS: .*" + name):
            catalogue.strategy(f"fancy-{name[-1]}")
        with pytest.raises(UsageError, match=rf"plugin {name} is not in use. Left out by GRAFTWORK_PLUGINS"):
            catalogue.strategy(f"{name}:fancy-{name[-1]}")


@pytest.mark.parametrize(
    ("selection", "what"),
    [
        ("graft-aa", r"GRAFTWORK_PLUGINS: no plugin 'graft-aa' is installed. Did you mean graft-a"),
        ("-graft-aa", "no plugin 'graft-aa' is installed"),
        ("-graftwork-images", "comes with graftwork and cannot be left out"),
    ],
)
def test_a_selection_that_cannot_be_meant_is_one_clear_line(
    install: Install, monkeypatch: pytest.MonkeyPatch, selection: str, what: str
) -> None:
    install("graft-a", strategy_registry("graft-a", "fancy"))
    monkeypatch.setenv("GRAFTWORK_PLUGINS", selection)
    with pytest.raises(UsageError, match=what):
        load_catalogue()


def test_left_out_settles_a_clash(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("graft-a", "graft-b"):
        install(name, strategy_registry(name, "fancy"))
    monkeypatch.setenv("GRAFTWORK_PLUGINS", "-graft-b")
    assert load_catalogue().strategy("fancy").plugin == "graft-a"
