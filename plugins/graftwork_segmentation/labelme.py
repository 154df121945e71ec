"""Outlines in labelme's JSON, a file a picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from graftwork.data.paths import Files
from graftwork.errors import DataError
from graftwork.vision.decode import SUFFIXES
from graftwork.vision.outlines import outline_of_shape
from graftwork_segmentation.drawn import Drawn, Object, load_json
from graftwork_segmentation.labelmap import VOID, build_map
from graftwork_segmentation.naming import split_within
from graftwork_segmentation.tags import BACKGROUND


def read_labelme(home: Path, found: Sequence[Path]) -> Drawn:
    """Pictures with their outlined objects, by the split that a folder above them is called after.

    Args:
        home: the source; names in findings start from it.
        found: labelme's files, one a picture.

    Raises:
        DataError: a file is damaged, or there are too many labels.
    """
    drawn = Drawn(home)
    index = Files(home, SUFFIXES)
    contents = {file: content for file in found if "shapes" in (content := load_json(file))}
    names = sorted({name for content in contents.values() for name in _labels_of(content)})
    values = {name: place for place, name in enumerate((n for n in names if not _is_special(n)), start=1)}
    values |= {name: VOID if "ignore" in name else 0 for name in names if _is_special(name)}
    if len(values) >= VOID:
        raise DataError(f"has {len(values):,} different labels; at most 253 can be told apart", where=str(home))
    pairs: list[tuple[str, str | None]] = [("0", BACKGROUND)]
    pairs += [(str(value), name) for name, value in values.items() if 0 < value < VOID]
    drawn.labels = build_map([*pairs, ("255", None)], "labelme's labels")
    for file, content in contents.items():
        split = next(filter(None, map(split_within, reversed(file.relative_to(home).parts[:-1]))), "train")
        image = index.find(file.stem, [file.parent]) or index.find(str(content.get("imagePath") or ""), [file.parent])
        if image is None or image in drawn.rows[split]:
            drawn.without_image.append(drawn.name(file))
            continue
        objects = [shape for shape in content["shapes"] if isinstance(shape, dict)]
        sides = content.get("imageHeight"), content.get("imageWidth")
        if all(isinstance(side, int) and 0 < side < 1 << 16 for side in sides):
            drawn.sizes[image] = int(content["imageHeight"]), int(content["imageWidth"])
        size = drawn.sizes.get(image)
        drawn.rows[split][image] = [
            Object(
                values[str(shape.get("label")).strip()],
                _shape(shape, size),
                f"{shape.get('shape_type') or 'shape'} {place}",
            )
            for place, shape in enumerate(objects)
        ]
    return drawn


def _labels_of(content: Mapping[str, Any]) -> set[str]:
    return {str(shape.get("label")).strip() for shape in content["shapes"] if isinstance(shape, dict)}


def _is_special(name: str) -> bool:
    return name.lower() in ("_background_", "__ignore__", BACKGROUND)


def _shape(shape: Mapping[str, Any], size: tuple[int, int] | None) -> Any:
    """An outline for `draw_outline`, or what labelme's shape `mask` shows, bool [height, width]."""
    kind, points = str(shape.get("shape_type") or "polygon"), shape.get("points")
    if kind != "mask":
        return outline_of_shape(kind, points)
    try:
        with Image.open(io.BytesIO(base64.b64decode(str(shape["mask"])))) as image:
            part = np.asarray(image.convert("L")) > 0
        left, top = (round(value) for value in shape["points"][0])
        assert size is not None
        whole = np.zeros(size, dtype=bool)
        whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    except Exception:  # a library boundary, and foreign JSON: it is told as an object without an outline
        return None
    return whole
