"""What a run says of itself to the kept states: everything beside the model that they depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graftwork.catalogue import Catalogue
from graftwork.catalogue.versions import code_of, library_versions, requirement_versions
from graftwork.config import RunConfig
from graftwork.interfaces import Facts, Spec, Task


def facts_of_rows(task: Task, facts: Facts) -> Facts:
    """The facts that say what rows are, without those that count them."""
    return {name: value for name, value in facts.items() if name not in task.head_facts}


def identity_of(
    config: RunConfig, catalogue: Catalogue, backbone: Spec, facts: Facts, code: Sequence[object]
) -> Mapping[str, Any]:
    """Everything beside weights and rows that the states of a backbone depend on, as plain data.

    Args:
        backbone: of the run.
        facts: that say what rows are.
        code: task, backbone and examples, whose packages' code makes the states.
    """
    task = config.task
    return {
        "task": [task, catalogue.task(task).complete(config.task_options)],
        "backbone": [backbone.name, backbone.options],
        "facts": facts,
        "versions": library_versions() | requirement_versions(sorted(_strangers(config, catalogue, backbone))),
        "compiled": config.compile == "on",
        "code": code_of(*code),
    }


def about_states(config: RunConfig) -> Mapping[str, Any]:
    """Facts for people, for `graft cache list`."""
    return {"what": "states", "task": config.task, "backbone": config.backbone, "weights": config.weights}


def _strangers(config: RunConfig, catalogue: Catalogue, backbone: Spec) -> set[str]:
    """The distributions of third parties whose code makes the states."""
    owners = (catalogue.task(config.task).plugin, catalogue.backbone(backbone.name).plugin)
    return {catalogue.plugins[owner].distribution for owner in owners if owner in catalogue.plugins} - {"graftwork"}
