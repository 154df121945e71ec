"""The arrangement of a folder: which folders hold the pictures and the masks of each split."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

WANTED = (
    "Wanted images/ and masks/, the same inside train/ and so on, Pascal VOC, COCO or labelme JSON, or a table with image "
    "and mask columns; --set task_options.image_folder=NAME and mask_folder=NAME name other folders"
)


@dataclass(frozen=True)
class Part:
    """One split's folders.

    Args:
        images, masks: folders; the same one where masks lie beside their pictures.
        stems: file names without suffix that belong to the split; None for all.
        each: whether it is a folder a picture, in it one for the picture and one for its masks, or a file for each.
        pairs: folders of pictures and of masks, where there are several, anywhere below `images`.
    """

    images: Path
    masks: Path
    stems: tuple[str, ...] | None = None
    each: bool = False
    pairs: tuple[tuple[Path, Path], ...] = ()

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders whose pictures and masks are taken."""
        return tuple(folder for pair in self.pairs for folder in pair) or (self.images, self.masks)


@dataclass(frozen=True)
class Layout:
    """How a folder is arranged.

    Args:
        root: the folder whose entries are the parts.
        parts: by split; `train` alone where the data has no splits.
        voc: whether it is Pascal VOC's arrangement.
        unlabelled: split folders or lists without masks.
        unused: names of lists or folders in the root that are not used and hold no pictures.
        passed: folders of pictures that are not used.
        lists: files that say which pictures are in which split; none for Pascal VOC's.
    """

    root: Path
    parts: dict[str, Part]
    voc: bool = False
    unlabelled: tuple[str, ...] = ()
    unused: tuple[str, ...] = field(default=())
    passed: tuple[Path, ...] = ()
    lists: tuple[Path, ...] = ()
