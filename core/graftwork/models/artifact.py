"""The saved model: model.safetensors + model.json. With these two alone, offline, it predicts.

The card holds catalogue names and plain options, never a path to code. Nothing is pickled, nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors

from graftwork import __version__
from graftwork.catalogue import Kind
from graftwork.catalogue.references import CARD, MODEL, read_model_card
from graftwork.errors import PluginError, RunFailed, UsageError
from graftwork.files.atomic import write_file, write_json
from graftwork.interfaces import Batch, Facts, Model, Predictions, Spec, Task
from graftwork.models.build import Builder, use_input
from graftwork.models.fetch import fetch
from graftwork.models.weights import read_state

_LARGEST_INPUT = 1 << 16
"""Pixels a side or tokens: larger than any model's input, small enough not to exhaust a memory."""


@dataclass(frozen=True)
class Artifact:
    """A loaded model with everything that it needs to predict."""

    model: Model
    task: Task
    facts: Facts
    card: dict[str, Any]

    @property
    def columns(self) -> dict[str, str]:
        """Canonical column to the column of the table that it was trained on; empty where that is not known."""
        found = self.card.get("columns")
        return dict(found) if isinstance(found, dict) else {}

    @property
    def backbone(self) -> Spec:
        """What its backbone was built from."""
        return Spec(self.card["backbone"]["name"], self.card["backbone"]["options"])


def save_artifact(
    folder: Path,
    model: Model,
    task: Spec,
    backbone: Spec,
    head: Spec,
    facts: Facts,
    about: dict[str, Any],
    columns: Mapping[str, str] | None = None,
) -> None:
    """Write the two files.

    Args:
        folder: of the run.
        about: what a reader wants to know: metrics, source of the weights, data, seed. Plain JSON.
        columns: canonical column to the column of the table that it was trained on, where it was a table.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    # One key only: safetensors writes several in random order, and equal models should be equal files.
    data = save_tensors(tensors, {"format": "pt"})
    write_file(folder / MODEL, data)
    write_json(
        folder / CARD,
        {
            "format": "graftwork-model/1",
            "graftwork": __version__,
            "task": _part(task),
            "backbone": _part(backbone),
            "head": _part(head),
            "input": model.backbone.input.to_json(),
            "facts": facts,
            **({"columns": dict(columns)} if columns else {}),
            "sha256": hashlib.sha256(data).hexdigest(),
            "about": about,
        },
    )


def _part(spec: Spec) -> dict[str, Any]:
    """A part as the card has it: the name alone, and beside it the plugin where that is a third party's."""
    plugin, colon, name = spec.name.rpartition(":")
    return {"name": name, **({"plugin": plugin} if colon else {}), "options": dict(spec.options)}


def load_artifact(run: Path, builder: Builder) -> Artifact:
    """A model from a run directory or from a folder with the two files.

    Raises:
        UsageError: missing, damaged or hostile files, unknown catalogue names, options or tensors that do not fit.
    """
    card = read_model_card(run)
    folder = run if run.is_dir() else run.parent
    where = str(folder / CARD)
    if not re.fullmatch(r"[0-9a-f]{64}", card["sha256"]):
        raise UsageError("has a sha256 that is not 64 hexadecimal digits", where=where)
    specs: dict[str, Spec] = {}
    kinds: dict[str, Kind] = {"backbone": "backbones", "head": "heads"}
    for part, kind in kinds.items():
        entry = builder.catalogue.get(kind, card[part]["name"])
        builder.plugins.builder(kind, card[part]["name"])  # a plugin that fails is no fault of the file
        specs[part] = Spec(card[part]["name"], _known(card[part]["options"], entry.options, folder / CARD))
    task_entry = builder.catalogue.task(card["task"]["name"])
    task = builder.task(card["task"]["name"], _known(card["task"]["options"], task_entry.options, folder / CARD))
    _check_facts(card["facts"], where)
    columns = card.get("columns", {})
    if not isinstance(columns, dict) or not all(isinstance(name, str) for name in columns.values()):
        raise UsageError("has columns that are not names by name", where=where)
    try:
        state = read_state(fetch(str(folder / MODEL), card["sha256"], None))
    except RunFailed as error:
        raise UsageError(f"is not the file that {CARD} describes: {error.what}", where=str(folder / MODEL)) from None
    try:
        model = builder.model(specs["backbone"], specs["head"], card["facts"], 0)
    except (PluginError, ValueError, TypeError) as error:
        raise UsageError(f"does not describe a model ({error})", where=where) from None
    _check_input(model.backbone.input.to_json(), card.get("input") or {}, where)
    use_input(model.backbone, card.get("input"))
    _check_types(model, state, str(folder / MODEL))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:300]
        raise UsageError(f"does not fit its model.json ({first})", where=str(folder / MODEL)) from None
    model.lay_out().eval()
    return Artifact(model, task, card["facts"], card)


