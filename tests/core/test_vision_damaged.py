"""What is no picture is called what it is, in every place that opens one."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graftwork.errors import DataError
from graftwork.vision.damaged import kind_of
from graftwork.vision.decode import decode_rgb
from graftwork.vision.frames import picture_shape
from graftwork.vision.inputs import read_inputs
from graftwork.vision.look import look_at


def saved(form: str) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
NO_PICTURES = {
    "nothing": (b"", "is empty (zero bytes)"),
    "page": (b"<!DOCTYPE html>\n<html><body>404", "is a web page (HTML), not a picture"),
    "page with a mark": (b"\xef\xbb\xbf\r\n <HTML lang=en>", "is a web page (HTML), not a picture"),
    "page in UTF-16": ("<html><body>Anmelden".encode("utf-16"), "is a web page (HTML), not a picture"),
    "part of a page": (b"<head><title>Sign in</title>", "is a web page (HTML), not a picture"),
    "long page": (b"<html>" + "ä".encode() * 5000, "is a web page (HTML), not a picture"),
    "pointer": (POINTER, "is a Git LFS pointer (git lfs pull fetches the file itself), not a picture"),
    "text": (b"no such file\n", "is text, not a picture"),
    "JSON": (b'{"error": "not found"}', "is JSON, not a picture"),
    "XML": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is XML, not a picture"),
    "SVG": (
        b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>",
        "is an SVG drawing, which is not read",
    ),
    "HEIC": (b"\0\0\0\x18ftypheic" + bytes(40), "is a HEIC picture"),
    "video": (b"\0\0\0\x18ftypmp42" + bytes(40), "is a video, not a picture"),
    "DICOM": (bytes(128) + b"DICM" + bytes(40), "is a DICOM file, which is not read"),
    "archive": (b"PK\x03\x04" + bytes(40), "is a ZIP archive, not a picture"),
    "PDF": (b"%PDF-1.7\n", "is a PDF, not a picture"),
    "zeros": (bytes(5000), "is nothing but zero bytes"),
    "noise": (b"\x01\xfe\xfd\x80" * 50, "is no picture that can be read"),
}
CUT = {
    **{
        f"{form} {share}": (form, share)
        for form in ("JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP")
        for share in (0.5, 0.9)
    },
    "JPEG at its end": ("JPEG", 0.99),
    "PNG in its header": ("PNG", 0.004),
}


def refusals(data: bytes, file: Path) -> list[str]:
    """What all that opens a picture says of one."""
    file.write_bytes(data)
    told = []
    for read in (
        lambda: decode_rgb({"bytes": data, "path": str(file)}),
        lambda: picture_shape({"bytes": data, "path": str(file)}),
        lambda: read_inputs([str(file)]),
    ):
        try:
            read()
        except DataError as error:
            told.append(str(error))
    look = look_at({"bytes": data, "path": None})
    assert look.problem
    return [*told, f"{look.problem} {look.reason}"]


@pytest.mark.parametrize("name", NO_PICTURES)
def test_what_is_no_picture_is_named(name: str, tmp_path: Path) -> None:
    data, said = NO_PICTURES[name]
    *told, looked = refusals(data, tmp_path / "a.jpg")
    assert len(told) == 3 and all(line.startswith(f"{tmp_path / 'a.jpg'}: {said}") for line in told), told
    assert (kind_of(data) or "unknown content") in looked or not data
    assert not any("0x" in line or "<_io" in line for line in (*told, looked))


@pytest.mark.parametrize("name", CUT)
def test_a_picture_that_was_cut_is_said_to_be_damaged(name: str, tmp_path: Path) -> None:
    form, share = CUT[name]
    whole = saved(form)
    told = refusals(whole[: max(3, int(share * len(whole)))], tmp_path / "a.img")
    assert any("truncated" in line or "damaged" in line or "cannot be decoded" in line for line in told), told
    assert not any("0x" in line or "<_io" in line for line in told)
