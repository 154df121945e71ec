"""Reading, decoding and auditing images: every fault is planted in a tiny real data set and must be named."""

from __future__ import annotations

import csv
import io
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import Dataset
from PIL import Image, ImageOps
from pyarrow import parquet

from graftwork.data.fingerprint import CONTENT, fingerprint
from graftwork.data.splits import complete
from graftwork.errors import DataError, UsageError
from graftwork.interfaces import DataRequest, Finding, Spec, Tables
from graftwork.vision.decode import decode_rgb
from graftwork.vision.inputs import read_inputs
from graftwork_images.audit import audit_images
from graftwork_images.read import read_images
from graftwork_images.samples import digits

CLOTHING = Path(__file__).parents[3] / "shared" / "data" / "clothing"
CIFAR10 = Path(__file__).parents[3] / "shared" / "data" / "cifar10"


def picture(seed: int, size: tuple[int, int] = (80, 60)) -> Image.Image:
    """A smooth random picture; different seeds look different."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def rotated(image: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, "JPEG", exif=exif, quality=95)


def plant(root: Path, files: Mapping[str, bytes | Image.Image]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else encoded(content, "JPEG", quality=95))
    return root


def clean(root: Path, rows: int = 6) -> Path:
    """Two classes, three splits, no fault."""
    names = [
        (split, label, n) for split in ("train", "validation", "test") for label in ("cat", "dog") for n in range(rows)
    ]
    return plant(root, {f"{s}/{label}/{n}.jpg": picture(seed) for seed, (s, label, n) in enumerate(names)})


def audited(root: Path) -> tuple[Tables, dict[str, Finding]]:
    tables = read_images(DataRequest(str(root)))
    tables, findings = audit_images(tables)
    return tables, {finding.code: finding for finding in (*tables.findings, *findings)}


# --- decoding -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_exif_orientation_is_applied_as_pillow_does(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(0, (31, 17)), kind, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    pixels = decode_rgb({"bytes": data, "path": None})
    assert pixels.shape == (3, *expected.shape[:2])
    assert np.abs(pixels.permute(1, 2, 0).numpy().astype(int) - expected).max() <= 2


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("PNG", "L"),
        ("PNG", "P"),
        ("PNG", "1"),
        ("PNG", "RGB"),
        ("JPEG", "L"),
        ("JPEG", "CMYK"),
        ("WEBP", "RGB"),
        ("GIF", "P"),
    ],
)
def test_every_kind_of_file_becomes_three_channels_of_bytes(kind: str, mode: str) -> None:
    image = picture(1, (40, 30)).convert(mode)
    data = encoded(image, kind)
    pixels = decode_rgb({"bytes": data, "path": None})
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (3, 30, 40)
    assert pixels.permute(1, 2, 0).is_contiguous()
    assert np.abs(pixels.permute(1, 2, 0).numpy() - expected).max() <= 2


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(mode: str) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    pixels = decode_rgb({"bytes": encoded(image.convert(mode)), "path": None})
    assert pixels[:, 0, :].tolist() == [[255, 0]] * 3


def test_a_transparent_palette_entry_is_laid_on_white() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    pixels = decode_rgb({"bytes": encoded(image, transparency=0), "path": None})
    assert pixels[:, 0, :].tolist() == [[255, 40], [255, 50], [255, 60]]


def test_sixteen_bits_are_scaled_not_cut() -> None:
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    assert decode_rgb({"bytes": encoded(Image.fromarray(values)), "path": None})[0, 0].tolist() == [0, 1, 128, 255]


def test_a_path_is_read_where_there_are_no_bytes(tmp_path: Path) -> None:
    file = plant(tmp_path, {"a.png": encoded(picture(0))}) / "a.png"
    assert decode_rgb({"bytes": None, "path": str(file)}).shape == (3, 60, 80)


def bomb() -> bytes:
    """A PNG whose header claims 40,000 × 40,000 pixels."""
    data = bytearray(encoded(Image.new("L", (8, 8))))
    data[16:24] = struct.pack(">II", 40_000, 40_000)
    import zlib

    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"hello, I am text", "is text, not a picture"),
        (encoded(picture(0), "JPEG")[:600], "is truncated"),
        (encoded(picture(0))[:3000], "is truncated"),
        (b"\xff\xd8\xff", "is damaged"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "is damaged|cannot be decoded"),
        (bomb(), "more than"),
    ],
)
def test_what_cannot_be_decoded_is_one_clear_line(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        decode_rgb({"bytes": data, "path": "bad.jpg"})
    assert str(caught.value).startswith("bad.jpg: ")
    assert "\n" not in str(caught.value)


FUZZ = """
import io, random
import numpy as np
from PIL import Image
from graftwork.errors import DataError
from graftwork.vision.decode import decode_rgb
from graftwork.vision.look import look_at

noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8))
exif = Image.Exif()
exif[0x0112] = 6
draw = random.Random(0)
for kind in ("JPEG RGB", "JPEG CMYK", "PNG RGB", "PNG RGBA", "PNG P", "GIF P", "WEBP RGB", "TIFF RGB"):
    name, mode = kind.split()
    buffer = io.BytesIO()
    noise.convert(mode).save(buffer, name, exif=exif)
    refused = 0
    for _ in range(300):
        data = bytearray(buffer.getvalue())
        for _ in range(draw.choice([1, 3, 20])):
            data[draw.randrange(min(len(data), draw.choice([40, 300, 100_000])))] = draw.randrange(256)
        if draw.random() < 0.3:
            del data[draw.randrange(len(data)):]
        cell = {"bytes": bytes(data), "path": "x"}
        look = look_at(cell)
        try:
            decode_rgb(cell)
        except DataError:
            refused += 1
            assert look.problem is not None, (kind, look)
    assert refused > 30, (kind, refused)
"""


def test_whatever_is_damaged_in_a_file_the_audit_accepts_only_what_decodes() -> None:
    """In a process of its own: torchvision's PNG decoder was seen to crash on such files."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FUZZ], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_missing_file_is_one_clear_line() -> None:
    with pytest.raises(DataError, match=r"nowhere.jpg: cannot be read \(No such file"):
        decode_rgb({"bytes": None, "path": "nowhere.jpg"})


# --- reading --------------------------------------------------------------------------------------------------------------


def test_class_folders_become_canonical_columns(tmp_path: Path) -> None:
    tables = read_images(DataRequest(str(clean(tmp_path, 2))))
    assert tables.names == ("cat", "dog")
    assert {split: len(rows) for split, rows in tables.splits.items()} == {"train": 4, "validation": 4, "test": 4}
    row = tables.splits["test"][3]
    assert row == {
        "image": {"bytes": None, "path": str(tmp_path / "test/dog/1.jpg")},
        "label": 1,
        "origin": "test/dog/1.jpg",
    }


def labelled_images() -> tuple[list[bytes], list[str]]:
    return [encoded(picture(n)) for n in range(6)], ["cat", "dog"] * 3


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_with_image_paths_is_read_relative_to_its_folder(tmp_path: Path, kind: str) -> None:
    images, labels = labelled_images()
    plant(tmp_path, {f"pictures/{n}.png": data for n, data in enumerate(images)})
    table = pa.table({"filename": [f"pictures/{n}.png" for n in range(6)], "class": labels, "owner": list("aabbcc")})
    file = tmp_path / f"labels.{kind}"
    if kind == "parquet":
        parquet.write_table(table, file)
    elif kind == "jsonl":
        Dataset(table).to_json(file)
    else:
        with file.open("w", newline="") as stream:
            writer = csv.writer(stream, delimiter="," if kind == "csv" else "\t")
            writer.writerows([table.column_names, *zip(*table.to_pydict().values(), strict=True)])
    for source in (file, tmp_path):
        tables = read_images(DataRequest(str(source), group_by="owner"))
        rows = tables.splits["train"]
        assert rows["label"][:] == [0, 1] * 3
        assert rows["group"][:] == list("aabbcc")
        assert rows[2]["origin"] == f"labels.{kind} row 3"
        assert decode_rgb(rows[5]["image"]).shape == (3, 60, 80)
        assert "guessed-columns" in {finding.code for finding in tables.findings}


