"""The conformance kit is tested by mutation: of plugins that are subtly wrong it catches each one, and says what is wrong."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from zoo_faults import FAULTS, RIGHT, Fault, Plugin
from zoo_runner import Outcomes, run_zoo

LEAST = 30


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What the kit says of those plugins that tests were selected for: all of it where every check is asked for."""
    ours = [item for item in request.session.items if item.path == request.path]
    given = {value for item in ours if hasattr(item, "callspec") for value in item.callspec.params.values()}
    faults = [fault for fault in FAULTS if fault in given]
    whole = [
        plugin for item in ours if item.get_closest_marker("acceptance") for plugin in item.callspec.params.values()
    ]
    wanted: dict[Plugin, list[str]] = {plugin: [] for plugin in whole}
    for plugin in RIGHT:
        if plugin in given and plugin not in wanted:
            wanted[plugin] = sorted({fault.check for fault in FAULTS if fault.right == plugin})
    return run_zoo(tmp_path_factory.mktemp("zoo"), faults, wanted)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.wrong.kind}-{fault.wrong.name}")
def test_the_kit_catches_a_wrong_plugin_and_names_the_fault(fault: Fault, outcomes: Outcomes) -> None:
    found = outcomes[fault.wrong][fault.check]
    assert found.state == "failed", f"{fault.what}: {fault.check} {found.state} {found.said}"
    assert found.said.startswith("AssertionError: "), f"{fault.what}: no fault in words, but {found.said}"
    assert re.search(fault.says, found.said), f"{fault.what}: the kit says {found.said}"


@pytest.mark.parametrize("plugin", RIGHT, ids=lambda plugin: f"{plugin.kind}-{plugin.name}")
def test_the_same_plugin_without_the_mistake_passes_the_check(plugin: Plugin, outcomes: Outcomes) -> None:
    found = outcomes[plugin]
    needed = {fault.check for fault in FAULTS if fault.right == plugin}
    wrong = {check: found[check].said for check in sorted(needed) if found[check].state != "passed"}
    assert not wrong, f"the kit fails or skips what is right: {wrong}"


@pytest.mark.acceptance
@pytest.mark.parametrize("plugin", RIGHT, ids=lambda plugin: f"{plugin.kind}-{plugin.name}")
def test_the_same_plugin_without_the_mistake_passes_every_check(plugin: Plugin, outcomes: Outcomes) -> None:
    wrong = {check: found.said for check, found in outcomes[plugin].items() if found.state in ("failed", "error")}
    assert not wrong, f"the kit fails what is right: {wrong}"


def test_there_is_a_fault_of_every_kind_of_plugin() -> None:
    kinds = Counter(fault.wrong.kind for fault in FAULTS)
    assert set(kinds) == {"backbone", "head", "task", "strategy", "dataset", "observer", "plugin"}
    assert len(FAULTS) == len({fault.wrong for fault in FAULTS}) >= LEAST
