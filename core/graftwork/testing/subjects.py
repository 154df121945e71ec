"""What a check works on, assembled from catalogue names exactly as a run assembles it, of few rows and a small backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from graftwork import run
from graftwork.catalogue import Catalogue, DatasetEntry, Kind
from graftwork.config import Resolved, RunConfig, override_layer
from graftwork.config.check import resolve_and_check
from graftwork.data.loader import load_batches
from graftwork.data.sampler import BatchSpec
from graftwork.errors import GraftworkError
from graftwork.interfaces import Batch, Examples, Facts, Model, Spec, Task
from graftwork.models.artifact import check_reload, save_artifact
from graftwork.models.build import Builder
from graftwork.runs.data import RunData
from graftwork.runs.states import facts_of_rows
from graftwork.runs.values import Assembled

if TYPE_CHECKING:
    from datasets import Dataset

SMALL = 3_000_000
"""Parameters of a backbone that checks of a head, a task or a strategy take as it is; of larger defaults the smallest is
taken instead."""

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What is to be assembled; empty names are chosen.

    Args:
        catalogue: where names are looked up; `number` is its identity, so that what is kept belongs to it.
        options: options by kind: `task`, `backbone`, `head`, `strategy`.
    """

    catalogue: Catalogue = field(compare=False)
    number: int
    task: str
    data: str = ""
    backbone: str = ""
    head: str = ""
    strategy: str = "full"
    options: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = ()


@dataclass(frozen=True)
class Subject:
    """A run as it is assembled, and the rows of it that checks look at.

    Args:
        assembled: weights are the backbone's own where they lie in an installed package, else random.
        few: the rows that checks look at, by split.
    """

    assembled: Assembled
    few: Mapping[str, Dataset]

    @property
    def config(self) -> RunConfig:
        return self.assembled.config

    @property
    def builder(self) -> Builder:
        return self.assembled.builder

    @property
    def task(self) -> Task:
        return self.assembled.task

    @property
    def data(self) -> RunData:
        return self.assembled.data

    @property
    def backbone(self) -> Spec:
        return self.assembled.backbone

    @property
    def head(self) -> Spec:
        return self.assembled.head

    @property
    def facts(self) -> Facts:
        return self.data.facts

    def model(self, seed: int = 0) -> Model:
        """A model with its starting weights, in eval mode."""
        model = self.builder.model(self.backbone, self.head, self.facts, seed)
        self.builder.load_weights(model, self.config, self.backbone.name)
        return model.lay_out().eval()

    def input(self) -> Any:
        """The input facts of the backbone."""
        return self.builder.backbone(self.backbone, self.config).input

    def examples(self, split: str, input: Any, train: bool, task: Task | None = None) -> Examples:
        """The few rows of a split, as the training (`train`) or the evaluation gets them."""
        facts = facts_of_rows(self.task, self.facts) if train else self.facts
        return (task or self.task).examples(self.few[split], input, facts, train)

    def same_task(self) -> Task:
        """A task like this one that has read no data."""
        return self.builder.task(self.config.task, self.config.task_options)


def load(examples: Examples, rows: Sequence[int], seed: int = 0, epoch: int = 0) -> Batch:
    """One batch, loaded and collated as the training loop does it."""
    (batch,) = load_batches(examples, [BatchSpec(epoch, 0, tuple(rows), tuple(rows))], seed, 0)
    return batch


def plain_rows(subject: Subject, input: Any, rows: Sequence[int] | None = None) -> Batch:
    """Training rows as view 0 gives them: with targets as a loss takes them, and not augmented."""
    examples = subject.examples("train", input, True).view(0)
    return load(examples, range(min(len(examples), 4)) if rows is None else rows)


def assemble(
    catalogue: Catalogue,
    task: str,
    *,
    data: str = "",
    backbone: str = "",
    head: str = "",
    strategy: str = "full",
    options: Mapping[str, Options] | None = None,
) -> Subject:
    """The parts of a run; the same object for the same names.

    Args:
        catalogue: where names are looked up.
        task: its catalogue name.
        data: as `--data`; the first sample of the task where empty.
        backbone: the task's default where that is small, else the smallest that fits, where empty.
        head: the task's default where empty.
        strategy: as `--strategy`.
        options: by kind.
    """
    chosen = tuple((kind, tuple(sorted(given.items()))) for kind, given in sorted((options or {}).items()))
    return _assembled(Wanted(catalogue, id(catalogue), task, data, backbone, head, strategy, chosen))


@lru_cache(maxsize=16)
def _assembled(wanted: Wanted) -> Subject:
    assembled = run.assemble(configured(wanted), wanted.catalogue)
    task, splits = assembled.task, assembled.data.tables.splits
    return Subject(assembled, {split: rows.select(picked(task, rows)) for split, rows in splits.items()})


