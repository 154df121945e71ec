"""Plugins are loaded by name, each on its own: one that is broken breaks only what needs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from graftwork.catalogue import load_catalogue
from graftwork.errors import DataError, PluginError, UsageError
from graftwork.plugins import Plugins

REGISTRY = """\
version: 1
strategies:
  {name}: {{plugin: {plugin}, factory: "{package}:build", summary: a strategy}}
"""
GOOD = """\
from graftwork import hookimpl

@hookimpl
def graftwork_strategies():
    return {"fancy": lambda *arguments: ("built", arguments)}
"""

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a plugin with one strategy, `fancy`, on sys.path; its code is given."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install_plugin(plugin: str, code: str) -> None:
        package = plugin.replace("-", "_")
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(code)
        (tmp_path / package / "registry.yaml").write_text(REGISTRY.format(name="fancy", plugin=plugin, package=package))
        info = tmp_path / f"{package}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {plugin}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[graftwork]\n{plugin} = {package}\n")

    return install_plugin


def test_a_builder_is_found_and_called(install: Install) -> None:
    install("plugin-good", GOOD)
    plugins = Plugins(load_catalogue())
    assert plugins.build("strategies", "fancy", 1, 2) == ("built", (1, 2))


@pytest.mark.parametrize(
    ("plugin", "code", "cause"),
    [
        ("plugin-missing-import", "import a_library_that_is_not_there", "ModuleNotFoundError"),
        ("plugin-syntax", "def (:", "SyntaxError"),
        ("plugin-raises", "raise RuntimeError('at import')", "at import"),
        ("plugin-leaves", "raise SystemExit(3)", "SystemExit"),
    ],
)
def test_a_plugin_that_cannot_be_imported_breaks_only_itself(
    install: Install, plugin: str, code: str, cause: str
) -> None:
    install(plugin, code)
    plugins = Plugins(load_catalogue())
    with pytest.raises(PluginError, match=cause) as caught:
        plugins.builder("strategies", "fancy")
    assert plugin in str(caught.value)
    assert caught.value.exit_code == 4
    assert callable(plugins.builder("strategies", "full"))


def test_a_hook_that_raises_is_the_plugins_fault(install: Install) -> None:
    code = "from graftwork import hookimpl\n@hookimpl\ndef graftwork_strategies():\n    raise KeyError('inside')\n"
    install("plugin-hook", code)
    with pytest.raises(PluginError, match=r"plugin 'plugin-hook' failed in its hook graftwork_strategies .*inside"):
        Plugins(load_catalogue()).builder("strategies", "fancy")


@pytest.mark.parametrize("returned", ["None", "[]", "3", "['fancy']"])
def test_a_hook_that_returns_no_mapping_is_the_plugins_fault(install: Install, returned: str) -> None:
    code = f"from graftwork import hookimpl\n@hookimpl\ndef graftwork_strategies():\n    return {returned}\n"
    install(f"plugin-returns-{'none' if returned == 'None' else len(returned)}", code)
    with pytest.raises(PluginError):
        Plugins(load_catalogue()).builder("strategies", "fancy")


@pytest.mark.parametrize(
    ("plugin", "code"),
    [
        ("plugin-empty", ""),
        ("plugin-unmarked", "def graftwork_strategies():\n    return {'fancy': print}\n"),
        ("plugin-other", GOOD.replace("fancy", "plain")),
    ],
)
def test_a_listed_name_without_a_builder_is_the_plugins_fault(install: Install, plugin: str, code: str) -> None:
    install(plugin, code)
    with pytest.raises(PluginError, match="supplies no builder"):
        Plugins(load_catalogue()).builder("strategies", "fancy")


def test_a_builder_that_raises_is_named_with_its_plugin(install: Install) -> None:
    install("plugin-build", GOOD.replace('("built", arguments)', "1 / 0"))
    with pytest.raises(PluginError, match=r"plugin 'plugin-build' failed to build 'fancy' \(ZeroDivisionError"):
        Plugins(load_catalogue()).build("strategies", "fancy")


def test_a_builders_own_clear_error_is_passed_on(install: Install) -> None:
    code = GOOD.replace(
        "return {", "from graftwork import DataError\n    def bad():\n        raise DataError('no rows')\n    return {"
    )
    install("plugin-clear", code.replace('lambda *arguments: ("built", arguments)', "bad"))
    with pytest.raises(DataError, match="no rows"):
        Plugins(load_catalogue()).build("strategies", "fancy")


def test_an_unknown_name_loads_nothing(install: Install) -> None:
    install("plugin-trap", "raise RuntimeError('loaded')")
    with pytest.raises(UsageError, match="unknown strategy"):
        Plugins(load_catalogue()).builder("strategies", "fancier-still")


def test_a_plugin_is_imported_once(install: Install, tmp_path: Path) -> None:
    count = f"from pathlib import Path\nPath({str(tmp_path / 'count')!r}).open('a').write('x')\n"
    install("plugin-once", count + GOOD)
    plugins = Plugins(load_catalogue())
    for _ in range(3):
        plugins.builder("strategies", "fancy")
    assert (tmp_path / "count").read_text() == "x"


def test_a_plugin_that_is_not_installed_gets_the_install_command() -> None:
    catalogue = load_catalogue()
    catalogue.entries["strategies"]["ghost"] = catalogue.strategy("full").model_copy(update={"plugin": "graft-ghost"})
    with pytest.raises(PluginError, match="pip install graft-ghost"):
        Plugins(catalogue).builder("strategies", "ghost")
