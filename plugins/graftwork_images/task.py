"""The task `image-classification`: joins reading, audit, examples, metrics and report sections. Each lives in its file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from graftwork.classification.labels import PRIMARY
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
    """Classes (one or several an image) or a number for an image.

    Columns: `image` ({bytes, path}), `label` (class index, list of class indices, or number) and `origin`.
    """

    head_facts = frozenset({"train_counts", "train_rows", "mean", "std"})

    def __init__(self, options: ImageOptions) -> None:
        self.options = options
        self.primary_metric = PRIMARY[options.labels]
        # The threshold above which a class is named is chosen on validation.
        self.decides = options.labels == "multi"
        self.one_class_a_row = options.labels == "single"

    def read(self, request: DataRequest) -> Tables:
        from graftwork_images.read import read_images

        return read_images(request, self.options.labels)

    def strata(self, rows: Dataset) -> Sequence[int]:
        from graftwork.classification.labels import strata

        return strata(rows["label"][:], self.options.labels)

    def contents(self, rows: Dataset) -> Sequence[str]:
        """What the file of each picture holds."""
        from graftwork.vision.alike import picture_contents

        return picture_contents(rows)

    def alike(self, rows: Dataset) -> Sequence[str]:
        """Pictures that are the same or nearly so; each is looked at."""
        from graftwork.vision.alike import alike_pictures

        return alike_pictures(rows)

    def audit(self, tables: Tables) -> tuple[Tables, list[Finding]]:
        from graftwork_images.audit import audit_images

        return audit_images(tables, self.options.labels)

    def facts(self, tables: Tables) -> Facts:
        """`classes`, names by index, and `train_counts`, training rows of each; but of one class `labels` and `train_rows`;
        of numbers `mean` and `std`; of pictures of more than 8 bits `pixel_range`."""
        from graftwork.classification.labels import facts_of

        train = tables.splits.get("train")
        facts = facts_of(train["label"][:] if train is not None else [], tables.names, self.options.labels)
        if self.options.labels == "single":  # as it always was
            facts = {name: facts[name] for name in ("classes", "train_counts")}
        return {**facts, **range_fact(train)}

    def align(self, tables: Tables, facts: Facts) -> Tables:
        from graftwork.classification.encode import renumber
        from graftwork.vision.audit import to_measure_on

        audited, found = self.audit(renumber(tables, facts, self.options.labels))
        return to_measure_on(tables, audited, found, facts)

    def examples(self, rows: Dataset, input: Any, facts: Facts, train: bool) -> Examples:
        kind = facts.get("labels", "single")
        classes = len(facts["classes"])
        return ImageExamples(rows, input, classes, self.options, train, ranges=ranges_of(facts), labels=kind)

    def metrics(self, facts: Facts, device: torch.device) -> Metrics:
        from graftwork.classification.labels import metrics_of

        return metrics_of(facts, device)

    def decide(self, metrics: Metrics, facts: Facts) -> Facts:
        """With `threshold`: the probability above which a class is named, as it gives the best F1 on validation."""
        return {**facts, "threshold": metrics.compute()["threshold"]}

    def chance(self, facts: Facts) -> float:
        """One class as likely as the other; where a row has several, rows in any order; 0 for the rank of numbers."""
        from graftwork.classification.labels import chance

        return chance(facts)

    def decode(self, predictions: Predictions, facts: Facts) -> list[dict[str, Any]]:
        """A row: `label`, the most probable class; `confidence`, its probability; `probabilities` by class. Where a row has
        several classes `labels`, those above the threshold, and `probabilities`; a number is `value`."""
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
