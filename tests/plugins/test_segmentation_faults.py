"""A seeded data set with every fault that the audit looks for, each at a known place: N of N named, none on its clean form."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from graftwork.interfaces import DataRequest, Finding, Tables
from graftwork_segmentation.audit import audit_segmentation
from graftwork_segmentation.masks import decode_mask
from graftwork_segmentation.read import read_segmentation

SIZE = (64, 48)
VALUES = {"sky": 0, "road": 1, "car": 2}
COLOURS = {0: (70, 130, 180), 1: (128, 64, 128), 2: (0, 0, 142)}
VALUE_MAP = "0: sky\n1: road\n2: car\nignore: [255]\n"
COLOUR_MAP = '"70 130 180": sky\n"128 64 128": road\n"0 0 142": car\n"0 0 0": void\nignore: [void]\n'

Files = Mapping[str, Image.Image | bytes | str]


def picture(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def stripes(seed: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """Three classes in stripes of seeded widths, uint8 [height, width]."""
    width, height = size
    rng = np.random.default_rng(seed)
    first, second = sorted(rng.integers(width // 4, 3 * width // 4, 2).tolist())
    row = np.repeat(np.array([0, 1, 2], np.uint8), [first, max(second - first, 4), width])[:width]
    return np.tile(row, (height, 1))


def mask(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    return Image.fromarray(stripes(seed, size))


def coloured(seed: int) -> Image.Image:
    table = np.array([COLOURS[value] for value in range(3)], dtype=np.uint8)
    return Image.fromarray(table[stripes(seed)])


def spot(seed: int, value: int, pixels: int) -> Image.Image:
    """A mask with so many pixels of another value."""
    values = stripes(seed)
    values.reshape(-1)[:pixels] = value
    return Image.fromarray(values)


def even(value: int) -> Image.Image:
    return Image.new("L", SIZE, value)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(seed: int, orientation: int, size: tuple[int, int] = SIZE) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture(seed, size), "JPEG", exif=exif, quality=95)


def plant(root: Path, files: Files) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Image.Image):
            content = encoded(content) if path.suffix == ".png" else encoded(content, "JPEG", quality=95)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def pair(name: str, image: Image.Image | bytes, target: Image.Image | bytes) -> Files:
    split, _, stem = name.partition("/")
    return {f"{split}/images/{stem}.jpg": image, f"{split}/masks/{stem}.png": target}


def clean(root: Path, make: Any = mask, labels: str = VALUE_MAP) -> Path:
    seed = 0
    for split in ("train", "validation", "test"):
        for number in range(6):
            seed += 1
            plant(root, pair(f"{split}/{number}", picture(seed), make(seed)))
    return plant(root, {"labels.yaml": labels})


def audited(root: Path) -> tuple[Tables, dict[str, Finding]]:
    tables = read_segmentation(DataRequest(str(root)))
    tables, findings = audit_segmentation(tables)
    return tables, {finding.code: finding for finding in (*tables.findings, *findings)}


@pytest.mark.parametrize(("make", "labels"), [(mask, VALUE_MAP), (coloured, COLOUR_MAP)], ids=["values", "colours"])
def test_clean_data_gives_no_finding_and_keeps_every_row(tmp_path: Path, make: Any, labels: str) -> None:
    tables, found = audited(clean(tmp_path, make, labels))
    assert found == {}
    assert [len(rows) for rows in tables.splits.values()] == [6, 6, 6]


# Code -> files, what its finding names, and how many it counts.
FAULTS: dict[str, tuple[Files, str, int]] = {
    "image-without-mask": ({"train/images/bare.jpg": picture(100)}, "train/images/bare.jpg", 1),
    "mask-without-image": ({"test/masks/lone.png": mask(101)}, "test/masks/lone.png", 1),
    "unreadable-image": (
        pair("train/cut", encoded(picture(102), "JPEG")[:-300], mask(102)),
        "train/images/cut.jpg",
        1,
    ),
    "empty-file": (pair("train/zero", b"", mask(103)), "train/images/zero.jpg", 1),
    "not-an-image": (pair("train/text", b"some text\n" * 9, mask(104)), "train/images/text.jpg (text)", 1),
    "unreadable-mask": (
        {
            **pair("train/torn", picture(105), encoded(mask(105))[:80]),
            **pair("train/hollow", picture(106), b""),
        },
        "train/images/hollow.jpg (is empty (zero bytes))",
        2,
    ),
    "jpeg-mask": (
        pair("train/lossy", picture(107), encoded(mask(107), "JPEG")),
        "train/images/lossy.jpg (is a JPEG, which changes the values of a mask)",
        1,
    ),
    "mask-of-other-kind": (
        pair("train/colour", picture(108), coloured(108)),
        "train/images/colour.jpg (is in colour, and the label map has values)",
        1,
    ),
    "mask-size-differs": (
        {
            **pair("train/small", picture(109), mask(109, (32, 24))),
            **pair("train/turned", turned(110, 6), mask(110)),
        },
        "train/images/turned.jpg (picture 48×64, mask 64×48: the mask lies as the picture is stored, and EXIF turns the picture",
        2,
    ),
    "all-void-mask": (pair("train/void", picture(111), even(255)), "train/images/void.jpg", 1),
    "one-class-mask": (pair("train/plain", picture(112), even(1)), "train/images/plain.jpg (road)", 1),
    "unknown-mask-value": (
        {**pair("train/seven", picture(113), spot(113, 7, 40)), **pair("test/seven", picture(114), spot(114, 7, 2))},
        "7 (42 pixels, masks: 2, first train/images/seven.jpg)",
        2,
    ),
    "exif-turn-unsure": (pair("train/upside", turned(115, 3), mask(115)), "train/images/upside.jpg", 1),
    "exif-rotated-image": ({}, "train/images/upside.jpg", 1),
    "duplicate-across-splits": (
        {**pair("train/leak", picture(116), mask(116)), **pair("test/same", picture(116), mask(116))},
        "train: train/images/leak.jpg (mask ",
        1,
    ),
    "duplicate-with-other-label": (
        {**pair("train/twice", picture(117), mask(117)), **pair("train/again", picture(117), mask(118))},
        "train: train/images/again.jpg (mask ",
        1,
    ),
    "duplicate-within-split": (
        {**pair("train/same1", picture(140), mask(140)), **pair("train/same2", picture(140), mask(140))},
        "train: train/images/same1.jpg (mask ",
        1,
    ),
    "near-duplicate-across-splits": (
        {
            **pair("train/shot", picture(119, (128, 96)), mask(119, (128, 96))),
            **pair("validation/copy", encoded(picture(119, (128, 96)), "JPEG", quality=40), mask(120, (128, 96))),
        },
        "train: train/images/shot.jpg ~ validation: validation/images/copy.jpg",
        1,
    ),
    "class-missing-in-split": (
        {f"{split}/masks/{n}.png": Image.fromarray(stripes(n) // 2 * 2) for split in ("validation",) for n in range(6)}
        | {"validation/masks/copy.png": Image.fromarray(stripes(120, (128, 96)) // 2 * 2)},
        "road",
        1,
    ),
    "label-in-one-split-only": (pair("test/owl", picture(121), spot(121, 3, 90)), "owl (only test)", 2),
    "few-rows": (pair("train/elk", picture(122), spot(122, 4, 30)), "elk (1)", 1),
    "class-imbalance": ({}, "elk", 4),
    "empty-class": ({}, "unicorn", 1),
    "similar-class-names": ({}, "'unicorn' / 'Unicorn'", 1),
    "grey-mask-as-rgb": (pair("train/rgb", picture(123), mask(123).convert("RGB")), "train/images/rgb.jpg", 1),
    "unscored-pixels": ({}, "values outside the label map (", 2),
    "hidden-files": ({"train/masks/.DS_Store": b"x"}, "train/masks/.DS_Store", 1),
    "other-files": ({"train/images/notes.txt": "x"}, "train/images/notes.txt", 1),
    "mask-by-suffix": (
        {"train/images/named.jpg": picture(124), "train/masks/named_gt.png": mask(124)},
        "train/images/named.jpg = train/masks/named_gt.png",
        1,
    ),
    "unused-masks": ({"train/masks/named_color.png": coloured(124)}, "train/masks/named_color.png", 1),
    "tiny-image": (pair("train/tiny", picture(125, (9, 9)), mask(125, (9, 9))), "train/images/tiny.jpg (9×9)", 1),
    "grey-image": (pair("train/grey", picture(126).convert("L"), mask(126)), "train/images/grey.jpg", 1),
}
MORE_LABELS = "3: owl\n4: elk\n5: unicorn\n6: Unicorn\n"
LEFT_OUT = 3 + 2 + 1 + 1 + 2 + 1  # rows with both files that cannot be used: images, masks of four kinds, void


def faulty(root: Path) -> Path:
    clean(root, labels=MORE_LABELS + VALUE_MAP)
    for files, _, _ in FAULTS.values():
        plant(root, files)
    return root


def test_every_planted_fault_is_found_and_named(tmp_path: Path) -> None:
    tables, found = audited(faulty(tmp_path))
    missing = [code for code in FAULTS if code not in found]
    assert missing == []
    unnamed = [code for code, (_, place, _) in FAULTS.items() if not any(place in where for where in found[code].where)]
    assert {code: found[code].where for code in unnamed} == {}
    counted = {code: found[code].count for code in FAULTS}
    expected = {code: count for code, (_, _, count) in FAULTS.items()}
    assert counted == expected | {"label-in-one-split-only": 2, "empty-class": 2}
    more = found.keys() - FAULTS.keys()
    assert more == {"near-duplicates-not-checked"}  # of the tiny image
    read = sum(len(rows) for rows in read_segmentation(DataRequest(str(tmp_path))).splits.values())
    assert sum(len(rows) for rows in tables.splits.values()) == read - LEFT_OUT


def test_every_row_that_is_kept_decodes_strictly_to_its_pictures_size(tmp_path: Path) -> None:
    tables, _ = audited(faulty(tmp_path))
    for rows in tables.splits.values():
        for row in rows:
            decoded = decode_mask(row["mask"], row["mask_map"], strict=True)
            assert tuple(decoded.shape) == (row["height"], row["width"])
            counts = np.bincount(decoded.numpy().reshape(-1), minlength=256)
            assert counts[: len(tables.names)].tolist() == row["class_pixels"]
            assert counts[len(tables.names) : 255].sum() == 0


def smoothed(seed: int) -> Image.Image:
    """A colour mask that was made smaller and larger again with interpolation."""
    image = coloured(seed)
    return image.resize((40, 30), Image.Resampling.BICUBIC).resize(SIZE, Image.Resampling.BICUBIC)


def noisy(seed: int) -> Image.Image:
    """A colour mask that was a JPEG once."""
    return Image.open(io.BytesIO(encoded(coloured(seed), "JPEG", quality=90)))


def dotted(seed: int) -> Image.Image:
    """A colour mask with ten colours that have nothing to do with the known ones."""
    pixels = np.array(coloured(seed))
    pixels[0, :10] = np.stack([np.arange(10) * 2, np.full(10, 250), np.arange(10)], axis=1)
    return Image.fromarray(pixels)


def test_every_fault_of_colour_masks_is_found_and_named(tmp_path: Path) -> None:
    clean(tmp_path, coloured, COLOUR_MAP)
    one = np.array(coloured(203))
    one[0, :5] = (255, 0, 0)
    plant(tmp_path, pair("train/smooth", picture(200), smoothed(200)))
    plant(tmp_path, pair("train/noisy", picture(201), noisy(201)))
    plant(tmp_path, pair("train/dotted", picture(202), dotted(202)))
    plant(tmp_path, pair("train/red", picture(203), Image.fromarray(one)))
    plant(tmp_path, pair("train/deep", picture(204), Image.fromarray(stripes(204).astype(np.uint16))))
    plant(tmp_path, pair("train/palette", picture(205), coloured(205).quantize(4, dither=Image.Dither.NONE)))
    plant(tmp_path, pair("train/void", picture(206), Image.new("RGB", SIZE)))
    tables, found = audited(tmp_path)
    assert [where.split(" (")[0] for where in found["smoothed-mask"].where] == [
        "train/images/noisy.jpg",
        "train/images/smooth.jpg",
    ]
    assert found["unknown-mask-value"].where[0] == "#ff0000 (5 pixels, masks: 1, first train/images/red.jpg)"
    assert (
        found["unknown-mask-value"].message
        == "masks with values outside the label map (11), which are not scored (--set task_options.mask_values=nearest "
        "takes the nearest that is in it): 2"
    )
    assert found["mask-of-other-kind"].where == (
        "train/images/deep.jpg (is grey with 16 bits or more, and the label map has colours)",
    )
    assert found["palette-mask-by-colour"].where == ("train/images/palette.jpg",)
    assert found["all-void-mask"].where == ("train/images/void.jpg",)
    assert len(found) == 6  # and pixels that are not scored
    for row in tables.splits["train"]:
        decode_mask(row["mask"], row["mask_map"], strict=True)
    assert len(tables.splits["train"]) == 11


def test_files_that_a_table_names_but_nobody_has_are_counted(tmp_path: Path) -> None:
    clean(tmp_path)
    lines = [f"train/images/{n}.jpg,train/masks/{n}.png" for n in range(6)]
    lines += ["train/images/0.jpg,gone.png", "gone.jpg,train/masks/1.png", ",train/masks/2.png", "train/images/3.jpg,"]
    (tmp_path / "train.csv").write_text("\n".join(["image,mask", *lines]) + "\n")
    tables, found = audited(tmp_path)
    assert len(tables.splits["train"]) == 6
    assert found["missing-mask-file"].where[0].startswith("train.csv row 7 (cannot be read (No such file")
    assert found["missing-file"].where[0].startswith("train.csv row 8")
    assert found["mask-without-image"].where == ("train.csv row 9",)
    assert found["image-without-mask"].where == ("train.csv row 10",)