@pytest.mark.parametrize("form", ["bytes", "struct", "feature"])
def test_parquet_with_the_images_inside_is_read(tmp_path: Path, form: str) -> None:
    images, labels = labelled_images()
    structs = [{"bytes": data, "path": None} for data in images]
    rows = Dataset.from_dict({"image": images if form == "bytes" else structs, "label": labels})
    if form == "feature":
        from datasets import Image as ImageFeature

        rows = rows.cast_column("image", ImageFeature())
    rows.to_parquet(tmp_path / "train.parquet")
    rows.to_parquet(tmp_path / "test.parquet")
    tables = read_images(DataRequest(str(tmp_path)))
    assert list(tables.splits) == ["train", "test"]
    assert tables.splits["train"][0]["image"]["bytes"] == images[0]
    assert tables.splits["train"][0]["origin"] == "train.parquet row 1"


def test_a_table_that_lies_about_beside_class_folders_is_not_taken_for_the_data(tmp_path: Path) -> None:
    (clean(tmp_path) / "notes.csv").write_text("day,weather\n1,sun\n")
    tables = read_images(DataRequest(str(tmp_path)))
    assert len(tables.splits["train"]) == 12
    assert tables.findings[0].where == ("notes.csv",)


def test_embedded_digits_are_real_fixed_and_stratified() -> None:
    tables = read_images(DataRequest("sample:digits", samples=lambda name: digits(Spec(name))))
    assert {split: len(rows) for split, rows in tables.splits.items()} == {
        "train": 1000,
        "validation": 300,
        "test": 497,
    }
    assert tables.names == tuple("0123456789")
    origins = [origin for rows in tables.splits.values() for origin in rows["origin"]]
    assert len(set(origins)) == 1797
    assert all(min(np.bincount(rows["label"])) >= 29 for rows in tables.splits.values())
    assert decode_rgb(tables.splits["train"][0]["image"]).shape == (3, 8, 8)
    again = {split: rows["origin"][:] for split, rows in digits(Spec("digits")).items()}
    assert again == {split: rows["origin"][:] for split, rows in tables.splits.items()}


def test_a_torchvision_set_that_lies_on_disk_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, count in (("train", 6), ("t10k", 4)):
        pixels = np.arange(count * 28 * 28, dtype=np.uint8)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, count, 28, 28) + pixels.tobytes())
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + bytes(range(count)))
    tables = read_images(DataRequest(f"torchvision:mnist:{tmp_path}"))
    assert {split: len(rows) for split, rows in tables.splits.items()} == {"train": 6, "test": 4}
    assert tables.names[3] == "3 - three"
    assert tables.splits["test"][1]["origin"] == "MNIST test row 2"
    assert decode_rgb(tables.splits["test"][1]["image"]).shape == (3, 28, 28)
    plant(
        tmp_path / "eurosat" / "2750",
        {f"{label}/{n}.jpg": picture(n) for n in range(3) for label in ("Forest", "River")},
    )
    monkeypatch.setenv("GRAFTWORK_TORCHVISION_ROOT", str(tmp_path))
    tables = read_images(DataRequest("torchvision:EuroSAT"))
    assert tables.splits["train"][0]["origin"] == "eurosat/2750/Forest/0.jpg"
    assert tables.names == ("Forest", "River")


