"""Streams: items that stay together, rows without labels, phases of terms alone; killed at any moment, they end alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_toys import (
    CONTEXT,
    Accuracy,
    ToyExamples,
    copies,
    largest_difference,
    prepare,
    run_fit,
    toy_batch,
    toy_model,
)
from torch import Tensor

from graftwork import PluginError, UsageError
from graftwork.data.seeds import STREAM, derive
from graftwork.data.streams import ItemSampler
from graftwork.interfaces import (
    Batch,
    Features,
    Items,
    Model,
    Observer,
    Phase,
    Plan,
    PlanContext,
    StepRecord,
    Strategy,
    Stream,
    Term,
    stage_groups,
)


class Pairs(Items):
    """Two rows each, of one class and of two in turn."""

    unit = 2

    def __init__(self, pairs: int = 24) -> None:
        self.pairs = pairs

    def count(self, rows: int) -> int:
        return self.pairs

    def item(self, number: int, strata: Sequence[int], generator: torch.Generator) -> tuple[int, ...]:
        first = int(torch.randint(len(strata), (), generator=generator))
        others = [row for row, stratum in enumerate(strata) if (stratum == strata[first]) == (number % 2 == 0)]
        return first, others[int(torch.randint(len(others), (), generator=generator))]


class Contrast(Term):
    """Pulls the features of a pair together where they are of one class, and apart where they are not (Hadsell et al. 2006)."""

    stream = "pairs"
    needs = frozenset({"pooled"})

    def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
        assert isinstance(batch.targets, dict)
        pairs, labels = (
            features["pooled"].reshape(-1, 2, features["pooled"].shape[1]),
            batch.targets["label"].reshape(-1, 2),
        )
        distance = (pairs[:, 0] - pairs[:, 1]).square().sum(1)
        same = labels[:, 0] == labels[:, 1]
        return {"contrast": torch.where(same, distance, (1.0 - (distance + 1e-9).sqrt()).clamp(min=0).square()).sum()}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"contrast": torch.tensor(len(batch) / batch.unit)}


class Quiet(Term):
    """Features of rows without labels are kept small; notes how many there were."""

    stream = "unlabelled"
    needs = frozenset({"pooled"})

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[int]] = []

    def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
        self.rows.append(batch.rows.tolist())
        assert batch.targets == {}
        return {"size": features["pooled"].square().sum()}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"size": torch.tensor(float(len(batch)))}


class Unlabelled(ToyExamples):
    """Rows of which nobody knows the class."""

    def collate(self, rows: Sequence[int], examples: Sequence[Any]) -> Batch:
        return replace(super().collate(rows, examples), targets={})


class ContrastFirst(Strategy):
    """Pairs alone, then everything with labels."""

    def plan(self, model: Model, context: PlanContext) -> Plan:
        stages = model.backbone.stages()
        backbone = tuple(g for g in stage_groups(model, 0, 0.0) if not g.name.startswith("head"))
        pairs = Phase(
            "contrast", 2, len(stages) - 2, backbone[-2:], 0.05, terms=(Contrast(),), head_loss=False,
            streams=(Stream("pairs", items=Pairs(), batch_size=5),),
        )  # fmt: skip
        groups = tuple(group for group in stage_groups(model, len(stages) - 2, 0.0))
        pairs = replace(pairs, groups=tuple(group for group in groups if not group.name.startswith("head")))
        return Plan("contrast-first", (pairs, Phase("full", 2, len(stages) - 2, groups, 0.05)))


class Beside(Strategy):
    """The head's loss on labelled rows, and a term on rows without labels beside them."""

    def __init__(self) -> None:
        self.term = Quiet()

    def plan(self, model: Model, context: PlanContext) -> Plan:
        streams = (Stream(), Stream("unlabelled", "unlabelled", batch_size=6))
        groups = stage_groups(model, 0, 0.0)
        return Plan("beside", (Phase("both", 4, 0, groups, 0.02, terms=(self.term,), streams=streams),))


