"""Names by which pictures and masks are known: of their folders, and what files add to the name that they share."""

from __future__ import annotations

import itertools
import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote

from graftwork.data.splits import canonical_split
from graftwork.vision.decode import SUFFIXES

NEAREST_OPTION = "--set task_options.mask_values=nearest"
OBJECT_OPTION = "--set task_options.mask_values=object"
SCALE_OPTION = "--set task_options.mask_size=scale"
FOLDER_OPTION = "--set task_options.mask_folder=NAME"
"""What a user gives, for messages."""

IMAGE_FOLDERS = (
    *("images", "image", "imgs", "img", "jpegimages", "leftimg8bit", "photos", "rgb", "inputs", "input"),
    *("pictures", "frames", "orig", "original", "originals", "jpgs", "data"),
)
"""Usual names of a folder of pictures, in lower case without separators, most likely first."""

MASK_FOLDERS = (
    *("1stmanual", "manual1", "manual", "masks", "segmentationclass", "gtfine", "annotations", "annotation", "annots"),
    *(
        "annot",
        "labels",
        "label",
        "groundtruth",
        "groundtruths",
        "gt",
        "gts",
        "segmentation",
        "segmentations",
        "targets",
    ),
    *("target", "gtcoarse", "mask", "trimaps", "trimap", "semantic", "labelids", "labelsah", "segmaps", "segs", "seg"),
    *(
        "masksmachine",
        "segmentationclasspng",
        "segmentationclassaug",
        "segmentationclasscontext",
        "2ndmanual",
        "manual2",
    ),
)
"""Usual names of a folder of masks, in the same form. `mask` alone is a field of view where another folder fits."""

FIELDS_OF_VIEW = ("fov", "fieldofview", "roi", "rois", "fovmasks", "fovmask")
"""Names of folders whose masks say where a picture shows something at all."""

OTHER_KINDS = (
    *(
        "segmentationobject",
        "instances",
        "instance",
        "instanceids",
        "depth",
        "disparity",
        "bbox",
        "overlay",
        "overlays",
    ),
    *(
        "visualization",
        "visualizations",
        "vis",
        "viz",
        "preview",
        "previews",
        "thumbs",
        "thumbnails",
        "edges",
        "gtcoarse",
    ),
    *("maskshuman", "segmentationclassvisualization"),
    *FIELDS_OF_VIEW,
)
"""Names of folders that lie beside masks and are neither pictures nor masks of classes."""

MASK_SUFFIXES = (
    *("_labelids", "_labeltrainids", "_mask", "-mask", "_masks", "_gt", "_label", "_labels", "_seg", "_segmentation"),
    *(
        "_annotation",
        "_l",
        "_gtfine",
        "_gtcoarse",
        "_color",
        "_colour",
        "_instanceids",
        "_manual1",
        "_manual",
        "_1stho",
    ),
    *(
        "_trimap",
        "_groundtruth",
        "_ground_truth",
        "_annot",
        "_target",
        "_bin",
        "-gt",
        "-label",
        ".mask",
        ".gt",
        " mask",
    ),
    *("mask", "_manual2", "_2ndho"),
)
"""What masks add to the name of their picture, in lower case; of several masks of a picture, the earliest here counts."""

IMAGE_SUFFIXES = ("_leftimg8bit", "_image", "_img", "_rgb", "_sat", "_training", "_test", "_orig", "_0000")
"""What pictures add to the name that they share with their mask, in lower case."""

_IMAGE_WORDS = frozenset({*IMAGE_FOLDERS, "raw", "stills", "photo", "picture"}) - {"data"}
_MASK_WORDS = frozenset({*MASK_FOLDERS, "ann", "anno", "labeled", "labelled", "annotated", "segmented", "truth"})

_SPLITS = ("train", "training", "validation", "valid", "val", "dev", "testing", "test")
_SHORT = {"tr": "train", "ts": "test"}  # nnU-Net's imagesTr and labelsTs
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_NUMBERED = re.compile(r"(.*[^\d])[_-](\d{1,4})|(.*) ?\((\d{1,4})\)")


def plain(name: str) -> str:
    """A folder's name as it stands in the lists above.

    Example:
        >>> plain("1st_manual"), plain("Ground Truth"), plain("SegmentationClass")
        ('1stmanual', 'groundtruth', 'segmentationclass')
    """
    return re.sub(r"[\s_.-]+", "", name.lower())


