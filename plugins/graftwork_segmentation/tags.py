"""Several masks of a picture, one a class: told apart by folders (`masks/disc/0.png`), or by names (`0_disc.png`)."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from graftwork.errors import DataError
from graftwork_segmentation.joined import shows_object
from graftwork_segmentation.labelmap import LabelMap, build_map
from graftwork_segmentation.naming import MASK_FOLDERS, folded, mask_keys, mask_stems, picture_stem

OBJECT, BACKGROUND = "object", "background"

_LOOKED_AT = 20  # masks, to tell whether each shows one thing alone
_BACKGROUNDS = (BACKGROUND, "_background_")
_PEOPLE = re.compile(r"(annotator|annotation|rater|reader|observer|expert|grader|doctor|radiologist|manual)s?\W*\w?\d*")
_SAYS_NOTHING = frozenset({*MASK_FOLDERS, OBJECT, "objects", "instance", "obj", "inst"})
_GAP = re.compile(r"[\s_.-]+")

Hit = tuple[Path, str]
"""A mask's picture, and the word that the mask adds to it, or the class that it shows."""

Reading = Callable[[Path], Hit | None]
"""What a mask's path, from the folder of masks on, says."""


@dataclass(frozen=True)
class Tagged:
    """Masks by picture.

    Args:
        files: every picture's masks, each with the class that it shows, or its word.
        lonely: masks of no picture.
        by_folder: whether these are folders, which are classes as they stand; else words, for `tags_of`.
    """

    files: Mapping[Path, Sequence[Hit]]
    lonely: Sequence[Path]
    by_folder: bool


def join_tags(tags: Iterable[str]) -> LabelMap:
    """0 is background, then the tags in their order."""
    names = [BACKGROUND, *(tag for tag in tags if not is_background(tag))]
    return build_map([(str(value), name) for value, name in enumerate(names)], "joined masks")


def is_background(tag: str) -> bool:
    """Whether a tag is what lies under all others."""
    return tag.lower() in _BACKGROUNDS


def tags_of(words: Sequence[tuple[Path, str]]) -> list[str]:
    """The class that each mask's word means: the word without a number, where words come again from picture to picture.

    Args:
        words: each mask's picture, and what its name adds to it.

    Returns:
        For each a class; `object` for all, where they are numbered or named at random.
    """
    plain = [_without_number(mask_keys(word)[-1][0]) for _, word in words]
    plain = ["" if word.lower() in _SAYS_NOTHING else word for word in plain]
    pictures: dict[str, set[Path]] = defaultdict(set)
    for (image, _), word in zip(words, plain, strict=True):
        pictures[word].add(image)
    again = sum(len(pictures[word]) > 1 for word in set(plain))
    worded = all(re.search(r"[^\W\d_]{2}", word) for word in plain)
    if not worded or 2 * again < len(pictures):
        return [OBJECT] * len(plain)
    return plain


def match_tags(images: Sequence[Path], masks: Sequence[Path], image_home: Path, mask_home: Path) -> Tagged | None:
    """Masks by picture, where a folder or a word says which class each shows; None where nothing says whose they are.

    Raises:
        DataError: a picture has several masks, and they are no masks of one class each.
    """
    index = _Index(images, image_home)
    readings: tuple[Reading, ...] = (index.by_folder, index.by_word, index.by_picture_folder, index.by_name_alone)
    tries = [
        {mask: hit for mask in masks if (hit := reading(mask.relative_to(mask_home))) is not None}
        for reading in readings
    ]
    best = max(range(len(tries)), key=lambda at: (_score(tries[at], at == 0), -at))
    by_folder, hits = best == 0, tries[best]
    if not hits or 2 * len(hits) < len(masks):
        return None
    grouped: dict[Path, list[Hit]] = defaultdict(list)
    for mask, (image, word) in hits.items():
        grouped[image].append((mask, word))
    if max(map(len, grouped.values())) > 1:
        _check_one_thing_each(hits, by_folder, mask_home)
    return Tagged(grouped, [mask for mask in masks if mask not in hits], by_folder)


