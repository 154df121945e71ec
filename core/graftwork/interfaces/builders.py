"""How the core asks a plugin for an object: one Spec, one builder type a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
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


@dataclass(frozen=True)
class Pretrained:
    """A pretrained backbone that lies outside the catalogue: how to build it and where its weights are.

    Args:
        options: of the catalogue entry that opened it; plain data from which the backbone is built again without the
            source.
        weights: files on this machine that together hold its tensors, safetensors or PyTorch's (which are read as tensors
            alone); or what gives them when they are loaded, where `--weights none` and `--weights FILE` are to need no download.
        input: facts of its input by name, as `Backbone.use_input` takes them.
        about: what a reader wants to know, e.g. the revision that a name stood for.
    """

    options: Mapping[str, Any]
    weights: tuple[Path, ...] | Callable[[], tuple[Path, ...]]
    input: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)

    def files(self) -> tuple[Path, ...]:
        """The files of its weights. Raises what the opener raises where they cannot be had."""
        return self.weights() if callable(self.weights) else self.weights


Opener = Callable[[str], Pretrained]
"""Opens `SCHEME:NAME` or a folder, as the user gave it. Raises UsageError or RunFailed with a way out."""

TaskBuilder = Callable[[Spec], "Task"]
BackboneBuilder = Callable[[Spec], "Backbone"]
HeadBuilder = Callable[[Spec, "Backbone", "Facts"], "Head"]
StrategyBuilder = Callable[[Spec], "Strategy"]
DatasetBuilder = Callable[[Spec], "Mapping[str, Dataset]"]
ObserverBuilder = Callable[[Spec], "Observer"]
