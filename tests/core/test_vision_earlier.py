"""A file that holds what another held is not decoded again, and is believed to be what it is."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

from graftwork.interfaces import Tables
from graftwork.vision import earlier, look
from graftwork.vision.audit import Seen, see_pictures
from graftwork.vision.look import Looks


def _picture(seed: int, width: int = 40, mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (50, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


SPLITS = {
    "train": [_picture(0), _picture(1, mode="LA"), b"<html>", _picture(2, width=20), _picture(0)],
    "test": [_picture(3), _picture(1, mode="LA")],
}


def _tables(splits: dict[str, list[bytes]]) -> Tables:
    features = Features({"image": ImageFeature(decode=False), "origin": Value("string")})
    made = {}
    for split, contents in splits.items():
        cells = [{"bytes": content, "path": None} for content in contents]
        names = [f"{split}/{number}.png" for number in range(len(cells))]
        made[split] = Dataset.from_dict({"image": cells, "origin": names}, features=features)
    return Tables(made, (), ("a", "b"))


def _assert_same(first: Seen, second: Seen) -> None:
    assert first.findings == second.findings
    for split, looks in first.looks.items():
        other = second.looks[split]
        assert looks.content.equals(other.content)
        for name in ("sizes", "traits", "hashes", "views"):
            assert np.array_equal(getattr(looks, name), getattr(other, name)), name


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of files that were opened as pictures, in an empty cache of one's own that keeps every look."""
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(earlier, "WORTH_SECONDS", 0.0)
    count = [0]
    really = Image.open

    def counting(*given: object) -> Image.Image:
        count[0] += 1
        return really(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(look.Image, "open", counting)
    return count


def test_the_second_look_at_the_same_files_decodes_none_but_the_unusable(opened: list[int]) -> None:
    first = see_pictures(_tables(SPLITS))
    assert opened == [7]
    second = see_pictures(_tables(SPLITS))
    assert opened == [8]
    _assert_same(first, second)
    assert [finding.code for finding in second.findings] == ["not-an-image"]


def test_other_splits_and_another_order_find_the_same_files_and_only_new_ones_are_decoded(opened: list[int]) -> None:
    see_pictures(_tables(SPLITS))
    other = {"train": [_picture(3), _picture(4)], "validation": [_picture(2, width=20), _picture(0)]}
    again = see_pictures(_tables(other))
    assert opened == [8]
    _assert_same(again, see_pictures(_tables(other)))
    assert opened == [8]
    assert again.looks["validation"].sizes.tolist() == [[20, 50], [40, 50]]
    assert (again.looks["validation"].hashes != 0).tolist() == [False, True]


def test_from_a_batch_on_that_is_mostly_new_every_file_is_decoded(opened: list[int]) -> None:
    see_pictures(_tables(SPLITS))
    mostly_new = {"train": [_picture(0), *(_picture(seed) for seed in range(10, 12))], "test": [_picture(3)]}
    see_pictures(_tables(mostly_new))
    assert opened == [7 + 2 + 1]
    see_pictures(_tables(mostly_new))
    assert opened == [10]


def test_processes_that_look_at_the_same_files_keep_them_once(opened: list[int], tmp_path: Path) -> None:
    tables = _tables(SPLITS)
    one, other = earlier.EarlierLooks(), earlier.EarlierLooks()
    with ThreadPoolExecutor(1) as pool:
        looks = [
            Looks.gather(len(rows), [found.look_at(rows["image"][:], pool)])
            for found in (one, other)
            for rows in tables.splits.values()
        ]
    one.keep(looks[:2])
    other.keep(looks[2:])
    assert len(list((tmp_path / "cache").rglob("segment-*"))) == 1


def test_looks_that_took_no_time_are_not_kept(
    opened: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earlier, "WORTH_SECONDS", 60.0)
    see_pictures(_tables(SPLITS))
    see_pictures(_tables(SPLITS))
    assert opened == [14]
    assert not list((tmp_path / "cache").rglob("segment-*"))


@pytest.mark.parametrize("name", ["GRAFTWORK_CACHE_LIMIT", "GRAFTWORK_CACHE"])
def test_a_cache_that_takes_nothing_costs_time_and_nothing_else(
    name: str, opened: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(name, "0" if name.endswith("LIMIT") else str(tmp_path / "file"))
    first = see_pictures(_tables(SPLITS))
    _assert_same(first, see_pictures(_tables(SPLITS)))
    assert opened == [14]


def test_a_damaged_store_counts_as_empty(opened: list[int], tmp_path: Path) -> None:
    first = see_pictures(_tables(SPLITS))
    for file in (tmp_path / "cache").rglob("*.bin"):
        file.write_bytes(file.read_bytes()[:-1])
    _assert_same(first, see_pictures(_tables(SPLITS)))
    assert opened == [14]
