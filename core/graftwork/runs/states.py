"""What a run says of itself to the prefix cache: everything beside the model that its states depend on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graftwork.catalogue import Catalogue
from graftwork.catalogue.versions import code_of, library_versions, requirement_versions
from graftwork.config import RunConfig
from graftwork.engine.fit import FitData
from graftwork.interfaces import Facts, Model, Spec, Task
from graftwork.machine.device import Device
from graftwork.runs.data import RunData
from graftwork.states.fill import Rows
from graftwork.states.phases import Prefixes


def facts_of_rows(task: Task, facts: Facts) -> Facts:
    """The facts that say what rows are, without those that count them."""
    return {name: value for name, value in facts.items() if name not in task.head_facts}


def prefixes_of(
    config: RunConfig,
    catalogue: Catalogue,
    task: Task,
    model: Model,
    backbone: Spec,
    data: RunData,
    rows: FitData,
    device: Device,
    say: Callable[[str], None],
) -> Prefixes:
    """The prefix cache of a run."""
    identity: dict[str, Any] = {
        "task": [config.task, catalogue.task(config.task).complete(config.task_options)],
        "backbone": [backbone.name, backbone.options],
        "facts": facts_of_rows(task, data.facts),
        "versions": library_versions() | requirement_versions(sorted(_strangers(config, catalogue, backbone))),
        "compiled": config.compile == "on",
        "code": code_of(task, model.backbone, rows.train),
    }
    about = {"what": "states", "task": config.task, "backbone": config.backbone, "weights": config.weights}
    return Prefixes(
        Rows(rows.train, data.digests["train"]),
        Rows(rows.validation, data.digests["validation"]),
        len(data.digests.get("test", ())),
        identity,
        about,
        config.views,
        config.cache == "auto",
        max(config.batch_size, rows.train.evaluated_together),
        0 if config.workers == "auto" else config.workers,  # until a trial has decided
        device,
        config.precision,
        say,
    )


def _strangers(config: RunConfig, catalogue: Catalogue, backbone: Spec) -> set[str]:
    """The distributions of third parties whose code makes the states."""
    owners = (catalogue.task(config.task).plugin, catalogue.backbone(backbone.name).plugin)
    return {catalogue.plugins[owner].distribution for owner in owners if owner in catalogue.plugins} - {"graftwork"}
