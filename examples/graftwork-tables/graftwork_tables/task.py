"""The task `table-classification`: what graftwork asks of a task, in the order in which it asks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from zlib import crc32

import numpy as np
import torch
from datasets import Dataset

from graftwork import DataError
from graftwork.classification import labels
from graftwork.classification.sections import classification_sections
from graftwork.data.audit import check_classes, check_duplicates
from graftwork.data.columns import add_column
from graftwork.interfaces import (
    Batch,
    DataRequest,
    Evaluation,
    Examples,
    Facts,
    Finding,
    Metrics,
    Predictions,
    Section,
    Spec,
    Tables,
    Task,
)
from graftwork_tables import rows as tables_of
from graftwork_tables.backbone import TableInput


class TableExamples(Examples):
    """Rows as hashed columns and values: a number is scaled by its column, a word is a column of its own with the value 1."""

    cheap = True

    def __init__(self, rows: Dataset, input: TableInput, facts: Facts) -> None:
        hashed = [[self._cell(row, name, scale) for name, scale in facts["columns"].items()] for row in rows["row"][:]]
        columns = [[crc32(name.encode()) % input.buckets for name, _ in row] for row in hashed]
        self._columns = torch.tensor(columns, dtype=torch.int64)
        self._values = torch.tensor([[value for _, value in row] for row in hashed], dtype=torch.float32)
        self._labels = torch.tensor(rows["label"][:]) if "label" in rows.column_names else None

    @staticmethod
    def _cell(row: dict[str, Any], name: str, scale: Sequence[float] | None) -> tuple[str, float]:
        value = row[name]
        if value is None:
            return name, 0.0
        return (f"{name}={value}", 1.0) if scale is None else (name, (value - scale[0]) / scale[1])

    def __len__(self) -> int:
        return len(self._columns)

    def load(self, row: int) -> int:
        return row

    def collate(self, rows: Sequence[int], examples: Sequence[int]) -> Batch:
        """Inputs `columns` int64 [B, F] and `values` float32 [B, F]; targets `label` int64 [B] where rows have one."""
        chosen = torch.tensor(rows)
        targets = {} if self._labels is None else {"label": self._labels[chosen]}
        return Batch(chosen, {"columns": self._columns[chosen], "values": self._values[chosen]}, targets)


class TableClassification(Task):
    """One class a row of numbers and words. Columns: `row`, `label`, `origin`."""

    primary_metric = "accuracy"
    head_facts = frozenset({"train_counts", "train_rows"})

    def read(self, request: DataRequest) -> Tables:
        return tables_of.read(request)

    def strata(self, rows: Dataset) -> Sequence[int]:
        return list(rows["label"][:])

    def audit(self, tables: Tables) -> tuple[Tables, list[Finding]]:
        splits = tables.splits
        given = {split: self.strata(rows) for split, rows in splits.items()}
        origins = {split: rows["origin"][:] for split, rows in splits.items()}
        contents = {split: list(map(json.dumps, rows["row"][:])) for split, rows in splits.items()}
        findings = check_classes(given, tables.names) + check_duplicates(contents, given, origins, tables.names)
        empty = sum(value is None for rows in splits.values() for row in rows["row"][:] for value in row.values())
        if empty:
            findings.append(Finding("empty-cells", "note", f"empty cells, read as average: {empty:,}", (), empty))
        return tables, findings

    def facts(self, tables: Tables) -> Facts:
        """Beside what every classification has, `columns`: mean and spread of a column of numbers, None of one of words."""
        train = tables.splits["train"]
        rows, columns = train["row"][:], {}
        for name, feature in train.features["row"].items():
            values = [row[name] for row in rows if row[name] is not None] or [0.0]
            numbers = feature.dtype == "float64"
            columns[name] = [float(np.mean(values)), float(np.std(values)) or 1.0] if numbers else None
        return {**labels.facts_of(train["label"][:], tables.names, "single"), "columns": columns}

    def align(self, tables: Tables, facts: Facts) -> Tables:
        strangers = sorted(set(tables.names) - set(facts["classes"]))
        if strangers:
            hint = f"It knows {', '.join(facts['classes'][:12])}"
            raise DataError(f"has classes that the model does not know: {', '.join(strangers[:12])}", hint=hint)
        wanted = {(name, scale is not None) for name, scale in facts["columns"].items()}
        splits = {}
        for split, rows in tables.splits.items():
            odd = wanted ^ {(name, kind.dtype == "float64") for name, kind in rows.features["row"].items()}
            if odd:
                told = ", ".join(sorted({name for name, _ in odd})[:5])
                raise DataError(
                    f"has other columns than the model was trained on, or words for numbers: {told}", where=split
                )
            numbers = [facts["classes"].index(tables.names[label]) for label in rows["label"][:]]
            splits[split] = add_column(rows, "label", numbers)
        return replace(tables, splits=splits, names=tuple(facts["classes"]))

    def examples(self, rows: Dataset, input: TableInput, facts: Facts, train: bool) -> Examples:
        return TableExamples(rows, input, facts)

    def metrics(self, facts: Facts, device: torch.device) -> Metrics:
        return labels.metrics_of(facts, device)

    def chance(self, facts: Facts) -> float:
        """One class as likely as the other."""
        return 1 / len(facts["classes"])

    def decode(self, predictions: Predictions, facts: Facts) -> list[dict[str, Any]]:
        return labels.decode(predictions, facts)

    def read_inputs(self, inputs: Sequence[str], facts: Facts) -> Dataset:
        return tables_of.read_inputs(inputs, facts)

    def sections(self, evaluation: Evaluation, facts: Facts) -> list[Section]:
        return classification_sections(evaluation, facts)


def build(spec: Spec) -> Task:
    """The task `table-classification`."""
    return TableClassification()
