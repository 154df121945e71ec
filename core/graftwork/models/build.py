"""Builds a task, a backbone, a head and a strategy by their catalogue names. Heavy: plugins are imported here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from graftwork.catalogue import Catalogue, split_strategy, strategy_argument
from graftwork.catalogue.references import RUN_SCHEME, backbone_entry, opened_by, read_model_card
from graftwork.config import RunConfig
from graftwork.config.check import check_observers, check_options, observer_options
from graftwork.data.seeds import INIT, derive
from graftwork.errors import UsageError
from graftwork.interfaces import Backbone, Facts, Head, Model, Observer, Pretrained, Spec, Strategy, Task
from graftwork.log import say
from graftwork.models.fetch import fetch, fetch_any
from graftwork.models.weights import LoadReport, load_backbone, load_head, read_state, tensors_sha256
from graftwork.plugins import Plugins


@dataclass(frozen=True)
class Starting:
    """Where a backbone's weights came from, for plan.json."""

    source: str
    sha256: str
    report: LoadReport | None

    def to_json(self) -> dict[str, Any]:
        report = self.report or LoadReport()
        return {
            "source": self.source,
            "sha256": self.sha256,
            "fitted": report.fitted,
            "missing": report.missing,
            "unexpected": report.unexpected,
            "reshaped": [list(item) for item in report.reshaped],
            "fresh": report.fresh,
        }


