"""Kept pixels: the same as fresh ones, in memory first, then on disk where epochs repeat."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import Tensor

from graftwork.data.fingerprint import CONTENT
from graftwork.vision import kept
from graftwork.vision.kept import OVERHEAD, KeptPixels, channels_last, stack_channels_last

ROWS = 12
SIDE = 10
ONE = 3 * SIDE * (SIDE + 3) + OVERHEAD
"""Bytes of one picture."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path))
    return tmp_path / "pictures"


def picture(row: int) -> Tensor:
    noise = np.random.default_rng(row).integers(0, 256, (3, SIDE, SIDE + 3 - row % 2), dtype=np.uint8)
    return torch.from_numpy(noise)


class Maker:
    """Makes pictures and counts how often."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def of(self, row: int) -> Callable[[], Tensor]:
        def make() -> Tensor:
            self.rows.append(row)
            return picture(row)

        return make


def make_table(rows: int = ROWS) -> Dataset:
    return Dataset.from_dict({"image": list(range(rows)), CONTENT: [f"{row:032x}" for row in range(rows)]})


def epoch(pixels: KeptPixels, order: range | list[int] = range(ROWS)) -> list[int]:
    """Ask for every row, check it, and say which had to be made."""
    maker = Maker()
    for row in order:
        found = pixels.get(row, maker.of(row))
        assert torch.equal(found, picture(row)), row
        assert found.permute(1, 2, 0).is_contiguous()
    return maker.rows


def segments(cache: Path) -> list[Path]:
    return sorted(cache.glob("*/segment-*"))


def test_what_fits_into_memory_stays_there(cache: Path) -> None:
    pixels = KeptPixels(make_table(), "test", ROWS * ONE)
    assert epoch(pixels) == list(range(ROWS))
    assert epoch(pixels) == []
    assert not cache.exists()


def test_a_single_epoch_writes_nothing_and_repeated_ones_make_each_picture_twice_at_most(cache: Path) -> None:
    pixels = KeptPixels(make_table(), "test", 4 * ONE)
    assert epoch(pixels) == list(range(ROWS))
    assert not cache.exists()
    again = epoch(pixels)
    assert 0 < len(again) < ROWS
    assert segments(cache)
    assert epoch(pixels) == [] == epoch(pixels, list(reversed(range(ROWS))))


def test_another_run_finds_what_is_stored_and_other_ways_of_making_do_not(cache: Path) -> None:
    first = KeptPixels(make_table(), "test", 4 * ONE)
    for _ in range(3):
        epoch(first)
    stored = sum(1 for _ in range(ROWS)) - len(first._memory)
    assert stored >= 8
    second = KeptPixels(make_table(), "test", 4 * ONE)
    assert len(epoch(second)) == ROWS - stored
    assert epoch(first.remade("otherwise")) == list(range(ROWS))
    assert len(list(cache.glob("*/about.json"))) == 1
    some = make_table().select([7, 2, 5])
    other = KeptPixels(some, "test", 4 * ONE)
    for place, row in enumerate([7, 2, 5]):
        assert torch.equal(other.get(place, lambda row=row: picture(row)), picture(row))


def test_who_reads_once_keeps_nothing_and_leaves_what_is_kept_alone(cache: Path) -> None:
    pixels = KeptPixels(make_table(), "test", ROWS * ONE)
    epoch(pixels)
    once = pixels.read_once()
    assert epoch(once) == list(range(ROWS)) == epoch(once)
    assert epoch(pixels) == []
    assert not cache.exists()


def test_loader_processes_share_the_store(cache: Path) -> None:
    one, other = KeptPixels(make_table(), "test", 4 * ONE), pickle.loads(
        pickle.dumps(KeptPixels(make_table(), "test", 4 * ONE))
    )  # fmt: skip
    half, rest = list(range(0, ROWS, 2)), list(range(1, ROWS, 2))
    for _ in range(4):
        epoch(one, half)
        epoch(other, rest)
        half, rest = rest, half
    made = len(epoch(one)) + len(epoch(other))
    assert made <= 8, "what one process holds in memory, the other makes"


@pytest.mark.parametrize("limit", ["0", "100"])
def test_without_room_nothing_is_stored(cache: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE_LIMIT", limit)
    pixels = KeptPixels(make_table(), "test", 4 * ONE)
    for _ in range(3):
        made = epoch(pixels)
    assert made == list(range(4, ROWS))
    assert not segments(cache)


def test_a_table_larger_than_memory_is_stored_only_when_its_pictures_are_slow_to_make(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "_machine_memory", lambda: 2 * ROWS * ONE - 1000)
    monkeypatch.setattr(kept, "SLOW_BYTES", 0.0)
    fast = KeptPixels(make_table(), "test", 4 * ONE)
    for _ in range(3):
        epoch(fast)
    assert not segments(cache)
    monkeypatch.setattr(kept, "SLOW_BYTES", float("inf"))
    slow = KeptPixels(make_table(), "test", 4 * ONE)
    for _ in range(3):
        epoch(slow)
    assert segments(cache)


def test_rows_without_digests_stay_in_memory(cache: Path) -> None:
    pixels = KeptPixels(make_table().remove_columns(CONTENT), "test", 4 * ONE)
    for _ in range(3):
        made = epoch(pixels)
    assert made == list(range(4, ROWS)) and not cache.exists()
    assert epoch(KeptPixels(make_table(), "test", 0)) == list(range(ROWS)) and not cache.exists()


def test_a_store_that_vanishes_or_cannot_be_written_costs_only_time(cache: Path, tmp_path: Path) -> None:
    pixels = KeptPixels(make_table(), "test", 4 * ONE)
    for _ in range(3):
        epoch(pixels)
    shutil.rmtree(cache)
    assert epoch(pixels) == [], "what is mapped stays readable"
    fresh = KeptPixels(make_table(), "test", 4 * ONE)
    cache.write_text("a file where the folder should be")
    for _ in range(3):
        epoch(fresh)


def test_pictures_with_the_same_content_are_stored_once(cache: Path) -> None:
    table = Dataset.from_dict({"image": list(range(6)), CONTENT: ["aa"] * 6})
    pixels = KeptPixels(table, "test", 2 * ONE)
    for _ in range(3):
        for row in range(6):
            assert torch.equal(pixels.get(row, lambda: picture(1)), picture(1))
    assert len(segments(cache)) == 1
    assert np.load(segments(cache)[0] / "digests.npy").tolist() == [b"aa"]


KILLED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from test_vision_kept import KeptPixels, ONE, ROWS, epoch, make_table, picture
pixels = KeptPixels(make_table(), "test", 4 * ONE)
epoch(pixels)
real = pixels.get(0, lambda: picture(0)).shape
from graftwork.cache.rows import SegmentWriter
add = SegmentWriter.add
def dies(self, digests, columns):
    add(self, digests, columns)
    if self.rows == 3:
        os.kill(os.getpid(), 9)
SegmentWriter.add = dies
epoch(pixels)
"""


def test_a_process_that_is_killed_while_it_stores_leaves_nothing_that_is_read(cache: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(Path(__file__).parent)], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    assert list(cache.glob(".partial-*")) and not segments(cache)
    pixels = KeptPixels(make_table(), "test", 4 * ONE)
    for _ in range(3):
        made = epoch(pixels)
    assert made == []


def test_a_batch_is_a_copy_with_the_channels_of_a_pixel_side_by_side() -> None:
    images = [picture(0), channels_last(picture(2))]
    batch = stack_channels_last(images)
    assert torch.equal(batch, torch.stack(images))
    assert batch.is_contiguous(memory_format=torch.channels_last)
