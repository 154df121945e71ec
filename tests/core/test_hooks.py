"""Hook specifications, plugins, registry and documentation hold together: nothing is promised that is not there."""

from __future__ import annotations

import importlib
import inspect
import re
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest

from graftwork import hookspecs
from graftwork.catalogue import KINDS, Catalogue, Kind, load_catalogue
from graftwork.plugins import Plugins

HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("graftwork_"))
PLUGIN_PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"
CODE_KINDS: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != "suites")  # a suite is data alone


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


def first_party(catalogue: Catalogue) -> list[str]:
    """Plugins of this distribution; what else is installed beside it is not ours to test."""
    return [name for name, state in catalogue.plugins.items() if state.distribution == "graftwork"]


def home(builder: Any) -> str:
    """`module:qualname` of a builder, or of the function under a `partial`."""
    function = builder.func if isinstance(builder, partial) else builder
    return f"{function.__module__}:{function.__qualname__}"


def test_there_is_a_hook_for_every_kind_that_is_code() -> None:
    assert sorted([*(f"graftwork_{kind}" for kind in CODE_KINDS), "graftwork_openers"]) == HOOKS


def test_every_backbone_that_opens_references_has_an_opener_and_the_other_way_round(catalogue: Catalogue) -> None:
    plugins = Plugins(catalogue)
    for plugin in first_party(catalogue):
        entries = {name: entry for name, entry in catalogue.entries["backbones"].items() if entry.plugin == plugin}
        assert set(plugins.builders("openers", plugin)) == {name for name, entry in entries.items() if entry.opens}


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_says_in_one_sentence_what_it_returns(hook: str) -> None:
    document = inspect.getdoc(getattr(hookspecs, hook))
    assert document and "catalogue name to a function that" in document and document.endswith(".")


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_used_by_a_plugin_of_ours_or_explained_in_the_documentation(
    hook: str, catalogue: Catalogue
) -> None:
    plugins = Plugins(catalogue)
    kind: Any = hook.removeprefix("graftwork_")
    used = [plugin for plugin in first_party(catalogue) if plugins.builders(kind, plugin)]
    if not used and not PLUGIN_PAGE.is_file():
        pytest.skip("docs/plugins.md is not here (an installation without the repository)")
    headings = re.findall(r"^#+ .*$", PLUGIN_PAGE.read_text(), re.MULTILINE) if PLUGIN_PAGE.is_file() else []
    documented = any(hook in heading or kind in heading.lower() for heading in headings)
    assert used or documented, f"no plugin uses {hook}, and docs/plugins.md has no heading for it"


@pytest.mark.parametrize("kind", CODE_KINDS)
def test_every_entry_has_a_builder_and_every_builder_an_entry(kind: Kind, catalogue: Catalogue) -> None:
    plugins = Plugins(catalogue)
    for plugin in first_party(catalogue):
        listed = {name for name, entry in catalogue.entries[kind].items() if entry.plugin == plugin}
        assert set(plugins.builders(kind, plugin)) == listed


@pytest.mark.parametrize("kind", CODE_KINDS)
def test_the_factory_in_the_registry_is_where_the_builder_is(kind: Kind, catalogue: Catalogue) -> None:
    plugins = Plugins(catalogue)
    for name, entry in catalogue.entries[kind].items():
        if entry.plugin not in first_party(catalogue):
            continue
        builder = plugins.builder(kind, name)
        assert home(builder) == entry.factory, name
        module, _, qualname = entry.factory.partition(":")
        found = importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
        assert callable(found)
        assert inspect.getdoc(found), f"{entry.factory} says nothing"


def test_every_plugin_of_an_entry_is_listed_and_installed(catalogue: Catalogue) -> None:
    for kind in KINDS:
        for name, entry in catalogue.entries[kind].items():
            assert entry.plugin in catalogue.plugins, f"{kind} {name}"
    assert set(KINDS) == set(get_args(Kind))


def test_names_that_entries_refer_to_exist(catalogue: Catalogue) -> None:
    entries = catalogue.entries
    for task in entries["tasks"].values():
        assert task.default_backbone in entries["backbones"] and task.default_head in entries["heads"]
    for head in entries["heads"].values():
        assert set(head.tasks) <= set(entries["tasks"])
    for dataset in entries["datasets"].values():
        assert dataset.task in entries["tasks"]
    for backbone in entries["backbones"].values():
        assert backbone.default_weights is None or backbone.default_weights in backbone.weights
