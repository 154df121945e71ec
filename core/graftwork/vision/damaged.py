"""What a file is that cannot be read as a picture, in words for the one who has it."""

from __future__ import annotations

import re

from PIL import Image, UnidentifiedImageError

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P5", b"P6", b"\0\0\0\x0cjP  ")
"""First bytes of pictures in forms that are read here."""

_OTHERS = (
    (b"version https://git-lfs.github.com/", "a Git LFS pointer (git lfs pull fetches the file itself)"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"8BPS", "a Photoshop file, which is not read; save it as PNG"),
    (b"\x76\x2f\x31\x01", "an OpenEXR picture, which is not read; save it as PNG"),
    (b"\xff\x0a", "a JPEG XL picture, which is not read; save it as PNG"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture, which is not read; save it as PNG"),
    (b"\x93NUMPY", "a NumPy array, which is not read; save it as PNG"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x1aE\xdf\xa3", "a video"),
)
_MAC = b"\0\x05\x16\x07"  # of the ._ files that macOS lays beside others
_HEIC = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_AVIF = (b"avif", b"avis")
_READ = 4096  # bytes
_OBJECT = re.compile(r"\s*<[^<>]* object at 0x[0-9a-fA-F]+>")
_CUT = re.compile(r"truncat|unpack|requires a buffer|end of file|eof|not enough|incomplete|ran out", re.IGNORECASE)


def kind_of(data: bytes) -> str | None:
    """What a file is instead of a picture, `a web page (HTML)`; None for one that begins like a picture, or is unknown."""
    start = data[:_READ]
    if start.startswith(_SIGNATURES) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP"):
        return None
    for first, what in _OTHERS:
        if start.startswith(first):
            return what
    if start[:4] == b"RIFF":
        return "a video" if start[8:12] == b"AVI " else "sound" if start[8:12] == b"WAVE" else None
    if start[4:8] == b"ftyp":
        if start[8:12] in _HEIC:
            return "a HEIC picture (of an iPhone, often), which is not read; convert it to JPEG or PNG"
        return None if start[8:12] in _AVIF else "a video"
    if start[128:132] == b"DICM":
        return "a DICOM file, which is not read; convert it to PNG"
    if start.startswith(_MAC):
        return "what macOS keeps about another file"
    if not any(start):
        return "nothing but zero bytes (a copy that broke off)"
    return _text(start)


def _text(start: bytes) -> str | None:
    codec = "utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = start.decode(codec)
    except UnicodeDecodeError as error:
        if error.start < len(start) - 4 or len(start) < _READ:  # not a character that was cut
            return None
        text = start[: error.start].decode(codec)
    if not text.strip() or any(sign < " " and sign not in "\t\r\n\f" for sign in text):
        return None
    begin = text.lstrip().lower()
    if re.match(r"<!doctype html|<(html|head|body|script|title|meta|div|p)\b", begin):
        return "a web page (HTML)"
    if "<svg" in begin[:1000]:
        return "an SVG drawing, which is not read; save it as PNG"
    if begin.startswith("<"):
        return "XML"
    if begin.startswith(("{", "[")):
        return "JSON"
    return "text"


def why_unreadable(data: bytes, error: BaseException | None = None) -> str:
    """Why a file cannot be read as a picture, as the end of a sentence that begins with its name.

    Args:
        data: what it holds.
        error: what its reader raised.

    Example:
        >>> why_unreadable(b"<html>404</html>")
        'is a web page (HTML), not a picture'
    """
    if not data:
        return "is empty (zero bytes)"
    what = kind_of(data)
    if what is not None:
        return f"is {what}" if "which is not read" in what else f"is {what}, not a picture"
    if isinstance(error, Image.DecompressionBombError):
        return "has so many pixels that it may be a decompression bomb"
    if error is None or isinstance(error, UnidentifiedImageError):
        return "is damaged: its header cannot be read" if begins_like_one(data) else "is no picture that can be read"
    return reason_of(error)


def begins_like_one(data: bytes) -> bool:
    """Whether a file's first bytes are those of a picture in a form that is read."""
    return data.startswith(_SIGNATURES) or data[:4] == b"RIFF" or data[4:12] in (b"ftypavif", b"ftypavis")


def reason_of(error: BaseException) -> str:
    """What a reader raised of a picture that is damaged further in, as the end of a sentence."""
    told = _OBJECT.sub("", str(error)).strip() or type(error).__name__
    if isinstance(error, EOFError) or _CUT.search(told):
        return "is truncated: it ends before the picture does"
    return f"cannot be decoded ({told})"
