"""Pictures with their masks, and what is told of those that were left out or guessed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from graftwork.data.paths import shown
from graftwork.interfaces import Finding
from graftwork.vision.audit import named
from graftwork_segmentation.folders import pictures_below
from graftwork_segmentation.joined import Mask
from graftwork_segmentation.labelmap import LabelMap
from graftwork_segmentation.naming import FOLDER_OPTION, OTHER_KINDS, folded, mask_stems, picture_stem, plain
from graftwork_segmentation.parts import Layout


@dataclass
class Paired:
    """Pictures with their masks, by split, and what was met on the way and left out; names are relative to the source."""

    home: Path
    rows: dict[str, list[tuple[Path, Mask]]] = field(default_factory=dict)
    labels: LabelMap | None = None
    tags: dict[Path, list[tuple[Path, str]]] = field(default_factory=dict)
    words: dict[Path, list[tuple[Path, str]]] = field(default_factory=dict)
    tasks: bool = False
    folders: set[str] = field(default_factory=set)
    lonely_images: list[str] = field(default_factory=list)
    lonely_masks: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    by_suffix: list[str] = field(default_factory=list)
    by_order: list[str] = field(default_factory=list)
    joined: list[str] = field(default_factory=list)
    other_masks: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    junk: list[str] = field(default_factory=list)

    def name(self, path: Path) -> str:
        return shown(path.relative_to(self.home).as_posix() if path.is_relative_to(self.home) else path)

    def findings(self, layout: Layout) -> list[Finding]:
        """What was left out or guessed."""
        suffix = "masks that were matched to a picture by name without what they add to it"
        unlisted = "pictures with a mask that no split's list names, not used"
        numbers = "masks called instanceIds, which number objects; masks of classes are called labelIds"
        files = (mask.files[0][0] for rows in self.rows.values() for _, mask in rows)
        instances = [self.name(file) for file in files if file.stem.lower().endswith("_instanceids")]
        parts = "folders of masks that were not taken for classes, since no picture has masks in two of them"
        order = (
            "masks named by Label Studio's tasks, which were given to the pictures in their order; look at some of them"
        )
        return [
            *named("image-without-mask", "warning", "images without a mask, left out", self.lonely_images),
            *named("mask-without-image", "warning", "masks without an image, left out", self.lonely_masks),
            *named("unlabelled-split", "warning", "splits without masks, not used", layout.unlabelled),
            *named("paired-by-order", "warning", order, self.by_order),
            *self._passed(layout),
            *named("instance-masks", "warning", numbers, instances),
            *named("mask-folders", "warning", parts, sorted(self.folders)),
            *named("mask-by-suffix", "note", suffix, self.by_suffix),
            *named("joined-masks", "note", "pictures whose masks, one an object or a class, were joined", self.joined),
            *named("unused-masks", "note", "further masks of a picture, not used", self.other_masks),
            *named("not-in-lists", "note", unlisted, self.unlisted),
            *named("split-lists", "note", "splits are taken from lists", [self.name(file) for file in layout.lists]),
            *named("unused-splits", "note", "lists and folders that mean no split, not used", layout.unused),
            *named(
                "other-files",
                "note",
                "files that are no images by their name, or lie beside the folders, not used",
                self.others,
            ),
            *named("hidden-files", "note", "hidden or system files and folders, left out", self.junk),
        ]

    def _passed(self, layout: Layout) -> list[Finding]:
        """Folders of pictures that are not used; a warning where one of them may have been meant."""
        rows = [image for rows in self.rows.values() for image, _ in rows]
        stems = {folded(key) for image in rows for key in (image.stem, picture_stem(image.stem))}
        fitting: list[str] = []
        other: list[str] = []
        for folder in layout.passed:
            files = pictures_below(folder)
            fits = any(folded(key) in stems for file in files for key, _ in mask_stems(file.name))
            odd = plain(folder.name) in OTHER_KINDS
            (fitting if fits and not odd else other).append(f"{self.name(folder)}/ ({len(files):,} files)")
        message = f"folders of pictures that are not used ({FOLDER_OPTION} takes masks from one of them)"
        return named("unused-folders", "warning" if fitting else "note", message, [*fitting, *other])
