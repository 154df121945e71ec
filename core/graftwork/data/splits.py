"""Splits: their usual names, making the ones that are missing, and training on fewer rows.

Which row goes where depends on the seed and on what the row holds, not on its name or the order of rows, so that a few more
files move few rows between splits. What is alike stays together. How rows are dealt out is `assigning`'s.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from graftwork.data.arrow import Numbers, Texts, column_of
from graftwork.data.assigning import assign, shuffled_classes
from graftwork.data.together import Alike, dealt_out
from graftwork.errors import DataError, UsageError
from graftwork.interfaces.data import Finding

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = [
    "FRACTIONS",
    "SPLITS",
    "UNLABELLED",
    "Alike",
    "assign",
    "canonical_split",
    "choose",
    "choose_of_each",
    "complete",
    "limit",
    "ordered",
    "rename_splits",
    "row_keys",
    "split_like",
]

SPLITS = ("train", "validation", "test")
"""Split names of graftwork, in order."""

UNLABELLED = "unlabelled"
"""The split of rows without labels: never split, never evaluated."""

FRACTIONS = {"train": 0.70, "validation": 0.15, "test": 0.15}
"""Shares of rows where the data comes without splits."""

_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}

_BESIDE_SPLITS = frozenset({
    "image", "images", "img", "imgs", "picture", "pictures", "pic", "pics", "photo", "photos", "jpg", "jpeg", "png", "text",
    "texts", "txt", "doc", "docs", "file", "files", "folder", "data", "dataset", "datasets", "set", "sets", "split", "stage",
    "stg", "part", "fold", "raw", "full", "all", "small", "large", "mini", "sample", "samples", "new", "resized", "labelled",
    "labeled", "unlabelled", "unlabeled", "v",
})  # fmt: skip
"""Words that stand beside a split's name without making it another thing's."""


def canonical_split(name: str) -> str | None:
    """The split that a folder or file name means (`Training` is train, `dev` is validation), or None."""
    return _NAMES.get(name.strip().lower())


def split_like(name: str) -> str | None:
    """The split that a name speaks of with nothing else in it (`train_images`, `test1`, `valset`), or None.

    Example:
        >>> split_like("stage1_test"), split_like("train station")
        ('test', None)
    """
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    found = {split for word in words if (split := _split_of_word(word))}
    others = [word for word in words if not _split_of_word(word) and word not in _BESIDE_SPLITS]
    return min(found, key=SPLITS.index) if found and not others else None


def _split_of_word(word: str) -> str | None:
    for beginning in sorted(_NAMES, key=len, reverse=True):
        rest = word.removeprefix(beginning)
        if rest != word and (not rest or rest in _BESIDE_SPLITS or rest in _NAMES):
            return _NAMES[beginning]
    return None


def rename_splits(tables: Mapping[str, Dataset], where: str) -> tuple[dict[str, Dataset], list[Finding]]:
    """Upstream split names to graftwork's; splits with other names are left out and named.

    Raises:
        DataError: two splits mean the same one, or none means any. A single split of any name is taken as train.
    """
    if len(tables) == 1 and canonical_split(next(iter(tables))) is None:
        return {"train": next(iter(tables.values()))}, []
    renamed: dict[str, Dataset] = {}
    others: list[str] = []
    for name, rows in tables.items():
        split = canonical_split(name)
        if split is None:
            others.append(name)
        elif split in renamed:
            raise DataError(f"has two splits that mean {split} ({', '.join(tables)})", where=where)
        else:
            renamed[split] = rows
    if not renamed:
        raise DataError(f"has no split named train, validation or test, but {', '.join(others)}", where=where)
    message = f"splits with other names than train, validation and test, not used: {len(others)}"
    findings = [Finding("unused-splits", "note", message, tuple(others), len(others))] if others else []
    return ordered(renamed), findings


def ordered(splits: Mapping[str, Dataset]) -> dict[str, Dataset]:
    """The same splits in the order train, validation, test, unlabelled."""
    return {name: splits[name] for name in (*SPLITS, UNLABELLED) if name in splits}


def complete(
    splits: Mapping[str, Dataset],
    strata: Callable[[Dataset], Sequence[int]],
    seed: int,
    group_column: str | None = None,
    alike: Alike | None = None,
    firm: bool = True,
) -> tuple[dict[str, Dataset], list[Finding]]:
    """Make the splits that are missing; stratified, seeded, independent of the order of rows.

    Only train: 70 % train, 15 % validation, 15 % test. Train and test: 15 % of train becomes validation. Train and
    validation: no test is made. Splits that the data brings are never touched otherwise.

    Args:
        splits: rows by canonical split name.
        strata: a class index for every row of a split.
        seed: chooses the rows.
        group_column: rows with the same value here stay in one split.
        alike: keeps rows that are the same or nearly so in one split; splits then depend on contents and not on names.
        firm: whether a stratum is a class that has to be in train, as `Task.one_class_a_row` says.

    Returns:
        The splits, and findings that say what was made.

    Raises:
        DataError: there is no train split, or too few rows or groups for the splits to be made.
    """
    present = [name for name in SPLITS if name in splits and len(splits[name])]
    without_labels = {UNLABELLED: splits[UNLABELLED]} if UNLABELLED in splits else {}
    if "train" not in present:
        found = " and ".join(present) or "no rows"
        raise DataError(f"the data has {found}, but no train split", hint="Name the training rows train")
    if "validation" in present:
        return ordered(without_labels | {name: splits[name] for name in present}), [] if "test" in present else [
            _no_test()
        ]
    if "test" in present:
        held = FRACTIONS["validation"]
        fractions = {"train": 1 - held, "validation": held}
    else:
        fractions = FRACTIONS
    train = splits["train"]
    classes = [int(label) for label in strata(train)]
    # A row without a value is in no group.
    values = train[group_column][:] if group_column else None
    parts, findings = dealt_out(train, row_keys(train), classes, fractions, seed, values, alike, firm)
    made = without_labels | {name: train.select(rows) for name, rows in parts.items()}
    if "test" in present:
        made["test"] = splits["test"]
    sizes = ", ".join(f"{len(rows):,} {name}" for name, rows in parts.items())
    how = [f"seed {seed}", *([f"stratified by {'class' if firm else 'label'}"] if len(set(classes)) > 1 else [])]
    if values is not None:
        how.append(f"{len(set(values) - {None}):,} groups kept whole")
    message = f"the data has {'train and test' if 'test' in present else 'no splits'}; made {sizes} ({', '.join(how)})"
    told = [
        Finding("splits-made", "note", message, (), len(classes)),
        *findings,
        *(_classes_not_everywhere(parts, classes) if firm else ()),
    ]
    return ordered(made), told


def limit(
    rows: Dataset,
    strata: Sequence[int],
    count: int,
    seed: int,
    of_each_class: bool = False,
    names: Sequence[str] = (),
    keys: Sequence[str] | None = None,
) -> tuple[Dataset, list[Finding]]:
    """Fewer rows, chosen so that those of a larger limit contain those of a smaller one.

    Args:
        rows: of the training split.
        strata: class index of every row.
        count: of rows in all, as equal a number of each class as the data allow; or of rows of each class.
        seed: chooses the rows.
        of_each_class: what `count` counts.
        names: of the classes by index, for messages.
        keys: what every row is chosen by, with the seed; its origin when None.

    Raises:
        UsageError: `count` rows in all are fewer than the classes.
    """
    classes = [int(label) for label in strata]  # a column of `datasets` is slow to read one by one
    keys = row_keys(rows) if keys is None else keys
    chosen = choose_of_each(classes, count, seed, keys) if of_each_class else choose(classes, count, seed, keys)
    fewer = _classes_with_fewer(classes, count, names) if of_each_class else []
    if len(chosen) == len(rows):
        return rows, fewer
    sizes = Counter(classes[row] for row in chosen).values()
    each = str(min(sizes)) if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    message = f"training uses {len(chosen):,} of {len(rows):,} rows, {each} of each of {len(sizes)} classes"
    return rows.select(chosen), [Finding("limited-train", "note", message, (), len(chosen)), *fewer]


def _classes_with_fewer(classes: Sequence[int], count: int, names: Sequence[str]) -> list[Finding]:
    have = Counter(classes)
    small = sorted((label for label in have if have[label] < count), key=lambda label: (have[label], label))
    if not small:
        return []
    where = tuple(
        f"{names[label] if 0 <= label < len(names) else f'class index {label}'}: {have[label]}" for label in small[:5]
    )
    message = f"classes with fewer than {count:,} training rows, of which all are used: {len(small)} of {len(have)}"
    return [Finding("fewer-rows-than-limit", "warning", message, where, len(small))]


def choose(strata: Sequence[int], count: int, seed: int, keys: Sequence[str]) -> list[int]:
    """Row numbers, ascending, of what `limit` keeps."""
    if count >= len(strata):
        return list(range(len(strata)))
    by_class = shuffled_classes(strata, seed, keys)
    if count < len(by_class):
        raise UsageError(f"a limit of {count} training rows is fewer than the {len(by_class)} classes")
    chosen: list[int] = []
    rank = 0
    while len(chosen) < count:  # one row of every class in turn, so that a smaller limit is part of a larger one
        layer = [int(rows[rank]) for _, rows in sorted(by_class.items()) if rank < len(rows)]
        chosen += layer[: count - len(chosen)]
        rank += 1
    return sorted(chosen)


def choose_of_each(strata: Sequence[int], count: int, seed: int, keys: Sequence[str]) -> list[int]:
    """Row numbers, ascending: the first `count` of each class, in the order from which `choose` takes; all of a smaller one."""
    by_class = shuffled_classes(strata, seed, keys)
    return sorted(int(row) for rows in by_class.values() for row in rows[:count])


def row_keys(rows: Dataset) -> Sequence[str]:
    """A name for every row: its origin where there is one, else its number. Read as they are asked for."""
    return Texts(column_of(rows, "origin")) if "origin" in rows.column_names else Numbers(len(rows))


def _no_test() -> Finding:
    message = "there is no test split: the validation figure also chooses the best epoch, so it is optimistic"
    return Finding("no-test-split", "warning", message)


def _classes_not_everywhere(parts: Mapping[str, Sequence[int]], classes: Sequence[int]) -> list[Finding]:
    held = {name: {classes[row] for row in rows} for name, rows in parts.items()}
    total = Counter(classes)
    small = sorted(label for label in total if any(label not in held[name] for name in parts))
    if not small:
        return []
    message = f"classes with too few rows or groups for every split (train comes first): {len(small)}"
    where = tuple(f"class index {label}: {total[label]} rows" for label in small[:5])
    return [Finding("class-not-in-every-split", "warning", message, where, len(small))]