class _Index:
    """Pictures by the names by which masks may mean them."""

    def __init__(self, images: Sequence[Path], home: Path) -> None:
        self._images: dict[str, Path | None] = {}
        for image in images:
            parent = image.parent.relative_to(home).as_posix()
            for stem in dict.fromkeys((image.stem, picture_stem(image.stem))):
                key = folded(f"{parent}/{stem}")
                known = self._images.setdefault(key, image)
                if known != image:
                    self._images[key] = None  # of two, neither
        self._alone: dict[str, Path | None] = {}
        for image in images:
            key = folded(image.stem)
            self._alone[key] = None if key in self._alone else image
        self._numbers = {str(int(image.stem)): image for image in images if image.stem.isdecimal()}

    def find(self, parents: Sequence[str], stem: str) -> Path | None:
        parent = "/".join(parents) or "."
        found = self._images.get(folded(f"{parent}/{stem}"))
        if found is None and stem.isdecimal():  # CelebAMask's 00012_hair.png is of 12.jpg
            return self._numbers.get(str(int(stem)))
        return found

    def by_folder(self, mask: Path) -> Hit | None:
        """`disc/0.png`, `disc/0_mask.png`, `disc/0_d.png`: the folder is the word."""
        parents = mask.parent.parts
        rests = [((*parents[:at], *parents[at + 1 :]), tag) for at, tag in enumerate(parents)]
        for rest, tag in [*rests, *(((), tag) for tag in parents[-1:] if len(parents) > 1)]:
            named = (self.find(rest, stem) for stem, _ in mask_stems(mask.name))
            image = next(filter(None, named), None) or next((image for image, _ in self._split(rest, mask.stem)), None)
            if image is not None:
                return image, tag
        return None

    def by_word(self, mask: Path) -> Hit | None:
        """`0_disc.png` or `disc_0.png`, maybe in folders that mean nothing."""
        for parents in dict.fromkeys((mask.parent.parts, ())):
            hit = next(self._split(parents, mask.stem), None)
            if hit is not None:
                return hit
        return None

    def by_picture_folder(self, mask: Path) -> Hit | None:
        """`0/disc.png`: the folder is called like the picture."""
        parents = mask.parent.parts
        image = self.find(parents[:-1], parents[-1]) if parents else None
        return None if image is None else (image, mask.stem)

    def by_name_alone(self, mask: Path) -> Hit | None:
        """`0.png` of `a/0.jpg`, where no other picture is called so."""
        image = next(filter(None, (self._alone.get(folded(stem)) for stem, _ in mask_stems(mask.name))), None)
        return None if image is None else (image, mask.parent.name)

    def _split(self, parents: Sequence[str], stem: str) -> Iterator[Hit]:
        """A picture's name and a word, the longest name first."""
        gaps = list(_GAP.finditer(stem))
        for gap in reversed(gaps):
            image = self.find(parents, stem[: gap.start()])
            if image is not None and stem[gap.end() :]:
                yield image, stem[gap.end() :]
        for gap in gaps:
            image = self.find(parents, stem[gap.end() :])
            if image is not None and stem[: gap.start()]:
                yield image, stem[: gap.start()]


def _score(hits: Mapping[Path, Hit], by_folder: bool) -> tuple[int, int, int]:
    """Pictures and masks that are found, and how many of these are told apart but by numbers."""
    told = {(image, word if by_folder else _without_number(word)) for image, word in hits.values()}
    return len({image for image, _ in hits.values()}), len(hits), len(told)


def _check_one_thing_each(hits: Mapping[Path, Hit], by_folder: bool, home: Path) -> None:
    """
    Raises:
        DataError: masks have several values, or are by several people.
    """
    tags = sorted({tag if by_folder else _without_number(tag) for _, tag in hits.values()})
    told = ", ".join(tags[:4]) + (", …" if len(tags) > 4 else "")
    several = [image for image, count in Counter(image for image, _ in hits.values()).items() if count > 1]
    if by_folder:
        hint = f"--set task_options.mask_folder={home.name}/{tags[0]} takes those of one folder"
    else:
        hint = "Call the one of each picture that is meant like the picture, with _mask behind it (0_mask.png of 0.jpg)"
    if all(_PEOPLE.fullmatch(tag.lower()) for tag in tags) and len(tags) > 1:
        what = f"has several masks of a picture, of {told}, who seem to be people and not classes"
        raise DataError(what, where=str(home), hint=hint)
    chosen = set(several)
    looked = islice((mask for mask, (image, _) in hits.items() if image in chosen), _LOOKED_AT)
    strange = next((mask for mask in looked if not shows_object(mask)), None)
    if strange is not None:
        what = (
            f"has several masks of a picture ({told}), and they are not one a class: "
            f"{strange.relative_to(home).as_posix()} has more than two values"
        )
        raise DataError(what, where=str(home), hint=hint)


def _without_number(word: str) -> str:
    return re.sub(r"[\s_.-]*\(?\d+\)?$", "", word)
