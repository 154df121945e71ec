"""The data of a run: read, split where it has to be, audited, limited."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftwork.config import RunConfig, parse_limit
from graftwork.config.forms import parse_form
from graftwork.data.arrow import release_unused
from graftwork.data.fingerprint import combine, row_digests
from graftwork.data.splits import UNLABELLED, Alike, complete, limit
from graftwork.data.tables import written_as
from graftwork.errors import DataError, UsageError
from graftwork.interfaces import DataRequest, Facts, Finding, Spec, Tables, Task
from graftwork.log import say
from graftwork.machine.garbage import importing
from graftwork.models.build import Builder

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class RunData:
    """The data of a run, read, audited and split.

    Args:
        task: that has read it.
        fingerprint, digests: of all of it, and of every row by split, as `data.fingerprint` makes them.
        every: training row that a limit chose from.
        columns: of a table, as `Tables.columns` says.
    """

    task: Task
    tables: Tables
    findings: tuple[Finding, ...]
    facts: Facts
    fingerprint: str
    digests: Mapping[str, NDArray[np.bytes_]]
    every: Dataset
    columns: Mapping[str, str] = field(default_factory=dict)

    def with_findings(self, more: Sequence[Finding]) -> RunData:
        """The same data, of which more is known."""
        return replace(self, findings=(*self.findings, *more))

    def to_json(self, source: str) -> dict[str, Any]:
        return {
            "source": source,
            "rows": {name: len(rows) for name, rows in self.tables.splits.items()},
            "facts": self.facts,
            "findings": [asdict(finding) for finding in self.findings],
            "fingerprint": self.fingerprint,
        }


def read_data(config: RunConfig, builder: Builder) -> RunData:
    """The data of a configuration: read by its task, split where it has to be, audited, limited.

    Raises:
        DataError: it cannot be trained on; the audit's errors, all in one line.
        UsageError: a limit of rows a class where a row has not one class, or of fewer rows than there are classes.
    """
    task = builder.task(config.task, config.task_options)
    rows_wanted, of_each_class = parse_limit(config.limit_train) if config.limit_train is not None else (None, False)
    if of_each_class and not task.one_class_a_row:
        what = f"limit_train {config.limit_train} counts the rows of each class, and in {config.task} a row has not one class"
        raise UsageError(what, hint="Give a number of rows, for example --limit-train 100")
    options = builder.catalogue.task(config.task).complete(config.task_options)
    request = DataRequest(config.data, config.columns, config.group_by, options, samples_of(builder))
    with importing():  # for it is the first that every task needs
        import datasets  # noqa: F401
    with written_as(parse_form(config.data_options)):
        tables = task.read(request)
    columns = tables.columns
    group = "group" if config.group_by else None
    splits, made = _completed(task, tables, config.seed, group)
    # A task audits what has labels.
    without_labels = {UNLABELLED: splits.pop(UNLABELLED)} if UNLABELLED in splits else {}
    tables, audited = task.audit(replace(tables, splits=splits))
    findings = [*tables.findings, *made, *audited]
    every = tables.splits["train"]
    if rows_wanted is not None:
        # Where splits were made, names of files count for nothing.
        keys = task.contents(every) if any(finding.code == "splits-made" for finding in made) else None
        rows, limited = limit(every, task.strata(every), rows_wanted, config.seed, of_each_class, tables.names, keys)
        tables = replace(tables, splits={**tables.splits, "train": rows})
        findings += limited
    facts = task.facts(tables)
    tables = replace(tables, splits={**tables.splits, **without_labels})
    digests = {split: row_digests(rows) for split, rows in tables.splits.items()}
    release_unused()
    return RunData(task, tables, tuple(findings), facts, combine(digests, tables.names), digests, every, columns)


def _completed(task: Task, tables: Tables, seed: int, group: str | None) -> tuple[dict[str, Dataset], list[Finding]]:
    """With the splits that are missing; where they cannot be made, with what reading has warned of, which may be why."""
    alike = Alike(task.alike, task.contents)
    try:
        return complete(tables.splits, task.strata, seed, group, alike, task.one_class_a_row)
    except DataError as error:
        told = "; ".join(finding.message for finding in tables.findings if finding.level != "note")
        raise DataError(f"{error.what} ({told})" if told else error.what, where=error.where, hint=error.hint) from None


def tell_findings(findings: Sequence[Finding]) -> None:
    """Say what will hurt.

    Raises:
        DataError: something forbids training on the data.
    """
    errors = [finding.message for finding in findings if finding.level == "error"]
    if errors:
        raise DataError("; ".join(errors), hint="graft inspect shows every finding")
    for finding in findings:
        if finding.level == "warning":
            where = f" ({', '.join(finding.where[:3])})" if finding.where else ""
            say(f"data: {finding.message}{where}")


def samples_of(builder: Builder) -> Callable[[str], Any]:
    """What opens the sample data sets of the catalogue: a name to its splits."""
    return lambda name: builder.plugins.make(Mapping, "datasets", name, Spec(name))