def test_unknown_and_unreachable_torchvision_sets_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Did you mean CIFAR10"):
        read_images(DataRequest("torchvision:CIFAR1"))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"torchvision:USPS: cannot be downloaded or read .* Put its files under"):
        read_images(DataRequest(f"torchvision:USPS:{tmp_path / 'file'}"))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "is an empty folder"),
        ({"a/1.txt": b"x", "b/2.txt": b"x"}, "holds no image. Found 2 .txt"),
        ({"1.jpg": b"x"}, r"holds 1 image \(1.jpg\) but no class folders"),
        ({"train.csv": b"day,weather\n1,sun\n"}, "no column for 'image'; its columns: day, weather"),
    ],
)
def test_folders_that_are_no_image_data_are_refused_in_one_line(
    tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    plant(tmp_path, files)
    with pytest.raises(DataError, match=message) as caught:
        read_images(DataRequest(str(tmp_path)))
    assert str(caught.value).startswith(str(tmp_path))


def test_other_wrong_sources_are_refused_in_one_line(tmp_path: Path) -> None:
    plant(tmp_path, {"one.jpg": picture(0), "data/a/1.jpg": picture(0), "data/b/1.jpg": picture(1)})
    for request, message in (
        (DataRequest(str(tmp_path / "dota")), "does not exist .* Did you mean .*data"),
        (DataRequest(str(tmp_path / "one.jpg")), "is one file, and no table"),
        (DataRequest("simple:digits"), "unknown kind of data source 'simple'"),
        (DataRequest(str(tmp_path / "data"), columns={"label": "x"}), "class folders have no columns, so --column"),
        (DataRequest(str(tmp_path / "data"), group_by="patient"), "--group-by 'patient' is found in no file's path"),
        (DataRequest(str(tmp_path / "data"), group_by="1"), r"puts all rows into one group, '1'.*--group-by folder"),
        (DataRequest(str(tmp_path / "data"), group_by="(a"), r"'\(a' is no regular expression"),
    ):
        with pytest.raises((DataError, UsageError), match=message):
            read_images(request)


def test_inputs_for_prediction_are_files_and_folders(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            "x/b.jpg": picture(0),
            "x/deep/a.png": encoded(picture(1)),
            "x/.hidden/c.jpg": picture(2),
            "one.jpg": picture(3),
        },
    )
    rows = read_inputs([str(tmp_path / "one.jpg"), str(tmp_path / "x")])
    assert rows["origin"][:] == [str(tmp_path / name) for name in ("one.jpg", "x/b.jpg", "x/deep/a.png")]
    assert decode_rgb(rows[2]["image"]).shape == (3, 60, 80)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.jpg", "does not exist"),
        ("text.jpg", "is text, not a picture"),
        ("zero.jpg", "is empty"),
        ("folder", "holds no image"),
    ],
)
def test_inputs_that_cannot_be_read_are_refused(tmp_path: Path, name: str, message: str) -> None:
    plant(tmp_path, {"text.jpg": b"hello", "zero.jpg": b"", "folder/readme.txt": b"x"})
    with pytest.raises(DataError, match=message):
        read_inputs([str(tmp_path / name)])
    with pytest.raises(DataError, match="no image was given"):
        read_inputs([])


# --- auditing -------------------------------------------------------------------------------------------------------------


def test_clean_data_gives_no_finding_and_keeps_every_row(tmp_path: Path) -> None:
    tables, found = audited(clean(tmp_path))
    assert found == {}
    assert [len(rows) for rows in tables.splits.values()] == [12, 12, 12]


