"""Everything about a configuration that can be known without torch or data: all problems at once, before anything starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from graftwork.catalogue import BackboneEntry, Catalogue, Entry, HeadEntry, split_strategy, strategy_argument
from graftwork.catalogue.references import RUN_SCHEME, backbone_entry, opened_by, read_model_card
from graftwork.config import Layer, Resolved, RunConfig, resolve
from graftwork.config.forms import parse_form
from graftwork.errors import GraftworkError, UsageError, did_you_mean


def check(config: RunConfig, catalogue: Catalogue) -> list[str]:
    """Every problem as one line each; empty when the run can be assembled.

    Args:
        config: with backbone and head already named.
        catalogue: of this installation.
    """
    problems: list[str] = []

    def attempt(what: Any, *arguments: Any) -> Any:
        try:
            return what(*arguments)
        except GraftworkError as error:
            problems.append(str(error))
            return None

    task = attempt(catalogue.task, config.task)
    backbone = attempt(backbone_entry, config.backbone, catalogue, task.modality if task else None)
    head = attempt(catalogue.head, config.head)
    strategy = attempt(catalogue.strategy, split_strategy(config.strategy, catalogue)[0])
    if strategy:
        attempt(strategy_argument, strategy, config.strategy, catalogue)
    for kind, entry, options in (
        ("task", task, config.task_options),
        ("backbone", backbone, config.backbone_options),
        ("head", head, config.head_options),
        ("strategy", strategy, config.strategy_options),
    ):
        if entry is not None:
            problems.extend(check_options(kind, entry, options))
    attempt(parse_form, config.data_options)
    problems.extend(check_observers(config, catalogue))
    if task and backbone and task.modality != backbone.modality:
        problems.append(
            f"backbone {config.backbone!r} takes {backbone.modality}, task {config.task!r} needs {task.modality}. "
            f"See graft list backbones --task {config.task}"
        )
    if task and head and catalogue.refers(head.plugin, "tasks", head.tasks, config.task) is None:
        fitting = [
            name
            for name, entry in catalogue.entries["heads"].items()
            if catalogue.refers(entry.plugin, "tasks", entry.tasks, config.task)
        ]
        problems.append(f"head {config.head!r} is not for {config.task!r}. Known: {', '.join(fitting)}")
    if backbone and head and (lacking := head.lacking(backbone.gives)):
        problems.append(
            f"head {config.head!r} needs {', '.join(lacking)}, which backbone {config.backbone!r} does not provide"
        )
    if head and config.imbalance in ("weights", "focal") and "imbalance" not in head.options:
        problems.append(f"head {config.head!r} does not know --imbalance {config.imbalance}. Try sampler")
    if backbone:
        problems.extend(_check_weights(config, catalogue, backbone, head))
    problems.extend(_check_data(config, catalogue))
    return problems


def raise_for(problems: list[str]) -> None:
    """One error for all problems; nothing when there is none."""
    if problems:
        raise UsageError("; ".join(problems) if len(problems) > 1 else problems[0])


def check_options(kind: str, entry: Entry, given: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Options that the entry does not have, or values that it does not take.

    Args:
        kind: of the entry; the setting is KIND_options.
        entry: whose options they are.
        given: by name.
        prefix: of a name in the setting, where that holds the options of several entries.
    """
    problems = []
    for name, value in given.items():
        option = entry.options.get(name)
        if option is None:
            hint = did_you_mean(name, list(entry.options)) if entry.options else "It has none"
            problems.append(f"{kind}_options.{prefix}{name} is not an option. {hint}")
        elif wrong := option.check(value):
            problems.append(f"{kind}_options.{prefix}{name} {wrong}")
    return problems


