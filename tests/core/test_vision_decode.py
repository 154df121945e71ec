"""JPEGs give the same pixels whichever decoder is there, and without a word on stderr."""

from __future__ import annotations

import io
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from graftwork.errors import DataError
from graftwork.vision import decode
from graftwork.vision.decode import decode_rgb, decoders

fast = pytest.mark.skipif("simplejpeg" not in decoders(), reason="simplejpeg is not installed: Pillow decodes it all")


def photo(size: tuple[int, int]) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def by_pillow(data: bytes) -> torch.Tensor:
    return torch.from_numpy(decode._decode_with_pillow(data, "here")).permute(2, 0, 1)


@fast
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8), (17, 31), (129, 66)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpegs_of_every_make_give_the_pixels_that_pillow_gives(size: tuple[int, int], mode: str) -> None:
    image = photo(size).convert(mode)
    for options in (
        *({"subsampling": sampling} for sampling in ("4:4:4", "4:2:2", "4:2:0")),
        {"progressive": True},
        {"quality": 5},
        {"quality": 100, "optimize": True},
        {"restart_marker_blocks": 2},
        *([{"keep_rgb": True}] if mode == "RGB" else []),
    ):
        data = jpeg(image, **options)
        assert torch.equal(decode_rgb({"bytes": data}), by_pillow(data)), options


@fast
@pytest.mark.parametrize("folder", ["clothing", "bccd", "camvid"])
def test_real_photos_give_the_pixels_that_pillow_gives(shared_data: Path, folder: str) -> None:
    files = sorted((shared_data / folder).rglob("*.jp*g"))[::40]
    assert files
    for file in files:
        assert torch.equal(decode_rgb({"path": str(file)}), by_pillow(file.read_bytes())), file


@fast
def test_a_damaged_jpeg_that_is_decoded_at_all_gives_the_pixels_that_pillow_gives() -> None:
    draw = random.Random(0)
    whole = [jpeg(photo((32, 24))), jpeg(photo((32, 24)), progressive=True), jpeg(photo((32, 24)).convert("L"))]
    decoded = 0
    for _ in range(1500):
        data = bytearray(draw.choice(whole))
        for _ in range(draw.choice([1, 3])):
            data[draw.randrange(len(data))] = draw.randrange(256)
        found = decode._decode_jpeg(bytes(data))
        if found is not None:
            decoded += 1
            assert torch.equal(torch.from_numpy(found).permute(2, 0, 1), by_pillow(bytes(data)))
    assert decoded > 300


@fast
def test_a_whole_jpeg_needs_no_pillow() -> None:
    assert decode._decode_jpeg(jpeg(photo((32, 24)))) is not None
    assert decode._decode_jpeg(jpeg(photo((32, 24)))[:-20]) is None, "Pillow says what is wrong with a cut one"
    with pytest.raises(DataError, match="is truncated"):
        decode_rgb({"bytes": jpeg(photo((64, 64)))[:-200]})


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turn_that_stands_in_xmp_alone_is_made_as_the_audit_sees_it(orientation: int) -> None:
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()
    data = jpeg(photo((40, 24)), xmp=xmp)
    pixels = decode_rgb({"bytes": data})
    assert torch.equal(pixels, by_pillow(data))
    assert tuple(pixels.shape) == ((3, 24, 40) if orientation < 5 else (3, 40, 24))


def test_without_the_fast_decoder_jpegs_look_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    files = [jpeg(photo((50, 30))), jpeg(photo((50, 30)), exif=exif), jpeg(photo((50, 30)).convert("CMYK"))]
    usual = [decode_rgb({"bytes": data}) for data in files]
    monkeypatch.setattr(decode, "_simplejpeg", None)
    assert list(decoders()) == ["pillow"]
    for data, pixels in zip(files, usual, strict=True):
        assert torch.equal(decode_rgb({"bytes": data}), pixels)


def test_decoding_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode_rgb({"bytes": jpeg(photo((20, 20)))})
