"""The audit beyond its list of faults: columns, class counts, strata, fingerprints, and the CamVid pack."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from graftwork.data.fingerprint import CONTENT, fingerprint
from graftwork.data.splits import complete, limit
from graftwork.errors import DataError
from graftwork.interfaces import DataRequest, Finding, Tables
from graftwork_segmentation.audit import audit_segmentation, facts_of, strata
from graftwork_segmentation.lookup import Form
from graftwork_segmentation.masks import MaskLook, decode_mask, look_at_mask, remap
from graftwork_segmentation.read import read_segmentation
from graftwork_segmentation.smoothed import is_smoothed


def encoded(pixels: NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def picture(seed: int) -> bytes:
    return encoded(np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8))


def plant(
    root: Path, masks: Mapping[str, NDArray[Any]], labels: str = "0: sky\n1: road\n2: car\nignore: [255]\n"
) -> Path:
    """A picture for every mask; names are SPLIT/NAME or NAME."""
    root.mkdir(exist_ok=True)
    for seed, (name, values) in enumerate(masks.items()):
        split, _, stem = name.rpartition("/")
        for folder, data in (("images", picture(seed)), ("masks", encoded(values))):
            (root / split / folder).mkdir(parents=True, exist_ok=True)
            (root / split / folder / f"{stem}.png").write_bytes(data)
    (root / "labels.yaml").write_text(labels)
    return root


def blocks(*values: int) -> NDArray[np.uint8]:
    """24 × 32 pixels in equal stripes of these values."""
    return np.repeat(np.tile(np.array(values, np.uint8), (24, 1)), 32 // len(values), axis=1)


def read(root: Path) -> Tables:
    return read_segmentation(DataRequest(str(root)))


def audited(root: Path) -> tuple[Tables, dict[str, Finding]]:
    tables, findings = audit_segmentation(read(root))
    return tables, {finding.code: finding for finding in findings}


def test_the_audit_adds_sizes_and_pixels_of_every_class(tmp_path: Path) -> None:
    plant(tmp_path, {"train/a": blocks(0, 1, 2, 255), "test/b": blocks(1, 2)})
    tables, _ = audited(tmp_path)
    row = tables.splits["train"][0]
    assert (row["width"], row["height"]) == (32, 24)
    assert row["class_pixels"] == [192, 192, 192]
    assert tables.splits["test"][0]["class_pixels"] == [0, 384, 384]
    assert facts_of(tables) == {"classes": ["sky", "road", "car"], "train_counts": [192, 192, 192]}
    assert facts_of(read(tmp_path)) == facts_of(tables)


def test_the_stratum_of_a_row_is_the_rarest_class_in_it_before_and_after_the_audit(tmp_path: Path) -> None:
    masks = {f"{n}": blocks(0, 1) for n in range(6)} | {"6": blocks(0, 2), "7": blocks(0, 0), "8": blocks(255, 255)}
    tables = read(plant(tmp_path, masks))
    expected = [1] * 6 + [2, 0, 3]  # a mask without any class has a stratum of its own
    assert strata(tables.splits["train"]) == expected
    whole, _ = audit_segmentation(tables)
    assert strata(whole.splits["train"]) == expected[:8]  # the void mask is left out


def test_splits_are_made_so_that_every_class_is_in_each(tmp_path: Path) -> None:
    masks = {f"{n:02}": blocks(0, 2) if n % 5 == 0 else blocks(0, 1) for n in range(40)}
    splits, _ = complete(read(plant(tmp_path, masks)).splits, strata, seed=0)
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 28, "validation": 6, "test": 6}
    assert all(set(strata(rows)) == {1, 2} for rows in splits.values())
    tables, findings = audit_segmentation(Tables(splits, (), ("sky", "road", "car")))
    assert {finding.code for finding in findings if finding.level != "note"} == {"same-mask"}
    rows, _ = limit(tables.splits["train"], strata(tables.splits["train"]), 8, seed=0)
    assert sorted(strata(rows)) == [1] * 4 + [2] * 4
    assert facts_of(Tables({"train": rows}, (), tables.names))["train_counts"] == [8 * 384, 4 * 384, 4 * 384]
    for split in tables.splits.values():  # columns stay beside their own rows
        for row in split:
            number = int(Path(row["origin"]).stem)
            assert row["class_pixels"][2 if number % 5 == 0 else 1] == 384


def test_the_fingerprint_is_of_pictures_masks_and_label_map_wherever_they_lie(tmp_path: Path) -> None:
    masks = {f"{split}/{n}": blocks(0, n, 2, 255) for split in ("train", "test") for n in (0, 1)}
    first = fingerprint(audited(plant(tmp_path / "here", masks))[0])
    assert fingerprint(audited(plant(tmp_path / "there", masks))[0]) == first
    swapped = "0: sky\n2: road\n1: car\nignore: [255]\n"
    other = "0: sky\n1: road\n2: car\nignore: [255, 1]\n"
    changed = {**masks, "train/1": blocks(0, 1, 1, 255)}
    for place, planted in (("a", (masks, swapped)), ("b", (masks, other)), ("c", (changed,))):
        assert fingerprint(audited(plant(tmp_path / place, *planted))[0]) != first


def test_data_that_is_aligned_with_its_own_model_keeps_its_fingerprint(tmp_path: Path) -> None:
    tables = read(plant(tmp_path, {"train/a": blocks(0, 1, 2, 9), "test/b": blocks(1, 2)}))
    whole, _ = audit_segmentation(tables)
    mapped = {split: remap(rows, tables.names, whole.names) for split, rows in tables.splits.items()}
    again, _ = audit_segmentation(Tables(mapped, (), whole.names))
    assert fingerprint(again) == fingerprint(whole)
    other = remap(whole.splits["train"], tables.names, ("car", "x", "sky", "road"))
    assert "class_pixels" not in other.column_names
    assert json.loads(other[0]["mask_map"]) == {"0": 2, "1": 3, "2": 0, "9": 255, "255": 255}


def test_very_many_unknown_values_become_one_entry_of_the_map(tmp_path: Path) -> None:
    values = np.tile(np.arange(768, dtype=np.uint16).reshape(24, 32), (1, 1))
    tables, found = audited(plant(tmp_path, {"train/a": values, "test/b": blocks(1, 2)}))
    row = tables.splits["train"][0]
    assert json.loads(row["mask_map"]) == {"0": 0, "1": 1, "2": 2, "255": 255, "*": 255}
    assert np.array_equal(decode_mask(row["mask"], row["mask_map"], strict=True).unique(), [0, 1, 2, 255])
    assert "(256 or more)" in found["unknown-mask-value"].message
    assert row["class_pixels"] == [1, 1, 1]


def test_binary_masks_of_0_and_255_can_be_trained_on_without_a_label_map(tmp_path: Path) -> None:
    plant(tmp_path, {f"{split}/{n}": blocks(0, 255) for split in ("train", "test") for n in range(5)})
    (tmp_path / "labels.yaml").unlink()
    tables, found = audited(tmp_path)
    assert tables.names == ("0", "255")
    assert set(found) == {"near-duplicates-not-checked", "same-mask"}
    assert facts_of(tables)["train_counts"] == [5 * 384, 5 * 384]


def test_one_class_only_and_splits_without_a_usable_row_are_errors(tmp_path: Path) -> None:
    tables, found = audited(plant(tmp_path, {"train/a": blocks(1, 255), "test/b": blocks(255, 255)}))
    assert found["one-class-only"].level == "error"
    assert found["split-without-usable-rows"].level == "error"
    assert found["split-without-usable-rows"].where == ("test",)
    assert len(tables.splits["test"]) == 0


def test_whatever_is_damaged_in_a_mask_the_audit_accepts_only_what_decodes() -> None:
    draw = random.Random(0)
    refused = 0
    for values in (blocks(0, 1, 2, 3), np.stack([blocks(0, 9)] * 3, axis=2), blocks(0, 1).astype(np.uint16) * 300):
        whole = encoded(values)
        for _ in range(150):
            data = bytearray(whole)
            for _ in range(draw.choice([1, 3, 20])):
                data[draw.randrange(len(data))] = draw.randrange(256)
            if draw.random() < 0.3:
                del data[draw.randrange(len(data)) :]
            cell = {"bytes": bytes(data), "path": "x"}
            look = look_at_mask(cell, Form(False))
            try:
                assert decode_mask(cell, '{"0":0}').shape == (look.height, look.width)
                assert look.problem is None
            except DataError:
                refused += 1
                assert look.problem is not None
    assert refused > 50


@given(
    st.lists(st.integers(0, 65535), min_size=1, max_size=20, unique=True),
    st.lists(st.integers(0, 65535), min_size=1, max_size=40),
)
def test_decoding_is_looking_every_pixel_up(mapped: list[int], pixels: list[int]) -> None:
    chosen = {str(value): number for number, value in enumerate(mapped)}
    row = [*pixels, *mapped]
    cell = {"bytes": encoded(np.array([row], dtype=np.uint16)), "path": None}
    assert decode_mask(cell, json.dumps(chosen)).tolist() == [[chosen.get(str(value), 255) for value in row]]
    look = look_at_mask(cell, Form(False))
    assert dict(zip(look.values.tolist(), look.counts.tolist(), strict=True)) == {v: row.count(v) for v in row}


@given(st.lists(st.integers(0, 2**24 - 1), min_size=1, max_size=30))
def test_colours_are_looked_up_as_exactly_as_values(colours: list[int]) -> None:
    levels = np.array([[[c >> 16, c >> 8 & 255, c & 255] for c in [*colours, 1, 65536]]], dtype=np.uint8)
    mask_map = {"#000001": 7, "#010000": 8} | {f"#{c:06x}": 9 for c in colours[::2]}
    expected = [mask_map.get(f"#{c:06x}", 255) for c in [*colours, 1, 65536]]
    assert decode_mask({"bytes": encoded(levels), "path": None}, json.dumps(mask_map)).tolist() == [expected]


def camvid_colours(values: NDArray[np.uint8]) -> Image.Image:
    table = [
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (0, 0, 192),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
        (0, 0, 0),
    ]
    return Image.fromarray(np.array(table, dtype=np.uint8)[values])


def looks_smoothed(look: MaskLook, codes: NDArray[np.int64]) -> bool:
    unknown = ~np.isin(look.values, codes)
    return is_smoothed(look.values[unknown], look.counts[unknown], codes)


def test_the_camvid_pack_is_clean_but_for_its_imbalance(shared_data: Path) -> None:
    tables, found = audited(shared_data / "camvid")
    assert {split: len(rows) for split, rows in tables.splits.items()} == {"train": 150, "validation": 40, "test": 60}
    assert {code: f.level for code, f in found.items()} == {"class-imbalance": "note", "unscored-pixels": "note"}
    assert "'road' (32.2% of training pixels), has 86 times" in found["class-imbalance"].message
    raw = np.zeros(256, dtype=np.int64)
    for file in (shared_data / "camvid/train/masks").glob("*.png"):
        raw += np.bincount(np.asarray(Image.open(file)).reshape(-1), minlength=256)
    assert facts_of(tables)["train_counts"] == raw[:11].tolist()
    assert raw[12:].sum() == 0
    assert tables.splits["train"][0][CONTENT] != tables.splits["train"][1][CONTENT]
    assert strata(tables.splits["test"]) == strata(read(shared_data / "camvid").splits["test"])


def test_camvid_masks_in_its_own_colours_are_the_same_and_smoothed_ones_are_known(
    shared_data: Path, tmp_path: Path
) -> None:
    files = sorted((shared_data / "camvid/train/masks").glob("*.png"))[::50]
    names = ["sky", "building", "pole", "road", "walk", "tree", "sign", "fence", "car", "man", "bike", "Void"]
    values = np.arange(12, dtype=np.uint8).reshape(1, 12)
    colours = np.asarray(camvid_colours(values))[0]
    lines = [f"{r} {g} {b}\t{name}" for (r, g, b), name in zip(colours.tolist(), names, strict=True)]
    (tmp_path / "label_colors.txt").write_text("\n".join(lines))
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for file in files:
        raw = np.asarray(Image.open(file))
        camvid_colours(raw).save(tmp_path / f"masks/{file.stem}_L.png")
        (tmp_path / f"images/{file.stem}.png").write_bytes(picture(len(file.stem)))
    tables = read(tmp_path)
    assert tables.names == tuple(names[:11])
    codes = np.sort(colours.astype(np.int64) @ np.array([65536, 256, 1]))
    for file, row in zip(files, tables.splits["train"], strict=True):
        raw = np.asarray(Image.open(file))
        assert np.array_equal(
            decode_mask(row["mask"], row["mask_map"], strict=True).numpy(), np.where(raw == 11, 255, raw)
        )
        whole = camvid_colours(raw)
        for made in (
            whole.resize((300, 200), Image.Resampling.BILINEAR),
            whole.resize((960, 720), Image.Resampling.BICUBIC),
        ):
            look = look_at_mask({"bytes": encoded(np.asarray(made)), "path": None}, Form(True))
            assert looks_smoothed(look, codes)
        jpeg = np.asarray(Image.open(io.BytesIO(encoded(np.asarray(whole), "JPEG", quality=75))))
        look = look_at_mask({"bytes": encoded(jpeg), "path": None}, Form(True))
        assert looks_smoothed(look, codes)
    random_colours = np.random.default_rng(0).integers(0, 2**24, 200)
    assert not is_smoothed(random_colours, np.ones(200, np.int64), codes)


def test_a_split_without_a_picture_that_can_be_read_is_an_error_too(tmp_path: Path) -> None:
    plant(tmp_path, {"train/a": blocks(0, 1), "test/b": blocks(0, 1)})
    (tmp_path / "test/images/b.png").write_bytes(b"no picture")
    tables, found = audited(tmp_path)
    assert found["split-without-usable-rows"].where == ("test",)
    assert {split: len(rows) for split, rows in tables.splits.items()} == {"train": 1, "test": 0}
    assert strata(tables.splits["test"]) == []
    fingerprint(tables)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_mask_of_the_upright_picture_fits_a_picture_that_exif_turns(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    upright = blocks(0, 1).T if orientation == 6 else blocks(0, 1)
    plant(tmp_path, {"train/a": upright, "test/b": blocks(0, 1)})
    (tmp_path / "train/images/a.png").unlink()
    (tmp_path / "train/images/a.jpg").write_bytes(encoded(pixels, "JPEG", exif=exif))
    tables, found = audited(tmp_path)
    assert len(tables.splits["train"]) == 1
    row = tables.splits["train"][0]
    assert (row["width"], row["height"]) == ((24, 32) if orientation == 6 else (32, 24))
    assert ("exif-turn-unsure" in found) == (orientation == 3)
