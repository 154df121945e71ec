"""Masks drawn from outlines, whatever the files that these come from.

How an outline becomes pixels is told in `vision.outlines`.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from graftwork.data.paths import shown
from graftwork.data.splits import SPLITS
from graftwork.errors import DataError
from graftwork.files.text import read_text, save_as_utf8
from graftwork.interfaces import Finding
from graftwork.vision.audit import named
from graftwork.vision.frames import picture_shape
from graftwork.vision.outlines import draw_outline
from graftwork_segmentation.joined import Mask, png
from graftwork_segmentation.labelmap import LabelMap


@dataclass(frozen=True)
class Object:
    """One outlined object: its mask value, its outline (for `draw_outline`), and what it is called in findings."""

    value: int
    outline: Any
    name: str


@dataclass
class Drawn:
    """Pictures with outlines, by split, and what was left out; names are relative to the source."""

    home: Path
    rows: dict[str, dict[Path, list[Object]]] = field(default_factory=lambda: defaultdict(dict))
    sizes: dict[Path, tuple[int, int]] = field(default_factory=dict)
    labels: LabelMap | None = None
    without_image: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    without_outline: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def name(self, path: Path) -> str:
        return shown(path.relative_to(self.home).as_posix() if path.is_relative_to(self.home) else path)

    def findings(self) -> list[Finding]:
        other = (
            "images whose annotated folder is not there; the only one so called lies in another folder, and is taken"
        )
        outline = "objects without an outline that can be drawn (boxes, points, lines), which count as background"
        return [
            *named(
                "mask-without-image", "warning", "annotated images that are not there, left out", self.without_image
            ),
            *named("file-in-other-folder", "warning", other, self.elsewhere),
            *named("image-without-mask", "warning", "images that no annotation names, left out", self.unlisted),
            *named("object-without-outline", "warning", outline, sorted(self.without_outline)),
            *named("unlabelled-split", "warning", "splits without objects, not used", self.unlabelled),
            *named("other-files", "note", "files that are not used", self.others),
        ]

    def masks(self) -> dict[str, list[tuple[Path, Mask]]]:
        """Every picture with its mask, by split.

        Raises:
            DataError: no object has an outline.
        """
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            drawn = {
                split: list(zip(rows, pool.map(self._draw, rows.items()), strict=True)) for split, rows in self._full()
            }
        objects = sum(len(found) for _, rows in self._full() for found in rows.values())
        if objects and len(self.without_outline) >= objects:
            what = f"has {objects:,} objects, and none with an outline (the first: {min(self.without_outline)})"
            hint = "Export polygons or masks, or use --task detection for boxes"
            raise DataError(what, where=str(self.home), hint=hint)
        return {split: drawn[split] for split in SPLITS if split in drawn}

    def _full(self) -> Iterator[tuple[str, dict[Path, list[Object]]]]:
        yield from ((split, rows) for split, rows in self.rows.items() if rows)

    def _draw(self, row: tuple[Path, list[Object]]) -> Mask:
        """Larger objects lie under smaller ones."""
        image, objects = row
        try:
            height, width = self.sizes.get(image) or picture_shape({"path": str(image)})
        except (OSError, DataError, Image.DecompressionBombError, SyntaxError, ValueError):
            return Mask(((image, None),), b"")  # the picture itself cannot be read, as the audit says
        values = np.zeros((height, width), dtype=np.uint16)
        inside: list[tuple[int, NDArray[np.bool_]]] = []
        for found in objects:
            drawn = (
                found.outline if isinstance(found.outline, np.ndarray) else draw_outline(found.outline, height, width)
            )
            if drawn is None or drawn.shape != values.shape:
                self.without_outline.append(f"{self.name(image)}: {found.name}")
            else:
                inside.append((found.value, drawn))
        for value, drawn in sorted(inside, key=lambda one: -int(one[1].sum())):
            values[drawn] = value
        return Mask(((image, None),), png(values))


def load_json(file: Path) -> dict[str, Any]:
    """What an annotation file holds.

    Raises:
        DataError: it cannot be read, or is damaged, or no mapping.
    """
    try:
        content = json.loads(read_text(file))
    except UnicodeDecodeError:
        raise DataError("is not UTF-8 text", where=str(file), hint=save_as_utf8(file)) from None
    except json.JSONDecodeError as error:
        where = f"{file}:{error.lineno}:{error.colno}"
        raise DataError(f"is damaged JSON ({error.msg})", where=where, hint="Export it again") from None
    except (RecursionError, ValueError, OSError) as error:
        raise DataError(f"cannot be read ({str(error) or type(error).__name__})", where=str(file)) from None
    if not isinstance(content, dict):
        raise DataError("is JSON, but neither COCO's nor labelme's", where=str(file))
    return content
