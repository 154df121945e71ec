"""Splits: their usual names, making the ones that are missing, and training on fewer rows.

Which row goes where depends on the seed and on what the row is called (`origin`), not on the order of rows, so that a
few more files move few rows between splits.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graftwork.data.arrow import Numbers, Texts, column_of
from graftwork.errors import DataError, UsageError
from graftwork.interfaces.data import Finding

if TYPE_CHECKING:
    from datasets import Dataset

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


def canonical_split(name: str) -> str | None:
    """The split that a folder or file name means (`Training` is train, `dev` is validation), or None."""
    return _NAMES.get(name.strip().lower())


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
) -> tuple[dict[str, Dataset], list[Finding]]:
    """Make the splits that are missing; stratified, seeded, independent of the order of rows.

    Only train: 70 % train, 15 % validation, 15 % test. Train and test: 15 % of train becomes validation. Train and
    validation: no test is made. Splits that the data brings are never touched otherwise.

    Args:
        splits: rows by canonical split name.
        strata: a class index for every row of a split.
        seed: chooses the rows.
        group_column: rows with the same value here stay in one split.

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
    groups = [str(value) for value in train[group_column][:]] if group_column else None
    parts = assign(classes, fractions, seed, row_keys(train), groups)
    made = without_labels | {name: train.select(rows) for name, rows in parts.items()}
    if "test" in present:
        made["test"] = splits["test"]
    return ordered(made), _made_findings(parts, classes, groups, "test" in present, seed)


def assign(
    strata: Sequence[int],
    fractions: Mapping[str, float],
    seed: int,
    keys: Sequence[str],
    groups: Sequence[str] | None = None,
) -> dict[str, list[int]]:
    """Row numbers by split, ascending; every row in exactly one, every class in `train`.

    Args:
        strata: class index of every row.
        fractions: share of rows by split, `train` first; they sum to 1.
        seed: chooses the rows.
        keys: a name for every row; equal names are told apart by their position.
        groups: rows with equal values stay together.

    Raises:
        DataError: a split would be empty.
    """
    chosen = _by_row(strata, fractions, seed, keys) if groups is None else _by_group(strata, fractions, seed, groups)
    empty = [name for name, rows in chosen.items() if not rows]
    if empty:
        kind = "rows" if groups is None else f"groups ({len(set(groups))})"
        raise DataError(
            f"too few {kind} to make a {' and a '.join(empty)} split from {len(strata)} rows",
            hint=f"Add rows, {len(fractions)} of each class, or bring the splits yourself: a folder with train.csv and "
            "validation.csv, or train/CLASS/ and validation/CLASS/ (the same rows in both where there are no more; the "
            "validation figure then says nothing)",
        )
    return {name: sorted(rows) for name, rows in chosen.items()}


def limit(
    rows: Dataset,
    strata: Sequence[int],
    count: int,
    seed: int,
    of_each_class: bool = False,
    names: Sequence[str] = (),
) -> tuple[Dataset, list[Finding]]:
    """Fewer rows, chosen so that those of a larger limit contain those of a smaller one.

    Args:
        rows: of the training split.
        strata: class index of every row.
        count: of rows in all, as equal a number of each class as the data allow; or of rows of each class.
        seed: chooses the rows.
        of_each_class: what `count` counts.
        names: of the classes by index, for messages.

    Raises:
        UsageError: `count` rows in all are fewer than the classes.
    """
    classes = [int(label) for label in strata]  # a column of `datasets` is slow to read one by one
    keys = row_keys(rows)
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
    by_class = _shuffled_classes(strata, seed, keys)
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
    by_class = _shuffled_classes(strata, seed, keys)
    return sorted(int(row) for rows in by_class.values() for row in rows[:count])


def row_keys(rows: Dataset) -> Sequence[str]:
    """A name for every row: its origin where there is one, else its number. Read as they are asked for."""
    return Texts(column_of(rows, "origin")) if "origin" in rows.column_names else Numbers(len(rows))


def _draw(seed: int, *names: object) -> bytes:
    return hashlib.blake2b("\0".join([str(seed), *map(str, names)]).encode(), digest_size=12).digest()


def _shuffled_classes(strata: Sequence[int], seed: int, keys: Sequence[str]) -> dict[int, NDArray[np.int64]]:
    """Row numbers by class, in an order that depends on seed and keys alone; 12 bytes a row, and their order."""
    draws = np.fromiter((_draw(seed, key, 0) for key in keys), dtype="S12", count=len(keys))
    order = np.argsort(draws, kind="stable")
    same = np.flatnonzero(draws[order][1:] == draws[order][:-1]) + 1
    if len(same):  # equal keys are told apart by how many came before
        before, last = 0, -1
        for place in same.tolist():
            before = before + 1 if place == last + 1 else 1
            last = place
            row = int(order[place])
            draws[row] = _draw(seed, keys[row], before)
        order = np.argsort(draws, kind="stable")
    classes = np.asarray(strata, dtype=np.int64)[order]
    by_class = np.argsort(classes, kind="stable")
    names, starts = np.unique(classes[by_class], return_index=True)
    return dict(zip(names.tolist(), np.split(order[by_class], starts[1:]), strict=True))