def configured(wanted: Wanted) -> Resolved:
    """The configuration of a run of these names: on the CPU, in float32, with few and small steps."""
    flags: dict[str, Any] = {
        "task": wanted.task,
        "data": wanted.data or f"sample:{sample_of(wanted.catalogue, wanted.task)}",
        "strategy": wanted.strategy,
        "weights": "none",
        "batch_size": 4,
        "epochs": 4,
        "device": "cpu",
        "precision": "fp32",
        "workers": 0,
        "cache": "off",
    }
    flags |= {f"{kind}_options": dict(given) for kind, given in wanted.options}
    flags |= {name: value for name in ("backbone", "head") if (value := getattr(wanted, name))}
    config = resolve_and_check([override_layer(flags)], wanted.catalogue).config
    if not wanted.backbone and _parameters(wanted.catalogue, config.backbone) > SMALL:
        flags["backbone"] = smallest(wanted.catalogue, wanted.task, config.head) or config.backbone
    flags["weights"] = _weights_at_hand(wanted.catalogue, str(flags.get("backbone", config.backbone)))
    return resolve_and_check([override_layer(flags)], wanted.catalogue)


def sample_of(catalogue: Catalogue, task: str) -> str:
    """The first sample of a task, one of its own plugin before others; skips the check where there is none."""
    entry = catalogue.task(task)
    samples: dict[str, DatasetEntry] = catalogue.entries["datasets"]
    fitting = {
        name: found.plugin == entry.plugin
        for name, found in samples.items()
        if catalogue.refers(found.plugin, "tasks", (found.task,), task)
    }
    if not fitting:
        pytest.skip(f"no sample data set for {task} is installed; give `data` in the test class")
    return max(fitting, key=lambda name: fitting[name])


def usual_task(catalogue: Catalogue) -> str:
    """The task on which what belongs to no task is checked: image classification, else the first that has a sample."""
    tasks = catalogue.entries["tasks"]
    with_samples = {entry.task for entry in catalogue.entries["datasets"].values()}
    usual = [
        name for name in ("image-classification", *tasks) if name in tasks and name.rpartition(":")[2] in with_samples
    ]
    if not usual:
        pytest.skip("no task with a sample data set is installed")
    return usual[0]


def smallest(catalogue: Catalogue, task: str, head: str) -> str | None:
    """The backbone with the fewest parameters that task and head take; None where there is none."""
    modality, needs = catalogue.task(task).modality, catalogue.head(head)
    fitting = {
        name: entry.parameters
        for name, entry in catalogue.entries["backbones"].items()
        if entry.modality == modality and not entry.opens and not needs.lacking(entry.gives)
    }
    return min(fitting, key=lambda name: fitting[name]) if fitting else None


def _parameters(catalogue: Catalogue, backbone: str) -> int:
    entry = catalogue.find("backbones", backbone)
    return 0 if entry is None else int(entry.parameters)


def _weights_at_hand(catalogue: Catalogue, backbone: str) -> str:
    """The default weights where they lie in an installed package; else none: a check downloads nothing."""
    entry = catalogue.find("backbones", backbone)
    if entry is None or entry.default_weights is None or entry.parameters > SMALL:
        return "none"
    place = entry.weights[entry.default_weights].source
    package = place.removeprefix("package:").partition("/")[0]
    return entry.default_weights if place.startswith("package:") and find_spec(package) else "none"


def picked(task: Task, rows: Dataset, count: int = 8) -> list[int]:
    """So many rows, of as many classes as possible, in order."""
    by_class: dict[int, list[int]] = {}
    for row, stratum in enumerate(task.strata(rows)):
        by_class.setdefault(int(stratum), []).append(row)
    found: list[int] = []
    depth = 0
    while len(found) < min(count, len(rows)):
        found += [members[depth] for members in by_class.values() if depth < len(members)]
        depth += 1
    return sorted(found[:count])


def entries_of(catalogue: Catalogue, plugin: str, kind: Kind) -> dict[str, Any]:
    """A plugin's entries of a kind, by the names that a user would write."""
    if plugin in catalogue.ours:
        return {name: entry for name, entry in catalogue.entries[kind].items() if entry.plugin == plugin}
    return {catalogue.name_for(plugin, kind, name): entry for name, entry in catalogue.own(plugin, kind).items()}


def check_saved_model(subject: Subject, folder: Path) -> None:
    """Save a model as a run does, load it back, and hold its predictions against the first one's.

    Raises:
        AssertionError: they differ, or it cannot be saved or loaded.
    """
    model = subject.model(7)  # of another seed than loading has: what is drawn and not saved then differs
    with torch.no_grad():
        for parameter in model.parameters():
            # What training would change: a tensor that is not saved, or drawn again at loading, then shows.
            parameter.add_(torch.randn_like(parameter) * 0.01)
    task = Spec(
        subject.config.task, subject.builder.catalogue.task(subject.config.task).complete(subject.config.task_options)
    )
    folder.mkdir(parents=True, exist_ok=True)
    batch = load(subject.examples("train", model.backbone.input, False), range(min(4, len(subject.few["train"]))))
    try:
        save_artifact(folder, model, task, subject.backbone, subject.head, subject.facts, {})
        check_reload(folder, subject.builder, model, batch)
    except GraftworkError as error:
        raise AssertionError(f"what was saved does not load to the same model: {error}") from error
