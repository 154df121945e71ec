"""Names by which pictures and masks are known: of their folders, and what files add to the name that they share."""

from __future__ import annotations

NEAREST_OPTION = "--set task_options.mask_values=nearest"
SCALE_OPTION = "--set task_options.mask_size=scale"
"""What a user gives, for messages."""

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages", "leftimg8bit", "photos", "rgb", "inputs", "input")
"""Usual names of a folder of pictures, in lower case, most likely first."""

MASK_FOLDERS = (
    "masks",
    "mask",
    "segmentationclass",
    "gtfine",
    "annotations",
    "annotation",
    "annots",
    "annot",
    "labels",
    "label",
    "ground_truth",
    "groundtruth",
    "gt",
    "segmentation",
    "segmentations",
    "targets",
    "target",
    "gtcoarse",
)
"""Usual names of a folder of masks, in lower case, most likely first."""

MASK_SUFFIXES = (
    "_labelids",
    "_labeltrainids",
    "_mask",
    "-mask",
    "_masks",
    "_gt",
    "_label",
    "_labels",
    "_seg",
    "_segmentation",
    "_annotation",
    "_l",
    "_gtfine",
    "_gtcoarse",
    "_color",
    "_colour",
    "_instanceids",
)
"""What masks add to the name of their picture, in lower case; of several masks of a picture, the earliest here counts."""

IMAGE_SUFFIXES = ("_leftimg8bit", "_image", "_img", "_rgb", "_sat")
"""What pictures add to the name that they share with their mask, in lower case."""


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
