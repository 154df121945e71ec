"""The conformance kit for embedded data sets: subclass `DatasetConformance`, name it, and pytest runs the checks.

class TestMyDataset(DatasetConformance):
    dataset = "my-dataset"
"""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from graftwork.catalogue import DatasetEntry
from graftwork.data.fingerprint import row_digests
from graftwork.data.splits import SPLITS
from graftwork.interfaces import DataRequest, Spec, Tables, Task
from graftwork.models.build import Builder
from graftwork.testing.base import Conformance, doing
from graftwork.testing.surroundings import check_leaves_alone, shuffled_random

if TYPE_CHECKING:
    from datasets import Dataset


class DatasetConformance(Conformance):
    """What being an embedded data set means, as tests.

    A check that cannot hold is named in `exceptions` with the reason, and is skipped with it.
    """

    dataset: ClassVar[str]
    """The catalogue name."""

    def entry(self) -> DatasetEntry:
        """What registry.yaml says of it."""
        return self.catalogue().dataset(self.dataset)

    def build(self) -> dict[str, Dataset]:
        """Its splits, made without a network."""
        with no_network(), doing("making the data set"):
            return dict(Builder(self.catalogue()).plugins.build("datasets", self.dataset, Spec(self.dataset)))

    def read(self) -> tuple[Task, Tables]:
        """Its task, and the tables that it reads of the data set."""
        builder = Builder(self.catalogue())
        entry = self.entry()
        name = builder.catalogue.name_for(entry.plugin, "tasks", entry.task)
        task = builder.task(name, _recipe_options(entry))
        options = builder.catalogue.task(name).complete(_recipe_options(entry))
        with doing(f"reading the data set as {entry.task}"):
            return task, task.read(DataRequest(f"sample:{self.dataset}", {}, None, options, lambda name: self.build()))

    def test_it_needs_no_network(self) -> None:
        assert self.build(), "the data set has no splits"

    def test_the_same_rows_at_every_call(self) -> None:
        found = []
        for seed in (1, 2):
            with shuffled_random(seed):
                found.append({split: row_digests(rows).tolist() for split, rows in self.build().items()})
        assert list(found[0]) == list(found[1]), f"made twice, the splits are {list(found[0])} and {list(found[1])}"
        for split, digests in found[0].items():
            assert digests == found[1][split], f"made twice, the rows of {split} differ or come in another order"

    def test_splits_have_their_usual_names(self) -> None:
        splits = self.build()
        strangers = [name for name in splits if name not in SPLITS]
        assert not strangers, f"the splits {', '.join(strangers)} are none of {', '.join(SPLITS)}"
        assert "train" in splits, "the data set has no split train"
        for name, rows in splits.items():
            assert len(rows), f"the split {name} is empty"
            columns = sorted(rows.column_names)
            assert columns == sorted(splits["train"].column_names), f"{name} has other columns than train: {columns}"

    def test_rows_are_as_many_as_the_registry_says(self) -> None:
        counts = {split: len(rows) for split, rows in self.build().items()}
        said, total = self.entry().rows, sum(counts.values())
        assert total == said, f"registry.yaml says {said} rows, there are {total}: {counts}"

    def test_no_row_stands_in_two_splits(self) -> None:
        places: dict[str, str] = {}
        for split, rows in self.build().items():
            for number, digest in enumerate(_contents(rows)):
                known = places.setdefault(digest, split)
                assert known == split, f"row {number} of {split} stands in {known} too: what is tested was trained on"

    def test_labels_lie_within_their_names(self) -> None:
        for split, rows in self.build().items():
            for column, names in _labels(rows.features):
                seen = set(_numbers(rows[column[0]][:], column[1:]))
                strangers = sorted(number for number in seen if not 0 <= number < names)
                assert not strangers, (
                    f"{'.'.join(column)} of {split} holds {strangers[:3]}, and there are {names} names"
                )
        task, tables = self.read()
        if tables.names and "label" in tables.splits["train"].column_names:
            for split, rows in tables.splits.items():
                numbers = set(_numbers(rows["label"][:], ()))
                strangers = sorted(number for number in numbers if not 0 <= number < len(tables.names))
                assert not strangers, (
                    f"labels of {split} are {strangers[:3]}, and the task read {len(tables.names)} names"
                )
        for split, rows in tables.splits.items():
            assert len(task.strata(rows)) == len(rows), f"the task gives {split} no stratum a row"

    def test_its_task_reads_every_row(self) -> None:
        task, tables = self.read()
        read = {split: len(rows) for split, rows in tables.splits.items()}
        made = {split: len(rows) for split, rows in self.build().items()}
        assert read == made, f"of {made} rows the task reads {read}"
        with doing("auditing the data set"):
            audited, findings = task.audit(tables)
        wrong = [finding.message for finding in findings if finding.level == "error"]
        assert not wrong, f"its task cannot train on it: {wrong[0]}"
        left = {split: len(rows) for split, rows in audited.splits.items()}
        assert left == made, (
            f"of {made} rows the audit leaves {left}: {'; '.join(finding.message for finding in findings)}"
        )

    def test_building_leaves_the_process_as_it_was(self) -> None:
        plugins = Builder(self.catalogue()).plugins
        check_leaves_alone("making the data set", lambda: plugins.build("datasets", self.dataset, Spec(self.dataset)))


@contextmanager
def no_network() -> Iterator[None]:
    """Refuse every connection and every look-up of a name within the block."""

    def refuse(*arguments: Any, **settings: Any) -> Any:
        raise OSError("the network is asked for; an embedded data set must be made offline")

    kept = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo, socket.create_connection
    socket.socket.connect = socket.socket.connect_ex = refuse  # type: ignore[method-assign]
    socket.getaddrinfo = socket.create_connection = refuse
    try:
        yield
    finally:
        socket.socket.connect, socket.socket.connect_ex = kept[0], kept[1]  # type: ignore[method-assign]
        socket.getaddrinfo, socket.create_connection = kept[2], kept[3]


def _recipe_options(entry: DatasetEntry) -> dict[str, Any]:
    """Options of the task that the sample's recipe sets."""
    settings = entry.recipe.settings if entry.recipe else {}
    return {
        name.removeprefix("task_options."): value
        for name, value in settings.items()
        if name.startswith("task_options.")
    }


def _contents(rows: Dataset) -> Iterator[str]:
    """A digest of what each row shows, without where it is from and what it is said to be."""
    shown = [name for name in rows.column_names if name not in ("origin", "label", "labels", "group")]
    for row in rows.select_columns(shown):
        yield hashlib.sha256(json.dumps(row, default=_plain, sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> str:
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else str(value)


def _labels(features: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    """Where numbered labels lie in the features of a table, and how many names they have."""
    from datasets import ClassLabel

    if isinstance(features, ClassLabel):
        yield path, features.num_classes
    elif isinstance(features, Mapping):
        for name, inner in features.items():
            yield from _labels(inner, (*path, name))
    elif hasattr(features, "feature"):
        yield from _labels(features.feature, path)


def _numbers(value: Any, path: Sequence[str]) -> Iterator[int]:
    """The whole numbers in cells, at a path of keys, in lists of any depth."""
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _numbers(inner, path)
    elif isinstance(value, Mapping):
        if path:
            yield from _numbers(value[path[0]], path[1:])
    elif isinstance(value, int) and not isinstance(value, bool):
        yield value
