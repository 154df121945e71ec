"""Evaluation: every row once, whatever fits."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from engine_toys import Accuracy, ToyExamples, ToyHead, toy_model
from torch import Tensor

from graftwork import RunFailed
from graftwork.engine.device import Device
from graftwork.engine.evaluate import evaluate, predictions
from graftwork.interfaces import Features, Model, Predictions


class Narrow(ToyHead):
    """Runs out of memory on more rows than `limit`; notes how many it is asked for."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit, self.seen = limit, []  # type: ignore[var-annotated]

    def predict(self, features: Mapping[str, Tensor]) -> Predictions:
        rows = len(features["pooled"])
        self.seen.append(rows)
        if rows > self.limit:
            raise RuntimeError("could not create a primitive")
        whole: Features = dict(features)
        return super().predict(whole)


def narrow_model(limit: int) -> tuple[Model, Narrow]:
    head = Narrow(limit)
    head.load_state_dict(toy_model().head.state_dict())
    return Model(toy_model().backbone, head), head


def test_what_does_not_fit_is_split_once_and_gives_the_same_numbers() -> None:
    whole = evaluate(toy_model(), ToyExamples(48), Accuracy(), Device("cpu"), "fp32", 16)
    model, head = narrow_model(6)
    split = evaluate(model, ToyExamples(48), Accuracy(), Device("cpu"), "fp32", 16)
    assert split == whole
    assert head.seen[:4] == [48, 24, 12, 6], "halved until it fits"
    assert max(head.seen[4:]) == 6 and len(head.seen) == 3 + 48 // 6, "and never tried larger again"


def test_every_row_comes_once_with_its_own_prediction() -> None:
    model, _ = narrow_model(3)
    found = list(predictions(model, ToyExamples(23), Device("cpu"), "fp32", 16))
    assert torch.cat([batch.rows for _, batch in found]).tolist() == list(range(23))
    assert all(len(said["logits"]) == len(batch) for said, batch in found if isinstance(said, dict))


def test_a_row_that_does_not_fit_ends_with_one_clear_line() -> None:
    model, _ = narrow_model(0)
    with pytest.raises(RunFailed, match="not even one row fits into memory"):
        list(predictions(model, ToyExamples(4), Device("cpu"), "fp32", 4))
