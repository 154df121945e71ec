"""Reading pictures with masks: every arrangement of files, label maps in every form, and what is refused."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from datasets import Image as ImageFeature
from PIL import Image

from graftwork.errors import DataError, UsageError
from graftwork.interfaces import DataRequest, Finding, Tables
from graftwork_segmentation.labelfiles import read_label_file, voc_map
from graftwork_segmentation.labelmap import LabelMap, key_of
from graftwork_segmentation.masks import decode_mask, remap
from graftwork_segmentation.read import read_segmentation

CAMVID = ("sky", "building", "pole", "road", "sidewalk", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
LABELS = "0: sky\n1: road\n2: car\nignore: [255]\n"


def picture(seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def mask(*values: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """Upright stripes of these values."""
    width, height = size
    row = np.array([values[x * len(values) // width] for x in range(width)], dtype=np.uint8)
    return Image.fromarray(np.tile(row, (height, 1)))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def plant(root: Path, files: Mapping[str, Image.Image | bytes | str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Image.Image):
            content = encoded(content, "PNG" if path.suffix == ".png" else "JPEG")
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def read(root: Path, **options: Any) -> tuple[Tables, dict[str, Finding]]:
    tables = read_segmentation(DataRequest(str(root), **options))
    return tables, {finding.code: finding for finding in tables.findings}


def sizes(tables: Tables) -> dict[str, int]:
    return {split: len(rows) for split, rows in tables.splits.items()}


def labels(tmp_path: Path, text: str, name: str = "labels.yaml") -> LabelMap:
    file = tmp_path / name
    file.write_text(text)
    return read_label_file(file)


# --- arrangements ---------------------------------------------------------------------------------------------------------

ARRANGEMENTS: dict[str, list[tuple[str, str]]] = {
    "split folders": [("{s}/images/{n}.jpg", "{s}/masks/{n}.png")],
    "split folders, other names": [("{s}/Image/{n}.jpg", "{s}/annotations/{n}.png")],
    "splits inside": [("images/{s}/{n}.jpg", "masks/{s}/{n}.png")],
    "ADE20K": [("ADE/images/{s}ing/{n}.jpg", "ADE/annotations/{s}ing/{n}.png")],
    "Cityscapes": [
        ("leftImg8bit/{s}/aachen/{n}_leftImg8bit.png", "gtFine/{s}/aachen/{n}_gtFine_labelIds.png"),
        ("", "gtFine/{s}/aachen/{n}_gtFine_color.png"),
    ],
    "folders side by side": [("{s}/{n}.png", "{s}_labels/{n}_L.png")],
    "SegNet": [("{s}/{n}.png", "{s}annot/{n}.png")],
    "masks beside pictures": [("{s}/{n}.jpg", "{s}/{n}_mask.png")],
}


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_every_arrangement_of_folders_is_read(tmp_path: Path, name: str) -> None:
    for split in ("train", "test"):
        for number in range(3):
            for seed, (image, target) in enumerate(ARRANGEMENTS[name]):
                places = [place.format(s=split, n=f"a{number}") for place in (image, target)]
                if places[0]:
                    plant(tmp_path, {places[0]: picture(seed)})
                plant(tmp_path, {places[1]: mask(0, 1, number)})
    plant(tmp_path, {"labels.yaml": LABELS})
    tables, found = read(tmp_path)
    assert sizes(tables) == {"train": 3, "test": 3}
    assert tables.names == ("sky", "road", "car")
    for number, row in enumerate(tables.splits["test"]):
        assert f"a{number}" in row["origin"]
        assert decode_mask(row["mask"], row["mask_map"])[0].unique().tolist() == sorted({0, 1, number})
    suffixed = name in ("Cityscapes", "folders side by side", "masks beside pictures")
    assert ("mask-by-suffix" in found) == suffixed
    assert ("unused-masks" in found) == (name == "Cityscapes")
    assert found.keys() <= {"mask-by-suffix", "unused-masks"}


def test_folders_without_splits_are_train_and_pairs_that_lack_a_half_are_named(tmp_path: Path) -> None:
    plant(tmp_path, {f"images/{n}.jpg": picture(n) for n in range(4)})
    plant(tmp_path, {f"masks/{n}.png": mask(0, 1) for n in (0, 1, 2, 9)})
    plant(tmp_path, {"masks/.DS_Store": "x", "images/notes.txt": "x", "labels.yaml": LABELS, "README": "x"})
    tables, found = read(tmp_path)
    assert sizes(tables) == {"train": 3}
    assert found["image-without-mask"].where == ("images/3.jpg",)
    assert found["mask-without-image"].where == ("masks/9.png",)
    assert found["hidden-files"].where == ("masks/.DS_Store",)
    assert found["other-files"].where == ("images/notes.txt", "README")
    assert tables.splits["train"][1]["origin"] == "images/1.jpg"
    assert tables.splits["train"][1]["mask"] == {"bytes": None, "path": str(tmp_path / "masks/1.png")}


def test_a_split_without_masks_is_named_and_not_used(tmp_path: Path) -> None:
    plant(tmp_path, {f"train/{kind}/1.png": mask(0, 1) for kind in ("images", "masks")})
    plant(tmp_path, {"test/images/1.png": picture(0), "labels.yaml": LABELS})
    tables, found = read(tmp_path)
    assert sizes(tables) == {"train": 1}
    assert found["unlabelled-split"].where == ("test/",)


def voc(root: Path) -> Path:
    plant(root, {f"JPEGImages/{n}.jpg": picture(n) for n in range(6)})
    plant(root, {f"SegmentationClass/{n}.png": mask(0, 15, 255).convert("P") for n in range(5)})
    lists = {"train": "0\n1\n", "val": "2\n", "trainval": "0\n1\n2\n", "test": "5\nnowhere\n"}
    return plant(root, {f"ImageSets/Segmentation/{split}.txt": text for split, text in lists.items()})


def test_pascal_voc_is_read_by_its_lists_with_its_names_and_void(tmp_path: Path) -> None:
    voc(tmp_path / "VOCdevkit" / "VOC2012")
    tables, found = read(tmp_path)
    assert sizes(tables) == {"train": 2, "validation": 1}
    assert tables.names[0] == "background"
    assert tables.names[15] == "person"
    assert len(tables.names) == 21
    row = tables.splits["validation"][0]
    assert row["origin"] == "VOCdevkit/VOC2012/JPEGImages/2.jpg"
    assert decode_mask(row["mask"], row["mask_map"]).unique().tolist() == [0, 15, 255]
    assert "Pascal VOC" in found["label-map"].message
    assert set(found["image-without-mask"].where) == {
        "VOCdevkit/VOC2012/JPEGImages/5.jpg",
        "test: nowhere (listed, not there)",
    }
    assert found["not-in-lists"].where == tuple(f"VOCdevkit/VOC2012/JPEGImages/{n}.jpg" for n in (3, 4))
    assert found["unused-splits"].where == ("ImageSets/Segmentation/trainval.txt",)


def test_a_label_file_beside_vocs_folders_wins_over_vocs_names(tmp_path: Path) -> None:
    """CVAT exports colour masks in VOC's folders, with a labelmap.txt."""
    plant(tmp_path, {"JPEGImages/a.jpg": picture(0), "ImageSets/Segmentation/default.txt": "a\n"})
    colours = np.zeros((40, 48, 3), dtype=np.uint8)
    colours[:, :20] = (250, 50, 83)
    plant(tmp_path, {"SegmentationClass/a.png": Image.fromarray(colours)})
    plant(tmp_path, {"labelmap.txt": "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\n"})
    tables, found = read(tmp_path)
    row = tables.splits["train"][0]
    assert tables.names == ("background", "cat")
    assert decode_mask(row["mask"], row["mask_map"])[0].tolist() == [1] * 20 + [0] * 28
    assert found["label-map"].message == "2 classes are taken from labelmap.txt"


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_table_with_paths_is_read_relative_to_its_folder(tmp_path: Path, kind: str) -> None:
    plant(tmp_path, {f"x/{n}.jpg": picture(n) for n in range(4)} | {f"y/{n}m.png": mask(0, 1) for n in range(4)})
    plant(tmp_path, {"labels.yaml": LABELS})
    table = Dataset.from_dict(
        {
            "image_path": [f"x/{n}.jpg" for n in range(4)],
            "mask_path": ["y/0m.png", "y/1m.png", "", "y/3m.png"],
            "owner": ["a", "a", "b", "b"],
        }
    )
    file = tmp_path / f"train.{kind}"
    {"csv": table.to_csv, "jsonl": table.to_json, "parquet": table.to_parquet}[kind](file)
    for source in (file, tmp_path):
        tables, found = read(source, group_by="owner")
        rows = tables.splits["train"]
        assert rows["origin"][:] == [f"train.{kind} row {n}" for n in (1, 2, 4)]
        assert rows["group"][:] == ["a", "a", "b"]
        assert decode_mask(rows[2]["mask"], rows[2]["mask_map"]).shape == (40, 48)
        assert found["image-without-mask"].where == (f"train.{kind} row 3",)
        assert "guessed-columns" in found


