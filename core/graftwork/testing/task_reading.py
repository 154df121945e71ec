"""Checks of a task's reading: rows, audit, facts, labels, and that bad data is refused in one clear line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from graftwork.data.fingerprint import fingerprint
from graftwork.data.splits import SPLITS, Alike, complete
from graftwork.interfaces import DataRequest, Spec, Tables, Task
from graftwork.testing.base import Conformance, doing
from graftwork.testing.spoilt import check_finding, described, garbage, nonsense_of, refused, with_cell
from graftwork.testing.subjects import Subject, assemble, load, picked

if TYPE_CHECKING:
    from datasets import Dataset

_ROWS = 24  # of each split, where data is spoilt and read again
_LEAKS = ("duplicate-across-splits", "near-duplicate-across-splits")


class ReadingChecks(Conformance):
    """The part of `TaskConformance` that is about data, with what all its checks are made on."""

    task: ClassVar[str]
    """The catalogue name."""

    data: ClassVar[str] = ""
    """As `--data`; the first sample of the task where empty."""

    backbone: ClassVar[str] = ""
    head: ClassVar[str] = ""
    options: ClassVar[Mapping[str, Any]] = {}
    """Of the task."""

    def subject(self) -> Subject:
        """The parts of a run of this task."""
        return assemble(
            self.catalogue(),
            self.task,
            data=self.data,
            backbone=self.backbone,
            head=self.head,
            options={"task": self.options},
        )

    def broken(self, folder: Path) -> Sequence[str]:
        """Sources that this task must refuse, beside those that every task must; written into `folder`."""
        return ()

    def test_reading_gives_rows_with_their_origin(self) -> None:
        tables = _read(self.subject())
        strangers = set(tables.splits) - set(SPLITS)
        assert not strangers, (
            f"reading gives the splits {', '.join(sorted(strangers))}; they are called {', '.join(SPLITS)}"
        )
        assert "train" in tables.splits and len(tables.splits["train"]), "reading gives no training rows"
        first = set(tables.splits["train"].column_names)
        for split, rows in tables.splits.items():
            assert "origin" in rows.column_names, (
                f"rows of {split} have no column `origin`, which says where a row is from"
            )
            assert all(isinstance(text, str) for text in rows["origin"][:]), f"`origin` of {split} is not text"
            assert set(rows.column_names) == first, (
                f"{split} has the columns {rows.column_names}, train has {sorted(first)}"
            )

    def test_reading_twice_gives_the_same_rows(self) -> None:
        subject = self.subject()
        first, second = _read(subject), _read(subject, subject.same_task())
        assert first.names == second.names, f"read twice, the class names are {first.names} and {second.names}"
        assert fingerprint(first) == fingerprint(second), "read twice, the rows differ"
        for split, rows in first.splits.items():
            same_order = rows["origin"][:] == second.splits[split]["origin"][:]
            assert same_order, f"read twice, the rows of {split} come in another order"

    def test_the_audit_changes_nothing_that_it_was_given(self) -> None:
        subject = self.subject()
        tables = _small(subject.task, _whole(subject, _read(subject)))
        before = described(tables)
        with doing("the audit"):
            audited, findings = subject.task.audit(tables)
        assert described(tables) == before, "the audit changes the tables that it is given"
        assert isinstance(audited, Tables), f"the audit gives a {type(audited).__name__} in place of tables"
        again, told = subject.task.audit(tables)
        assert [finding.code for finding in told] == [finding.code for finding in findings], (
            "audited twice, findings differ"
        )
        assert described(again) == described(audited), "audited twice, the rows that are left differ"
        for finding in findings:
            check_finding(finding)

    def test_every_row_has_a_stratum(self) -> None:
        subject = self.subject()
        for split, rows in subject.data.tables.splits.items():
            with doing("giving rows their strata"):
                found = subject.task.strata(rows)
            assert len(found) == len(rows), f"strata of {split} has {len(found)} numbers for {len(rows)} rows"
            assert all(int(number) == number for number in found), f"strata of {split} are not whole numbers"

    def test_rows_that_are_alike_stay_together(self) -> None:
        """Groups of `alike` follow from contents alone, and made splits hold no duplicate that the audit names."""
        subject = self.subject()
        task, rows = subject.task, _doubled(subject.task, _read(subject))
        with doing("telling which rows are alike"):
            groups, contents = [list(map(str, told(rows))) for told in (task.alike, task.contents)]
        for name, told in (("alike", groups), ("contents", contents)):
            assert len(told) == len(rows), f"{name} tells of {len(told)} rows where there are {len(rows)}"
        half = len(rows) // 2
        assert contents[:half] == contents[half:], "the contents of a row are others once it is called otherwise"
        torn = sum(first != second for first, second in zip(groups[:half], groups[half:], strict=True))
        assert not torn, f"of {half} rows that are there twice, {torn} are in two groups"
        turned = list(map(str, subject.same_task().alike(rows.select(range(len(rows))[::-1]))))[::-1]
        assert turned == groups, "in another order of rows, alike gives other groups"
        splits, _ = complete({"train": rows}, task.strata, 0, None, _alike(task), task.one_class_a_row)
        _, findings = task.audit(Tables(splits, (), _read(subject).names))
        leaks = [finding.message for finding in findings if finding.code in _LEAKS]
        assert not leaks, f"splits made by what is alike leak: {leaks[0]}"

    def test_rows_are_known_again_after_the_audit(self) -> None:
        subject = self.subject()
        tables = _small(subject.task, _whole(subject, _read(subject)))
        audited, _ = subject.task.audit(tables)
        for split, rows in audited.splits.items():
            known = set(map(str, subject.task.contents(tables.splits[split])))
            lost = sum(str(content) not in known for content in subject.task.contents(rows))
            assert not lost, f"the contents of {lost} of {len(rows)} rows of {split} are others after the audit"

    def test_facts_are_plain_json(self) -> None:
        facts = self.subject().facts
        with doing("writing the facts as JSON"):
            again = json.loads(json.dumps(facts, allow_nan=False))
        assert again == facts, (
            "the facts are others once they were written as JSON and read: a tuple, or a key that is no text"
        )

    def test_facts_come_from_the_training_split_alone(self) -> None:
        subject = self.subject()
        tables = subject.data.tables
        whole = subject.same_task().facts(tables)
        for change in ("left out", "replaced"):
            others = {split: tables.splits["train"].select(range(3)) for split in tables.splits if split != "train"}
            splits = {"train": tables.splits["train"], **(others if change == "replaced" else {})}
            with doing(f"giving facts with the test split {change}"):
                found = subject.same_task().facts(Tables(splits, tables.findings, tables.names))
            changed = sorted(name for name in {*found, *whole} if found.get(name) != whole.get(name))
            assert not changed, (
                f"with the test and validation splits {change}, other facts come out: {', '.join(changed)}"
            )

    def test_labels_keep_their_meaning_when_aligned(self) -> None:
        subject = self.subject()
        tables, facts = subject.data.tables, subject.facts
        small = _small(subject.task, tables)
        with doing("aligning data with its own facts"):
            aligned = subject.same_task().align(small, facts)
        for split, rows in small.splits.items():
            count = len(aligned.splits[split])
            assert count == len(rows), f"aligned with its own facts, {split} has {count} rows in place of {len(rows)}"
        if not _numbered(tables, facts):
            return
        reversed_ = {**facts, "classes": facts["classes"][::-1], "train_counts": facts.get("train_counts", [])[::-1]}
        turned = subject.same_task().align(small, reversed_)
        for split, rows in small.splits.items():
            meant = {
                origin: tables.names[label] for origin, label in zip(rows["origin"][:], rows["label"][:], strict=True)
            }
            moved = turned.splits[split]
            for origin, label in zip(moved["origin"][:], moved["label"][:], strict=True):
                said = reversed_["classes"][label]
                assert said == meant[origin], (
                    f"aligned to classes in another order, {origin} is {said} and was {meant[origin]}"
                )
        fewer = {**facts, "classes": facts["classes"][1:], "train_counts": facts.get("train_counts", [])[1:]}
        refused(
            lambda: subject.same_task().align(small, fewer), "aligning data with a class that the model does not know"
        )

    def test_bad_data_is_refused_in_one_clear_line(self, tmp_path: Path) -> None:
        subject = self.subject()
        empty = tmp_path / "empty"
        empty.mkdir()
        for what, source in (("a path that is not there", tmp_path / "missing"), ("an empty folder", empty)):
            refused(lambda source=source: _read(subject, source=str(source)), f"reading {what}")  # type: ignore[misc]
        # Of a text, a path is one too.
        missing = str(tmp_path / "missing.xyz")
        refused(
            lambda: subject.task.read_inputs([missing], subject.facts),
            "predicting for a file that is not there",
            must=False,
        )
        for source in garbage(tmp_path / "garbage"):
            refused(lambda source=source: _used(subject, source), f"reading {source.name} of garbage", must=False)  # type: ignore[misc]
        for text in self.broken(tmp_path / "broken"):
            refused(lambda text=text: _used(subject, Path(text)), f"reading {text}")  # type: ignore[misc]

    def test_a_broken_row_is_left_out_or_refused(self) -> None:
        subject = self.subject()
        if not subject.config.data.startswith("sample:"):
            pytest.skip("the data is no sample, whose rows could be spoilt")
        read = _sample(subject)
        for column in [name for name in read["train"].column_names if name != "origin"]:
            for value in (None, nonsense_of(read["train"][0][column])):
                spoilt = {split: with_cell(rows, column, value) for split, rows in read.items()}
                what = f"a row with {value!r:.40} for its {column}"
                refused(lambda spoilt=spoilt: _loaded(subject, spoilt), f"training on data with {what}", must=False)  # type: ignore[misc]


def _read(subject: Subject, task: Task | None = None, source: str = "", samples: Any = None) -> Tables:
    config, builder = subject.config, subject.builder
    options = builder.catalogue.task(config.task).complete(config.task_options)
    opener = samples or (lambda name: builder.plugins.build("datasets", name, Spec(name)))
    request = DataRequest(source or config.data, config.columns, config.group_by, options, opener)
    return (task or subject.task).read(request)


def _whole(subject: Subject, tables: Tables) -> Tables:
    """With the splits that are missing, as a run makes them."""
    task = subject.task
    splits, _ = complete(tables.splits, task.strata, subject.config.seed, None, _alike(task), task.one_class_a_row)
    return Tables(splits, tables.findings, tables.names)


def _alike(task: Task) -> Alike:
    return Alike(task.alike, task.contents)


def _doubled(task: Task, tables: Tables) -> Dataset:
    """Some training rows, and the same again under other names."""
    from datasets import concatenate_datasets

    rows = tables.splits["train"]
    few = rows.select(picked(task, rows, 2 * _ROWS))
    again = few.remove_columns("origin").add_column("origin", [f"copy of {origin}" for origin in few["origin"][:]])
    return concatenate_datasets([few, again.select_columns(few.column_names)])


def _small(task: Task, tables: Tables) -> Tables:
    splits = {split: rows.select(picked(task, rows, _ROWS)) for split, rows in tables.splits.items()}
    return Tables(splits, tables.findings, tables.names)


def _used(subject: Subject, source: Path) -> None:
    """Read, split and audit, as a run does before it trains."""
    task = subject.same_task()
    tables = _whole(subject, _read(subject, task, str(source)))
    task.audit(tables)


def _loaded(subject: Subject, splits: Mapping[str, Dataset]) -> None:
    """All of that, and load every training row."""
    task = subject.same_task()
    tables = _whole(subject, _read(subject, task, samples=lambda name: dict(splits)))
    tables, findings = task.audit(tables)
    if any(finding.level == "error" for finding in findings):
        return
    rows = tables.splits["train"]
    examples = task.examples(rows, subject.input(), task.facts(tables), True)
    load(examples, range(len(rows)))


def _sample(subject: Subject) -> dict[str, Dataset]:
    """The first rows of the sample, as its plugin gives them."""
    name = subject.config.data.partition(":")[2]
    read: Mapping[str, Dataset] = subject.builder.plugins.build("datasets", name, Spec(name))
    few = {split: rows.select(range(min(len(rows), _ROWS))) for split, rows in read.items()}
    return few if len(few) > 1 else {split: rows.select(range(min(len(rows), 60))) for split, rows in read.items()}


def _numbered(tables: Tables, facts: Mapping[str, Any]) -> bool:
    """Whether rows have one class each, numbered by the facts' `classes`."""
    rows = tables.splits["train"]
    plain = "label" in rows.column_names and "classes" in facts and list(tables.names) == facts["classes"]
    return plain and isinstance(rows[0]["label"], int) and len(facts["classes"]) > 2
