"""Predictions: what is perfect, what a decoded prediction says against its row, and whether two are the same up to rounding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from graftwork.interfaces import Batch, Facts, Outputs, Predictions
from graftwork.testing.base import difference, leaves

_ROUNDING = 1e-2  # relative; decisions near it may tip
_TIPPED = 0.05  # the share of decisions that may
_PIXELS = 0.02  # what float32 loses on the way of a box to pixels of a large picture and back


def mostly_same(found: Predictions, expected: Predictions, where: str) -> None:
    """Up to rounding; of whole numbers, and of objects, a few may tip."""
    ours, theirs = leaves(found), leaves(expected)
    assert set(ours) == set(theirs), f"{where}: other names, {sorted(ours)} in place of {sorted(theirs)}"
    for name, tensor in theirs.items():
        other = ours[name]
        if other.shape != tensor.shape:
            objects, counted = other.shape[:1].numel(), tensor.shape[:1].numel()
            tipped = other.shape[1:] == tensor.shape[1:] and abs(objects - counted) <= 1 + _TIPPED * max(
                objects, counted
            )
            assert tipped, f"{where}: {name} has the shape {tuple(other.shape)} in place of {tuple(tensor.shape)}"
        elif tensor.is_floating_point() and isinstance(expected, Mapping):
            gap = difference(other, tensor)
            assert gap <= _ROUNDING, f"{where}: {name} differs by {gap:.2g} of its largest value"
        else:
            _few_differ(other, tensor, f"{where}: {name}")


def few_differ(found: Outputs, expected: Outputs, where: str) -> None:
    """Up to rounding, but for a few values: what a head has chosen on the way (proposals) may tip."""
    assert set(found) == set(expected), f"{where}: other names, {sorted(found)} in place of {sorted(expected)}"
    for name, tensor in expected.items():
        shape = tuple(found[name].shape)
        assert shape == tensor.shape, f"{where}: {name} has the shape {shape} in place of {tuple(tensor.shape)}"
        _few_differ(found[name], tensor, f"{where}: {name}")


def _few_differ(one: Tensor, other: Tensor, where: str) -> None:
    if not other.numel():
        return
    apart = (one.double() - other.double()).abs() > _ROUNDING * other.double().abs().clamp(min=1.0)
    share = float(apart.double().mean())
    assert share <= _TIPPED or int(apart.sum()) <= 1, f"{where} differs in {share:.0%} of its values"


def perfect_predictions(batch: Batch, facts: Facts) -> Predictions | None:
    """What a head would say that knows the truth, for targets in the forms of graftwork's own tasks; None for others.

    `label`, `labels` and `value` as in `graftwork.classification`; a dict a row with `boxes` and `labels`, or with `mask`.
    """
    targets = batch.targets
    if isinstance(targets, list):
        return [_perfect_row(row, facts) for row in targets] if targets and _known_row(targets[0]) else None
    if "label" in targets and "classes" in facts:
        hot = functional.one_hot(targets["label"].long(), len(facts["classes"])).float()
        return {"logits": 20 * hot, "probabilities": hot}
    if "labels" in targets:
        return {"logits": 20 * (2 * targets["labels"] - 1), "probabilities": targets["labels"]}
    if "value" in targets:
        return {"logits": targets["value"][:, None], "value": targets["value"]}
    return None


def _known_row(row: Mapping[str, Tensor]) -> bool:
    return {"boxes", "labels"} <= set(row) or set(row) == {"mask"}


def _perfect_row(row: Mapping[str, Tensor], facts: Facts) -> dict[str, Tensor]:
    if "mask" in row:
        mask = row["mask"]  # what is not scored may be anything
        return {"mask": torch.where(mask < len(facts["classes"]), mask, torch.zeros_like(mask))}
    kept = ~row["crowd"].bool() if "crowd" in row else torch.ones(len(row["labels"]), dtype=torch.bool)
    return {"boxes": row["boxes"][kept], "labels": row["labels"][kept], "scores": torch.ones(int(kept.sum()))}


def differs(decoded: Mapping[str, Any], row: Mapping[str, Any], facts: Facts) -> str | None:
    """What a perfect prediction, decoded, says otherwise than its row; None where it agrees, or the form is not known.

    Columns `label` and `objects` as in graftwork's own tasks.
    """
    if "label" in decoded and isinstance(row.get("label"), int) and "classes" in facts:
        wanted = facts["classes"][row["label"]]
        return None if decoded["label"] == wanted else f"label {decoded['label']!r}, the row has {wanted!r}"
    if isinstance(decoded.get("objects"), list) and isinstance(row.get("objects"), Mapping):
        return _objects_differ(decoded["objects"], row["objects"])
    return None


def _objects_differ(said: list[Mapping[str, Any]], true: Mapping[str, Any]) -> str | None:
    crowd = true.get("crowd") or [False] * len(true["category"])
    wanted = [
        (int(category), [float(side) for side in box])
        for category, box, many in zip(true["category"], true["bbox"], crowd, strict=True)
        if not many
    ]
    if len(said) != len(wanted):
        return f"{len(said)} objects, the row has {len(wanted)}"
    for one in said:
        box = [float(side) for side in one["bbox"]]
        distances = [
            (max(abs(a - b) for a, b in zip(box, other, strict=True)), index) for index, (_, other) in enumerate(wanted)
        ]
        distance, index = min(distances)
        category, other = wanted.pop(index)
        if distance > _PIXELS:
            return f"a box at {box}, the row has {other}: {distance:.3g} pixels away"
        if int(one["category_id"]) != category:
            return f"category {one['category_id']}, the row has {category}"
    return None