def _check_facts(facts: Facts, where: str) -> None:
    """Hold the facts that every domain shares against what `interfaces.Facts` says of them."""
    classes = facts.get("classes", [])
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise UsageError("has classes that are not a list of names", where=where)
    counts = facts.get("train_counts", [0] * len(classes))
    if not isinstance(counts, list) or not all(type(count) is int and 0 <= count < 1 << 53 for count in counts):
        raise UsageError("has train_counts that are not numbers of rows", where=where)
    if len(counts) != len(classes) or len(set(classes)) != len(classes):
        raise UsageError("has classes that occur twice, or do not match train_counts", where=where)


def _check_input(own: Mapping[str, Any], given: Any, where: str) -> None:
    """Preprocessing facts must have the types of the backbone's own; sizes and lengths must be ones that fit a memory."""
    if not isinstance(given, dict):
        raise UsageError("has input facts that are no mapping", where=where)
    for name, value in given.items():
        if name not in own or not _like(own[name], value):
            raise UsageError(f"has the input fact {name[:60]!r}, which does not fit the backbone", where=where)


def _like(own: Any, given: Any) -> bool:
    if isinstance(own, list | tuple):
        return isinstance(given, list) and len(given) == len(own) and all(map(_like, own, given))
    if isinstance(own, int) and not isinstance(own, bool):
        return type(given) is int and 0 < given <= _LARGEST_INPUT
    if isinstance(own, float):
        return isinstance(given, float | int) and not isinstance(given, bool) and abs(given) <= _LARGEST_INPUT
    return type(given) is type(own)


def _check_types(model: Model, state: Mapping[str, torch.Tensor], where: str) -> None:
    """`load_state_dict` converts number types in silence; a file that graftwork wrote needs no conversion."""
    for name, ours in model.state_dict().items():
        if name in state and state[name].dtype != ours.dtype:
            raise UsageError(f"holds {name} as {state[name].dtype}, not {ours.dtype}", where=where)


def check_reload(run: Path, builder: Builder, model: Model, batch: Batch) -> str:
    """Load what was just saved and compare predictions bit for bit; a sentence for the record.

    Args:
        model: the model that was saved, on the CPU.
        batch: some rows, on the CPU.

    Raises:
        RunFailed: the predictions differ.
    """
    loaded = load_artifact(run, builder).model
    with torch.random.fork_rng(devices=[]):
        before, after = model.predict(batch), loaded.predict(batch)
    if not _equal(before, after):
        raise RunFailed(
            "the saved model does not predict what the trained one does",
            where=str(run / MODEL),
            hint="A plugin keeps state outside parameters and buffers; report it",
        )
    return f"loaded back, {len(batch)} rows predicted bit-identically"


def _equal(first: Predictions, second: Predictions) -> bool:
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(_equal(a, b) for a, b in zip(first, second, strict=True))
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    return False


def _known(given: dict[str, Any], options: dict[str, Any], where: Path) -> dict[str, Any]:
    """Options that the catalogue knows and accepts, completed with defaults for those added since."""
    for name, value in given.items():
        if name not in options:
            raise UsageError(f"has the option {name[:60]!r}, which this version does not know", where=str(where))
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"option {name!r} is {value}", where=str(where))
        if wrong := options[name].check(value):
            raise UsageError(f"option {name!r} {wrong[:200]}", where=str(where))
    return {name: given.get(name, option.default) for name, option in options.items()}