class Builder:
    """The builder of everything that a run is made of.

    Args:
        catalogue: of this installation.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.plugins = Plugins(catalogue)
        self._opened: dict[str, Pretrained] = {}

    def task(self, name: str, options: Mapping[str, Any]) -> Task:
        """A task with its options completed."""
        entry = self.catalogue.task(name)
        _refuse(check_options("task", entry, options))
        task: Task = self.plugins.make(Task, "tasks", name, Spec(name, entry.complete(options)))
        return task

    def strategy(self, config: RunConfig) -> Strategy:
        """The strategy of a configuration, with its argument."""
        name = split_strategy(config.strategy, self.catalogue)[0]
        entry = self.catalogue.strategy(name)
        _refuse(check_options("strategy", entry, config.strategy_options))
        argument = strategy_argument(entry, config.strategy, self.catalogue)
        spec = Spec(name, entry.complete(config.strategy_options), None if argument is None else str(argument))
        strategy: Strategy = self.plugins.make(Strategy, "strategies", name, spec)
        return strategy

    def backbone_spec(self, config: RunConfig) -> Spec:
        """Name and completed options of the backbone; for `run:DIR`, or what an opener opens, theirs under the user's."""
        modality = self.catalogue.task(config.task).modality
        entry = backbone_entry(config.backbone, self.catalogue, modality)
        given: dict[str, Any] = dict(config.backbone_options)
        name = config.backbone
        opener = opened_by(name, self.catalogue, modality)
        if opener is not None:
            given = {**self._open(name, opener).options, **given}
            name = opener
        elif name.startswith(RUN_SCHEME):
            card = read_model_card(Path(name[len(RUN_SCHEME) :]))
            name = card["backbone"]["name"]
            given = {**card["backbone"]["options"], **given}
        _refuse(check_options("backbone", entry, given))
        return Spec(self.catalogue.qualified("backbones", name), entry.complete(given))

    def head_spec(self, config: RunConfig) -> Spec:
        """Name and completed options of the head; `imbalance` is passed on to a head that knows it."""
        entry = self.catalogue.head(config.head)
        whole = entry.weights.get(config.weights)
        given: dict[str, Any] = {**(whole.options if whole else {}), **config.head_options}
        if "imbalance" in entry.options:
            given.setdefault("imbalance", config.imbalance)
        _refuse(check_options("head", entry, given))
        return Spec(self.catalogue.qualified("heads", config.head), entry.complete(given))

    def backbone(self, spec: Spec, config: RunConfig) -> Backbone:
        """A backbone alone, for its input facts; its weights are random.

        Raises:
            UsageError, RunFailed: a file of its input facts cannot be had.
        """
        built: Backbone = self.plugins.make(Backbone, "backbones", spec.name, spec)
        self.use_input_of(built, spec.name, config)
        return built

    def use_input_of(self, backbone: Backbone, name: str, config: RunConfig) -> None:
        """Give a backbone the input facts that come with its architecture, whatever its weights.

        Raises:
            UsageError, RunFailed: a file that holds such a fact cannot be had.
        """
        opener = opened_by(config.backbone, self.catalogue, self.catalogue.task(config.task).modality)
        if opener is not None:
            use_input(backbone, self._open(config.backbone, opener).input)
        elif config.backbone.startswith(RUN_SCHEME):
            use_input(backbone, read_model_card(Path(config.backbone[len(RUN_SCHEME) :])).get("input"))
        else:
            files = self.catalogue.backbone(name).input_files
            facts = {fact: fetch_any(file.places, file.sha256, file.size) for fact, file in files.items()}
            use_input(backbone, {fact: path.read_text(encoding="utf-8") for fact, path in facts.items()})

    def _open(self, reference: str, opener: str) -> Pretrained:
        """What the backbone entry `opener` makes of a reference; opened once."""
        if reference not in self._opened:
            self._opened[reference] = self.plugins.open(Pretrained, opener, reference)
        return self._opened[reference]

    def model(self, backbone: Spec, head: Spec, facts: Facts, seed: int) -> Model:
        """A model with random weights, a function of the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(INIT, seed, 0))
            built: Backbone = self.plugins.make(Backbone, "backbones", backbone.name, backbone)
            torch.manual_seed(derive(INIT, seed, 1))
            return Model(built, self.plugins.make(Head, "heads", head.name, head, built, facts))

    def observers(self, config: RunConfig) -> list[Observer]:
        """The observers that the configuration names, with their options completed.

        Args:
            config: of the run.

        Raises:
            UsageError: what an observer needs is not installed, or an option does not fit.
        """
        _refuse(check_observers(config, self.catalogue))
        given = observer_options(config)
        for name in sorted(given.keys() - {*config.observers}):
            say(f"observer_options.{name} has no effect: {name} does not watch this run (--observer {name})")
        specs = [
            Spec(name, self.catalogue.get("observers", name).complete(given.get(name, {}))) for name in config.observers
        ]
        return [self.plugins.make(Observer, "observers", spec.name, spec) for spec in specs]

    def load_weights(self, model: Model, config: RunConfig, name: str) -> Starting:
        """Load the configured starting weights into the model's backbone, and into a head that takes some of them.

        Args:
            name: the backbone's catalogue name.

        Raises:
            UsageError: the file is missing, damaged or of another architecture.
        """
        weights = config.weights
        self.use_input_of(model.backbone, name, config)
        if weights == "none":
            return Starting("none", tensors_sha256(model.backbone.state_dict()), None)
        entry = self.catalogue.backbone(name)
        whole = self.catalogue.head(config.head).weights.get(weights)
        others: dict[str, torch.Tensor] = {}
        if weights.startswith(RUN_SCHEME):
            folder = Path(weights[len(RUN_SCHEME) :])
            card = read_model_card(folder)
            path = fetch(
                str((folder if folder.is_dir() else folder.parent) / "model.safetensors"), card["sha256"], None
            )
            both = read_state(path)
            state = _under("backbone.", both)
            if self.catalogue.refers("", "heads", [card["head"]["name"]], config.head):
                others = _under("head.", both)
            use_input(model.backbone, card.get("input"))
        elif weights in entry.weights:
            known = entry.weights[weights]
            # Its hash was verified, so a pickled upstream file may be read (weights only).
            state = read_state(fetch_any(known.places, known.sha256, known.size), trusted_hash=True)
            use_input(model.backbone, known.input)
        elif whole is not None:
            both = read_state(fetch_any(whole.places, whole.sha256, whole.size), trusted_hash=True)
            state, others = _split_whole(both, whole.moves)
            use_input(model.backbone, whole.input)
        elif weights == config.backbone:
            state = {}
            for path in self._open(weights, name).files():
                state |= read_state(path)
        else:
            state = read_state(fetch(weights, None, None))
        report = load_backbone(model.backbone, state, weights)
        load_head(model.head, others, report)
        return Starting(weights, tensors_sha256(model.backbone.state_dict()), report)


def use_input(backbone: Backbone, facts: Mapping[str, Any] | None) -> None:
    """Give a backbone the input facts that its weights bring.

    Raises:
        UsageError: facts that do not fit this backbone.
    """
    try:
        backbone.use_input(facts or {})
    except TypeError as error:
        raise UsageError(f"the weights' input facts do not fit the backbone ({error})") from None


def _under(prefix: str, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in state.items() if name.startswith(prefix)}


def _split_whole(
    state: Mapping[str, torch.Tensor], moves: Mapping[str, str]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A whole model's tensors as its backbone's, under the names that they have without a head, and the rest."""
    backbone: dict[str, torch.Tensor] = {}
    rest: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        old = max((old for old in moves if name.startswith(old)), key=len, default=None)
        if old is None:
            rest[name] = tensor
        else:
            backbone[moves[old] + name[len(old) :]] = tensor
    return backbone, rest


def _refuse(problems: list[str]) -> None:
    if problems:
        raise UsageError("; ".join(problems))