def _by_row(
    strata: Sequence[int], fractions: Mapping[str, float], seed: int, keys: Sequence[str]
) -> dict[str, list[int]]:
    parts: dict[str, list[int]] = {name: [] for name in fractions}
    for _, rows in sorted(_shuffled_classes(strata, seed, keys).items()):
        start = 0
        for name, count in _shares(len(rows), fractions).items():
            parts[name] += rows[start : start + count].tolist()
            start += count
    return parts


def _shares(count: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """How many of a class's rows go where: rounded shares, at least one each as far as the rows reach, train first."""
    if count <= len(fractions):
        return {name: int(position < count) for position, name in enumerate(fractions)}
    shares = {name: max(1, math.floor(count * fraction + 0.5)) for name, fraction in fractions.items()}
    shares["train"] = count - sum(share for name, share in shares.items() if name != "train")
    return shares


def _by_group(
    strata: Sequence[int], fractions: Mapping[str, float], seed: int, groups: Sequence[str]
) -> dict[str, list[int]]:
    """Greedy: the largest groups first, each to the split whose class counts it brings closest to their shares."""
    index = {value: position for position, value in enumerate(sorted(set(map(int, strata))))}
    members: dict[str, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        members[group].append(row)
    counts = {group: np.zeros(len(index)) for group in members}
    for group, rows in members.items():
        for row in rows:
            counts[group][index[int(strata[row])]] += 1
    total = np.maximum(sum(counts.values()), 1)
    names = list(fractions)
    wanted = np.array([fractions[name] for name in names])
    held = np.zeros((len(names), len(index)))
    homes: dict[str, int] = {}
    for group in sorted(members, key=lambda group: (-len(members[group]), _draw(seed, group))):
        share = counts[group] / total
        gains = ((wanted[:, None] - held) * share).sum(axis=1) / wanted
        homes[group] = int(np.argmax(gains))
        held[homes[group]] += share
    _repair_groups(homes, counts, names)
    parts: dict[str, list[int]] = {name: [] for name in names}
    for group, home in homes.items():
        parts[names[home]] += members[group]
    return parts


def _repair_groups(homes: dict[str, int], counts: Mapping[str, np.ndarray], names: Sequence[str]) -> None:
    """Move the fewest rows so that every class is in train (split 0) and, where groups allow it, no split is empty."""
    size = {group: (float(count.sum()), group) for group, count in counts.items()}

    def lacking() -> np.ndarray:
        held = [counts[group] > 0 for group, home in homes.items() if home == 0]
        return ~np.any(held, axis=0) if held else np.ones_like(next(iter(counts.values())), dtype=bool)

    while lacking().any():
        helpful = [group for group, home in homes.items() if home and (counts[group][lacking()] > 0).any()]
        homes[min(helpful, key=size.__getitem__)] = 0
    for split in range(1, len(names)):
        if split in homes.values():
            continue
        for group in sorted((group for group, home in homes.items() if home == 0), key=size.__getitem__):
            homes[group] = split
            if not lacking().any():
                break
            homes[group] = 0


def _no_test() -> Finding:
    message = "there is no test split: the validation figure also chooses the best epoch, so it is optimistic"
    return Finding("no-test-split", "warning", message)


def _made_findings(
    parts: Mapping[str, Sequence[int]],
    classes: Sequence[int],
    groups: Sequence[str] | None,
    has_test: bool,
    seed: int,
) -> list[Finding]:
    sizes = ", ".join(f"{len(rows):,} {name}" for name, rows in parts.items())
    how = f"seed {seed}, stratified by class" + (f", {len(set(groups)):,} groups kept whole" if groups else "")
    brought = "train and test" if has_test else "no splits"
    findings = [Finding("splits-made", "note", f"the data has {brought}; made {sizes} ({how})", (), len(classes))]
    held = {name: {classes[row] for row in rows} for name, rows in parts.items()}
    total = Counter(classes)
    small = sorted(label for label in total if any(label not in held[name] for name in parts))
    if small:
        message = f"classes with too few rows or groups for every split (train comes first): {len(small)}"
        where = tuple(f"class index {label}: {total[label]} rows" for label in small[:5])
        findings.append(Finding("class-not-in-every-split", "warning", message, where, len(small)))
    return findings
