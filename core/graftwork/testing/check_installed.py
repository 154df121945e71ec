"""Checks everything that an installed plugin has: a pytest module whose classes are made from the plugin's registry.yaml.

The environment variable GRAFTWORK_CHECK_PLUGIN names the plugin; `graft plugin check` sets it and runs

    pytest --pyargs graftwork.testing.check_installed
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from graftwork.catalogue import BackboneEntry, Catalogue, Kind, load_catalogue
from graftwork.config import RunConfig
from graftwork.errors import GraftworkError, UsageError, did_you_mean
from graftwork.interfaces import Backbone, ImageInput, Spec, TextInput
from graftwork.models.build import Builder
from graftwork.testing import (
    BackboneConformance,
    DatasetConformance,
    HeadConformance,
    ObserverConformance,
    PluginConformance,
    StrategyConformance,
    TaskConformance,
)
from graftwork.testing.packages import LARGEST
from graftwork.testing.subjects import assemble, entries_of, load

PLUGIN = "GRAFTWORK_CHECK_PLUGIN"
"""The environment variable that names the plugin."""

ROWS = 2
TOKENS = 12

_BY_NAME: Mapping[Kind, tuple[str, type[Any]]] = {
    "heads": ("head", HeadConformance),
    "tasks": ("task", TaskConformance),
    "strategies": ("strategy", StrategyConformance),
    "datasets": ("dataset", DatasetConformance),
    "observers": ("observer", ObserverConformance),
}
"""By kind: the attribute that holds the name, which is also what it is called, and the class of checks."""


def checks_of(plugin: str, catalogue: Catalogue) -> dict[str, type[Any]]:
    """The classes of checks for a plugin, by the names that pytest shows.

    Raises:
        UsageError: no such plugin is installed.
    """
    if plugin not in catalogue.plugins:
        raise UsageError(f"no plugin {plugin!r} is installed", hint=did_you_mean(plugin, list(catalogue.plugins)))
    found: dict[str, type[Any]] = {
        "TestPackage": type("TestPackage", (PluginConformance,), {"plugin": plugin, "about": ""})
    }
    for name, entry in entries_of(catalogue, plugin, "backbones").items():
        found[_class_name("backbone", name)] = _backbone_checks(name, entry)
    for kind, (word, conformance) in _BY_NAME.items():
        for name in entries_of(catalogue, plugin, kind):
            called = _class_name(word, name)
            found[called] = type(called, (conformance,), {word: name, "about": f"{word} {name}"})
    for made in found.values():
        made.__module__ = __name__
    return found


def _class_name(word: str, name: str) -> str:
    return f"Test{word.capitalize()}_" + re.sub(r"\W", "_", name)


def _backbone_checks(name: str, entry: BackboneEntry) -> type[Any]:
    called = _class_name("backbone", name)
    made = type(called, (InstalledBackbone,), {"backbone": name, "about": f"backbone {name}"})
    if entry.parameters > LARGEST:
        reason = f"{entry.parameters:,} parameters are more than the {LARGEST:,} that are checked here: check it in its own tests"
        return pytest.mark.skip(reason)(made)
    return made


class InstalledBackbone(BackboneConformance):
    """A backbone by its catalogue name, on inputs made from the facts that it declares."""

    def build(self) -> Backbone:
        builder, spec = self._spec()
        built: Backbone = builder.plugins.build("backbones", self.backbone, spec)
        return built

    def inputs(self) -> dict[str, Tensor]:
        builder, spec = self._spec()
        facts = self.build().input
        generator = torch.Generator().manual_seed(0)
        if isinstance(facts, ImageInput):
            return {"pixels": torch.rand(ROWS, 3, facts.size, facts.size, generator=generator)}
        if isinstance(facts, TextInput):
            length = min(TOKENS, facts.length)
            tokens = torch.randint(0, _vocabulary(self._with_files(builder, spec)), (ROWS, length), generator=generator)
            return {"tokens": tokens, "mask": torch.ones(ROWS, length, dtype=torch.bool)}
        return self._from_a_task()

    def _spec(self) -> tuple[Builder, Spec]:
        catalogue = self.catalogue()
        return Builder(catalogue), Spec(self.backbone, catalogue.backbone(self.backbone).complete({}))

    def _with_files(self, builder: Builder, spec: Spec) -> TextInput:
        """The input facts with those that lie in files, where these can be had."""
        entry = builder.catalogue.backbone(self.backbone)
        task = next(
            (name for name, found in builder.catalogue.entries["tasks"].items() if found.modality == entry.modality), ""
        )
        try:
            facts: TextInput = builder.backbone(spec, RunConfig(task=task, data="none", backbone=self.backbone)).input
        except GraftworkError as error:
            pytest.skip(f"its tokenizer cannot be had here: {error}")
        return facts

    def _from_a_task(self) -> dict[str, Tensor]:
        """Rows of the first task of this modality that has a sample."""
        catalogue = self.catalogue()
        modality = catalogue.backbone(self.backbone).modality
        for task, entry in catalogue.entries["tasks"].items():
            if entry.modality == modality:
                subject = assemble(catalogue, task, backbone=self.backbone)
                return load(subject.examples("train", subject.input(), False), range(ROWS)).inputs
        pytest.skip(f"no task of the modality {modality} is installed, from which inputs could be made")


def _vocabulary(facts: TextInput) -> int:
    """How many tokens there are; a few where nobody says."""
    from tokenizers import Tokenizer

    return int(Tokenizer.from_str(facts.tokenizer).get_vocab_size()) if facts.tokenizer else 32


if os.environ.get(PLUGIN):
    globals().update(checks_of(os.environ[PLUGIN], load_catalogue()))
