"""Plugins are loaded by name, each on its own: one that is broken breaks only what needs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from graftwork.catalogue import load_catalogue
from graftwork.errors import DataError, PluginError, UsageError
from graftwork.plugins import Plugins, culprit
from graftwork.plugins.failures import LoadFailure, failure_of, remember, remembered

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
        ("plugin-base", "class Odd(BaseException): pass\nraise Odd('base')", "Odd: base"),
        ("plugin-mute", "class Mute(Exception):\n    def __str__(self): return 1\nraise Mute", r"\(Mute\)"),
        ("plugin-warns", "import warnings\nwarnings.warn('old', stacklevel=1)\nraise OSError", "OSError"),
        ("plugin-newer", "from graftwork import what_comes_later", "another version of graftwork"),
        ("plugin-partial", "import plugin_partial.gone", "not installed completely"),
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


@pytest.mark.parametrize(
    ("plugin", "returned", "what"),
    [
        ("plugin-none", "None", "returned None from its hook graftwork_strategies"),
        ("plugin-list", "[]", "returned a list from its hook"),
        ("plugin-number", "3", "returned a int from its hook"),
        ("plugin-names", "['fancy']", "returned a list from its hook"),
        ("plugin-keys", "{1: print}", "returned a mapping with the name 1, which is no text, from its hook"),
        ("plugin-pair", "{'fancy': ('module', 'build')}", "supplies a tuple for 'fancy', which cannot be called"),
        ("plugin-left", "exec('raise SystemExit(0)')", r"failed in its hook graftwork_strategies \(SystemExit: 0\)"),
    ],
)
def test_a_hook_that_returns_something_else_is_the_plugins_fault(
    install: Install, plugin: str, returned: str, what: str
) -> None:
    install(plugin, f"from graftwork import hookimpl\n@hookimpl\ndef graftwork_strategies():\n    return {returned}\n")
    with pytest.raises(PluginError, match=f"plugin '{plugin}' {what}"):
        Plugins(load_catalogue()).builder("strategies", "fancy")


def test_a_marked_function_that_is_no_hook_is_not_passed_over_in_silence(install: Install) -> None:
    install("plugin-slip", GOOD.replace("graftwork_strategies", "graftwork_stratgies"))
    with pytest.raises(PluginError, match=r"no hook 'graftwork_stratgies'. Did you mean graftwork_strategies"):
        Plugins(load_catalogue()).builder("strategies", "fancy")


def test_a_hook_with_arguments_is_the_plugins_fault(install: Install) -> None:
    install("plugin-arguments", GOOD.replace("graftwork_strategies()", "graftwork_strategies(config)"))
    with pytest.raises(PluginError, match=r"cannot be loaded .*Argument"):
        Plugins(load_catalogue()).builder("strategies", "fancy")


def test_what_a_plugin_prints_does_not_reach_stdout(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    code = "print('banner')\n" + GOOD.replace("    return {", "    print('hook')\n    return {")
    install("plugin-talks", code.replace('lambda *arguments: ("built", arguments)', "print"))
    Plugins(load_catalogue()).build("strategies", "fancy")
    assert capsys.readouterr() == ("", "banner\nhook\n\n")
    sys.stdout.write("back\n")
    assert capsys.readouterr().out == "back\n"


def test_an_interrupt_during_an_import_is_the_users_and_not_the_plugins(install: Install) -> None:
    install("plugin-interrupted", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        Plugins(load_catalogue()).builder("strategies", "fancy")


def test_a_builder_that_ends_the_process_or_builds_something_else_is_named(install: Install) -> None:
    install("plugin-ends", GOOD.replace('lambda *arguments: ("built", arguments)', "__import__('sys').exit"))
    with pytest.raises(PluginError, match=r"plugin 'plugin-ends' failed to build 'fancy' \(SystemExit: 5\)"):
        Plugins(load_catalogue()).build("strategies", "fancy", 5)


def test_what_is_built_is_held_against_what_it_has_to_be(install: Install) -> None:
    install("plugin-tuple", GOOD)
    plugins = Plugins(load_catalogue())
    assert plugins.make(tuple, "strategies", "fancy") == ("built", ())
    with pytest.raises(PluginError, match="plugin 'plugin-tuple' built a tuple for 'fancy', where a dict is needed"):
        plugins.make(dict, "strategies", "fancy")


def test_a_picked_name_reaches_the_builder_as_its_own(install: Install) -> None:
    from graftwork.interfaces import Spec

    install("plugin-picked", GOOD.replace("fancy", "full"))
    path = next(Path(folder) for folder in sys.path if (Path(folder) / "plugin_picked").is_dir())
    registry = REGISTRY.format(name="full", plugin="plugin-picked", package="plugin_picked")
    (path / "plugin_picked" / "registry.yaml").write_text(registry)
    plugins = Plugins(load_catalogue())
    built, (spec,) = plugins.build("strategies", "plugin-picked:full", Spec("plugin-picked:full", {"a": 1}, "2"))
    assert (built, spec) == ("built", Spec("full", {"a": 1}, "2"))
    assert plugins.builder("strategies", "full").__module__ == "graftwork.strategies.full"


def test_a_failure_is_remembered_until_the_plugin_loads_or_changes(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))
    install("plugin-ill", "import os\nif os.environ.get('ILL'): raise RuntimeError('ill')\n" + GOOD)
    state = load_catalogue().plugins["plugin-ill"]
    monkeypatch.setenv("ILL", "1")
    with pytest.raises(PluginError):
        Plugins(load_catalogue()).builder("strategies", "fancy")
    fault = failure_of(state, remembered())
    assert fault is not None and fault.cause == "cannot be loaded (RuntimeError: ill)" and fault.when
    path = tmp_path / "plugin_ill" / "__init__.py"
    os.utime(path, (1, 1))
    assert failure_of(state, remembered()) is None, "other code is another plugin"
    monkeypatch.delenv("ILL")
    assert callable(Plugins(load_catalogue()).builder("strategies", "fancy"))
    assert remembered() == {}


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"a": 1}', '{"a": {"cause": 1}}', '{"a": {"other": "x"}}', "\0", "[" * 9999]
)
def test_a_memory_that_cannot_be_read_is_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path))
    (tmp_path / "plugin-faults.json").write_text(text)
    assert remembered() == {}


def test_where_nothing_can_be_kept_nothing_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "file" / "below"))
    remember({"plugin": LoadFailure("failed", "1", "load")})
    assert remembered() == {}


def test_an_error_that_nobody_expected_names_the_plugin_whose_code_raised_it(install: Install) -> None:
    install("plugin-late", GOOD.replace('lambda *arguments: ("built", arguments)', "lambda: (lambda: [].pop())"))
    catalogue = load_catalogue()
    late = Plugins(catalogue).build("strategies", "fancy")
    with pytest.raises(IndexError) as caught:
        late()
    assert culprit(caught.value, catalogue) == "plugin-late"
    with pytest.raises(UsageError) as ours:
        catalogue.strategy("unknown")
    assert culprit(ours.value, catalogue) is None


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
