"""Pictures with boxes and masks laid over them, for people: reports and `graft predict --draw`. No metric is made here."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

LEAST = 320
"""Pixels, the longer side from which the text on a picture can be read; smaller pictures are enlarged."""

TEXT = 24
"""Characters of a class name that are drawn."""

AGREED: Colour = (0, 114, 178)
WRONG: Colour = (230, 97, 0)
UNSCORED: Colour = (140, 140, 140)
"""Blue, orange and grey of what is right, wrong and not counted: told apart without seeing red or green."""

_PALETTE: tuple[Colour, ...] = (
    # Okabe & Ito 2008, "Color Universal Design", without black.
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    # Chosen as far as can be from those before (CIE76, at least 17), for eyes without cones for red or green too. The pale
    # ones come last: laid thinly over a picture they look like no colour at all.
    (85, 10, 20),
    (51, 34, 136),
    (136, 34, 85),
    (221, 204, 119),
    (102, 51, 0),
    (118, 42, 131),
    (255, 250, 190),
    (255, 204, 204),
)
_TURN = 0.618034
"""Of the colour circle from one class to the next (golden section), for classes that the palette has no colour for."""


def class_colours(count: int) -> list[Colour]:
    """A colour for each of so many classes; a class has the same colour whatever the count.

    The first fifteen differ for people who see no red or no green too; beyond, hues and lightnesses that lie far from
    their neighbours'.
    """
    return [_PALETTE[index] if index < len(_PALETTE) else _further(index) for index in range(count)]


def draw_boxes(
    pixels: Tensor, boxes: Tensor, texts: Sequence[str], colours: Sequence[Colour], most: int | None = None
) -> Tensor:
    """The picture with boxes, later ones over earlier ones, and a text in the corner of each.

    Args:
        pixels: uint8 [3, H, W].
        boxes: [N, 4], left, top, right, bottom in pixels of the picture; what lies outside is cut.
        texts: one a box, "" for none; cut to TEXT characters.
        colours: one a box.
        most: pixels, the longer side of what is given back; None keeps the size.

    Returns:
        uint8 [3, H', W'], enlarged to LEAST pixels where the picture was smaller.
    """
    from torchvision.utils import draw_bounding_boxes

    drawn = resize(pixels, most)
    if not len(boxes):
        return drawn
    height, width = drawn.shape[-2:]
    scale = torch.tensor([width / pixels.shape[-1], height / pixels.shape[-2]] * 2)
    corners = (boxes.detach().cpu().float() * scale).nan_to_num().reshape(-1, 2, 2)
    corners = corners.minimum(torch.tensor([width - 1.0, height - 1.0])).clamp(min=0).sort(dim=1).values
    corners, side = corners.reshape(-1, 4), max(height, width)
    framed = draw_bounding_boxes(drawn, corners, colors=list(colours), width=max(2, side // 240))
    # Texts in a second round (frames of no width), so that no frame runs through another's text.
    result: Tensor = draw_bounding_boxes(
        framed,
        corners,
        [line_of(text) or None for text in texts],
        list(colours),
        width=0,
        font=_font_file(),
        font_size=_text_size(side),
        label_colors=[_text_on(colour) for colour in colours],
        fill_labels=True,
    )
    return result


def draw_mask(pixels: Tensor, mask: Tensor, classes: int, alpha: float = 0.55, most: int | None = None) -> Tensor:
    """The picture under the colours of its classes; where the mask has no class it shows as it is.

    Args:
        pixels: uint8 [3, H, W].
        mask: uint8 [H, W], class index; `classes` and above (255: not scored) is no class. Of another size than the
            picture, it is stretched over it.
        classes: how many there are.
        alpha: share of the colour, 0 to 1.
        most: as for `draw_boxes`.
    """
    from torchvision.utils import draw_segmentation_masks

    drawn = resize(pixels, most)
    mask = stretch(mask.cpu(), drawn.shape[-2], drawn.shape[-1])
    present = classes_in(mask, classes)
    if not present:
        return drawn
    layers = mask == torch.tensor(present, dtype=mask.dtype)[:, None, None]
    colours = class_colours(classes)
    result: Tensor = draw_segmentation_masks(drawn, layers, alpha, [colours[index] for index in present])
    return result


def classes_in(mask: Tensor, classes: int) -> list[int]:
    """The class indices that a mask uint8 [H, W] has, ascending; `classes` and above is no class."""
    counts = torch.bincount(mask.reshape(-1).long(), minlength=classes)[:classes]
    return [index for index, count in enumerate(counts.tolist()) if count]


def paint(pixels: Tensor, where: Tensor, colour: Colour, alpha: float = 0.7) -> Tensor:
    """The picture uint8 [3, H, W] with one colour where the bool [H, W] is true."""
    from torchvision.utils import draw_segmentation_masks

    result: Tensor = draw_segmentation_masks(pixels, where.cpu(), alpha, [colour])
    return result


def side_by_side(images: Sequence[Tensor], captions: Sequence[str]) -> Any:
    """Pictures in a row as one PIL image, each under its caption (one line, cut to its picture's width).

    Args:
        images: uint8 [3, H, W] each, at least one.
        captions: as many.
    """
    from PIL import Image, ImageDraw, ImageFont

    size = _text_size(max(image.shape[-1] for image in images))
    font = ImageFont.truetype(_font_file(), size)
    strip, gap = 2 * size, max(4, size // 2)
    width = sum(image.shape[-1] for image in images) + gap * (len(images) - 1)
    canvas = Image.new("RGB", (width, strip + max(image.shape[-2] for image in images)), "white")
    pen = ImageDraw.Draw(canvas)
    left = 0
    for image, caption in zip(images, captions, strict=True):
        line = line_of(caption, 200)
        while line and pen.textlength(line, font=font) > image.shape[-1] - 4:
            line = line[:-2].rstrip("…") + "…" if len(line) > 2 else ""
        pen.text((left + 2, size // 2), line, fill=(29, 39, 48), font=font)
        canvas.paste(to_picture(image), (left, strip))
        left += image.shape[-1] + gap
    return canvas


def with_key(image: Tensor, names: Sequence[str], colours: Sequence[Colour]) -> Any:
    """The picture uint8 [3, H, W] as a PIL image, above lines that tell which colour is which name."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = image.shape[-2:]
    size = _text_size(width)
    font = ImageFont.truetype(_font_file(), size)
    places, left, top = [], size // 2, height + size // 2
    for name in map(line_of, names):
        wide = 2 * size + round(font.getlength(name))
        if left + wide > width and left > size // 2:
            left, top = size // 2, top + round(1.6 * size)
        places.append((left, top, name))
        left += wide + size // 2
    canvas = Image.new("RGB", (width, top + 2 * size if places else height), "white")
    canvas.paste(to_picture(image), (0, 0))
    pen = ImageDraw.Draw(canvas)
    for (left, top, name), colour in zip(places, colours, strict=True):
        pen.rectangle((left, top, left + size, top + size), fill=colour, outline=UNSCORED)
        pen.text((left + round(1.4 * size), top + round(0.85 * size)), name, fill=(29, 39, 48), font=font, anchor="ls")
    return canvas


def to_picture(pixels: Tensor) -> Any:
    """A PIL image of uint8 [3, H, W]."""
    from PIL import Image

    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def mask_png(mask: Tensor) -> bytes:
    """A mask uint8 [H, W] as a PNG whose values are the class indices and whose palette is `class_colours`; 255 is black."""
    from PIL import Image

    image = Image.fromarray(mask.cpu().to(torch.uint8).contiguous().numpy())
    image.putpalette([part for colour in [*class_colours(255), (0, 0, 0)] for part in colour])
    target = io.BytesIO()
    image.save(target, format="PNG")
    return target.getvalue()


def resize(pixels: Tensor, most: int | None = None) -> Tensor:
    """Brought to a longer side of LEAST to `most` pixels; enlarged by whole factors, so that its pixels stay squares."""
    from torchvision.transforms.v2 import functional

    height, width = pixels.shape[-2:]
    side = max(height, width)
    if most is not None and side > most:
        small = [max(1, round(height * most / side)), max(1, round(width * most / side))]
        shrunk: Tensor = functional.resize(pixels, small, antialias=True)
        return shrunk.contiguous()
    factor = -(-LEAST // side)
    return pixels.repeat_interleave(factor, 1).repeat_interleave(factor, 2) if factor > 1 else pixels.contiguous()


def stretch(mask: Tensor, height: int, width: int) -> Tensor:
    """The mask [H, W] at another size, by the nearest pixel."""
    rows = ((torch.arange(height) + 0.5) * mask.shape[0] / height).long()
    columns = ((torch.arange(width) + 0.5) * mask.shape[1] / width).long()
    return mask[rows][:, columns]


def line_of(text: str, limit: int = TEXT) -> str:
    """Text of any origin as one printable line of limited length: names come from users' data."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in str(text)).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _further(index: int) -> Colour:
    lightness = (0.35, 0.65, 0.5)[index % 3]
    red, green, blue = colorsys.hls_to_rgb(index * _TURN % 1.0, lightness, 0.65)
    return round(255 * red), round(255 * green), round(255 * blue)


def _text_on(colour: Colour) -> Colour:
    """Black or white, whichever stands out (luma of ITU-R BT.601)."""
    red, green, blue = colour
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)


def _text_size(side: int) -> int:
    return min(max(11, side // 36), 40)


@cache
def _font_file() -> str:
    """DejaVu Sans, which comes with matplotlib: Pillow's own font knows little beyond Latin and has no accents' size."""
    import matplotlib

    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
