"""The saved model: model.safetensors + model.json. With these two alone, offline, it predicts.

The card holds catalogue names and plain options, never a path to code. Nothing is pickled, nothing is downloaded.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors

from graftwork import __version__
from graftwork.check import read_model_card
from graftwork.errors import PluginError, RunFailed, UsageError
from graftwork.interfaces import Batch, Facts, Model, Predictions, Spec, Task
from graftwork.parts import Parts, use_input
from graftwork.run_files import CARD, MODEL, RunDirectory, write_file
from graftwork.weights import fetch, read_state


@dataclass(frozen=True)
class Artifact:
    """A loaded model with everything that it needs to predict."""

    model: Model
    task: Task
    facts: Facts
    card: dict[str, Any]


def save_artifact(
    directory: RunDirectory,
    model: Model,
    task: Spec,
    backbone: Spec,
    head: Spec,
    facts: Facts,
    about: dict[str, Any],
) -> None:
    """Write the two files.

    Args:
        about: what a reader wants to know: metrics, source of the weights, data, seed. Plain JSON.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    # One key only: safetensors writes several in random order, and equal models should be equal files.
    data = save_tensors(tensors, {"format": "pt"})
    write_file(directory.path / MODEL, data)
    directory.write_json(
        CARD,
        {
            "format": "graftwork-model/1",
            "graftwork": __version__,
            "task": {"name": task.name, "options": dict(task.options)},
            "backbone": {"name": backbone.name, "options": dict(backbone.options)},
            "head": {"name": head.name, "options": dict(head.options)},
            "input": model.backbone.input.to_json(),
            "facts": facts,
            "sha256": hashlib.sha256(data).hexdigest(),
            "about": about,
        },
    )


def load_artifact(run: Path, parts: Parts) -> Artifact:
    """A model from a run directory or from a folder with the two files.

    Raises:
        UsageError: missing, damaged or hostile files, unknown catalogue names, options or tensors that do not fit.
    """
    card = read_model_card(run)
    folder = run if run.is_dir() else run.parent
    specs: dict[str, Spec] = {}
    for part in ("backbone", "head"):
        entry = parts.catalogue.get("backbones" if part == "backbone" else "heads", card[part]["name"])
        specs[part] = Spec(card[part]["name"], _known(card[part]["options"], entry.options, folder / CARD))
    task_entry = parts.catalogue.task(card["task"]["name"])
    task = parts.task(card["task"]["name"], _known(card["task"]["options"], task_entry.options, folder / CARD))
    state = read_state(fetch(str(folder / MODEL), card["sha256"], None))
    try:
        model = parts.model(specs["backbone"], specs["head"], card["facts"], 0)
    except (PluginError, ValueError, TypeError) as error:
        raise UsageError(f"does not describe a model ({error})", where=str(folder / CARD)) from None
    use_input(model.backbone, card.get("input"))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:300]
        raise UsageError(f"does not fit its model.json ({first})", where=str(folder / MODEL)) from None
    model.eval()
    return Artifact(model, task, card["facts"], card)


def check_reload(run: Path, parts: Parts, model: Model, batch: Batch) -> str:
    """Load what was just saved and compare predictions bit for bit; a sentence for the record.

    Args:
        model: the model that was saved, on the CPU.
        batch: some rows, on the CPU.

    Raises:
        RunFailed: the predictions differ.
    """
    loaded = load_artifact(run, parts).model
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
        if wrong := options[name].check(value):
            raise UsageError(f"option {name!r} {wrong}", where=str(where))
    return {name: given.get(name, option.default) for name, option in options.items()}
