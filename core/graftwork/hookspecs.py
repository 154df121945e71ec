"""The whole extension surface: what a plugin may supply. One function a kind, each returning names and builders.

A plugin is a package with a `registry.yaml` at its root (what it has, readable without importing it) and one module with
`@hookimpl` functions (where the code is), named by an entry point of the group `graftwork`. Builders take a `Spec`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from graftwork.interfaces import (
        BackboneBuilder,
        DatasetBuilder,
        HeadBuilder,
        ObserverBuilder,
        Opener,
        StrategyBuilder,
        TaskBuilder,
    )

hookspec = pluggy.HookspecMarker("graftwork")
hookimpl = pluggy.HookimplMarker("graftwork")


@hookspec
def graftwork_tasks() -> Mapping[str, TaskBuilder]:
    """Kinds of problems: catalogue name to a function that builds the Task."""
    raise NotImplementedError


@hookspec
def graftwork_backbones() -> Mapping[str, BackboneBuilder]:
    """Staged networks: catalogue name to a function that builds the Backbone with random weights."""
    raise NotImplementedError


@hookspec
def graftwork_openers() -> Mapping[str, Opener]:
    """Pretrained backbones outside the catalogue: catalogue name to a function that opens `SCHEME:NAME` or a folder.

    The name is that of a backbone whose entry lists the schemes under `opens`.
    """
    raise NotImplementedError


@hookspec
def graftwork_heads() -> Mapping[str, HeadBuilder]:
    """Heads: catalogue name to a function that builds the Head for a backbone and a task's facts."""
    raise NotImplementedError


@hookspec
def graftwork_strategies() -> Mapping[str, StrategyBuilder]:
    """Degrees of fine-tuning: catalogue name to a function that builds the Strategy."""
    raise NotImplementedError


@hookspec
def graftwork_datasets() -> Mapping[str, DatasetBuilder]:
    """Embedded data for `sample:NAME`: catalogue name to a function that returns its splits."""
    raise NotImplementedError


@hookspec
def graftwork_observers() -> Mapping[str, ObserverBuilder]:
    """Watchers of a run (`--observer NAME`): catalogue name to a function that builds the Observer."""
    raise NotImplementedError
