"""Sampling and loading: pure functions of (seed, epoch, position), whoever asks and from wherever they start."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from engine_toys import ToyExamples
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwork.data.loader import load_batches
from graftwork.data.sampler import Sampler, in_order, one_size_each, padding
from graftwork.data.seeds import BATCH, ORDER, ROW, derive
from graftwork.errors import UsageError

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


sizes_lists = st.lists(st.integers(1, 200), min_size=1, max_size=300)


@given(sizes=sizes_lists, batch_size=st.integers(1, 40), seed=st.integers(0, 99), epoch=st.integers(0, 5))
def test_batches_of_like_size_hold_every_row_once_and_are_near_equal(
    sizes: list[int], batch_size: int, seed: int, epoch: int
) -> None:
    sampler = Sampler(len(sizes), batch_size, seed, sizes=sizes)
    batches = [spec.all_rows for spec in sampler.epoch(epoch)]
    assert sorted(row for rows in batches for row in rows) == list(range(len(sizes)))
    assert len(batches) == sampler.batches == -(-len(sizes) // batch_size)
    assert max(map(len, batches)) <= batch_size
    assert max(map(len, batches)) - min(map(len, batches)) <= 1


@given(sizes=sizes_lists, extra=st.integers(0, 2000), seed=st.integers(0, 99))
def test_batches_cut_by_units_keep_within_them_and_are_as_many_in_every_epoch(
    sizes: list[int], extra: int, seed: int
) -> None:
    units = max(sizes) + extra
    sampler = Sampler(len(sizes), 32, seed, sizes=sizes, units=units)
    for epoch in range(3):
        batches = [spec.all_rows for spec in sampler.epoch(epoch)]
        assert len(batches) == sampler.batches
        assert sorted(row for rows in batches for row in rows) == list(range(len(sizes)))
        assert all(len(rows) * max(sizes[row] for row in rows) <= units for rows in batches)


@given(sizes=sizes_lists, epoch=st.integers(0, 3), first=st.integers(0, 8))
def test_an_epoch_of_like_sizes_can_begin_at_any_batch(sizes: list[int], epoch: int, first: int) -> None:
    for units in (None, 400):
        sampler = Sampler(len(sizes), 7, 3, sizes=sizes, units=units)
        assert list(sampler.epoch(epoch, first)) == list(sampler.epoch(epoch))[first:]


def test_batches_of_like_size_waste_less_and_differ_between_epochs() -> None:
    sizes = [5 + (row * 37) % 120 for row in range(4000)]
    plain = padding([spec.all_rows for spec in Sampler(4000, 32, 0).epoch(0)], np.asarray(sizes))
    alike = Sampler(4000, 32, 0, sizes=sizes)
    by_units = Sampler(4000, 32, 0, sizes=sizes, units=2048)
    assert plain > 0.4 and alike.padding() < 0.05 and by_units.padding() < 0.1
    for sampler in (alike, by_units):
        first, second = (set(map(frozenset, (s.all_rows for s in sampler.epoch(e)))) for e in (0, 1))
        assert len(first & second) < 0.1 * len(first), "epochs share their batches"
        lengths = [max(sizes[row] for row in spec.all_rows) for spec in sampler.epoch(0)]
        half = len(lengths) // 2
        assert abs(np.mean(lengths[:half]) - np.mean(lengths[half:])) < 20, "lengths follow the position in the epoch"


def test_units_are_refused_where_they_cannot_hold() -> None:
    for arguments in ({"units": 100}, {"units": 9, "sizes": [3, 10]}, {"units": 90, "sizes": [3, 9], "strata": (0, 1)}):
        with pytest.raises(UsageError):
            Sampler(2, 32, 0, **arguments)


@given(sizes=sizes_lists, batch_size=st.integers(1, 40), world=st.integers(1, 3))
def test_an_evaluation_of_like_sizes_sees_every_row_once(sizes: list[int], batch_size: int, world: int) -> None:
    specs = [spec for rank in range(world) for spec in in_order(len(sizes), batch_size, rank, world, sizes)]
    assert sorted(row for spec in specs for row in spec.rows) == list(range(len(sizes)))


@given(sizes=sizes_lists, batch_size=st.integers(1, 40), world=st.integers(1, 3))
def test_in_an_evaluation_no_row_shares_a_batch_with_one_of_another_size(
    sizes: list[int], batch_size: int, world: int
) -> None:
    specs = [spec for rank in range(world) for spec in one_size_each(len(sizes), batch_size, rank, world, sizes)]
    assert sorted(row for spec in specs for row in spec.rows) == list(range(len(sizes)))
    assert all(len({sizes[row] for row in spec.rows}) == 1 and len(spec.rows) <= batch_size for spec in specs)
    even = [spec.rows for spec in one_size_each(len(sizes), batch_size, sizes=[3] * len(sizes))]
    assert len(even) == -(-len(sizes) // batch_size), "as few as there can be"


shapes_lists = st.lists(
    st.tuples(st.sampled_from([32, 64, 96]), st.sampled_from([32, 64, 96])), min_size=1, max_size=80
)


@given(shapes=shapes_lists, extra=st.integers(0, 30_000), seed=st.integers(0, 99))
def test_batches_of_shapes_keep_within_their_units_with_every_dimension_padded(
    shapes: list[tuple[int, int]], extra: int, seed: int
) -> None:
    units = max(height * width for height, width in shapes) + extra
    for sampler in (
        Sampler(len(shapes), 8, seed, sizes=shapes),
        Sampler(len(shapes), 8, seed, None, 0, 1, shapes, units),
    ):
        batches = [spec.all_rows for spec in sampler.epoch(1)]
        assert sorted(row for rows in batches for row in rows) == list(range(len(shapes)))
        assert 0 <= sampler.padding() < 1
        if sampler.units:
            for rows in batches:
                height, width = (max(shapes[row][side] for row in rows) for side in (0, 1))
                # One row of several dimensions may be smaller than a batch's largest in each.
                assert len(rows) == 1 or len(rows) * height * width <= units


def test_upright_and_lying_pictures_do_not_share_batches() -> None:
    shapes = [(64, 96), (96, 64)] * 64
    mixed = Sampler(128, 8, 0)
    alike = Sampler(128, 8, 0, sizes=shapes)
    assert padding([spec.all_rows for spec in mixed.epoch(0)], shapes) > 0.3
    assert alike.padding() < 0.01
    assert padding([spec.rows for spec in in_order(128, 8, sizes=shapes)], shapes) == 0.0
