"""Pictures for cases.yaml that no folder has, the same every time: `python cases_made.py boxes|mixed|cut [FROM] FOLDER`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ((160, 120), (120, 160), (200, 100), (128, 128), (96, 176), (240, 96))
"""Width and height in pixels: every batch of some pictures mixes them."""
CATEGORIES = {3: "square", 17: "disc"}


def picture(number: int) -> tuple[Image.Image, list[tuple[int, list[int]]]]:
    """A grey picture with one to three squares and discs, and their (category, box as x, y, width, height)."""
    dice = np.random.default_rng(number)
    width, height = SHAPES[number % len(SHAPES)]
    drawn = Image.fromarray(dice.integers(90, 140, (height, width, 3), dtype=np.uint8))
    pen, objects = ImageDraw.Draw(drawn), []
    for _ in range(1 + number % 3):
        side = int(dice.integers(24, 48))
        x, y = int(dice.integers(0, width - side)), int(dice.integers(0, height - side))
        category = int(dice.choice(list(CATEGORIES)))
        if category == 3:
            pen.rectangle((x, y, x + side, y + side), fill=(220, 60, 40))
        else:
            pen.ellipse((x, y, x + side, y + side), fill=(40, 80, 220))
        objects.append((category, [x, y, side, side]))
    return drawn, objects


def boxes(folder: Path) -> None:
    """COCO with train, valid and test; its category ids are 3 and 17, its image ids do not begin at 0."""
    number = 0
    for split, count in (("train", 24), ("valid", 8), ("test", 16)):
        (folder / split).mkdir(parents=True)
        images, annotations = [], []
        for place in range(count):
            drawn, objects = picture(number)
            name = f"{split}_{place:03}.png"
            drawn.save(folder / split / name)
            images.append({"id": 500 + number, "file_name": name, "width": drawn.width, "height": drawn.height})
            for category, box in objects:
                facts = {"id": len(annotations) + 1, "image_id": 500 + number, "category_id": category, "bbox": box}
                annotations.append({**facts, "area": box[2] * box[3], "iscrowd": 0})
            number += 1
        categories = [{"id": number, "name": name} for number, name in CATEGORIES.items()]
        document = {"images": images, "annotations": annotations, "categories": categories}
        (folder / split / "_annotations.coco.json").write_text(json.dumps(document))


def mixed(folder: Path) -> None:
    """Ten pictures of six shapes without annotations."""
    folder.mkdir(parents=True)
    for number in range(10):
        picture(100 + number)[0].save(folder / f"m{number}.png")


def cut(source: Path, folder: Path) -> None:
    """a.tif, the first picture of floats with a pixel above 1, and b.tif, the same without it."""
    folder.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        pixels = np.asarray(Image.open(path))
        if pixels.max() > 1:
            Image.fromarray(pixels).save(folder / "a.tif")
            Image.fromarray(pixels.clip(0, 1)).save(folder / "b.tif")
            return


if __name__ == "__main__":
    {"boxes": boxes, "mixed": mixed, "cut": cut}[sys.argv[1]](*map(Path, sys.argv[2:]))
