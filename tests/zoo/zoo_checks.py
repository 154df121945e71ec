"""The zoo's conformance tests, as its author would write them: a class of the kit for each plugin. `zoo_runner` runs them."""

from __future__ import annotations

from typing import Any

import torch
from graftwork_zoo import backbones
from torch import Tensor
from zoo_faults import FAULTS, Plugin
from zoo_packages import plugin_of

from graftwork.interfaces import Backbone, Spec
from graftwork.testing import (
    BackboneConformance,
    DatasetConformance,
    HeadConformance,
    ObserverConformance,
    PluginConformance,
    StrategyConformance,
    TaskConformance,
)

LISTED = ("tame-net", "miscounted")
"""The backbones that are in registry.yaml."""


class _OfBackbone(BackboneConformance):
    name: str

    def build(self) -> Backbone:
        return backbones.build(Spec(self.name))

    def inputs(self) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(0)
        if issubclass(backbones.ALL[self.name], backbones.TameWords):
            tokens = torch.randint(0, 20, (3, 6), generator=generator)
            return {"tokens": tokens, "mask": torch.arange(6) < torch.tensor([[6], [3], [1]])}
        return {"pixels": torch.rand(3, 3, 16, 16, generator=generator)}


def checks_of(plugin: Plugin) -> type:
    """The class of the kit for a plugin."""
    name = plugin.name
    bases: dict[str, tuple[type, dict[str, Any]]] = {
        "backbone": (_OfBackbone, {"name": name, "backbone": name if name in LISTED else ""}),
        "head": (HeadConformance, {"head": name}),
        "task": (TaskConformance, {"task": name}),
        "strategy": (StrategyConformance, {"strategy": name, "task": "tame-pictures", "head": "tame-solved"}),
        "dataset": (DatasetConformance, {"dataset": name}),
        "observer": (ObserverConformance, {"observer": name, "task": "tame-pictures"}),
        "plugin": (PluginConformance, {"plugin": plugin_of(name)}),
    }
    base, settings = bases[plugin.kind]
    return type(plugin.test_class, (base,), settings)


for fault in FAULTS:
    for each in (fault.wrong, fault.right):
        globals()[each.test_class] = checks_of(each)
