"""Evaluation: every row once, whatever fits."""

from __future__ import annotations

import platform
import resource
from pathlib import Path

import pytest
import torch
from engine_toys import Accuracy, ToyExamples, ToyHead, toy_model

from graftwork import RunFailed
from graftwork.engine import evaluate as evaluation
from graftwork.engine.evaluate import evaluate, predictions
from graftwork.interfaces import Features, Model, Outputs
from graftwork.machine.device import Device


class Narrow(ToyHead):
    """Runs out of memory on more rows than `limit`; notes how many it is asked for."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit, self.seen = limit, []  # type: ignore[var-annotated]

    def outputs(self, features: Features) -> Outputs:
        rows = len(features["pooled"])
        self.seen.append(rows)
        if rows > self.limit:
            raise RuntimeError("could not create a primitive")
        return super().outputs(features)


def narrow_model(limit: int) -> tuple[Model, Narrow]:
    head = Narrow(limit)
    head.load_state_dict(toy_model().head.state_dict())
    return Model(toy_model().backbone, head), head


def test_what_does_not_fit_is_split_once_and_gives_the_same_numbers() -> None:
    whole = evaluate(toy_model(), ToyExamples(48), Accuracy(), Device("cpu", "fp32"), 16)
    model, head = narrow_model(6)
    split = evaluate(model, ToyExamples(48), Accuracy(), Device("cpu", "fp32"), 16)
    assert split == whole
    assert head.seen[:4] == [48, 24, 12, 6], "halved until it fits"
    assert max(head.seen[4:]) == 6 and len(head.seen) == 3 + 48 // 6, "and never tried larger again"


def test_every_row_comes_once_with_its_own_prediction() -> None:
    model, _ = narrow_model(3)
    found = list(predictions(model, ToyExamples(23), Device("cpu", "fp32"), 16))
    assert torch.cat([batch.rows for _, batch in found]).tolist() == list(range(23))
    assert all(len(said["logits"]) == len(batch) for said, batch in found if isinstance(said, dict))


def test_a_row_that_does_not_fit_ends_with_one_clear_line() -> None:
    model, _ = narrow_model(0)
    with pytest.raises(RunFailed, match="not even one row fits into memory"):
        list(predictions(model, ToyExamples(4), Device("cpu", "fp32"), 4))


class Uneven(ToyExamples):
    """Says that its rows differ in size."""

    def sizes(self) -> list[int]:
        return list(range(len(self)))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's heap is trimmed")
def test_what_lies_free_in_the_heap_is_given_back_where_rows_differ_in_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "TRIM_SECONDS", -1.0)
    blocks = [bytearray(b"x" * (1 << 16)) for _ in range(2000)]
    blocks = blocks[::20]  # what lies between them is free, and held
    before = _resident()
    list(predictions(toy_model(), ToyExamples(8), Device("cpu", "fp32"), 4))
    even = before - _resident()
    list(predictions(toy_model(), Uneven(8), Device("cpu", "fp32"), 4))
    given_back = before - _resident()
    assert even < 30 << 20 and given_back > 80 << 20, f"{len(blocks)} blocks: {even} and {given_back} bytes"


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
