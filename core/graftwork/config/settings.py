"""RunConfig: every setting of a run, where its value came from, and how the layers are put together.

Explicit wins: the command line over the configuration file over recipes over the defaults that stand here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from graftwork.catalogue import BackboneEntry, Catalogue, TaskEntry, split_strategy
from graftwork.errors import UsageError, did_you_mean
from graftwork.files.yaml import Lines, parse_scalar, read_yaml


class RunConfig(BaseModel):
    """One training run. `auto` and None are decided later, by a recipe or by asking the machine, and then written down."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str = Field(description="kind of problem, a catalogue name")
    data: str = Field(description="path, sample:NAME, hf:NAME[:CONFIG] or another SCHEME:NAME")
    columns: dict[str, str] = Field({}, description="canonical column to the data's column")
    group_by: str | None = Field(None, description="column whose values are never torn between splits")
    limit_train: int | str | None = Field(
        None, description="use only so many training rows, stratified, or N/class; fewer are among more"
    )
    data_options: dict[str, Any] = Field(
        {}, description="how tables stand in their files: delimiter, encoding, header, quote, ragged"
    )
    task_options: dict[str, Any] = Field({}, description="options of the task")

    backbone: str = Field("auto", description="catalogue name, or run:DIR")
    backbone_options: dict[str, Any] = {}
    weights: str = Field("auto", description="a weights name of the backbone, a file, run:DIR, or none")
    head: str = "auto"
    head_options: dict[str, Any] = {}

    strategy: str = Field("full", description="degree of fine-tuning, NAME or NAME:ARGUMENT")
    strategy_options: dict[str, Any] = {}
    epochs: int = Field(10, ge=1, le=100_000, description="of all phases together")
    batch_size: int = Field(32, ge=1, description="rows an optimizer step, over all processes")
    batch_units: int | None = Field(
        None, ge=1, description="what a batch may hold with its padding (tokens for text), in place of batch_size"
    )
    bucketing: bool = Field(True, description="batches of rows of like size, where rows differ in size")
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(1e-3, gt=0, lt=1e3, description="peak learning rate")
    weight_decay: float = Field(0.01, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd; the first beta of adamw")
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = Field(0.1, ge=0, le=1, description="share of each phase's steps with a rising rate")
    grad_clip: float = Field(1.0, ge=0, description="largest gradient norm; 0 is off")
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the exponential moving average of weights; 0 is off")
    patience: int = Field(0, ge=0, description="epochs without a better validation metric before a stop; 0 is off")
    budget: float | None = Field(None, gt=0, description="seconds of training; 10m and 1h are read too")
    imbalance: Literal["none", "weights", "sampler", "focal"] = "none"
    views: int | None = Field(
        None, ge=1, description="fixed views of a row in place of endless augmentation, where first stages are frozen"
    )
    cache: Literal["auto", "off"] = Field("auto", description="keep what frozen stages make of rows; off computes anew")

    seed: int = Field(0, ge=0, lt=2**31)
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    workers: int | Literal["auto"] = Field("auto", description="loader processes; 0 loads in the main process")
    compile: Literal["auto", "on", "off"] = Field(
        "auto", description="stages by torch.compile; auto where it pays back"
    )
    micro_batch: int | None = Field(None, ge=1, description="rows a forward pass; the optimizer step stays batch_size")
    checkpoint_seconds: float = Field(60.0, ge=0, description="seconds between checkpoints inside an epoch")
    checkpoint_steps: int | None = Field(None, ge=1, description="also a checkpoint every so many steps")
    observers: tuple[str, ...] = Field((), description="who watches the run, catalogue names")
    observer_options: dict[str, Any] = Field({}, description="options of observers by NAME.OPTION, e.g. csv.every")

    @field_validator("budget", mode="before")
    @classmethod
    def _duration(cls, value: Any) -> Any:
        return parse_duration(value) if isinstance(value, str) else value

    @field_validator("limit_train", mode="before")
    @classmethod
    def _limit(cls, value: Any) -> int | str | None:
        if value is None:
            return None
        rows, a_class = parse_limit(value)
        return f"{rows}/class" if a_class else rows

    @field_validator("workers")
    @classmethod
    def _workers(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 0:
            raise ValueError("must be 0 or more")
        return value


def parse_duration(text: str) -> float:
    """Seconds from `90`, `90s`, `10m`, `1.5h`.

    >>> parse_duration("10m")
    600.0
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", text)
    if not found:
        raise ValueError(f"{text!r} is not a duration; write 90s, 10m or 1.5h")
    return float(found[1]) * {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}[found[2]]


def parse_limit(value: int | str) -> tuple[int, bool]:
    """How many training rows, and whether of each class: from `500` or `10/class`.

    >>> parse_limit("10/class")
    (10, True)
    """
    found = re.fullmatch(r"0*([1-9][0-9]{0,17})(/class)?", str(value))
    if not found:
        raise ValueError(f"{value!r} is no number of rows from 1 on; write 500 or 10/class")
    return int(found[1]), found[2] is not None


@dataclass(frozen=True)
class Layer:
    """Settings from one place: values by name, and the place by name (`config.yaml:12`, `--lr`)."""

    values: Mapping[str, Any]
    origin: Mapping[str, str]


@dataclass(frozen=True)
class Setting:
    """One resolved setting, for `graft explain`. Origin: `command line`, `file.yaml:3`, `recipe`, `default`, `automatic`."""

    name: str
    value: Any
    origin: str
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "value": self.value, "origin": self.origin, "reason": self.reason}


@dataclass(frozen=True)
class Resolved:
    """A configuration with nothing open that the catalogue can answer, and where each value came from.

    Args:
        layers: what it was put together from, strongest first; recipes are laid again over them when another part is chosen.
    """

    config: RunConfig
    settings: dict[str, Setting]
    layers: tuple[Layer, ...] = ()

    def replace(self, name: str, value: Any, reason: str) -> Resolved:
        """An automatic choice for a setting that was left open."""
        config = self.config.model_copy(update={name: value})
        setting = Setting(name, value, "automatic", reason)
        return Resolved(config, {**self.settings, name: setting}, self.layers)

    def explicit(self, name: str) -> bool:
        """Whether the user chose this value."""
        return self.settings[name].origin not in ("default", "recipe", "automatic")


def file_layer(path: Path) -> Layer:
    """A YAML file as a layer, with its lines.

    Raises:
        UsageError: no valid YAML, or a key that is no setting (with the nearest).
    """
    values, lines = read_yaml(path)
    for key in values:
        if key not in RunConfig.model_fields:
            hint = did_you_mean(key, list(RunConfig.model_fields))
            raise UsageError(f"unknown setting {key!r}", where=f"{path}:{lines[key,]}", hint=hint)
    _check_values(values, lines, path)
    return Layer(values, {key: f"{path.name}:{lines[key,]}" for key in values})


def _check_values(values: dict[str, Any], lines: Lines, path: Path) -> None:
    try:
        RunConfig.model_validate({"task": "?", "data": "?", **values})
    except ValidationError as error:
        first = error.errors()[0]
        location = tuple(first["loc"])
        line = next((lines[location[:end]] for end in range(len(location), 0, -1) if location[:end] in lines), 1)
        message = f"{'.'.join(str(part) for part in location)}: {_said(first)}"
        raise UsageError(message, where=f"{path}:{line}") from None


def override_layer(flags: Mapping[str, Any], assignments: Sequence[str] = ()) -> Layer:
    """The command line as a layer: flags that were given, then `--set key=value`, also `head_options.dropout=0.1`."""
    values: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    origin = {name: f"--{name.replace('_', '-')}" for name in values}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set {assignment!r} has no '='", hint="Write --set key=value")
        name, dot, inner = key.strip().partition(".")
        if name not in RunConfig.model_fields:
            raise UsageError(f"unknown setting {name!r}", hint=did_you_mean(name, list(RunConfig.model_fields)))
        mapping = _holds_mapping(name)
        if bool(dot) != mapping:
            example = f"{name}.KEY=value" if mapping else f"{name}=value"
            raise UsageError(f"--set {assignment!r} does not fit", hint=f"Write --set {example}")
        if mapping:
            values[name] = {**values.get(name, {}), inner: parse_scalar(text)}
        elif name == "observers":
            values[name] = tuple(part for part in text.split(",") if part)
        else:
            values[name] = text if RunConfig.model_fields[name].annotation is str else parse_scalar(text)
        origin[name] = "--set"
    return Layer(values, origin)


def _holds_mapping(name: str) -> bool:
    annotation = RunConfig.model_fields[name].annotation
    return get_origin(annotation) is dict or dict in (get_origin(part) for part in get_args(annotation))


def resolve(layers: Sequence[Layer], catalogue: Catalogue) -> Resolved:
    """Put the layers (strongest first) over the recipes over the defaults.

    Mappings are merged key by key. Recipes come from the registry, weakest first: the task's, the backbone's, the
    head's, the sample's, the strategy's, the task's and the backbone's for this strategy.

    Raises:
        UsageError: a required setting is missing, a value is out of range, or a name is not in the catalogue.
    """
    values: dict[str, Any] = {}
    settings: dict[str, Setting] = {}
    for layer in reversed(layers):
        for name, value in layer.values.items():
            merged = {**values.get(name, {}), **value} if isinstance(value, dict) else value
            values[name] = merged
            settings[name] = Setting(name, merged, layer.origin[name])
    for required in ("task", "data"):
        if required not in values:
            raise UsageError(
                f"--{required} is missing", hint="Example: graft train --task image-classification --data photos/"
            )
    for name, setting in _recipe_settings(values, catalogue).items():
        if isinstance(setting.value, dict):  # task_options and the like: each key on its own
            values[name] = {**setting.value, **values.get(name, {})}
            settings.setdefault(name, setting)
        elif name not in values:
            values[name] = setting.value
            settings[name] = setting
    config = validate(values)
    for name in RunConfig.model_fields:
        settings.setdefault(name, Setting(name, getattr(config, name), "default"))
    settings = {
        name: Setting(name, getattr(config, name), settings[name].origin, settings[name].reason)
        for name in RunConfig.model_fields
    }
    return Resolved(config, settings, tuple(layers))


def validate(values: Mapping[str, Any]) -> RunConfig:
    """A RunConfig, or one clear line about the first value that does not fit."""
    try:
        return RunConfig.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{name} = {first['input']!r}: {_said(first)}", hint="See graft train --help") from None


def _said(error: Mapping[str, Any]) -> str:
    """The message of one of pydantic's errors, as our own validators worded it."""
    return str(error["msg"]).removeprefix("Value error, ")


def _recipe_settings(values: Mapping[str, Any], catalogue: Catalogue) -> dict[str, Setting]:
    """What the recipes of the chosen parts suggest, the stronger over the weaker."""
    task = catalogue.task(values["task"])
    backbone_name = values.get("backbone", "auto")
    if backbone_name == "auto":
        backbone_name = catalogue.name_for(task.plugin, "backbones", task.default_backbone)
    strategy = str(values.get("strategy", RunConfig.model_fields["strategy"].default))
    strategy_name = split_strategy(strategy, catalogue)[0]
    owners: list[tuple[str, Any]] = [(f"task {values['task']}", task)]
    if catalogue.find("backbones", backbone_name) is not None:
        owners.append((f"backbone {backbone_name}", catalogue.backbone(backbone_name)))
    head_name = values.get("head", "auto")
    if head_name == "auto":
        head_name = catalogue.name_for(task.plugin, "heads", task.default_head)
    if catalogue.find("heads", head_name) is not None:
        owners.append((f"head {head_name}", catalogue.head(head_name)))
    if str(values["data"]).startswith("sample:"):
        name = str(values["data"]).partition(":")[2]
        sample = catalogue.dataset(name)
        # Another task's sample is refused by `check`.
        if catalogue.refers(sample.plugin, "tasks", [sample.task], values["task"]):
            owners.append((f"sample {name}", sample))
    owners.append((f"strategy {strategy_name}", catalogue.strategy(strategy_name)))
    recipes = [(owner, entry.plugin, entry.recipe) for owner, entry in owners]
    for owner, entry in owners:
        if isinstance(entry, TaskEntry | BackboneEntry):
            meant = catalogue.refers(entry.plugin, "strategies", entry.recipes, strategy_name)
            recipes.append((f"{owner} with {strategy_name}", entry.plugin, entry.recipes.get(meant or "")))
    found: dict[str, Setting] = {}
    for owner, plugin, recipe in recipes:
        if recipe is None or (recipe.tasks and not catalogue.refers(plugin, "tasks", recipe.tasks, values["task"])):
            continue
        for key, value in recipe.settings.items():
            name, dot, inner = key.partition(".")
            reason = f"{owner}: {recipe.source}"
            if dot:
                previous = found[name].value if name in found else {}
                found[name] = Setting(name, {**previous, inner: value}, "recipe", reason)
            else:
                found[name] = Setting(name, value, "recipe", reason)
    return found
