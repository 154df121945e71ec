"""Files by their first bytes: pictures that a name hides, and pictures that a model does not know. No pixel is decoded."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from graftwork.interfaces import Finding
from graftwork.vision.levels import Ranges, depth_of, in_words
from graftwork.vision.look import has_frames

UNREAD = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC"),
    **dict.fromkeys((".dcm", ".dicom", ".ima"), "DICOM"),
    **dict.fromkeys((".nii", ".nii.gz"), "NIfTI"),
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"), "a camera's raw data"),
    ".jxl": "JPEG XL", ".fits": "FITS", ".exr": "OpenEXR", ".hdr": "Radiance", ".svg": "SVG", ".psd": "Photoshop",
    ".czi": "Zeiss", ".lif": "Leica", ".nd2": "Nikon", ".mhd": "MetaImage", ".mha": "MetaImage",
}  # fmt: skip
"""Suffixes of pictures that are in no form that is read here, in lower case, with what the form is called."""

HOLDERS = {
    **dict.fromkeys((".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"), "video"),
    **dict.fromkeys((".npy", ".npz"), "NumPy"),
    **dict.fromkeys((".h5", ".hdf5"), "HDF5"),
    **dict.fromkeys((".tfrecord", ".tfrecords"), "TFRecord"),
    ".mat": "MATLAB", ".lmdb": "LMDB", ".mdb": "LMDB", ".rec": "RecordIO", ".pt": "PyTorch", ".pkl": "a pickle",
}  # fmt: skip
"""Suffixes of files that hold many pictures, in lower case, with what they are."""

_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "PPM", "JPEG2000")
_LOOKED_AT = 20
"""Files of one suffix that are opened to see what they are."""

_SHOWN = 5
_PLAIN = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp", ".mpo", ".bmp", ".dib"})
"""Suffixes of files that have 8 bits a channel and one picture."""


def dropped_pictures(root: Path, names: Iterable[str]) -> list[Finding]:
    """Files that are left out for their names, though they are pictures.

    Args:
        root: the folder.
        names: of the files that are not used, relative to it; folders among them end with `/`.
    """
    by_suffix: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if not name.endswith("/"):
            suffix = ".nii.gz" if name.lower().endswith(".nii.gz") else Path(name).suffix.lower()
            by_suffix[suffix].append(name)
    hidden: dict[str, list[str]] = {}
    unread: dict[str, list[str]] = {}
    for suffix, files in by_suffix.items():
        if suffix in UNREAD:
            unread[f"{UNREAD[suffix]}: {suffix}"] = files
        elif _any_opens(root, files):
            hidden[suffix or "no suffix"] = files
        elif _is_dicom(root / files[0]):
            unread[f"DICOM: {suffix or 'no suffix'}"] = files
    message = "files that open as pictures, but not used, for their names do not end like a picture's; rename them"
    other = "pictures in a form that is not read, not used; convert them to PNG"
    return [*_found("picture-not-used", message, hidden), *_found("picture-not-used", other, unread)]


def holders_of_pictures(names: Iterable[str]) -> list[Finding]:
    """Files that may hold many pictures, or their pixels; for where there is no other one.

    Args:
        names: of files.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        lower = name.lower()
        kind = HOLDERS.get(Path(lower).suffix) or (
            "MNIST's own form" if lower.endswith(("idx3-ubyte", "idx1-ubyte")) else None
        )
        if kind:
            found[kind].append(name)
    return _found("picture-not-used", "files that are not read; write a PNG a picture", found)


def check_files(files: Sequence[Path], origins: Sequence[str], ranges: Ranges) -> list[Finding]:
    """What a model will not see as it saw its training pictures: another depth, pages beyond the first.

    Args:
        files: pictures.
        origins: what each is called.
        ranges: of the model's facts.
    """
    depths: list[str] = []
    pages: list[str] = []
    for file, origin in zip(files, origins, strict=True):
        kind, many = (None, False) if file.suffix.lower() in _PLAIN else _header(file)
        if kind != "unknown":
            depths += [origin] if (kind not in ranges if ranges else kind is not None) else []
        pages += [origin] if many else []
    if ranges:
        unlike = f"images of another depth than the model was trained on ({in_words(ranges)}), taken as they are"
    else:
        unlike = "images with more than 8 bits a channel, which the model was not trained on; each is scaled for itself"
    return [
        *_told("other-depth", unlike, depths),
        *_told("animated-image", "images with several frames or pages, of which only the first is used", pages),
    ]


def _header(file: Path) -> tuple[str | None, bool]:
    """The kind of a file's deep values, and whether it holds several pictures; `unknown` where it cannot be opened."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file) as image:
                many = has_frames(image)
                return depth_of(image), many
    except Exception:  # whatever Pillow's readers run into; decoding will say what is wrong
        return "unknown", False


def _any_opens(root: Path, names: Sequence[str]) -> bool:
    Image.init()  # or only the most usual formats are there to be named
    for name in names[:_LOOKED_AT]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(root / name, formats=_FORMATS):
                    return True
        except Exception:  # no picture, or none that can be read: as its name says
            continue
    return False


def _is_dicom(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _found(code: str, message: str, by_suffix: dict[str, list[str]]) -> list[Finding]:
    names = [name for files in by_suffix.values() for name in files]
    return _told(code, f"{message} ({', '.join(sorted(by_suffix))})", names)


def _told(code: str, message: str, names: Sequence[str]) -> list[Finding]:
    if not names:
        return []
    return [Finding(code, "warning", f"{message}: {len(names):,}", tuple(names[:_SHOWN]), len(names))]