def split_and_kind(name: str) -> tuple[str | None, str]:
    """The split that a folder's name means, if any, and what else is in it, in plain form.

    Example:
        >>> split_and_kind("train_images"), split_and_kind("masksTest"), split_and_kind("masks")
        (('train', 'images'), ('test', 'masks'), (None, 'masks'))
    """
    if canonical_split(name):
        return canonical_split(name), ""
    whole = plain(name)
    known = {*IMAGE_FOLDERS, *MASK_FOLDERS, *OTHER_KINDS}
    if whole in known:
        return None, whole
    for word in (*_SPLITS, *_SHORT):
        split = _SHORT.get(word) or canonical_split(word)
        for rest in (whole.removeprefix(word), whole.removesuffix(word)):
            if rest != whole and rest in known:
                return split, rest
    return None, whole


def kind_of_words(name: str) -> str | None:
    """`masks` or `images`, where words of a folder's name say so (`stare-images`, `CamSeqMasks`, `ann_dir`), else None.

    Example:
        >>> kind_of_words("2_Ortho_RGB"), kind_of_words("label_images"), kind_of_words("mask_overlays")
        ('images', 'masks', None)
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    words += [first + second for first, second in itertools.pairwise(words)]
    if not words or any(word in OTHER_KINDS for word in (*words, plain(name))):
        return None
    if any(word in _MASK_WORDS for word in words):
        return "masks"
    return "images" if any(word in _IMAGE_WORDS for word in words) else None


def split_and_kind_of_words(name: str) -> tuple[str | None, str]:
    """As `split_and_kind`, by single words (`ISIC2018_Task1_Training_GroundTruth`)."""
    kind = kind_of_words(name) or ("images" if "Data" in _WORDS.findall(name) else None)
    return (split_within(name), kind) if kind else (None, plain(name))


def split_within(name: str) -> str | None:
    """The split that one word of a folder's name means: `stage1_train` is train; None where none or several do."""
    words = _WORDS.findall(name)
    splits = {split for word in words if (split := canonical_split(word)) is not None}
    return next(iter(splits)) if len(splits) == 1 else None


def mask_keys(stem: str) -> list[tuple[str, int]]:
    """What a mask's picture may be called: its own stem, then without one suffix after another; with a rank each."""
    keys = [(stem, -1)]
    rank = -1
    while True:
        lower = keys[-1][0].lower()
        at = next((i for i, suffix in enumerate(MASK_SUFFIXES) if lower.endswith(suffix) and lower != suffix), None)
        if at is None:
            return keys
        rank = at if rank < 0 else rank
        keys.append((keys[-1][0][: -len(MASK_SUFFIXES[at])], rank))


def without_number(stem: str) -> str | None:
    """A mask's name without the number that tells several masks of one picture apart (`a_mask_1` is `a_mask`)."""
    match = _NUMBERED.fullmatch(stem)
    base = (match[1] or match[3]) if match else None
    return base if base and len(mask_keys(base)) > 1 else None


def mask_stems(name: str) -> list[tuple[str, int]]:
    """What a mask's picture may be called, most likely first, with a rank each: `0.jpg.png` is of 0.jpg, or of 0."""
    stem = Path(name).stem
    keys = mask_keys(stem)
    inner = Path(stem)
    if inner.suffix.lower() in SUFFIXES and inner.stem:
        keys += [(key, max(rank, 0)) for key, rank in mask_keys(inner.stem)]
    base = without_number(stem)
    if base:
        keys += [(key, max(rank, 0)) for key, rank in mask_keys(base)[1:]]
    return keys


def picture_stem(stem: str) -> str:
    """A picture's name without what pictures add to the name that they share with their mask."""
    suffix = next((s for s in IMAGE_SUFFIXES if stem.lower().endswith(s) and stem.lower() != s), "")
    return stem[: len(stem) - len(suffix)]


def folded(key: str) -> str:
    """A name whatever the case of its letters, how its accents are composed, and whether it is percent-encoded."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", unquote(key)).casefold())


def core_names(stems: list[str]) -> list[str]:
    """Names without the start and the end that all of them share, numbers left whole; nothing where there is one name.

    Example:
        >>> core_names(["img_08_x1", "img_09_x1"])
        ['08', '09']
    """
    if len(set(stems)) < 2:
        return [""] * len(stems)
    start = _shared(stems)
    end = _shared([stem[start:][::-1] for stem in stems])
    return [stem[start : len(stem) - end] for stem in stems]


def _shared(stems: list[str]) -> int:
    """How many first letters all names share, not counting a number that goes on behind them."""
    first, last = min(stems), max(stems)
    count = next((at for at, letter in enumerate(first) if at >= len(last) or last[at] != letter), len(first))
    if any(stem[count : count + 1].isdigit() for stem in stems):
        while count and first[count - 1].isdigit():
            count -= 1
    return count