def test_every_planted_fault_is_found_and_named(tmp_path: Path) -> None:
    """The list of `graft inspect` for images, each planted at a known place in otherwise clean data."""
    clean(tmp_path)
    original = picture(1000)
    text = {"train/cat/text.jpg": b"this is a text file\n" * 40}
    faults: dict[str, tuple[dict[str, bytes | Image.Image], str]] = {
        "unreadable-image": ({"train/cat/cut.jpg": encoded(picture(500), "JPEG")[:-400]}, "train/cat/cut.jpg"),
        "empty-file": ({"train/dog/zero.jpg": b""}, "train/dog/zero.jpg"),
        "not-an-image": (dict(text), "train/cat/text.jpg (text)"),
        "too-many-pixels": ({"train/cat/bomb.png": bomb()}, "train/cat/bomb.png"),
        "similar-class-names": ({f"train/Cat /{n}.jpg": picture(600 + n) for n in range(3)}, "'Cat' / 'cat'"),
        "label-in-one-split-only": ({f"test/owl/{n}.jpg": picture(700 + n) for n in range(3)}, "owl (only test)"),
        "few-rows": ({f"train/elk/{n}.jpg": picture(750 + n) for n in range(2)}, "elk (2)"),
        "duplicate-across-splits": (
            {"train/cat/leak.jpg": picture(800), "test/cat/same.jpg": picture(800)},
            "train: train/cat/leak.jpg (cat) = test: test/cat/same.jpg (cat)",
        ),
        "near-duplicate-across-splits": (
            {
                "train/dog/shot.jpg": original,
                "validation/dog/copy.jpg": encoded(original.resize((120, 90)), "JPEG", quality=40),
            },
            "train: train/dog/shot.jpg ~ validation: validation/dog/copy.jpg",
        ),
        "duplicate-with-other-label": (
            {"train/cat/torn.jpg": picture(850), "train/dog/torn.jpg": picture(850)},
            "train: train/cat/torn.jpg (cat) = train: train/dog/torn.jpg (dog)",
        ),
        "duplicate-within-split": (
            {"test/cat/twin1.jpg": picture(860), "test/cat/twin2.jpg": picture(860)},
            "test: test/cat/twin1.jpg (cat) = test: test/cat/twin2.jpg (cat)",
        ),
        "class-imbalance": ({f"train/dog/more{n}.jpg": picture(900 + n) for n in range(20)}, "dog"),
        "tiny-image": ({"train/cat/tiny.png": encoded(picture(510, (9, 9)))}, "train/cat/tiny.png (9×9)"),
        "huge-image": ({"train/cat/huge.jpg": picture(511, (8100, 1400))}, "train/cat/huge.jpg (8100×1400)"),
        "narrow-image": ({"train/cat/narrow.jpg": picture(512, (400, 40))}, "train/cat/narrow.jpg (400×40)"),
        "grey-image": ({"train/cat/grey.jpg": picture(513).convert("L")}, "train/cat/grey.jpg"),
        "alpha-image": ({"train/cat/alpha.png": encoded(picture(514).convert("RGBA"))}, "train/cat/alpha.png"),
        "cmyk-image": ({"train/cat/cmyk.jpg": picture(515).convert("CMYK")}, "train/cat/cmyk.jpg"),
        "palette-image": ({"train/cat/palette.png": encoded(picture(516).convert("P"))}, "train/cat/palette.png"),
        "deep-image": (
            {
                "train/cat/deep.png": encoded(
                    Image.fromarray(np.asarray(picture(517).convert("L")).astype(np.uint16) * 257)
                )
            },
            "train/cat/deep.png",
        ),
        "exif-rotated-image": ({"train/cat/turned.jpg": rotated(picture(518), 6)}, "train/cat/turned.jpg"),
        "animated-image": (
            {"train/cat/moving.gif": encoded(picture(519), "GIF", save_all=True, append_images=[picture(520)])},
            "train/cat/moving.gif",
        ),
        "hidden-files": ({"train/cat/.ipynb_checkpoints/x.jpg": picture(521)}, "train/cat/.ipynb_checkpoints"),
        "other-files": ({"train/cat/list.txt": b"x"}, "train/cat/list.txt"),
    }
    for files, _ in faults.values():
        plant(tmp_path, files)
    (tmp_path / "train" / "void").mkdir()
    tables, found = audited(tmp_path)
    missing = [code for code in faults if code not in found]
    assert missing == []
    assert found["empty-class"].where == ("train/void/",)
    unnamed = [code for code, (_, place) in faults.items() if not any(place in where for where in found[code].where)]
    assert unnamed == []
    unusable = ("unreadable-image", "empty-file", "not-an-image", "too-many-pixels")
    assert [found[code].count for code in unusable] == [1, 1, 1, 1]
    read = sum(len(rows) for rows in read_images(DataRequest(str(tmp_path))).splits.values())
    assert sum(len(rows) for rows in tables.splits.values()) == read - 4
    for rows in tables.splits.values():
        for row in rows:
            assert decode_rgb(row["image"]).shape[0] == 3


