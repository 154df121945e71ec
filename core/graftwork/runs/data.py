"""The data of a run: read, split where it has to be, audited, limited."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.catalogue import Catalogue
from graftwork.config import RunConfig, parse_limit
from graftwork.data.arrow import release_unused
from graftwork.data.fingerprint import combine, row_digests
from graftwork.data.splits import complete, limit
from graftwork.errors import RunFailed, UsageError
from graftwork.interfaces import DataRequest, Facts, Finding, Spec, Tables, Task
from graftwork.machine.garbage import importing
from graftwork.models.build import Builder


@dataclass(frozen=True)
class RunData:
    """The data of a run, read, audited and split.

    Args:
        fingerprint, digests: of all of it, and of every row by split, as `data.fingerprint` makes them.
    """

    tables: Tables
    findings: tuple[Finding, ...]
    facts: Facts
    fingerprint: str
    digests: Mapping[str, NDArray[np.bytes_]]

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


def read_data(task: Task, config: RunConfig, builder: Builder) -> RunData:
    """The data of a configuration: read, split where it has to be, audited, limited.

    Raises:
        DataError: it cannot be trained on; the audit's errors, all in one line.
        UsageError: a limit of rows a class where a row has not one class, or of fewer rows than there are classes.
    """
    rows_wanted, of_each_class = parse_limit(config.limit_train) if config.limit_train is not None else (None, False)
    if of_each_class and not task.one_class_a_row:
        what = f"limit_train {config.limit_train} counts the rows of each class, and in {config.task} a row has not one class"
        raise UsageError(what, hint="Give a number of rows, for example --limit-train 100")
    entry = builder.catalogue.task(config.task)
    options = entry.complete(config.task_options)
    request = DataRequest(config.data, config.columns, config.group_by, options, samples_of(builder))
    with importing():  # for it is the first that every task needs
        import datasets  # noqa: F401
    tables = task.read(request)
    group = "group" if config.group_by else None
    splits, made = complete(tables.splits, task.strata, config.seed, group)
    tables, audited = task.audit(Tables(splits, tables.findings, tables.names))
    findings = [*tables.findings, *made, *audited]
    if rows_wanted is not None:
        rows = tables.splits["train"]
        rows, limited = limit(rows, task.strata(rows), rows_wanted, config.seed, of_each_class, tables.names)
        tables = Tables({**tables.splits, "train": rows}, tables.findings, tables.names)
        findings += limited
    digests = {split: row_digests(rows) for split, rows in tables.splits.items()}
    release_unused()
    return RunData(tables, tuple(findings), task.facts(tables), combine(digests, tables.names), digests)


def inspect(
    task: str,
    data: str,
    columns: Mapping[str, str],
    group_by: str | None,
    task_options: Mapping[str, Any],
    seed: int,
    catalogue: Catalogue,
    backbone: str | None = None,
) -> dict[str, Any]:
    """Audit data without training: what `graft inspect` shows. Findings of level `error` do not raise here.

    Args:
        backbone: whose input the rows are held against; the task's default one when None, as far as it can be had.
    """
    builder = Builder(catalogue)
    config = RunConfig(
        task=task,
        data=data,
        columns=dict(columns),
        group_by=group_by,
        task_options=dict(task_options),
        seed=seed,
        backbone=backbone or catalogue.task(task).default_backbone,
    )
    built = builder.task(task, task_options)
    found = read_data(built, config, builder)
    try:
        input = builder.backbone(builder.backbone_spec(config), config).input
    except (RunFailed, UsageError) as error:
        if backbone is not None:
            raise
        message = f"rows were not held against a backbone's input: {error}"
        more = [Finding("input-not-checked", "note", message, (), 0)]
    else:
        more = built.audit_input(found.tables, input)
    return found.with_findings(more).to_json(data)


def samples_of(builder: Builder) -> Callable[[str], Any]:
    """What opens the sample data sets of the catalogue: a name to its splits."""
    return lambda name: builder.plugins.make(Mapping, "datasets", name, Spec(name))
