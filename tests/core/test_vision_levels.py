"""Levels of more than 8 bits become 8 by one range for a data set, whatever file they lie in and whatever one picture holds."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, concatenate_datasets
from numpy.typing import NDArray
from PIL import Image

from graftwork.errors import UsageError
from graftwork.interfaces import Tables
from graftwork.log import heard
from graftwork.vision import kept
from graftwork.vision.audit import check_depths, check_levels, see_pictures
from graftwork.vision.decode import SUFFIXES, decode_rgb
from graftwork.vision.inputs import picture_rows, read_inputs
from graftwork.vision.levels import range_fact, ranges_of
from graftwork.vision.look import look_at

Values = NDArray[np.float64]
SIZE = 40


def saved(image: Image.Image, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def png_colour(values: Values) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = values.shape
    colours = np.repeat(values[..., None], 3, axis=2).astype(">u2")
    lines = b"".join(b"\0" + line.tobytes() for line in colours)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def tiff_colour(values: Values) -> bytes:
    """An uncompressed TIFF of 16 bits a channel."""
    height, width = values.shape
    pixels = np.repeat(values[..., None], 3, axis=2).astype("<u2").tobytes()
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, 134), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 140)]
    tags += [(277, 3, 1, 3), (278, 4, 1, height), (279, 4, 1, len(pixels)), (284, 3, 1, 1)]
    folder = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + struct.pack("<I", 0)
    return (b"II*\0" + struct.pack("<I", 8) + folder).ljust(134, b"\0") + struct.pack("<HHH", 16, 16, 16) + pixels


def png_grey(values: Values) -> bytes:
    return saved(Image.fromarray(values.astype(np.uint16)))


def tiff_grey(values: Values) -> bytes:
    return saved(Image.fromarray(values.astype(np.uint16)), "TIFF")


def tiff_whole(values: Values) -> bytes:
    return saved(Image.fromarray(values.astype(np.int32)), "TIFF")


def tiff_float(values: Values) -> bytes:
    return saved(Image.fromarray(values.astype(np.float32)), "TIFF")


FORMS: dict[str, tuple[Callable[[Values], bytes], float, float]] = {
    "12-bit-png": (png_grey, 200, 1200),
    "12-bit-tiff": (tiff_grey, 0, 4000),
    "offset-camera": (tiff_grey, 30_000, 31_000),
    "whole-16-bit": (png_grey, 0, 65_535),
    "hounsfield": (tiff_whole, -1000, 2000),
    "float-shares": (tiff_float, 0, 1),
    "float-dark": (tiff_float, 0, 0.04),
    "float-counts": (tiff_float, -3, 900),
    "colour-png": (png_colour, 10, 1000),
    "colour-tiff": (tiff_colour, 0, 4095),
}


def pictures(low: float, high: float, count: int = 4) -> list[Values]:
    """Noise of which each picture has another part of the range; together they fill it."""
    draw = np.random.default_rng(0)
    made = []
    for number in range(count):
        ends = low + (high - low) * np.array([number, count]) / (2 * count - 1)
        values = draw.uniform(ends[0], ends[0] + (high - low) * count / (2 * count - 1), (SIZE, SIZE))
        values[0, :8] = low + (high - low) / 2  # the same level in every picture
        made.append(np.clip(values, low, high))
    return made


def rows_of(files: list[bytes]) -> Dataset:
    rows = picture_rows([""] * len(files), [f"{number}.x" for number in range(len(files))])
    cells = Dataset.from_dict(
        {"image": [{"bytes": data, "path": None} for data in files]},
        features=rows.select_columns(["image"]).features,
    )
    return concatenate_datasets([rows.remove_columns("image"), cells], axis=1)


def seen_facts(files: list[bytes]) -> dict[str, object]:
    return range_fact(see_pictures(Tables({"train": rows_of(files)})).tables.splits["train"])


@pytest.mark.parametrize("form", FORMS)
def test_levels_are_kept_by_one_range(form: str) -> None:
    write, low, high = FORMS[form]
    files = [write(values) for values in pictures(low, high)]
    ranges = ranges_of(seen_facts(files))
    decoded = [decode_rgb({"bytes": data}, ranges)[0].numpy() for data in files]
    assert len(np.unique(np.concatenate(decoded))) > 100
    assert len({int(pixels[0, 0]) for pixels in decoded}) == 1, "one level in the files is one level here"
    for values, pixels in zip(pictures(low, high), decoded, strict=True):
        order = values.reshape(-1).argsort(kind="stable")
        assert (np.diff(pixels.reshape(-1)[order].astype(int)) >= -1).all()


@pytest.mark.parametrize("form", FORMS)
def test_one_hot_pixel_changes_no_other(form: str) -> None:
    write, low, high = FORMS[form]
    values = pictures(low, high)
    values[1][5, 5] = min(high * 1.0003 + 0.0003, 65_535) if form == "float-shares" else min(high * 40, 65_535)
    files = [write(picture) for picture in values]
    plain = [write(picture) for picture in pictures(low, high)]
    ranges, usual = ranges_of(seen_facts(files)), ranges_of(seen_facts(plain))
    for data, before in zip(files, plain, strict=True):
        pixels, unchanged = decode_rgb({"bytes": data}, ranges).int(), decode_rgb({"bytes": before}, usual).int()
        difference = (pixels - unchanged).abs()
        difference[:, 5, 5] = 0
        assert int(difference.max()) <= 2


def test_usual_ranges_do_not_depend_on_the_pictures_drawn() -> None:
    assert seen_facts([png_grey(v) for v in pictures(3, 60_000)]) == {"pixel_range": {"integer": [0.0, 65_535.0]}}
    assert seen_facts([png_grey(v) for v in pictures(3, 3900)]) == {"pixel_range": {"integer": [0.0, 4095.0]}}
    assert seen_facts([tiff_float(v) for v in pictures(0.01, 0.98)]) == {"pixel_range": {"float": [0.0, 1.0]}}
    assert seen_facts([tiff_float(v) for v in pictures(3, 240)]) == {"pixel_range": {"float": [0.0, 255.0]}}


def test_pictures_of_8_bits_have_no_range_and_are_as_they_were() -> None:
    draw = np.random.default_rng(0)
    images = [Image.fromarray(draw.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)) for _ in range(3)]
    files = [saved(images[0]), saved(images[1].convert("L")), saved(images[2], "BMP"), saved(images[0].convert("P"))]
    assert seen_facts(files) == {}
    rows = see_pictures(Tables({"train": rows_of(files)})).tables.splits["train"]
    assert sorted(rows.column_names) == ["content", "image", "origin"]
    some = {"integer": (0.0, 4095.0), "float": (0.0, 1.0)}
    for data in files:
        assert torch.equal(decode_rgb({"bytes": data}), decode_rgb({"bytes": data}, some))


def test_without_a_range_a_picture_is_scaled_as_it_always_was() -> None:
    grey = np.arange(SIZE * SIZE, dtype=np.float64).reshape(SIZE, SIZE)
    assert torch.equal(decode_rgb({"bytes": png_grey(grey)})[0], torch.from_numpy(np.rint(grey / 257).astype(np.uint8)))
    shares = grey / grey.max()
    assert int(decode_rgb({"bytes": tiff_float(shares)}).max()) == 255
    assert int(decode_rgb({"bytes": tiff_float(shares * 1.0003)}).max()) == 1
    upper = (grey * 40).astype(np.uint16) >> 8
    assert torch.equal(decode_rgb({"bytes": png_colour(grey * 40)})[0].int(), torch.from_numpy(upper.astype(np.int32)))


def test_findings_name_the_range_mixed_depths_and_few_levels() -> None:
    files = [png_grey(values) for values in pictures(200, 60_000)]
    files += [png_grey(pictures(10, 1200)[0]), saved(Image.new("RGB", (SIZE, SIZE)))]
    found = {finding.code: finding for finding in check_levels(see_pictures(Tables({"train": rows_of(files)})))}
    assert found["deep-image"].level == "note" and "integers 0 to 65535" in found["deep-image"].message
    assert found["mixed-depths"].level == "warning" and found["mixed-depths"].where == ("5.x",)
    assert found["few-levels"].level == "warning" and found["few-levels"].where == ("4.x",)


def test_evaluation_names_pictures_that_the_model_does_not_know() -> None:
    twelve = see_pictures(Tables({"test": rows_of([png_grey(values) for values in pictures(0, 4000)])})).tables
    eight = see_pictures(Tables({"test": rows_of([saved(Image.new("RGB", (SIZE, SIZE)))])})).tables
    floats = see_pictures(Tables({"test": rows_of([tiff_float(pictures(0, 1)[0])])})).tables

    def codes(tables: Tables, facts: dict[str, object]) -> list[str]:
        return [finding.code for finding in check_depths(tables, facts)]

    knows = {"pixel_range": {"integer": [0, 4095]}}
    assert codes(twelve, knows) == codes(eight, {}) == []
    assert codes(twelve, {}) == codes(eight, knows) == codes(floats, knows) == ["other-depth"]
    assert codes(twelve, {"pixel_range": {"integer": [0, 65535]}}) == ["few-levels"]


@pytest.mark.parametrize(
    "damaged", [3, [0, 1], {"integer": 3}, {"integer": [2, 1]}, {"integer": ["a", "b"]}, {"float": [0, float("inf")]}]
)
def test_a_damaged_range_is_an_error_in_one_line(damaged: object) -> None:
    with pytest.raises(UsageError, match="pixel_range"):
        ranges_of({"pixel_range": damaged})


def test_kept_pixels_are_kept_under_their_range() -> None:
    rows = rows_of([png_grey(pictures(0, 4000)[0])])
    ranges = [{}, {"integer": (0.0, 4095.0)}, {"integer": (0.0, 65_535.0)}]
    stores = [kept.KeptPixels(rows, "as they are", 1, some) for some in ranges]
    assert len({store._made for store in stores} | {store.remade("smaller")._made for store in stores}) == 6
    assert stores[0]._made == "as they are"


def test_predicting_says_what_the_model_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "deep.png").write_bytes(png_grey(pictures(0, 4000)[0]))
    (tmp_path / "plain.png").write_bytes(saved(Image.new("RGB", (SIZE, SIZE))))
    (tmp_path / "plain.jpg").write_bytes(saved(Image.new("RGB", (SIZE, SIZE)), "JPEG"))
    frames = [Image.new("L", (SIZE, SIZE), level) for level in (0, 90, 200)]
    for name in ("pages.tif", "moving.gif", "moving.webp", "moving.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    lines: list[str] = []
    with heard(lines.append):
        read_inputs([str(tmp_path)], {})
        read_inputs([str(tmp_path / "deep.png")], {"pixel_range": {"integer": [0, 4095]}})
        read_inputs([str(tmp_path / "plain.jpg")], {"pixel_range": {"integer": [0, 4095]}})
    assert len(lines) == 3
    assert "more than 8 bits" in lines[0] and lines[0].endswith(f": 1 ({tmp_path / 'deep.png'})")
    assert "several frames or pages" in lines[1] and ": 4 (" in lines[1]
    assert "another depth" in lines[2] and "plain.jpg" in lines[2]


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *(("a.jfif", "JPEG"), ("a.JFI", "JPEG"), ("a.pjpeg", "JPEG")),
        *(("a.avif", "AVIF"), ("a.jp2", "JPEG2000"), ("a.j2k", "JPEG2000")),
    ],
)
def test_every_suffix_of_pictures_is_one(tmp_path: Path, name: str, form: str) -> None:
    (tmp_path / name).write_bytes(saved(Image.new("RGB", (SIZE, SIZE), "red"), form))
    assert Path(name).suffix.lower() in SUFFIXES
    (row,) = read_inputs([str(tmp_path)], {})
    assert look_at(row["image"]).problem is None
    assert int(decode_rgb(row["image"])[0].min()) > 240


def test_pictures_under_other_names_are_told(tmp_path: Path) -> None:
    image = Image.new("RGB", (SIZE, SIZE))
    (tmp_path / "a.png").write_bytes(saved(image))
    (tmp_path / "b.img").write_bytes(saved(image, "JPEG"))
    (tmp_path / "download").write_bytes(saved(image))
    (tmp_path / "c.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "notes.txt").write_text("no picture")
    lines: list[str] = []
    with heard(lines.append):
        assert len(read_inputs([str(tmp_path)], {})) == 1
    assert len(lines) == 2
    assert ".img" in lines[0] and "no suffix" in lines[0] and ": 2 (" in lines[0]
    assert "HEIC: .heic" in lines[1] and "PNG" in lines[1]


GAPS: dict[str, tuple[float, float, float]] = {
    "nan": (np.nan, 200, 300),
    "infinity": (np.inf, 0, 1),
    "largest float": (-3.4028235e38, 0, 1),
    "-9999": (-9999, 10, 900),
    "-32768": (-32768, -50, 2000),
    "-9999 beside fractions": (-9999, 0, 1),
}


@pytest.mark.parametrize("name", GAPS)
def test_pixels_without_a_value_do_not_stretch_the_range_and_are_told(name: str) -> None:
    gap, low, high = GAPS[name]
    values = np.random.default_rng(0).uniform(low, high, (SIZE, SIZE))
    values[:10, :10] = gap
    data = {"float": tiff_float(values)}
    if np.isfinite(gap) and gap > -1e30 and high > 1:
        data["integer"] = tiff_whole(values)
    for kind, content in data.items():
        seen = see_pictures(Tables({"train": rows_of([content, tiff_float(values[::-1])][: 1 + (kind == "float")])}))
        (start, end) = range_fact(seen.tables.splits["train"])["pixel_range"][kind]
        assert start >= min(low, 0) - 1 and end <= (1023 if high == 900 else high)  # of 10 bits, which 10 to 900 fill
        assert {finding.code for finding in check_levels(seen)} >= {"no-value-pixels"}
        pixels = decode_rgb({"bytes": content, "path": None}, {kind: (start, end)})
        assert int(pixels[:, :10, :10].max()) == 0 and len(pixels.unique()) > 40


def test_gdals_value_for_no_data_is_no_level() -> None:
    values = np.random.default_rng(0).uniform(0.4, 0.6, (SIZE, SIZE)).astype(np.float32)
    values[:10] = -1
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "TIFF", tiffinfo={42113: "-1"})
    assert look_at({"bytes": buffer.getvalue(), "path": None}).levels[0] > 0.39
    real = look_at({"bytes": tiff_float(np.linspace(-10_000, -9_000, SIZE * SIZE).reshape(SIZE, SIZE)), "path": None})
    assert real.levels[0] < -9990 and "gaps" not in real.traits, "depths of the sea are values"


MARKS = {
    "uint16 65535": (np.uint16, 65535, 200, 900),
    "uint16 0": (np.uint16, 0, 30_000, 33_000),
    "int16 -1": (np.int32, -1, 200, 900),
    "int32 lowest": (np.int32, -(2**31), 200, 900),
    "uint16 9999": (np.uint16, 9999, 200, 900),
    "float 0": (np.float32, 0, 0.4, 0.6),
}


@pytest.mark.parametrize("name", MARKS)
def test_gdals_value_for_no_data_is_a_gap_in_whole_numbers_too(name: str) -> None:
    kind, mark, low, high = MARKS[name]
    values = np.random.default_rng(0).uniform(low, high, (SIZE, SIZE)).astype(kind)
    values[:10] = mark
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "TIFF", tiffinfo={42113: f"{mark}"})
    seen = see_pictures(Tables({"train": rows_of([buffer.getvalue()])}))
    ((start, end),) = range_fact(seen.tables.splits["train"])["pixel_range"].values()
    assert end <= max(1023, high) and start >= min(low, 0)
    assert {finding.code for finding in check_levels(seen)} >= {"no-value-pixels"}
    ranges = range_fact(seen.tables.splits["train"])["pixel_range"]
    pixels = decode_rgb({"bytes": buffer.getvalue(), "path": None}, ranges)
    assert int(pixels[:, :10].max()) == 0 and len(pixels.unique()) > 40


def test_a_mark_that_no_pixel_has_changes_nothing() -> None:
    values = np.random.default_rng(0).integers(200, 900, (SIZE, SIZE)).astype(np.uint16)
    plain, marked = io.BytesIO(), io.BytesIO()
    Image.fromarray(values).save(plain, "TIFF")
    Image.fromarray(values).save(marked, "TIFF", tiffinfo={42113: "-9999"})
    looks = [look_at({"bytes": one.getvalue(), "path": None}) for one in (plain, marked)]
    assert looks[0].levels == looks[1].levels and "gaps" not in looks[1].traits


def test_a_picture_without_any_value_is_told_and_leaves_the_range_alone() -> None:
    empty, full = np.full((SIZE, SIZE), np.nan), np.random.default_rng(0).uniform(200, 300, (SIZE, SIZE))
    seen = see_pictures(Tables({"train": rows_of([tiff_float(empty), tiff_float(full)])}))
    assert range_fact(seen.tables.splits["train"])["pixel_range"]["float"][0] > 199
    assert {finding.code for finding in check_levels(seen)} >= {"no-value-pixels", "few-levels"}