def test_columns_as_the_hub_has_them_are_read(tmp_path: Path) -> None:
    """Parquet with Image features, as `hf:` gives them."""
    rows = Dataset.from_dict(
        {
            "image": [{"bytes": encoded(picture(n)), "path": None} for n in range(3)],
            "annotation": [{"bytes": encoded(mask(0, n)), "path": None} for n in range(3)],
        }
    )
    rows = rows.cast_column("image", ImageFeature()).cast_column("annotation", ImageFeature())
    for split in ("train", "validation"):
        rows.to_parquet(tmp_path / f"{split}-00000-of-00001.parquet")
    tables, found = read(tmp_path)
    assert sizes(tables) == {"train": 3, "validation": 3}
    assert tables.names == ("0", "1", "2")
    assert found["no-label-map"].level == "warning"
    row = tables.splits["validation"][2]
    assert decode_mask(row["mask"], row["mask_map"]).unique().tolist() == [0, 2]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"holds no images with masks. Found no files. Wanted images/ and masks/"),
        ({"cat/a.jpg": b"x", "dog/b.jpg": b"x"}, r"holds no images with masks. Found 2 .jpg in cat/, dog/"),
        ({"images/a.jpg": b"x", "labels/a.txt": b"x"}, r"Found 1 .*txt.* in images/, labels/"),
        (
            {"images/a.jpg": b"x", "masks/b.png": b"x"},
            r"no image in images/ has a mask in masks/. .*images/a.jpg, masks/b.png",
        ),
        ({"train.csv": b"day,weather\n1,sun\n"}, "no column for 'image'; its columns: day, weather"),
        ({"train/images/a.png": b"x", "train/masks/a.png": b"x", "training/images/a.png": b"x"}, "both mean train"),
    ],
)
def test_folders_that_are_no_segmentation_data_are_refused_in_one_line(
    tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(plant(tmp_path, files))
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_other_wrong_sources_are_refused_in_one_line(tmp_path: Path) -> None:
    plant(tmp_path, {"images/a.jpg": picture(0), "masks/a.png": mask(0, 1), "labels.yaml": LABELS})
    for request, message in (
        (DataRequest(str(tmp_path / "image")), "does not exist .* Did you mean .*images"),
        (DataRequest(str(tmp_path / "images/a.jpg")), "is one file, and no table"),
        (DataRequest("simple:digit-masks"), "unknown kind of data source 'simple'"),
        (DataRequest(str(tmp_path), columns={"mask": "m"}), "folders have no columns, so --column"),
        (DataRequest(str(tmp_path), group_by="city"), "--group-by 'city' is found in no file's path"),
        (DataRequest(str(tmp_path), options={"labels": str(tmp_path / "label.yaml")}), "does not exist .*labels.yaml"),
    ):
        with pytest.raises((DataError, UsageError), match=message):
            read_segmentation(request)


# --- label maps -----------------------------------------------------------------------------------------------------------


def test_values_become_contiguous_classes_in_file_order(tmp_path: Path) -> None:
    found = labels(tmp_path, "7: road\n4: sky\n11: building\n12: building\n3: void\nignore: [void, 0]\n")
    assert found.names == ("road", "sky", "building")
    assert found.indices == {"7": 0, "4": 1, "11": 2, "12": 2, "3": 255, "0": 255}
    assert found.to_json() == '{"0":255,"3":255,"4":1,"7":0,"11":2,"12":2}'


def test_colours_are_keys_in_two_forms(tmp_path: Path) -> None:
    found = labels(tmp_path, '"#804080": road\n"0 0 142": car\n"#000000": void\nignore: ["0 0 0"]\n')
    assert found.indices == {"#804080": 0, "#00008e": 1, "#000000": 255}
    assert key_of("128, 64, 128") == "#804080"
    assert key_of("128 64 256") is None


def test_classes_are_merged_by_name(tmp_path: Path) -> None:
    text = "0: road\n1: sidewalk\n2: sky\n3: car\n4: bus\nmerge:\n  vehicle: [car, bus]\n  road: [sidewalk]\n"
    assert labels(tmp_path, text).names == ("road", "sky", "vehicle")
    kept = labels(tmp_path, text + "merge_rest: ignore\n")
    assert kept.names == ("road", "vehicle")  # a class that bears a target's name belongs to it
    assert kept.indices == {"0": 0, "1": 0, "2": 255, "3": 1, "4": 1}
    swapped = labels(tmp_path, "0: a\n1: b\nmerge: {a: [b], b: [a]}\n")
    assert swapped.names == ("b", "a")


CITYSCAPES_TO_ADE20K = """
7: road
8: sidewalk
11: building
12: wall
13: fence
17: pole
19: traffic light
20: traffic sign
21: vegetation
22: terrain
23: sky
24: person
25: rider
26: car
27: truck
28: bus
31: train
32: motorcycle
33: bicycle
ignore: [0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30, train]
merge:
  signboard: [traffic sign]
  tree: [vegetation]
  grass: [terrain]
  person: [rider]
  minibike: [motorcycle]
"""


def test_cityscapes_classes_are_mapped_onto_ade20ks_names(tmp_path: Path) -> None:
    """The example of the documentation: what is called alike stays, ADE20K has no train."""
    found = labels(tmp_path, CITYSCAPES_TO_ADE20K)
    same = ["road", "sidewalk", "building", "wall", "fence", "pole", "traffic light"]
    assert list(found.names[:7]) == same
    assert found.names[7:] == (
        "signboard",
        "tree",
        "grass",
        "sky",
        "person",
        "car",
        "truck",
        "bus",
        "minibike",
        "bicycle",
    )
    void = [0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30, 31]
    assert found.indices["24"] == found.indices["25"] == found.names.index("person")
    assert {value for value, index in found.indices.items() if index == 255} == set(map(str, void))
    assert len(found.indices) == 34


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("0: sky\nignor: [1]\n", 2, "unknown key 'ignor'. Did you mean ignore"),
        ("0: sky\n-1: road\n", 2, "'-1' is neither a mask value nor a colour"),
        ("0: sky\n70000: road\n", 2, "neither a mask value nor a colour"),
        ('0: sky\n"#12345": road\n', 2, "neither a mask value nor a colour"),
        ('"#000000": sky\n"0 0 0": road\n', 2, "are the same colour"),
        ("0: sky\n1:\n", 2, "None is not a class name"),
        ("0: sky\n1: [a]\n", 2, "is not a class name"),
        ("0: sky\n0: road\n", 2, "has the key '0' twice"),
        ("0: sky\n1: road\nignore: 1\n", 3, "ignore must be a list"),
        ("0: sky\n1: road\nignore: [rode]\n", 3, "'rode' is no mask value, colour or class name. Did you mean road"),
        ("0: sky\n1: road\nmerge: [sky]\n", 3, "merge is not a mapping"),
        ("0: sky\n1: road\nmerge:\n  all: [sky, rode]\n", 4, "'rode' is no class here.*Did you mean road"),
        ("0: sky\n1: road\nmerge:\n  x: [sky]\n  y: [sky]\n", 5, "'sky' is to become both 'x' and 'y'"),
        ("0: sky\n1: road\nmerge:\n  x: []\n", 4, "merge: x must be a list with at least one entry"),
        ("0: sky\n1: road\nmerge: {x: [sky]}\nmerge_rest: drop\n", 4, "merge_rest: 'drop'. Wanted keep or ignore"),
        ("0: sky\n1: road\nmerge_rest: keep\n", 3, "says nothing without merge"),
    ],
)
def test_a_wrong_labels_yaml_is_refused_with_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        labels(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'labels.yaml'}:{line}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ignore: [0]\n", "leaves no class"),
        ('0: sky\n"#000001": road\n', "has both mask values and colours"),
        ("\n".join(f"{n}: c{n}" for n in range(256)), "has 256 classes; at most 255"),
    ],
)
def test_a_labels_yaml_that_makes_no_map_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        labels(tmp_path, text)


