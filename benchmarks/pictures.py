"""Many pictures from few: crops of real photos as JPEG files in image folders, for comparisons that ask for thousands.

    python benchmarks/pictures.py --data DATA/clothing --runs runs --rows 5000

Each picture is a crop of its own (70 to 100 % of both sides, half of them mirrored, JPEG quality 75 to 95) of a photo of
the same split, so contents differ and no split leaks into another. Photos are taken in turns, which keeps the classes'
shares.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping
from pathlib import Path

from tiny import noise_folders, once

SMALLEST_CROP = 0.7
QUALITY = (75, 95)


def many_pictures(data: Path, root: Path, rows: Mapping[str, int]) -> Path:
    """Image folders with so many pictures a split, made from the photos of `data`; those that are there stay.

    Args:
        data: image folders train/, validation/, test/.
        root: where the folder of the pictures goes.
        rows: pictures of each split.
    """
    name = "pictures-" + "-".join(str(number) for number in rows.values())
    return once(root / name, {"data": data.name, "rows": dict(rows)}, lambda folder: _make(data, folder, rows))


def _make(data: Path, folder: Path, rows: Mapping[str, int]) -> None:
    from PIL import Image, ImageOps

    for split, number in rows.items():
        photos = sorted(path for path in (data / split).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        if not photos:
            raise SystemExit(f"no photos in {data / split}")
        chance = random.Random(split)
        chance.shuffle(photos)
        for index in range(number):
            photo = photos[index % len(photos)]
            with Image.open(photo) as file:
                picture = file.convert("RGB")
            width, height = (round(side * chance.uniform(SMALLEST_CROP, 1)) for side in picture.size)
            left, top = (
                chance.randint(0, whole - part) for whole, part in zip(picture.size, (width, height), strict=True)
            )
            crop = picture.crop((left, top, left + width, top + height))
            crop = ImageOps.mirror(crop) if chance.random() < 0.5 else crop
            place = folder / split / photo.parent.name
            place.mkdir(parents=True, exist_ok=True)
            crop.save(place / f"{index:06d}.jpg", quality=chance.randint(*QUALITY))


def add_flags(parser: argparse.ArgumentParser, rows: int) -> None:
    """The flags that `pictures_for` reads."""
    parser.add_argument(
        "--data", type=Path, help="image folders train/, validation/, test/: what the pictures are cut from"
    )
    parser.add_argument("--rows", type=int, default=rows, help="for training; a tenth for validation, 100 for the test")


def pictures_for(given: argparse.Namespace, parser: argparse.ArgumentParser) -> Path:
    """The pictures of a comparison: cut from `--data`, or noise with --tiny."""
    if given.data is not None:
        made = {"train": given.rows, "validation": max(20, given.rows // 10), "test": 100}
        return many_pictures(given.data, given.runs, made)
    if given.tiny:
        return noise_folders(given.runs, {"train": given.rows, "validation": 4, "test": 4})
    parser.error("give --data (or --tiny)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(parser, rows=5000)
    parser.add_argument("--runs", type=Path, required=True, help="where the folder of the pictures goes")
    given = parser.parse_args(namespace=argparse.Namespace(tiny=False))
    print(pictures_for(given, parser))


if __name__ == "__main__":
    main()
