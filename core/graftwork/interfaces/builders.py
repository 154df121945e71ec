"""How the core asks a plugin for an object: one Spec, one builder type a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

    from graftwork.interfaces.backbone import Backbone
    from graftwork.interfaces.data import Facts
    from graftwork.interfaces.head import Head
    from graftwork.interfaces.observer import Observer
    from graftwork.interfaces.strategy import Strategy
    from graftwork.interfaces.task import Task


@dataclass(frozen=True)
class Spec:
    """What is to be built: a catalogue name, its options, and the part after the colon of `partial:2`.

    Options hold plain data only, were checked against the entry's `options` in registry.yaml, and are complete: defaults
    are filled in. They are written into the artifact, which is built again from them.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    argument: str | None = None


TaskBuilder = Callable[[Spec], "Task"]
BackboneBuilder = Callable[[Spec], "Backbone"]
HeadBuilder = Callable[[Spec, "Backbone", "Facts"], "Head"]
StrategyBuilder = Callable[[Spec], "Strategy"]
DatasetBuilder = Callable[[Spec], "Mapping[str, Dataset]"]
ObserverBuilder = Callable[[Spec], "Observer"]