@pytest.mark.parametrize(
    ("name", "text", "indices"),
    [
        ("classes.txt", "sky\nroad\n\n", {"0": 0, "1": 1}),
        ("classes.txt", "__ignore__\n_background_\ncat\n", {"0": 0, "1": 1}),
        (
            "label_colors.txt",
            "64 128 64\tAnimal\n0 0 0 Void\n192 0 128 Archway\n",
            {"#408040": 0, "#000000": 255, "#c00080": 1},
        ),
        (
            "labelmap.txt",
            "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:1,2,3::\n",
            {"#000000": 0, "#010203": 1},
        ),
        ("class_dict.csv", "name,r,g,b\nsky,0,0,1\nroad, 0, 0, 2\n", {"#000001": 0, "#000002": 1}),
        ("_classes.csv", "Pixel Value, Class\n0, background\n1, cat\n", {"0": 0, "1": 1}),
    ],
)
def test_label_files_of_other_tools_are_read(tmp_path: Path, name: str, text: str, indices: dict[str, int]) -> None:
    assert labels(tmp_path, text, name).indices == indices


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("classes.txt", "sky\nroad\nsky\n", r"classes.txt:3: has the name 'sky' twice \(line 1\)"),
        ("label_colors.txt", "0 0 1 sky\n0 0 x road\n", "label_colors.txt:2: '0 0 x road' is not a colour with a name"),
        ("label_colors.txt", "0 0 1 sky\n0 0 300 road\n", "label_colors.txt:2: '0 0 300' is no colour"),
        ("class_dict.csv", "a,b\n1,2\n", "has the columns a, b. Wanted name, r, g, b"),
        ("class_dict.csv", "name,r,g,b\nsky,1,2\n", "class_dict.csv:2: has too few columns"),
    ],
)
def test_wrong_label_files_of_other_tools_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        labels(tmp_path, text, name)