def test_a_near_duplicate_turned_by_exif_is_still_seen(tmp_path: Path) -> None:
    clean(tmp_path)
    turned = rotated(picture(40).transpose(Image.Transpose.ROTATE_90), 6)
    plant(tmp_path, {"train/cat/upright.jpg": picture(40), "test/cat/turned.jpg": turned})
    assert audited(tmp_path)[1]["near-duplicate-across-splits"].count == 1


def test_small_images_throughout_are_no_fault(tmp_path: Path) -> None:
    names = [(split, label, n) for split in ("train", "test") for label in ("a", "b") for n in range(5)]
    plant(tmp_path, {f"{s}/{label}/{n}.png": encoded(picture(i, (8, 8))) for i, (s, label, n) in enumerate(names)})
    assert set(audited(tmp_path)[1]) == {"near-duplicates-not-checked"}


def test_files_that_a_table_names_but_nobody_has_are_counted(tmp_path: Path) -> None:
    plant(tmp_path, {f"{n}.jpg": picture(n) for n in range(12)})
    lines = [f"{n}.jpg,{'ab'[n % 2]}" for n in range(12)] + ["gone.jpg,a"]
    (tmp_path / "train.csv").write_text("\n".join(["image,label", *lines]) + "\n")
    tables, found = audited(tmp_path)
    assert found["missing-file"].where[0].startswith("train.csv row 13")
    assert len(tables.splits["train"]) == 12


def test_a_split_without_a_usable_row_is_an_error(tmp_path: Path) -> None:
    clean(tmp_path, 5)
    for file in (tmp_path / "validation").rglob("*.jpg"):
        file.write_bytes(b"not an image")
    tables, found = audited(tmp_path)
    assert found["split-without-usable-rows"].level == "error"
    assert found["split-without-usable-rows"].where == ("validation",)
    assert len(tables.splits["validation"]) == 0


def test_one_class_only_is_an_error(tmp_path: Path) -> None:
    plant(tmp_path, {f"cat/{n}.jpg": picture(n) for n in range(5)})
    assert audited(tmp_path)[1]["one-class-only"].level == "error"


def test_the_fingerprint_is_of_the_files_content_wherever_they_lie(tmp_path: Path) -> None:
    first, _ = audited(clean(tmp_path / "here"))
    second, _ = audited(clean(tmp_path / "there"))
    assert fingerprint(first) == fingerprint(second)
    plant(tmp_path / "there", {"train/cat/0.jpg": picture(999)})
    assert fingerprint(audited(tmp_path / "there")[0]) != fingerprint(first)


def test_rows_of_splits_that_were_made_keep_their_own_content(tmp_path: Path) -> None:
    plant(tmp_path, {f"{label}/{n}.jpg": picture(n + 100 * (label == "b")) for n in range(20) for label in "ab"})
    tables = read_images(DataRequest(str(tmp_path)))
    splits, _ = complete(tables.splits, lambda rows: rows["label"][:], seed=0)
    tables, findings = audit_images(Tables(splits, tables.findings, tables.names))
    assert not findings
    import hashlib

    for rows in tables.splits.values():
        for row in rows:
            assert hashlib.sha256(Path(row["image"]["path"]).read_bytes()).hexdigest().startswith(row[CONTENT])
            assert row["origin"][0] == tables.names[row["label"]]


@pytest.mark.skipif(not CLOTHING.is_dir(), reason="the clothing pack lies beside the project, and is not there")
def test_the_clothing_pack_is_read_and_audited() -> None:
    tables, found = audited(CLOTHING)
    assert {split: len(rows) for split, rows in tables.splits.items()} == {"train": 800, "validation": 225, "test": 245}
    assert set(found) == {"near-duplicate-across-splits"}


@pytest.mark.skipif(not CIFAR10.is_dir(), reason="the CIFAR-10 pack lies beside the project, and is not there")
def test_the_cifar_pack_is_read_with_its_class_names() -> None:
    tables = read_images(DataRequest(str(CIFAR10)))
    assert {split: len(rows) for split, rows in tables.splits.items()} == {"train": 50_000, "test": 10_000}
    assert tables.names[:2] == ("airplane", "automobile")
    assert decode_rgb(tables.splits["test"][0]["image"]).shape == (3, 32, 32)