class Stops(Observer):
    def __init__(self, step: int) -> None:
        self.step = step

    def step_end(self, record: StepRecord) -> None:
        if record.step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("step", "workers"), [(2, 0), (5, 0), (7, 0), (7, 2), (12, 0), (14, 0)])
def test_a_run_of_pairs_and_then_of_rows_that_is_killed_ends_in_the_same_bits(
    step: int, workers: int, tmp_path: Path
) -> None:
    """24 pairs in batches of 5: five steps an epoch; then four of 8 rows."""
    options: dict[str, Any] = {"checkpoint_steps": 2, "train": ToyExamples(32, noise=0.1)}
    whole = run_fit(toy_model(dropout=0.3), ContrastFirst(), tmp_path / "whole", **options)
    assert whole.progress.step == 10 + 8 and whole.progress.best_epoch in (3, 4)
    assert [bool(line["val"]) for line in whole.progress.history] == [False, False, True, True]
    with pytest.raises(KeyboardInterrupt):
        run_fit(toy_model(dropout=0.3), ContrastFirst(), tmp_path / "cut", observers=[Stops(step)], **options)
    resumed = run_fit(
        toy_model(dropout=0.3), ContrastFirst(), tmp_path / "cut", resume=True, workers=workers, **options
    )
    assert largest_difference(copies(whole.model), copies(resumed.model)) == 0.0
    losses = [[line["train_loss"] for line in fitted.progress.history] for fitted in (whole, resumed)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("step", [1, 4, 6, 9])
def test_a_run_with_rows_without_labels_that_is_killed_ends_in_the_same_bits(step: int, tmp_path: Path) -> None:
    options: dict[str, Any] = {"checkpoint_steps": 3, "unlabelled": Unlabelled(20, seed=3, noise=0.2)}
    whole = run_fit(toy_model(), Beside(), tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        run_fit(toy_model(), Beside(), tmp_path / "cut", observers=[Stops(step)], **options)
    resumed = run_fit(toy_model(), Beside(), tmp_path / "cut", resume=True, **options)
    assert largest_difference(copies(whole.model), copies(resumed.model)) == 0.0


def test_rows_without_labels_go_round_beside_the_labelled_ones_and_move_the_model(tmp_path: Path) -> None:
    strategy = Beside()
    found = run_fit(toy_model(), strategy, tmp_path / "both", unlabelled=Unlabelled(20, seed=3))
    seen = Counter(row for rows in strategy.term.rows for row in rows)
    assert len(strategy.term.rows) == found.progress.step == 16
    assert set(seen) == set(range(20)) and max(seen.values()) - min(seen.values()) <= 1
    others = run_fit(toy_model(), Beside(), tmp_path / "others", unlabelled=Unlabelled(20, seed=4))
    assert largest_difference(copies(found.model), copies(others.model)) > 0


def test_what_the_labelled_stream_draws_does_not_depend_on_others(tmp_path: Path) -> None:
    rows: list[list[tuple[int, ...]]] = []

    class Notes(Observer):
        def step_end(self, record: StepRecord) -> None:
            rows[-1].append(tuple(record.rows))

    class Alone(Beside):
        def plan(self, model: Model, context: PlanContext) -> Plan:
            (phase,) = super().plan(model, context).phases
            return Plan("alone", (replace(phase, terms=(), streams=(Stream(),)),))

    for strategy in (Beside(), Alone()):
        rows.append([])
        run_fit(toy_model(), strategy, tmp_path / str(len(rows)), unlabelled=Unlabelled(20), observers=[Notes()])
    assert rows[0] == rows[1]


def test_rows_without_labels_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no split unlabelled"):
        prepare(toy_model(), Beside(), tmp_path)


def test_a_budget_that_ends_in_a_phase_of_terms_alone_ends_that_phase_and_not_the_run(tmp_path: Path) -> None:
    found = run_fit(toy_model(), ContrastFirst(), tmp_path, budget=1e-9)
    assert found.progress.stopped == "budget" and found.progress.best_epoch == 3
    assert [line["phase"] for line in found.progress.history] == ["contrast", "full"] and found.progress.step == 2


@pytest.mark.parametrize("size", [2, 3, 4, 7])
def test_an_item_is_never_split(size: int, tmp_path: Path) -> None:
    seen: list[int] = []

    class Watches(Contrast):
        def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
            seen.append(len(batch))
            return super().loss(model, batch, features)

    class Watched(ContrastFirst):
        def plan(self, model: Model, context: PlanContext) -> Plan:
            pairs, full = super().plan(model, context).phases
            return Plan("watched", (replace(pairs, terms=(Watches(),)), full))

    whole = run_fit(toy_model(), ContrastFirst(), tmp_path / "whole")
    split = run_fit(toy_model(), Watched(), tmp_path / "split", micro_batch=size)
    assert all(rows % 2 == 0 and rows <= max(2, size) for rows in seen) and len(seen) > 10
    assert largest_difference(copies(whole.model), copies(split.model)) < 1e-5


def test_items_are_a_function_of_seed_epoch_and_number() -> None:
    strata = ToyExamples(32).labels.tolist()
    sampler = ItemSampler(Pairs(), strata, 5, derive(STREAM, 0, 0, 0))
    epoch = list(sampler.epoch(3))
    assert [spec.rows for spec in sampler.epoch(3, 2)] == [spec.rows for spec in epoch[2:]]
    assert [len(spec.rows) for spec in epoch] == [8, 10, 10, 10, 10] and sampler.batches == 5
    assert [spec.rows for spec in sampler.epoch(4)] != [spec.rows for spec in epoch]
    for spec in epoch:
        for first, second in zip(spec.rows[::2], spec.rows[1::2], strict=True):
            assert (strata[first] == strata[second]) in (True, False)
    halves = [list(ItemSampler(Pairs(), strata, 5, sampler.seed, rank, 2).epoch(3)) for rank in (0, 1)]
    for spec, left, right in zip(epoch, *halves, strict=True):
        pairs = [spec.rows[at : at + 2] for at in range(0, len(spec.rows), 2)]
        assert left.rows == tuple(row for pair in pairs[0::2] for row in pair)
        assert right.rows == tuple(row for pair in pairs[1::2] for row in pair)


def test_an_item_of_another_number_of_rows_is_refused() -> None:
    class Torn(Pairs):
        def item(self, number: int, strata: Sequence[int], generator: torch.Generator) -> tuple[int, ...]:
            return (0,)

    with pytest.raises(ValueError, match="has 1 rows, not 2"):
        list(ItemSampler(Torn(), [0, 1], 4, 0).epoch(0))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"streams": (Stream(), Stream("unlabelled", "unlabelled"))}, "learns nothing from its stream 'unlabelled'"),
        ({"head_loss": False}, "learns nothing from its stream 'labelled'"),
        ({"terms": (Quiet(),)}, "sees the stream 'unlabelled', which the phase lacks"),
        ({"streams": (Stream("unlabelled", "unlabelled"),)}, "holds no training rows"),
    ],
)
def test_streams_that_nobody_learns_from_are_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    class Odd(Strategy):
        def plan(self, model: Model, context: PlanContext) -> Plan:
            good = Phase("full", 1, 0, stage_groups(model, 0, 0.0), 0.01)
            return Plan("odd", (replace(good, name="odd", **changes), good))

    with pytest.raises(PluginError, match=words):
        prepare(toy_model(), Odd(), tmp_path, unlabelled=Unlabelled(20), metrics=Accuracy)


def test_a_batch_keeps_its_stream_its_items_and_what_was_given_in_pieces() -> None:
    batch = replace(toy_batch(6), stream="pairs", unit=2, given={"teacher": {"logits": torch.arange(6.0)}})
    pieces = batch.to(torch.device("cpu")).split(3)
    assert [len(piece) for piece in pieces] == [2, 2, 2]
    assert [piece.given["teacher"]["logits"].tolist() for piece in pieces] == [[0, 1], [2, 3], [4, 5]]
    assert all((piece.stream, piece.unit) == ("pairs", 2) for piece in pieces)
    assert CONTEXT.epochs == 4
