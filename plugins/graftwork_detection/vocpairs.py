"""Which picture a VOC annotation is of: by its name, by what it says, and never two on one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from graftwork.data.paths import Files, parts_of, shown
from graftwork_detection.rows import pictures_in


class Pairs:
    """The annotations of a folder with their pictures, by the annotation's path in it without suffix.

    An annotation is of the picture that is called like it; where several are, its `<filename>` decides. Where none is,
    it is of the one that `<filename>` leads to, or else of the one that is called like it in other letters.

    Args:
        annotations: the XML files by their path in their folder, without suffix.
        images: folders of pictures, most likely first.
        files: all pictures of the data.
        apart: folders of other annotations, whose pictures are not guessed.
        said: reads an annotation's `<filename>`; only asked where a name alone does not do.

    Attributes:
        pictures: the picture of each annotation that has one; two annotations have one picture only where both say its name.
        lonely: pictures without an annotation, by their path in their folder without suffix.
        shut: pictures that are called like an annotated one but for their suffix or folder.
    """

    def __init__(
        self,
        annotations: Mapping[str, Path],
        images: Sequence[Path],
        files: Files,
        apart: Sequence[Path],
        said: Callable[[Path], str],
    ) -> None:
        self.annotations = annotations
        self.pictures: dict[str, Path] = {}
        self.lonely: dict[str, Path] = {}
        self.shut: list[Path] = []
        self._images, self._files, self._apart, self._read = images, files, apart, said
        self._said: dict[str, str] = {}
        self._why: dict[str, str] = {}
        self._last: dict[str, list[str]] = defaultdict(list)
        self._there: dict[str, list[tuple[int, str, Path]]] = defaultdict(
            list
        )  # by stem: place of the folder, path in it
        homes = {file.parent for file in annotations.values()}
        for place, folder in enumerate(images):
            for file in pictures_in(folder, deep=folder not in (files.root, *homes)):
                self._there[file.stem].append((place, file.relative_to(folder).with_suffix("").as_posix(), file))
        for key in annotations:
            self._last[PurePosixPath(key).name].append(key)
        self._settle()

    def key(self, listed: str) -> str:
        """What a list of a split means: a path, or a last part that only one annotation has."""
        if listed in self.annotations:
            return listed
        keys = self._last.get(PurePosixPath(listed).name, ())
        return keys[0] if len(keys) == 1 else listed

    def why_not(self, key: str) -> str:
        """Why an annotation has no picture."""
        name = self._name(key) or PurePosixPath(key).name
        return self._why.get(key) or f"looked for {shown(name)} in {shown(self._files.root)} and below"

    def _settle(self) -> None:
        for key in self.annotations:
            picture = self._called_alike(key)
            if picture is not None:
                self.pictures[key] = picture
        own = set(self.pictures.values())
        guessed: dict[Path, list[str]] = defaultdict(list)
        for key in self.annotations:
            if key not in self.pictures and key not in self._why and (picture := self._guess(key)) is not None:
                guessed[picture].append(key)
        for picture, keys in guessed.items():
            if picture in own or len({self._name(key) for key in keys}) > 1:
                self._why |= dict.fromkeys(keys, f"other annotations lead to {picture.name} as well")
            else:
                self.pictures |= dict.fromkeys(keys, picture)
        used = {*self.pictures.values(), *self.shut}
        for found in self._there.values():
            for _, inside, file in found:
                if file not in used:
                    self.lonely.setdefault(inside, file)

    def _called_alike(self, key: str) -> Path | None:
        """The picture that is called like an annotation: in the same folder of its folder, where there is one."""
        found = self._there.get(PurePosixPath(key).name, [])
        found = [one for one in found if one[1] == key] or found
        first = min((place for place, _, _ in found), default=None)
        files = sorted({file for place, _, file in found if place == first})
        if len(files) > 1:
            files = self._said_first(files, key)
            if not files:
                return None
        if files:
            self.shut += [*files[1:], *(file for place, _, file in found if place != first and file != files[0])]
        return files[0] if files else None

    def _said_first(self, files: Sequence[Path], key: str) -> list[Path]:
        """Of pictures called alike, the one that the annotation names, then the others; none where it may be any."""
        said = parts_of(self._name(key))
        names = [file for file in files if said and file.name == said[-1]]
        names = names or [file for file in files if said and file.name.lower() == said[-1].lower()]
        if len(names) > 1:  # of one name in several folders
            names = [file for file in names if len(said) > 1 and file.parts[-len(said) :] == said]
        folder = self.annotations[key].parent.name  # labels/train/0.json is of images/train/0.jpg
        if len(names) != 1 and len(beside := [file for file in files if file.parent.name == folder]) == 1:
            names = beside
        if len(names) != 1 and len({file.parent for file in files}) > 1:
            self._why[key] = f"fits {', '.join(file.relative_to(self._files.root).as_posix() for file in files[:3])}"
            return []
        return [*names, *(file for file in files if file not in names)]

    def _guess(self, key: str) -> Path | None:
        said = self._name(key)
        stem = PurePosixPath("/".join(parts_of(said))).with_suffix("").as_posix() if parts_of(said) else ""
        for name in filter(None, (said, stem, key)):
            found = self._files.find(name, self._images, self._apart)
            if found is not None:
                return found
        return None

    def _name(self, key: str) -> str:
        if key not in self._said:
            self._said[key] = self._read(self.annotations[key])
        return self._said[key]
