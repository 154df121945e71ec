"""The task `image-classification`: joins reading, audit, examples, metrics and report sections. Each lives in its file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from graftwork.errors import DataError
from graftwork.interfaces import (
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
from graftwork.vision.levels import range_fact, ranges_of
from graftwork_images.examples import ImageExamples, ImageOptions

if TYPE_CHECKING:
    from datasets import Dataset


class ImageClassification(Task):
    """One class an image. Columns: `image` ({bytes, path}) and `label` (class index), with `origin`."""

    primary_metric = "accuracy"
    head_facts = frozenset({"train_counts"})

    def __init__(self, options: ImageOptions) -> None:
        self.options = options

    def read(self, request: DataRequest) -> Tables:
        from graftwork_images.read import read_images

        return read_images(request)

    def strata(self, rows: Dataset) -> Sequence[int]:
        return list(rows["label"][:])

    def audit(self, tables: Tables) -> tuple[Tables, list[Finding]]:
        from graftwork_images.audit import audit_images

        return audit_images(tables)

    def facts(self, tables: Tables) -> Facts:
        """`classes`: names by index; `train_counts`: training rows of each."""
        train = tables.splits.get("train")
        counts = [0] * len(tables.names)
        for label in train["label"][:] if train is not None else []:
            counts[label] += 1
        return {"classes": list(tables.names), "train_counts": counts, **range_fact(train)}

    def align(self, tables: Tables, facts: Facts) -> Tables:
        from datasets import Value

        from graftwork.vision.audit import to_measure_on

        index = {name: number for number, name in enumerate(facts["classes"])}
        new = {number: index.get(name, -1) for number, name in enumerate(tables.names)}
        splits = {}
        for split, rows in tables.splits.items():
            labels = [new[label] for label in rows["label"][:]]
            strangers = sorted(
                {tables.names[old] for old, label in zip(rows["label"][:], labels, strict=True) if label < 0}
            )
            if strangers:
                hint = f"It knows {', '.join(facts['classes'][:12])}"
                raise DataError(f"has classes that the model does not know: {', '.join(strangers[:12])}", hint=hint)
            plain = rows.remove_columns("label").add_column("label", labels)
            splits[split] = plain.cast_column("label", Value("int64"))
        audited, found = self.audit(Tables(splits, tables.findings, tuple(facts["classes"])))
        return to_measure_on(tables, audited, found, facts)

    def examples(self, rows: Dataset, input: Any, facts: Facts, train: bool) -> Examples:
        return ImageExamples(rows, input, len(facts["classes"]), self.options, train, ranges=ranges_of(facts))

    def metrics(self, facts: Facts, device: torch.device) -> Metrics:
        from graftwork.classification.metrics import ClassificationMetrics

        return ClassificationMetrics(facts, device)

    def chance(self, facts: Facts) -> float:
        """One class as likely as the other."""
        return 1 / len(facts["classes"])

    def decode(self, predictions: Predictions, facts: Facts) -> list[dict[str, Any]]:
        """A row: `label`, the most probable class; `confidence`, its probability; `probabilities` by class."""
        from graftwork.classification.labels import decode

        return decode(predictions, facts)

    def read_inputs(self, inputs: Sequence[str], facts: Facts) -> Dataset:
        from graftwork.vision.inputs import read_inputs

        return read_inputs(inputs, facts)

    def sections(self, evaluation: Evaluation, facts: Facts) -> list[Section]:
        from graftwork_images.sections import image_sections

        return image_sections(evaluation, facts)


def build(spec: Spec) -> Task:
    """The task `image-classification`."""
    return ImageClassification(ImageOptions.of(spec.options))
