"""graftwork-zoo: plugins that are right (`tame-…`), and beside each the same with one mistake. The kit must catch them all.

What is wrong with each, and which check has to say so, stands in `zoo_faults`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graftwork import hookimpl


@hookimpl
def graftwork_backbones() -> Mapping[str, Any]:
    from graftwork_zoo import backbones

    return dict.fromkeys(("tame-net", "miscounted"), backbones.build)


@hookimpl
def graftwork_heads() -> Mapping[str, Any]:
    from graftwork_zoo import dense_heads, heads, solved_heads, stage_heads

    return {name: module.build for module in (heads, dense_heads, stage_heads, solved_heads) for name in module.ALL}


@hookimpl
def graftwork_tasks() -> Mapping[str, Any]:
    from graftwork_zoo import tasks

    return dict.fromkeys(tasks.ALL, tasks.build)


@hookimpl
def graftwork_strategies() -> Mapping[str, Any]:
    from graftwork_zoo import strategies, streams, terms

    return {name: module.build for module in (strategies, terms, streams) for name in module.ALL}


@hookimpl
def graftwork_datasets() -> Mapping[str, Any]:
    from graftwork_zoo import datasets

    return dict.fromkeys(datasets.names(), datasets.build)


@hookimpl
def graftwork_observers() -> Mapping[str, Any]:
    from graftwork_zoo import observers

    return dict.fromkeys(observers.ALL, observers.build)
