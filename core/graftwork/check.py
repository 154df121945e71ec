"""Everything about a configuration that can be known without torch or data: all problems at once, before anything starts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graftwork.catalogue import BackboneEntry, Catalogue, Entry, HeadEntry, split_strategy, strategy_argument
from graftwork.config import Layer, Resolved, RunConfig, resolve
from graftwork.errors import GraftworkError, UsageError, did_you_mean

RUN_SCHEME = "run:"


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
    if backbone and head and (lacking := head.lacking(backbone.features)):
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


def backbone_entry(name: str, catalogue: Catalogue, modality: str | None = None) -> BackboneEntry:
    """The entry of a backbone by its name, of the backbone inside `run:DIR`, or of the one that opens a reference."""
    if name.startswith(RUN_SCHEME):
        return catalogue.backbone(read_model_card(Path(name[len(RUN_SCHEME) :]))["backbone"]["name"])
    opener = opened_by(name, catalogue, modality)
    return catalogue.backbone(opener if opener is not None else name)


def opened_by(name: str, catalogue: Catalogue, modality: str | None = None) -> str | None:
    """The catalogue name of the backbone that opens a reference (`hf:NAME`, a folder); None for a catalogue name.

    Args:
        modality: of the task, where several backbones open such references.

    Raises:
        UsageError: a reference that only backbones of other modalities open.
    """
    backbones = catalogue.entries["backbones"]
    if catalogue.find("backbones", name) is not None or name.startswith(RUN_SCHEME):
        return None
    scheme, colon, _ = name.partition(":")
    kind = scheme if colon else "path"
    if not colon and not Path(name).expanduser().is_dir():
        return None
    openers = [(backbone, entry.modality) for backbone, entry in backbones.items() if kind in entry.opens]
    if not openers:
        return None
    found = [backbone for backbone, takes in openers if modality in (None, takes)]
    if not found:
        what = f"for {modality} " if modality else ""
        raise UsageError(f"no backbone {what}opens {name!r}", hint="Give a catalogue name, see graft list backbones")
    plugins = {backbones[backbone].plugin for backbone in found}
    own = [backbone for backbone in found if backbones[backbone].plugin in catalogue.ours]
    if len(plugins) > 1 and not own:
        raise UsageError(
            f"{' and '.join(sorted(plugins))} both open {name!r}", hint="GRAFTWORK_PLUGINS=-NAME leaves one of them out"
        )
    return (own or found)[0]


def read_model_card(run: Path) -> dict[str, Any]:
    """A run's model.json, as far as it is well formed: names are catalogue names, options plain data.

    What a third party's plugin made is named as PLUGIN:NAME, from the file's `name` and `plugin`.

    Raises:
        UsageError: there is none, or it is not one that graftwork wrote.
    """
    path = run / "model.json" if run.is_dir() else run
    if not path.is_file():
        hint = "Give the directory of a finished run" if run.is_dir() else "Check the path"
        raise UsageError(f"{run} holds no trained model (no model.json)", hint=hint)
    try:
        if path.stat().st_size > 64 * 1024 * 1024:
            raise ValueError("larger than any model.json")
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"is not readable JSON ({error})", where=str(path)) from None
    check_model_card(card, path)
    result: dict[str, Any] = card
    for part in ("task", "backbone", "head"):
        # On disk a name never holds a colon: what looks like module:function is refused before it is looked up.
        plugin = result[part].pop("plugin", None)
        if plugin is not None:
            result[part]["name"] = f"{plugin}:{result[part]['name']}"
    return result


def check_model_card(card: Any, path: Path) -> None:
    """Refuse anything but catalogue names and plain options where names are looked up."""
    import re

    from graftwork.catalogue import NAME_PATTERN

    if not isinstance(card, dict) or not str(card.get("format", "")).startswith("graftwork-model/"):
        raise UsageError("is not a graftwork model", where=str(path))
    if card["format"] != "graftwork-model/1":
        raise UsageError(
            f"has the format {str(card['format'])[:40]!r}, which this version does not read", where=str(path)
        )
    for part in ("task", "backbone", "head"):
        spec = card.get(part)
        if (
            not isinstance(spec, dict)
            or not isinstance(spec.get("name"), str)
            or not isinstance(spec.get("options"), dict)
        ):
            raise UsageError(f"has no valid {part}", where=str(path))
        if not re.fullmatch(NAME_PATTERN, spec["name"]):
            raise UsageError(f"names the {part} {spec['name'][:60]!r}, which is not a catalogue name", where=str(path))
        plugin = spec.get("plugin")
        if plugin is not None and (not isinstance(plugin, str) or not re.fullmatch(NAME_PATTERN, plugin)):
            raise UsageError(f"names a plugin of the {part} that no plugin can be called", where=str(path))
    if not isinstance(card.get("facts"), dict) or not isinstance(card.get("sha256"), str):
        raise UsageError("lacks facts or sha256", where=str(path))


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


def _own_weights(config: RunConfig, catalogue: Catalogue) -> tuple[str, str]:
    if config.backbone.startswith(RUN_SCHEME):
        return config.backbone, "a backbone from a run comes with that run's weights"
    if opened_by(config.backbone, catalogue, catalogue.task(config.task).modality) is not None:
        return config.backbone, "a backbone that was opened comes with its weights"
    name = catalogue.backbone(config.backbone).default_weights
    if name is None:
        return "none", f"{config.backbone} has no pretrained weights in the catalogue"
    return name, f"the default weights of {config.backbone}"