def test_the_option_labels_wins_over_the_file_beside_the_data(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {"images/a.jpg": picture(0), "masks/a.png": mask(0, 1), "labels.yaml": LABELS, "mine.yaml": "0: x\n1: y\n"},
    )
    tables, found = read(tmp_path, options={"labels": str(tmp_path / "mine.yaml")})
    assert tables.names == ("x", "y")
    assert found == {}


def test_without_a_label_map_the_values_are_the_classes_and_255_is_void(tmp_path: Path) -> None:
    plant(tmp_path, {f"images/{n}.jpg": picture(n) for n in range(2)})
    plant(tmp_path, {"masks/0.png": mask(0, 4), "masks/1.png": mask(4, 9, 255)})
    tables, found = read(tmp_path)
    assert tables.names == ("0", "4", "9")
    assert tables.splits["train"][0]["mask_map"] == '{"0":0,"4":1,"9":2,"255":255}'
    assert "255 is not scored" in found["no-label-map"].message


def test_masks_of_0_and_255_alone_have_two_classes(tmp_path: Path) -> None:
    plant(tmp_path, {"images/a.jpg": picture(0), "masks/a.png": mask(0, 255)})
    tables, found = read(tmp_path)
    assert tables.names == ("0", "255")
    assert tables.splits["train"][0]["mask_map"] == '{"0":0,"255":1}'
    assert "taken for two classes" in found["no-label-map"].message