def observer_options(config: RunConfig) -> dict[str, dict[str, Any]]:
    """The options of each observer by its name; in the setting each is `NAME.OPTION`."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in config.observer_options.items():
        name, _, option = key.rpartition(".")  # a name may hold dots
        found.setdefault(name, {})[option] = value
    return found


def check_observers(config: RunConfig, catalogue: Catalogue) -> list[str]:
    """Observers that do not exist or are named twice, and options that they do not have."""
    problems = [f"observer {name!r} is named twice" for name in {*config.observers} if config.observers.count(name) > 1]
    given = observer_options(config)
    for name in sorted({*config.observers, *given}):
        if not name:
            problems += [
                f"observer_options.{key} does not say which observer. Write observer_options.NAME.{key}"
                for key in given[name]
            ]
            continue
        try:
            entry = catalogue.get("observers", name)
        except UsageError as error:
            problems.append(str(error))
            continue
        problems += check_options("observer", entry, given.get(name, {}), f"{name}.")
    return problems


def _check_weights(
    config: RunConfig, catalogue: Catalogue, backbone: BackboneEntry, head: HeadEntry | None
) -> list[str]:
    weights = config.weights
    whole = [
        name
        for name, known in (head.weights.items() if head else ())
        if head and catalogue.refers(head.plugin, "backbones", [known.backbone], config.backbone)
    ]
    if weights in ("none", "auto", config.backbone) or weights in backbone.weights or weights in whole:
        return []
    if weights.startswith(RUN_SCHEME):
        try:
            read_model_card(Path(weights[len(RUN_SCHEME) :]))
        except UsageError as error:
            return [str(error)]
        return []
    if Path(weights).is_file():
        return []
    if Path(weights).suffix or "/" in weights:
        return [f"weights file {weights} does not exist"]
    return [
        f"unknown weights {weights!r} for {config.backbone}. {did_you_mean(weights, [*backbone.weights, *whole, 'none'])}"
    ]


def _check_data(config: RunConfig, catalogue: Catalogue) -> list[str]:
    scheme, colon, name = config.data.partition(":")
    if colon and scheme == "sample":
        try:
            entry = catalogue.dataset(name)
        except UsageError as error:
            return [str(error)]
        if catalogue.refers(entry.plugin, "tasks", [entry.task], config.task) is None:
            return [f"sample:{name} is for {entry.task}, not {config.task}"]
    return []


def resolve_and_check(layers: Sequence[Layer], catalogue: Catalogue) -> Resolved:
    """From layers of settings to a configuration that can be run: nothing `auto` that the catalogue can answer.

    Raises:
        UsageError: with every problem, before torch is imported or data is touched.
    """
    resolved = resolve(layers, catalogue)
    task = catalogue.task(resolved.config.task)
    if resolved.config.backbone == "auto":
        name = catalogue.name_for(task.plugin, "backbones", task.default_backbone)
        resolved = resolved.replace("backbone", name, "the task's default backbone")
    if resolved.config.head == "auto":
        name = catalogue.name_for(task.plugin, "heads", task.default_head)
        resolved = resolved.replace("head", name, "the task's default head")
    raise_for(check(resolved.config, catalogue))
    if resolved.config.weights == "auto":
        resolved = resolved.replace("weights", *_own_weights(resolved.config, catalogue))
    return resolved


def choose(resolved: Resolved, choices: Mapping[str, str], reason: str, catalogue: Catalogue) -> Resolved:
    """Another strategy, head or backbone, chosen by measurement: its recipes are laid anew, what the user set stays.

    Args:
        choices: names by setting: `strategy`, `head`, `backbone`. One that the user has set stays as it is.
        reason: for `graft explain`, with the figures that decided.

    Raises:
        UsageError: the parts do not fit each other.
    """
    taken = {name: value for name, value in choices.items() if not resolved.explicit(name)}
    # The weakest layer: over recipes and defaults, under all that somebody said.
    weakest = Layer(taken, dict.fromkeys(taken, "automatic"))
    found = resolve_and_check([*resolved.layers, weakest], catalogue)
    settings = {name: replace(found.settings[name], reason=reason) for name in taken}
    return replace(found, settings={**found.settings, **settings}, layers=resolved.layers)


def _own_weights(config: RunConfig, catalogue: Catalogue) -> tuple[str, str]:
    if config.backbone.startswith(RUN_SCHEME):
        return config.backbone, "a backbone from a run comes with that run's weights"
    if opened_by(config.backbone, catalogue, catalogue.task(config.task).modality) is not None:
        return config.backbone, "a backbone that was opened comes with its weights"
    name = catalogue.backbone(config.backbone).default_weights
    if name is None:
        return "none", f"{config.backbone} has no pretrained weights in the catalogue"
    return name, f"the default weights of {config.backbone}"
