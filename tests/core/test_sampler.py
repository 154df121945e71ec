"""Sampling and loading: pure functions of (seed, epoch, position), whoever asks and from wherever they start."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from engine_toys import ToyExamples
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwork.data.loader import load_batches
from graftwork.data.sampler import Sampler, in_order
from graftwork.data.seeds import BATCH, ORDER, ROW, derive

ROWS = st.integers(1, 300)
SIZES = st.integers(1, 64)
SEEDS = st.integers(0, 2**31 - 1)
EPOCHS = st.integers(0, 1000)


@given(ROWS, SIZES, SEEDS, EPOCHS)
def test_every_row_comes_once_an_epoch_in_batches_of_near_equal_size(
    rows: int, size: int, seed: int, epoch: int
) -> None:
    sampler = Sampler(rows, size, seed)
    batches = list(sampler.epoch(epoch))
    assert sorted(row for batch in batches for row in batch.rows) == list(range(rows))
    assert len(batches) == sampler.batches == -(-rows // size)
    lengths = {len(batch.rows) for batch in batches}
    assert max(lengths) <= size and max(lengths) - min(lengths) <= 1
    assert [(batch.epoch, batch.index) for batch in batches] == [(epoch, index) for index in range(len(batches))]


@given(ROWS, SIZES, SEEDS, EPOCHS, st.data())
def test_an_epoch_is_a_pure_function_and_starting_anywhere_gives_its_tail(
    rows: int, size: int, seed: int, epoch: int, data: st.DataObject
) -> None:
    whole = list(Sampler(rows, size, seed).epoch(epoch))
    torch.manual_seed(data.draw(SEEDS))  # whatever was drawn before
    first = data.draw(st.integers(0, len(whole)))
    assert list(Sampler(rows, size, seed).epoch(epoch, first)) == whole[first:]


@given(ROWS, SIZES, SEEDS, EPOCHS, st.integers(1, 5))
def test_the_shares_of_all_processes_together_are_the_batch(
    rows: int, size: int, seed: int, epoch: int, world: int
) -> None:
    alone = list(Sampler(rows, size, seed).epoch(epoch))
    shares = [list(Sampler(rows, size, seed, None, rank, world).epoch(epoch)) for rank in range(world)]
    for number, whole in enumerate(alone):
        parts = [share[number] for share in shares]
        assert all(part.all_rows == whole.rows for part in parts)
        assert Counter(row for part in parts for row in part.rows) == Counter(whole.rows)
        lengths = [len(part.rows) for part in parts]
        assert max(lengths) - min(lengths) <= 1


@given(st.integers(2, 200), SIZES, SEEDS)
def test_epochs_and_seeds_differ_in_their_order(rows: int, size: int, seed: int) -> None:
    orders = {tuple(Sampler(rows, size, seed).order(epoch)) for epoch in range(30)}
    assert len(orders) > (1 if rows < 5 else 15)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 3), min_size=400, max_size=600).filter(lambda x: len(set(x)) == 4), SEEDS)
def test_balanced_sampling_draws_every_class_about_equally_often(strata: list[int], seed: int) -> None:
    sampler = Sampler(len(strata), 32, seed, tuple(strata))
    drawn = Counter(strata[row] for epoch in range(8) for row in sampler.order(epoch))
    total = sum(drawn.values())
    # five standard deviations of a binomial share
    allowed = 5 * (0.25 * 0.75 / total) ** 0.5
    assert all(abs(drawn[name] / total - 0.25) < allowed for name in range(4))
    assert sampler.order(3) == Sampler(len(strata), 32, seed, tuple(strata)).order(3)


@given(ROWS, SIZES, st.integers(1, 5))
def test_evaluation_sees_every_row_once_whatever_the_number_of_processes(rows: int, size: int, world: int) -> None:
    seen = [row for rank in range(world) for batch in in_order(rows, size, rank, world) for row in batch.rows]
    assert sorted(seen) == list(range(rows))
    assert [row for batch in in_order(rows, size) for row in batch.rows] == list(range(rows))


@given(SEEDS, st.integers(0, 500), st.integers(0, 500))
def test_seeds_are_in_range_and_do_not_collide_between_purposes_and_positions(seed: int, a: int, b: int) -> None:
    values = {derive(p, seed, x, y) for p in (ORDER, ROW, BATCH) for x, y in {(a, b), (b, a), (a + 1, b), (a, b + 1)}}
    assert all(0 <= value < 2**63 for value in values)
    assert len(values) == 3 * len({(a, b), (b, a), (a + 1, b), (a, b + 1)})


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_give_the_batches_that_this_process_gives(workers: int) -> None:
    examples = ToyExamples(23, noise=1.0)
    sampler = Sampler(23, 5, seed=4)
    here = list(load_batches(examples, sampler.epoch(7), 4, 0))
    there = list(load_batches(examples, sampler.epoch(7), 4, workers))
    assert len(here) == len(there) == 5
    for first, second in zip(here, there, strict=True):
        assert torch.equal(first.rows, second.rows)
        assert torch.equal(first.inputs["numbers"], second.inputs["numbers"])


def test_a_rows_augmentation_depends_on_seed_epoch_and_row_and_on_nothing_else() -> None:
    examples = ToyExamples(12, noise=1.0)
    examples.collate = lambda rows, loaded: dict(zip(rows, loaded, strict=True))  # type: ignore[method-assign,return-value]

    def augmented(size: int, seed: int, epoch: int, first: int = 0) -> dict[int, torch.Tensor]:
        found = {}
        for batch in load_batches(examples, Sampler(12, size, seed).epoch(epoch, first), seed, 0):
            found.update(batch)  # type: ignore[call-overload]
        return found

    whole = augmented(5, 1, 2)
    for other in (augmented(12, 1, 2), augmented(1, 1, 2), augmented(5, 1, 2, first=1)):
        assert all(torch.equal(value, whole[row]) for row, value in other.items())
    assert not any(torch.equal(value, whole[row]) for row, value in augmented(5, 1, 3).items())
    assert not any(torch.equal(value, whole[row]) for row, value in augmented(5, 9, 2).items())
