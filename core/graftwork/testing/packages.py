"""The conformance kit for a plugin as a whole: subclass `PluginConformance`, name the plugin, and pytest runs the checks.

class TestPackage(PluginConformance):
    plugin = "graftwork-my-net"
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from packaging.specifiers import SpecifierSet

from graftwork import __version__
from graftwork.bench.cells import expand
from graftwork.bench.suite import Suite, find_suite, load_suite
from graftwork.catalogue import KINDS, Kind, PluginFacts, PluginState, first_party_registry, read_registry
from graftwork.config import RunConfig
from graftwork.interfaces import Spec
from graftwork.plugins import Plugins
from graftwork.testing.backbones import registry_faults
from graftwork.testing.base import Conformance, doing
from graftwork.testing.subjects import entries_of
from graftwork.testing.surroundings import check_leaves_alone

CODE: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != "suites")  # a suite is data alone

LARGEST = 50_000_000
"""Parameters of a backbone that is built to be compared with registry.yaml."""

_HEAVY = (
    "torch", "torchvision", "numpy", "pandas", "scipy", "sklearn", "datasets", "transformers", "tokenizers", "timm",
    "matplotlib", "PIL", "tensorflow", "jax", "mlflow", "tensorboard",
)  # fmt: skip

_IMPORT = """
import importlib, json, sys, threading, time, warnings, os
from pathlib import Path
import graftwork
before = dict(os.environ), str(warnings.filters), set(threading.enumerate())
began = time.perf_counter()
importlib.import_module(sys.argv[1])
seconds = time.perf_counter() - began
Path(sys.argv[2]).write_text(json.dumps({
    "heavy": sorted(set(sys.argv[3].split(",")) & set(sys.modules)), "seconds": seconds,
    "environment": sorted(name for name in {*os.environ, *before[0]} if os.environ.get(name) != before[0].get(name)),
    "filters": str(warnings.filters) != before[1],
    "threads": [thread.name for thread in threading.enumerate() if thread not in before[2]],
}))
"""

_IMPORT_CODE = """
import importlib, json, os, random, sys
from pathlib import Path
import numpy, torch
import graftwork.interfaces, graftwork.models.build
def state():
    return {
        "torch's default dtype": str(torch.get_default_dtype()), "torch's number of threads": torch.get_num_threads(),
        "the seed of torch's random numbers": torch.initial_seed(),
        "torch's random numbers": str(hash(torch.get_rng_state().numpy().tobytes())),
        "Python's random numbers": str(hash(random.getstate())),
        "numpy's random numbers": str(hash(numpy.random.get_state()[1].tobytes())),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "whether torch records gradients": torch.is_grad_enabled(), "the working directory": os.getcwd(),
    }
before = state()
for name in sys.argv[2].split(","):
    importlib.import_module(name)
