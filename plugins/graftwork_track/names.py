"""What all trackers have in common: how numbers and settings are called, and which steps are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graftwork import UsageError
from graftwork.interfaces import EpochRecord

LOSS, RATE = "train/loss", "train/lr"
EPOCH_LOSS, SPEED, EPOCH = "epoch/train_loss", "epoch/samples_per_second", "epoch/number"

LEFT_OUT = ("observers", "observer_options")
"""Settings that are no hyper-parameters. The address of a server may hold a password."""


def due(step: int, every: int) -> bool:
    """Whether a step is kept. A function of its number alone, so that a resumed run keeps the same ones."""
    return step == 1 or step % every == 0


def numbers(part: str, values: Mapping[str, Any]) -> dict[str, float]:
    """`PART/NAME` to its value; what is no number (a metric without a value) is left out.

    >>> numbers("test", {"accuracy": 1, "map": None})
    {'test/accuracy': 1.0}
    """
    return {f"{part}/{name}": float(value) for name, value in values.items() if isinstance(value, int | float)}


def loss_of(record: EpochRecord) -> dict[str, float]:
    """The epoch's training loss by its name; nothing where a head was solved."""
    return {} if record.train_loss is None else {EPOCH_LOSS: record.train_loss}


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Settings as trackers take them: no mappings inside, and text where a value is neither number nor yes or no.

    >>> flat({"lr": 0.1, "budget": None, "head_options": {"dropout": 0.2}})
    {'lr': 0.1, 'budget': 'none', 'head_options.dropout': 0.2}
    """
    found: dict[str, bool | int | float | str] = {}
    for name, value in settings.items():
        if prefix == "" and name in LEFT_OUT:
            continue
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, bool | int | float | str):
            found[prefix + name] = value
        else:
            found[prefix + name] = "none" if value is None else ",".join(map(str, value))
    return found


def missing(observer: str, extra: str, error: ImportError) -> UsageError:
    """The error for a library that is not there: said before training, with the command that brings it."""
    return UsageError(
        f"observer {observer!r} needs a library that cannot be imported ({error})",
        hint=f"Run pip install 'graftwork[{extra}]', or leave out --observer {observer}",
    )
