"""What is said of a row, held against what is said of it in other company: alone, in batches of several sizes and orders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from graftwork.data.sampler import one_size_each
from graftwork.engine.evaluate import predictions
from graftwork.interfaces import Examples, Model
from graftwork.interfaces.batch import sliced
from graftwork.machine.device import Device
from graftwork.testing.base import doing, leaves
from graftwork.testing.subjects import Subject, load

if TYPE_CHECKING:
    from datasets import Dataset

ROUNDING = 1e-5
"""How far kernels for other numbers of rows may round apart in float32, relative to what is above 1."""

_TIES = 1e-3
"""The share of decisions (pixels) that rounding may tip; of objects one at most."""

_ROWS = 6  # that are predicted

Row = dict[str, Tensor]


def check_inputs_alike(examples: Examples) -> None:
    """Inputs of a row must be the same beside other rows of its size as alone: nothing is padded, nothing shared.

    Raises:
        AssertionError: they differ; says of which row.
    """
    for spec in one_size_each(len(examples), len(examples), sizes=examples.sizes()):
        with doing("loading rows of one size together, for evaluation,"):
            together = load(examples, spec.rows)
        for place, row in enumerate(spec.rows):
            with doing("loading a row alone, for evaluation,"):
                alone = load(examples, [row])
            for name, tensor in leaves(alone.inputs).items():
                beside = leaves(together.inputs)[name][place : place + 1]
                same = beside.shape == tensor.shape and torch.equal(beside, tensor)
                assert same, (
                    f"the input {name} of a row is another beside rows of the same size than alone: `sizes` must tell"
                    " rows apart that are padded for one another, and `collate` must not mix rows"
                )


def check_predicted_alike(subject: Subject) -> None:
    """A row's prediction must be the same alone, beside others, and in another order.

    Raises:
        AssertionError: it differs by more than rounding; says of which row.
    """
    model = spread(subject.model(7))
    rows = subject.few["train"]
    numbers = list(range(min(_ROWS, len(rows))))
    alone = [predicted(subject, model, rows.select([number]), 1)[0] for number in numbers]
    for size, order in ((2, numbers), (len(numbers), numbers[::-1])):
        found = predicted(subject, model, rows.select(order), size)
        for number, said in zip(order, found, strict=True):
            check_same_row(said, alone[number], f"the prediction for row {number} depends on the rows beside it")


def predicted(subject: Subject, model: Model, rows: Dataset, size: int) -> list[Row]:
    """The prediction of each row, in batches of `size` rows at most, on the CPU in float32."""
    with doing("making examples"):
        examples = subject.task.examples(rows, model.backbone.input, subject.facts, False)
    examples.evaluated_together = max(2, size)  # type: ignore[misc]  # one row alone stands twice
    found: dict[int, Row] = {}
    with doing("predicting"):
        for said, batch in predictions(model, examples, Device("cpu", "fp32"), 1):
            for place, row in enumerate(batch.rows.tolist()):
                one = sliced(said, place, place + 1)
                found[row] = dict(one[0] if isinstance(one, list) else one)
    return [found[row] for row in range(len(rows))]


def check_same_row(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str) -> None:
    """Hold two predictions of a row against each other, ties within rounding left aside; objects may come in another order.

    Raises:
        AssertionError: they differ.
    """
    assert set(found) == set(expected), f"{where}: other names, {sorted(found)} in place of {sorted(expected)}"
    if "scores" in expected and all(value.ndim for value in expected.values()):
        lost = _unmatched(found, expected) + _unmatched(expected, found)
        assert lost <= 2, f"{where}: {lost} objects are in one of them alone"
        return
    for name, tensor in expected.items():
        other = found[name]
        assert other.shape == tensor.shape, f"{where}: {name} is {tuple(other.shape)}, was {tuple(tensor.shape)}"
        apart = (other.double() - tensor.double()).abs() / tensor.double().abs().clamp(min=1.0)
        if tensor.is_floating_point():
            gap = float(apart.nan_to_num(nan=torch.inf).max()) if apart.numel() else 0.0
            assert gap <= ROUNDING, f"{where}: {name} differs by {gap:.2g}"
        else:
            share = float((apart > 0).double().mean()) if apart.numel() else 0.0
            assert share <= _TIES, f"{where}: {name} differs in {share:.1%} of its values"


def _unmatched(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> int:
    """How many objects of the first have no like in the second."""
    count, others = (len(one["scores"]) for one in (found, expected))
    if not count or not others:
        return count
    alike = torch.ones(count, others, dtype=torch.bool)
    for name, tensor in found.items():
        one, other = tensor.double().reshape(count, 1, -1), expected[name].double().reshape(1, others, -1)
        # Boxes are in pixels of the picture as stored, some times as large as those that were computed in.
        allowed = 10 * ROUNDING * other.abs().clamp(min=1.0) if name != "scores" else torch.tensor(ROUNDING)
        alike &= ((one - other).abs() <= allowed).all(dim=-1)
    return int((~alike.any(dim=1)).sum())


def spread(model: Model) -> Model:
    """The model with its weights moved apart: what starts with zeros says the same of every row."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model