def test_colour_masks_without_a_label_map_have_classes_named_after_colours(tmp_path: Path) -> None:
    colours = np.zeros((40, 48, 3), dtype=np.uint8)
    colours[:20] = (0, 0, 142)
    plant(tmp_path, {f"images/{n}.jpg": picture(n) for n in range(2)})
    plant(tmp_path, {"masks/0.png": Image.fromarray(colours), "masks/1.png": Image.new("RGB", (48, 40))})
    assert read(tmp_path)[0].names == ("#000000", "#00008e")
    plant(tmp_path, {"masks/0.png": picture(0)})
    with pytest.raises(DataError, match=r"its masks have [\d,]+ different colours, and no label map.*labels.yaml"):
        read(tmp_path)


# --- decoding masks -------------------------------------------------------------------------------------------------------


def bits(depth: int, kind: int, row: list[int]) -> bytes:
    """A PNG of one row with `depth` bits a pixel; kind 0 is grey, 3 a palette."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    text = "".join(f"{value:0{depth}b}" for value in row)
    text += "0" * (-len(text) % 8)
    line = b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    header = struct.pack(">IIBBBBB", len(row), 1, depth, kind, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(range(100, 148))) if kind == 3 else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + palette
        + chunk(b"IDAT", zlib.compress(line))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("depth", "kind"), [(1, 0), (2, 0), (4, 0), (8, 0), (1, 3), (2, 3), (4, 3), (8, 3)])
def test_values_survive_every_bit_depth_and_a_palettes_colours_never_count(depth: int, kind: int) -> None:
    row = [0, 1, 1, 0] if depth == 1 else [0, 1, 2, 3]
    mask_map = '{"0":10,"1":11,"2":12,"3":13}'
    decoded = decode_mask({"bytes": bits(depth, kind, row), "path": None}, mask_map)
    assert decoded.dtype == torch.uint8
    assert decoded.tolist() == [[value + 10 for value in row]]


def test_sixteen_bit_values_are_read_whole() -> None:
    values = np.array([[0, 300, 26000]], dtype=np.uint16)
    cell = {"bytes": encoded(Image.fromarray(values)), "path": None}
    assert decode_mask(cell, '{"0":0,"300":1,"26000":2}').tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_a_grey_mask_that_was_saved_with_more_channels_has_its_values(mode: str) -> None:
    cell = {"bytes": encoded(mask(0, 7).convert(mode)), "path": None}
    assert decode_mask(cell, '{"0":0,"7":1}').unique().tolist() == [0, 1]


def test_colours_are_looked_up_in_every_form_of_colour_mask() -> None:
    colours = np.array([[[128, 64, 128], [0, 0, 142], [1, 1, 1]]], dtype=np.uint8)
    image = Image.fromarray(colours)
    clear = image.convert("RGBA")
    clear.putpixel((0, 0), (128, 64, 128, 0))
    for made in (image, clear, image.quantize(8, dither=Image.Dither.NONE)):
        cell = {"bytes": encoded(made), "path": None}
        assert decode_mask(cell, '{"#00008e":1,"#804080":0}').tolist() == [[0, 1, 255]]


@pytest.mark.parametrize(
    ("data", "mask_map", "message"),
    [
        (encoded(mask(0, 5)), '{"0":0}', "m.png: has the value 5, which is not in the label map"),
        (encoded(mask(0, 1), "JPEG"), '{"0":0}', "is a JPEG"),
        (encoded(mask(0, 1), "WEBP"), '{"0":0}', "is a lossy WebP"),
        (encoded(picture(0)), '{"0":0}', "is in colour, and the label map has values"),
        (encoded(Image.fromarray(np.ones((4, 4), np.uint16))), '{"#000000":0}', "16 bits or more"),
        (encoded(mask(0, 1))[:60], '{"0":0}', "is truncated"),
        (b"hello", '{"0":0}', "is text, not a picture"),
        (b"", '{"0":0}', "is empty"),
    ],
)
def test_masks_that_cannot_be_used_are_one_clear_line(data: bytes, mask_map: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        decode_mask({"bytes": data, "path": "m.png"}, mask_map, strict=True)
    assert str(caught.value).startswith("m.png: ")


def test_values_outside_the_map_are_not_scored_unless_strict() -> None:
    cell = {"bytes": encoded(mask(0, 5)), "path": None}
    assert decode_mask(cell, '{"0":0}').unique().tolist() == [0, 255]
    assert decode_mask(cell, '{"0":0,"*":255}', strict=True).unique().tolist() == [0, 255]
    assert decode_mask(cell, '{"*":3}', strict=True).unique().tolist() == [3]


# --- another model's numbering --------------------------------------------------------------------------------------------


def test_masks_are_renumbered_by_name_for_a_trained_model(tmp_path: Path) -> None:
    plant(tmp_path, {"images/a.jpg": picture(0), "masks/a.png": mask(0, 1, 2, 255), "labels.yaml": LABELS})
    tables, _ = read(tmp_path)
    rows = remap(tables.splits["train"], tables.names, ("car", "tree", "sky", "road"))
    assert decode_mask(rows[0]["mask"], rows[0]["mask_map"])[0].unique_consecutive().tolist() == [2, 3, 0, 255]
    same = remap(tables.splits["train"], tables.names, tables.names)
    assert same["mask_map"][:] == tables.splits["train"]["mask_map"][:]
    with pytest.raises(DataError, match=r"the model does not know: sky, car\. It knows road, tree; say with merge"):
        remap(tables.splits["train"], tables.names, ("road", "tree"))


def test_vocs_map_has_21_names_and_its_void() -> None:
    assert len(voc_map().names) == 21
    assert voc_map().indices["20"] == 20
    assert voc_map().indices["255"] == 255


def test_the_camvid_pack_is_read(shared_data: Path) -> None:
    tables, found = read(shared_data / "camvid")
    assert sizes(tables) == {"train": 150, "validation": 40, "test": 60}
    assert tables.names == CAMVID
    assert found == {}
    row = tables.splits["test"][0]
    raw = np.asarray(Image.open(row["mask"]["path"]))
    assert np.array_equal(decode_mask(row["mask"], row["mask_map"], strict=True).numpy(), np.where(raw == 11, 255, raw))
