"""Which values in masks are classes: heaps, grey levels, palettes, lossy formats, and pixels that nobody scores."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from graftwork.errors import DataError
from graftwork.interfaces import DataRequest, Finding, Tables
from graftwork_segmentation.audit import audit_segmentation
from graftwork_segmentation.guess import are_levels
from graftwork_segmentation.masks import decode_mask
from graftwork_segmentation.read import read_segmentation

SIZE = (96, 64)


def shapes(seed: int, levels: Sequence[int], size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """A disc or a square of every level but the first, on the first."""
    draw = np.random.default_rng(seed)
    width, height = size
    y, x = np.mgrid[:height, :width]
    pixels = np.full((height, width), levels[0], dtype=np.uint8)
    for number, level in enumerate(levels[1:]):
        middle, across = draw.uniform(0.3, 0.7) * height, (number + draw.uniform(0.35, 0.65)) * width / len(levels[1:])
        radius = draw.uniform(0.15, 0.2) * height
        away = np.hypot(x - across, y - middle) if seed % 2 else np.maximum(abs(x - across), abs(y - middle))
        pixels[away < radius] = level
    return pixels


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def plant(
    root: Path, masks: Sequence[bytes], suffix: str = ".png", labels: str = "", size: tuple[int, int] = SIZE
) -> Path:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(masks):
        noise = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        (root / f"images/{number}.jpg").write_bytes(saved(Image.fromarray(noise), "JPEG"))
        (root / f"masks/{number}{suffix}").write_bytes(data)
    if labels:
        (root / "labels.yaml").write_text(labels)
    return root


def read(root: Path, **options: Any) -> tuple[Tables, dict[str, Finding]]:
    tables = read_segmentation(DataRequest(str(root), options=options))
    whole, found = audit_segmentation(tables)
    return whole, {finding.code: finding for finding in (*tables.findings, *found)}


def decoded(tables: Tables) -> list[NDArray[np.uint8]]:
    return [decode_mask(row["mask"], row["mask_map"], strict=True).numpy() for row in tables.splits["train"]]


def jpeg(quality: int) -> Callable[[NDArray[np.uint8]], Image.Image]:
    return lambda pixels: Image.open(io.BytesIO(saved(Image.fromarray(pixels), "JPEG", quality=quality)))


def halved(kind: Image.Resampling) -> Callable[[NDArray[np.uint8]], Image.Image]:
    """Twice as large once, then made smaller with a filter."""

    def make(pixels: NDArray[np.uint8]) -> Image.Image:
        large = Image.fromarray(pixels.repeat(3, axis=0).repeat(3, axis=1))
        return large.resize((large.width // 3 - 3, large.height // 3 - 2), kind).resize(SIZE, kind)

    return make


HARMED = {
    "JPEG 97": jpeg(97),
    "JPEG 75": jpeg(75),
    "JPEG 40": jpeg(40),
    "bilinear": halved(Image.Resampling.BILINEAR),
    "bicubic": halved(Image.Resampling.BICUBIC),
    "Lanczos": halved(Image.Resampling.LANCZOS),
}
LEVELS = [(0, 255), (0, 128, 255), (0, 85, 170, 255)]


@pytest.mark.parametrize("levels", LEVELS, ids=str)
@pytest.mark.parametrize("harm", HARMED)
def test_values_in_heaps_are_no_classes_and_the_option_says_which_are(
    tmp_path: Path, harm: str, levels: tuple[int, ...]
) -> None:
    clean = [shapes(seed, levels) for seed in range(6)]
    plant(tmp_path, [saved(HARMED[harm](pixels), "PNG") for pixels in clean])
    with pytest.raises(DataError, match=r"in heaps around 0, .*--set task_options.mask_values=nearest") as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)
    tables, found = read(tmp_path, mask_values="nearest")
    assert np.allclose([int(name) for name in tables.names], levels, atol=2)
    assert found["nearest-mask-value"].count == 6
    for mask, pixels in zip(decoded(tables), clean, strict=True):
        assert (mask == np.searchsorted(levels, pixels)).mean() > 0.97


@pytest.mark.parametrize(
    "levels",
    [(0, 1), (0, 255), (0, 1, 2, 255), tuple(range(20)), (0, 40, 80, 120), (7, 8, 21, 24, 26, 33), (0, 128, 255)],
)
@pytest.mark.parametrize("thin", [False, True])
def test_clean_masks_have_no_heaps(tmp_path: Path, levels: tuple[int, ...], thin: bool) -> None:
    masks = [shapes(seed, levels, (320, 64)) for seed in range(5)]
    if thin:  # wires and poles: lines of one pixel
        for mask in masks:
            mask[:, ::16] = levels[-1]
    tables, _ = read(plant(tmp_path, [saved(Image.fromarray(mask), "PNG") for mask in masks], size=(320, 64)))
    void = levels[-1] == 255 and levels[-2] == 2
    assert tables.names == tuple(str(level) for level in levels)[: -1 if void else None]


LOSSY: dict[str, tuple[str, str, dict[str, Any]]] = {
    "JPEG, grey": ("L", "JPEG", {}),
    "JPEG, RGB": ("RGB", "JPEG", {"quality": 60}),
    "JPEG, fine": ("RGB", "JPEG", {"quality": 100}),
    "JPEG, 4:2:0": ("RGB", "JPEG", {"subsampling": 2, "quality": 30}),
    "WebP": ("RGB", "WEBP", {"quality": 70}),
    "TIFF": ("L", "TIFF", {"compression": "jpeg"}),
}


@pytest.mark.parametrize("form", LOSSY)
def test_masks_in_lossy_formats_are_cut_at_the_middle_when_asked(tmp_path: Path, form: str) -> None:
    mode, kind, options = LOSSY[form]
    clean = [shapes(seed, (0, 255)) for seed in range(4)]
    masks = [saved(Image.fromarray(pixels).convert(mode), kind, **options) for pixels in clean]
    plant(tmp_path, masks, {"JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif"}[kind])
    with pytest.raises(DataError, match=r"none of the 4 masks can be read.*--set task_options.mask_values=nearest"):
        read(tmp_path)
    tables, _ = read(tmp_path, mask_values="nearest")
    assert tables.names == ("0", "255")
    for mask, pixels in zip(decoded(tables), clean, strict=True):
        assert (mask == pixels // 255).mean() > 0.97


def test_lossy_masks_of_several_classes_take_the_nearest_value_or_colour_that_is_named(tmp_path: Path) -> None:
    levels = (0, 60, 120, 180, 240)
    clean = [shapes(seed, levels) for seed in range(4)]
    labels = "".join(f"{level}: c{level}\n" for level in levels)
    plant(tmp_path / "grey", [saved(Image.fromarray(p), "JPEG", quality=90) for p in clean], ".jpg", labels)
    table = np.array([[0, 0, 0], [200, 30, 30], [30, 200, 30], [30, 30, 220], [220, 220, 40]], dtype=np.uint8)
    coloured = [Image.fromarray(table[np.searchsorted(levels, pixels)]) for pixels in clean]
    labels = "".join(f'"{r} {g} {b}": c{level}\n' for (r, g, b), level in zip(table.tolist(), levels, strict=True))
    plant(tmp_path / "colour", [saved(im, "JPEG", quality=90, subsampling=0) for im in coloured], ".jpg", labels)
    for kind in ("grey", "colour"):
        _, found = read(tmp_path / kind)
        assert "mask_values=nearest" in found["jpeg-mask"].message
        assert "mask_values=nearest" in found["split-without-usable-rows"].message
        tables, _ = read(tmp_path / kind, mask_values="nearest")
        assert tables.names == tuple(f"c{level}" for level in levels)
        for mask, pixels in zip(decoded(tables), clean, strict=True):
            assert (mask == np.searchsorted(levels, pixels)).mean() > 0.93


def test_colours_in_heaps_are_no_classes_either(tmp_path: Path) -> None:
    table = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], dtype=np.uint8)
    images = [Image.fromarray(table[shapes(seed, (0, 1, 2))]) for seed in range(3)]
    harmed = [Image.open(io.BytesIO(saved(image, "JPEG", quality=95, subsampling=0))) for image in images]
    plant(tmp_path, [saved(image, "PNG") for image in harmed])
    with pytest.raises(DataError, match="colours in heaps around #000000"):
        read(tmp_path)
    tables, _ = read(tmp_path, mask_values="nearest")
    assert len(tables.names) == 3
    for mask, image in zip(decoded(tables), images, strict=True):
        reds = np.asarray(image)[..., 0] > 0
        assert (mask[reds] == np.bincount(mask[reds]).argmax()).mean() > 0.95


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([0, 128, 255], 3),
        ([0, 127, 255], 3),
        ([0, 85, 170, 255], 4),
        ([0, 64, 128, 191, 255], 5),
        ([0, 51, 102, 153, 204, 255], 6),
        ([0, 100, 255], 3),
        ([0, 50, 100, 150, 255], 5),
        ([127, 255], 2),
        ([0, 15, 255], 2),
        ([0, 1, 255], 2),
        ([0, 1, 2, 3, 255], 4),
        ([0, 7, 19, 24, 255], 4),
        ([5, 6, 254, 255], 3),
    ],
    ids=str,
)
def test_255_is_a_class_among_grey_levels_and_void_among_numbers(
    tmp_path: Path, values: list[int], classes: int
) -> None:
    tables, found = read(plant(tmp_path, [saved(Image.fromarray(shapes(seed, values)), "PNG") for seed in range(5)]))
    assert len(tables.names) == classes
    assert are_levels(values) == (classes == len(values))
    assert ("unscored-pixels" in found) == (classes < len(values))
    if classes < len(values):
        unscored = found["unscored-pixels"]
        share = np.mean([(shapes(seed, values) == 255).mean() for seed in range(5)])
        assert unscored.level == "warning"  # nobody said that 255 is void
        assert unscored.message.startswith(f"{100 * share:.1f} % of all pixels are not scored")
        assert unscored.where[0].startswith("255 (")


def test_unscored_pixels_that_the_label_map_names_are_a_note(tmp_path: Path) -> None:
    masks = [saved(Image.fromarray(shapes(seed, (0, 1, 9, 255))), "PNG") for seed in range(5)]
    _, found = read(plant(tmp_path, masks, labels="0: sky\n1: road\nignore: [255]\n"))
    assert found["unscored-pixels"].level == "note"
    assert {where.split(" (")[0] for where in found["unscored-pixels"].where} == {"255", "values outside the label map"}


def test_masks_of_0_and_1_beside_masks_of_0_and_255_are_asked_about(tmp_path: Path) -> None:
    arrays = [shapes(seed, (0, 1 if seed % 2 else 255)) for seed in range(4)]
    plant(tmp_path, [saved(Image.fromarray(pixels), "PNG") for pixels in arrays])
    with pytest.raises(DataError, match="2 of its masks have the values 0 and 1, 2 have 0 and 255") as caught:
        read(tmp_path)
    assert caught.value.hint is not None
    (tmp_path / "labels.yaml").write_text("0: background\n1: object\n255: object\n")
    assert [mask.sum() for mask in decoded(read(tmp_path)[0])] == [(pixels > 0).sum() for pixels in arrays]


COLOURS = np.array([[0, 0, 0], [250, 50, 83], [51, 221, 255], [40, 200, 40]], dtype=np.uint8)


def quantised(seed: int) -> Image.Image:
    """Two or three of four classes, each with the index that a palette of its own gives it."""
    present = [0, 1 + seed % 3] if seed % 2 else [0, 1 + seed % 3, 1 + (seed + 1) % 3]
    return Image.fromarray(COLOURS[shapes(seed, present)]).quantize(len(present), dither=Image.Dither.NONE)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF"])
def test_palettes_that_differ_from_mask_to_mask_are_seen_and_colours_used(tmp_path: Path, kind: str) -> None:
    images = [quantised(seed) for seed in range(8)]
    plant(tmp_path, [saved(image, kind) for image in images], f".{kind.lower()}")
    tables, found = read(tmp_path)
    assert found["palettes-differ"].level == "warning"
    assert set(tables.names) == {f"#{r:02x}{g:02x}{b:02x}" for r, g, b in COLOURS.tolist()}
    for mask, image in zip(decoded(tables), images, strict=True):
        colours = np.array([[int(n[1:3], 16), int(n[3:5], 16), int(n[5:], 16)] for n in tables.names])
        assert np.array_equal(colours[mask], np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("labels", ["", "0: sky\n1: road\n2: car\n3: man\n"])
def test_grey_palettes_that_differ_are_read_by_their_levels(tmp_path: Path, labels: str) -> None:
    """What GIF makes of masks with values: it keeps the levels that occur, and numbers them anew."""
    masks = []
    for seed in range(8):
        levels = np.sort([0, 1 + seed % 3, 1 + (seed + 1) % 3])
        indices = Image.fromarray(shapes(seed, (0, 1, 2)))
        indices.putpalette(np.repeat(levels, 3).tolist())
        masks.append((saved(indices, "PNG"), levels[shapes(seed, (0, 1, 2))]))
    tables, found = read(plant(tmp_path, [data for data, _ in masks], labels=labels))
    assert found["palettes-differ"].level == "warning"
    assert len(tables.names) == 4
    assert all(np.array_equal(mask, values) for mask, (_, values) in zip(decoded(tables), masks, strict=True))


def test_a_label_map_of_indices_and_palettes_that_differ_is_a_warning(tmp_path: Path) -> None:
    plant(tmp_path, [saved(quantised(seed), "PNG") for seed in range(6)], labels="0: a\n1: b\n2: c\n")
    assert 'write colours ("#rrggbb": name)' in read(tmp_path)[1]["palettes-differ"].message


def test_palettes_that_differ_where_no_pixel_is_do_not_matter(tmp_path: Path) -> None:
    images = [Image.fromarray(shapes(seed, (0, 1, 2))) for seed in range(5)]
    for seed, image in enumerate(images):
        image.putpalette([*COLOURS[:3].reshape(-1).tolist(), seed, seed, seed])
    tables, found = read(plant(tmp_path, [saved(image, "PNG") for image in images]))
    assert tables.names == ("0", "1", "2")
    assert "palettes-differ" not in found


@pytest.mark.parametrize("scale", [2, 0.5, 1.37, 0.31, 3])
def test_masks_of_the_same_shape_and_another_size_are_scaled_when_asked(tmp_path: Path, scale: float) -> None:
    size = (round(SIZE[0] * scale), round(SIZE[1] * scale))
    clean = [shapes(seed, (0, 1, 2)) for seed in range(5)]
    resized = [Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST) for pixels in clean]
    plant(tmp_path, [saved(image, "PNG") for image in resized], labels="0: a\n1: b\n2: c\n")
    _, found = read(tmp_path)
    assert found["mask-size-differs"].count == 5
    assert "--set task_options.mask_size=scale" in found["split-without-usable-rows"].message
    tables, found = read(tmp_path, mask_size="scale")
    assert "mask-size-differs" not in found
    for row, pixels in zip(tables.splits["train"], clean, strict=True):
        mask = decode_mask(row["mask"], row["mask_map"], shape=(SIZE[1], SIZE[0])).numpy()
        assert mask.shape == pixels.shape
        assert (mask == pixels).mean() > 0.93
        assert abs(sum(row["class_pixels"]) - pixels.size) <= 3


@pytest.mark.parametrize("size", [(64, 96), (96, 96), (96, 60), (200, 64)])
def test_masks_of_another_shape_are_not_scaled(tmp_path: Path, size: tuple[int, int]) -> None:
    plant(tmp_path, [saved(Image.fromarray(shapes(0, (0, 1), size)), "PNG")] * 2, labels="0: a\n1: b\n")
    _, found = read(tmp_path, mask_size="scale")
    assert found["mask-size-differs"].count == 2
    assert "mask_size" not in found["mask-size-differs"].message


def test_whole_numbers_that_were_saved_as_floats_are_values(tmp_path: Path) -> None:
    clean = [shapes(seed, (0, 1, 2)) for seed in range(4)]
    plant(tmp_path, [saved(Image.fromarray(pixels.astype(np.float32)), "TIFF") for pixels in clean], ".tif")
    tables, _ = read(tmp_path)
    assert tables.names == ("0", "1", "2")
    assert all(np.array_equal(mask, pixels) for mask, pixels in zip(decoded(tables), clean, strict=True))
    soft = Image.fromarray(clean[0].astype(np.float32) / 2)
    plant(tmp_path, [saved(soft, "TIFF")] * 4, ".tif")
    with pytest.raises(DataError, match="floating-point numbers that are not whole"):
        read(tmp_path)