after = state()
Path(sys.argv[1]).write_text(json.dumps([name for name in before if before[name] != after[name]]))
"""


class PluginConformance(Conformance):
    """What being a plugin means, as tests: its registry.yaml and its code hold together, and importing it costs nothing.

    A check that cannot hold is named in `exceptions` with the reason, and is skipped with it.
    """

    plugin: ClassVar[str]
    """The name of its entry point: `graftwork-my-net`."""

    backbones: ClassVar[Sequence[str] | None] = None
    """Backbones to build and compare with registry.yaml; None for all that are not larger than `LARGEST`."""

    def state(self) -> PluginState:
        """What the catalogue knows of its installation."""
        plugins = self.catalogue().plugins
        assert self.plugin in plugins, (
            f"no plugin {self.plugin} is installed: pip install it, with an entry point {self.plugin} in the group graftwork"
        )
        return plugins[self.plugin]

    def facts(self) -> PluginFacts:
        """What its registry.yaml says of it as a whole."""
        state = self.state()
        assert not state.problem, f"the plugin is not in use: {state.problem}"
        ours = self.plugin in self.catalogue().ours
        path = first_party_registry() if ours or state.folder is None else state.folder / "registry.yaml"
        known = read_registry(path).plugins
        assert self.plugin in known, f"{path} says nothing of {self.plugin} under `plugins`"
        return known[self.plugin]

    def module(self) -> str:
        """The module that its entry point names."""
        self.state()
        point = self.catalogue().entry_points.get(self.plugin)
        assert point is not None, f"the plugin is not in use: {self.state().problem}"
        return point.module

    def test_it_is_installed_and_can_be_read(self) -> None:
        state = self.state()
        assert not state.problem, f"the plugin is not in use: {state.problem}"
        entries = sum(len(entries_of(self.catalogue(), self.plugin, kind)) for kind in KINDS)
        assert entries, "its registry.yaml lists nothing"

    def test_it_says_what_it_is_and_under_which_licence(self) -> None:
        facts, catalogue = self.facts(), self.catalogue()
        assert facts.summary.strip(), "registry.yaml gives no summary of the plugin"
        ours = self.plugin in catalogue.ours  # under the licence of graftwork
        assert ours or "licence" in facts.model_fields_set, (
            "registry.yaml does not say under which licence the plugin is"
        )
        assert facts.licence.strip(), "registry.yaml does not say under which licence the plugin is"
        assert facts.package == self.state().package, (
            f"registry.yaml says that the plugin is the package {facts.package}; its entry point is in {self.state().package}"
        )
        for kind in KINDS:
            for name, entry in entries_of(catalogue, self.plugin, kind).items():
                assert entry.summary.strip(), f"registry.yaml gives no summary of {name} ({kind})"
                for said in ("licence", "source"):
                    value = getattr(entry, said, None)
                    assert value is None or value.strip(), f"registry.yaml gives no {said} of {name} ({kind})"

    def test_it_says_for_which_versions_of_graftwork_it_is(self) -> None:
        if self.plugin in self.catalogue().ours:
            pytest.skip("it comes with graftwork")
        wanted = self.facts().requires_graftwork
        assert wanted, "registry.yaml does not say for which versions the plugin is: requires-graftwork is missing"
        assert SpecifierSet(wanted).contains(__version__, prereleases=True), (
            f"registry.yaml says requires-graftwork {wanted}, and this is {__version__}"
        )

    def test_its_entry_point_loads(self) -> None:
        plugins = Plugins(self.catalogue())
        self.module()
        with doing("loading the plugin"):
            found = {kind: plugins.builders(kind, self.plugin) for kind in CODE}
        needs_code = any(self._entries(kind) for kind in CODE) or not self._entries("suites")
        assert any(found.values()) or not needs_code, (
            "the plugin implements no hook: nothing marked @hookimpl in it gives a builder"
        )
        for kind, builders in found.items():
            for name, builder in builders.items():
                assert callable(builder), (
                    f"the builder of {name} ({kind}) is a {type(builder).__name__}, and cannot be called"
                )

    def test_importing_it_is_light_and_silent(self, tmp_path: Path) -> None:
        module = self.module()
        done = _run(_IMPORT, module, str(tmp_path / "found"), ",".join(_HEAVY))
        assert done.returncode == 0, f"importing {module} fails: {_last(done.stderr)}"
        said = (done.stdout + done.stderr).strip()
        assert not said, f"importing {module} prints: {said.splitlines()[0][:200]}"
        found = json.loads((tmp_path / "found").read_text())
        assert not found["heavy"], (
            f"importing {module} imports {', '.join(found['heavy'])}: import it inside the hooks, so that `graft list` stays fast"
        )
        assert found["seconds"] < 2, f"importing {module} takes {found['seconds']:.1f} seconds"
        assert not found["environment"], (
            f"importing {module} changes the environment variable {found['environment'][0]}"
        )
        assert not found["filters"], f"importing {module} changes the filters of warnings"
        assert not found["threads"], f"importing {module} starts a thread: {found['threads'][0]}"

    def test_importing_its_code_changes_nothing_global(self, tmp_path: Path) -> None:
        modules = sorted({entry.factory.partition(":")[0] for kind in CODE for entry in self._entries(kind).values()})
        if not modules:
            pytest.skip("it has no code")
        done = _run(_IMPORT_CODE, str(tmp_path / "found"), ",".join(modules))
        assert done.returncode == 0, f"importing {', '.join(modules)} fails: {_last(done.stderr)}"
        changed = json.loads((tmp_path / "found").read_text())
        assert not changed, f"importing {', '.join(modules)} changes {', '.join(changed)} for the whole process"

    def test_every_entry_has_a_builder_and_every_builder_an_entry(self) -> None:
        plugins = Plugins(self.catalogue())
        self.module()
        for kind in CODE:
            with doing(f"asking for the builders of {kind}"):
                builders = set(plugins.builders(kind, self.plugin))
            listed = {name.removeprefix(f"{self.plugin}:") for name in self._entries(kind)}
            without = sorted(listed - builders)
            assert not without, (
                f"registry.yaml lists {', '.join(without)} ({kind}), for which the plugin has no builder"
            )
            unlisted = sorted(builders - listed)
            assert not unlisted, f"the plugin builds {', '.join(unlisted)} ({kind}), which registry.yaml does not list"
        opening = {
            name.removeprefix(f"{self.plugin}:") for name, entry in self._entries("backbones").items() if entry.opens
        }
        openers = set(plugins.builders("openers", self.plugin))
        assert openers == opening, (
            f"registry.yaml says that {sorted(opening)} open references, openers has {sorted(openers)}"
        )

    def test_every_factory_is_its_builder(self) -> None:
        plugins = Plugins(self.catalogue())
        for kind in CODE:
            builders = plugins.builders(kind, self.plugin)
            for name, entry in self._entries(kind).items():
                where, _, function = entry.factory.partition(":")
                with doing(f"importing {where}, of the factory of {name},"):
                    module = importlib.import_module(where)
                found = getattr(module, function, None)
                assert callable(found), (
                    f"registry.yaml says that {name} is built by {entry.factory}; there is no such function"
                )
                builder = builders.get(name.removeprefix(f"{self.plugin}:"))
                plain = builder.func if isinstance(builder, partial) else builder
                is_it = found in (builder, plain) or _home(plain) == _home(found)
                assert is_it, (
                    f"registry.yaml says that {name} is built by {entry.factory}; the hook gives {_home(plain)}"
                )

    def test_asking_for_builders_leaves_the_process_as_it_was(self) -> None:
        self.module()
        check_leaves_alone(
            "asking for the builders", lambda: [Plugins(self.catalogue()).builders(kind, self.plugin) for kind in CODE]
        )

    def test_entries_refer_to_what_is_there(self) -> None:
        catalogue = self.catalogue()

        def there(kind: Kind, name: str) -> bool:
            return catalogue.find(kind, name, self.plugin) is not None or (kind, name) in catalogue.clashes

        for name, entry in self._entries("heads").items():
            assert entry.tasks, f"head {name} is for no task"
            assert any(there("tasks", task) for task in entry.tasks), (
                f"head {name} is for {', '.join(entry.tasks)}, and no such task is installed"
            )
        for name, entry in self._entries("datasets").items():
            assert there("tasks", entry.task), f"data set {name} is for {entry.task}, which is not installed"
        for name, entry in self._entries("tasks").items():
            for kind, wanted in (("backbones", entry.default_backbone), ("heads", entry.default_head)):
                assert there(kind, wanted), f"task {name} has the default {wanted} ({kind}), which is not installed"  # type: ignore[arg-type]
        for name, entry in self._entries("backbones").items():
            known = entry.default_weights is None or entry.default_weights in entry.weights
            assert known, f"backbone {name} has the default weights {entry.default_weights}, which it does not list"
        for kind in CODE:
            for name, entry in self._entries(kind).items():
                recipes = [entry.recipe, *getattr(entry, "recipes", {}).values()]
                settings = [key for recipe in recipes if recipe for key in recipe.settings]
                unknown = sorted({key for key in settings if key.partition(".")[0] not in RunConfig.model_fields})
                assert not unknown, f"the recipe of {name} ({kind}) sets {', '.join(unknown)}, which is no setting"

    def test_suites_can_be_read_and_their_runs_resolve(self, tmp_path: Path) -> None:
        catalogue = self.catalogue()
        for name in self._entries("suites"):
            with doing(f"reading the suite {name}"):
                suite = load_suite(find_suite(name, catalogue))
            plain = name.removeprefix(f"{self.plugin}:")
            assert suite.name == plain, (
                f"the file of suite {plain} is called {suite.path.name}; runs would bear that name"
            )
            _supply_weights(suite, tmp_path / plain)
            with doing(f"expanding the suite {name}"):
                expand(suite, catalogue, tmp_path / plain)

    def test_backbones_are_what_the_registry_says(self) -> None:
        entries = self._entries("backbones")
        chosen = [name for name in entries if self.backbones is None or name in self.backbones]
        small = [name for name in chosen if self.backbones is not None or entries[name].parameters <= LARGEST]
        if not small:
            pytest.skip("it has no backbone that is small enough to be built here")
        plugins = Plugins(self.catalogue())
        problems = []
        for name in small:
            with doing(f"building the backbone {name}"):
                built = plugins.build("backbones", name, Spec(name, entries[name].complete({})))
            problems += registry_faults(name, entries[name], built)
        assert not problems, "; ".join(problems)

    def _entries(self, kind: Kind) -> dict[str, Any]:
        return entries_of(self.catalogue(), self.plugin, kind)


def _supply_weights(suite: Suite, root: Path) -> None:
    """Empty files for weights that a suite expects below the data root: like the data, they are its user's to bring."""
    layers = [suite.settings, *(entry.settings for entry in suite.data), *(entry.settings for entry in suite.backbones)]
    for strategy in suite.strategies:
        layers += [strategy.settings, *(layer for _, layer in strategy.points)]
    for layer in (*layers, *(entry.settings for entry in suite.overrides)):
        weights = Path(str(layer.values.get("weights", "")))
        if weights.suffix and not weights.is_absolute() and ".." not in weights.parts:
            (root / weights).parent.mkdir(parents=True, exist_ok=True)
            (root / weights).touch()


def _home(function: Any) -> str:
    return f"{getattr(function, '__module__', '?')}:{getattr(function, '__qualname__', function)}"


def _run(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    command = [sys.executable, "-c", code, *words]
    try:
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired as error:
        raise AssertionError("importing the plugin takes more than two minutes") from error


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no word"
